"""What Home Assistant is told when a call to the agent fails."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, TypedDict

from homeassistant.components.backup import BackupAgentError, BackupNotFound
from homeassistant.components.backup.agent import BackupAgentUnreachableError

from .client import AGENT_TIMEOUT, AGENT_UNREACHABLE, TRANSFER_BROKEN, AgentError
from .const import DOMAIN

# The codes that have a sentence of their own under `exceptions` in the translations.
TRANSLATED: Final = frozenset(
    {
        AGENT_TIMEOUT,
        AGENT_UNREACHABLE,
        "backup_not_found",
        "bucket_not_found",
        "cancelled",
        "checksum_mismatch",
        "clock_skew",
        "internal",
        "invalid_metadata",
        "invalid_response",
        "location_not_found",
        "object_locked",
        "shutting_down",
        "size_mismatch",
        "storage_auth",
        "storage_certificate",
        "storage_error",
        "storage_forbidden",
        "storage_full",
        "storage_throttled",
        "storage_timeout",
        "storage_unreachable",
        TRANSFER_BROKEN,
        "unauthorized",
        "unsupported_protocol",
        "wrong_region",
    }
)
_OTHER: Final = "agent_error"

_UNREACHABLE: Final = frozenset(
    {
        AGENT_TIMEOUT,
        AGENT_UNREACHABLE,
        TRANSFER_BROKEN,
        "shutting_down",
        "storage_throttled",
        "storage_timeout",
        "storage_unreachable",
    }
)


class AgentUnreachableError(BackupAgentUnreachableError):
    """The agent, or its bucket, cannot be reached; says why, which its parent does not."""

    _message = None  # type: ignore[assignment]


class Translation(TypedDict):
    """The arguments by which an exception of Home Assistant finds its sentence."""

    translation_domain: str
    translation_key: str
    translation_placeholders: dict[str, str]


def translation_of(err: AgentError) -> Translation:
    """Return the sentence for an error, with the provider's own words in it."""
    return {
        "translation_domain": DOMAIN,
        "translation_key": err.code if err.code in TRANSLATED else _OTHER,
        "translation_placeholders": {"details": str(err)},
    }


def backup_error(err: AgentError) -> BackupAgentError:
    """Return the error of the backup integration for an error of the agent."""
    kind: type[BackupAgentError] = BackupAgentError
    if err.code == "backup_not_found":
        kind = BackupNotFound
    elif err.code in _UNREACHABLE:
        kind = AgentUnreachableError
    return kind(**translation_of(err))


def map_errors[**P, R](
    func: Callable[P, Coroutine[Any, Any, R]],
) -> Callable[P, Coroutine[Any, Any, R]]:
    """Let errors of the agent leave a coroutine as errors of the backup integration, and touch no others."""

    @wraps(func)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await func(*args, **kwargs)
        except AgentError as err:
            raise backup_error(err) from err

    return wrapper
