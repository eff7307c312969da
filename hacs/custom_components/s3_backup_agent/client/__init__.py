"""The client of the agent: the calls of protocol version 1, and nothing of Home Assistant.

`docs/protocol.md` is what this package speaks. Whatever goes wrong leaves it as one exception, `AgentError`; errors of
the stream that an upload reads from leave it untouched.
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
from .shapes import (
    Backup,
    Checked,
    CheckStep,
    Event,
    Info,
    LastUpload,
    Listing,
    Location,
    LocationError,
    Note,
    OptionProblem,
    Provider,
    ProviderField,
    Recovery,
    Report,
    Settings,
    Skipped,
    Upload,
    UploadStatus,
    Verified,
)
from .transfer import Download, UploadBody
from .turns import Turn

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
    "Info",
    "InvalidAddressError",
    "LastUpload",
    "Listing",
    "Location",
    "LocationError",
    "Note",
    "OptionProblem",
    "Provider",
    "ProviderField",
    "Recovery",
    "Report",
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
