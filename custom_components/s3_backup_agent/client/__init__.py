"""Client of the agent's protocol, version 1 (docs/development/protocol.md); independent of Home Assistant.

All failures raise `AgentError`, except errors of an upload's own stream, which pass unchanged.
"""

from .address import InvalidAddressError, normalize_address
from .agent import PROTOCOL, AgentClient
from .errors import (
    AGENT_TIMEOUT,
    AGENT_UNREACHABLE,
    INVALID_RESPONSE,
    TRANSFER_BROKEN,
    UNSUPPORTED_PROTOCOL,
    AgentError,
    UnsupportedProtocolError,
)
from .models import (
    Backup,
    Checked,
    CheckStep,
    Event,
    FailedTar,
    Info,
    LastUpload,
    Listing,
    Location,
    LocationError,
    Note,
    OptionProblem,
    Problem,
    Provider,
    Recovery,
    Report,
    Setting,
    Settings,
    Skipped,
    Upload,
    UploadStatus,
    Verified,
)
from .transfer import Download, UploadBody
from .turn import Turn

__all__ = [
    "AGENT_TIMEOUT",
    "AGENT_UNREACHABLE",
    "INVALID_RESPONSE",
    "PROTOCOL",
    "TRANSFER_BROKEN",
    "UNSUPPORTED_PROTOCOL",
    "AgentClient",
    "AgentError",
    "Backup",
    "CheckStep",
    "Checked",
    "Download",
    "Event",
    "FailedTar",
    "Info",
    "InvalidAddressError",
    "LastUpload",
    "Listing",
    "Location",
    "LocationError",
    "Note",
    "OptionProblem",
    "Problem",
    "Provider",
    "Recovery",
    "Report",
    "Setting",
    "Settings",
    "Skipped",
    "Turn",
    "UnsupportedProtocolError",
    "Upload",
    "UploadBody",
    "UploadStatus",
    "Verified",
    "normalize_address",
]
