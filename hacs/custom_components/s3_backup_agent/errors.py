"""What Home Assistant is told when a call to the agent fails."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, TypedDict

from homeassistant.components.backup import BackupAgentError, BackupNotFound
from homeassistant.components.backup.agent import BackupAgentUnreachableError
from homeassistant.exceptions import HomeAssistantError

from .client import AGENT_TIMEOUT, AGENT_UNREACHABLE, TRANSFER_BROKEN, AgentError
from .const import DOMAIN

# What can be wrong with a location. These have a sentence wherever something is said: in forms as `error`, elsewhere
# under `exceptions`, and as a state of the status.
STORAGE_ERRORS: Final = frozenset(
    {
        "bucket_not_found",
        "clock_skew",
        "storage_auth",
        "storage_certificate",
        "storage_error",
        "storage_forbidden",
        "storage_full",
        "storage_throttled",
        "storage_timeout",
        "storage_unreachable",
        "wrong_region",
    }
)
# What a form can show of a check: these, and what is about one call, or about the agent that was to make it.
FORM_ERRORS: Final = STORAGE_ERRORS | {
    AGENT_TIMEOUT,
    AGENT_UNREACHABLE,
    "object_locked",
    "shutting_down",
    "too_many_attempts",
    TRANSFER_BROKEN,
    "unauthorized",
}
# All codes that have a sentence of their own under `exceptions` in the translations.
TRANSLATED: Final = FORM_ERRORS | {
    "backup_not_found",
    "cancelled",
    "checksum_mismatch",
    "internal",
    "invalid_metadata",
    "invalid_response",
    "location_not_found",
    "size_mismatch",
    "unsupported_protocol",
}
# The sentence for any other.
OTHER_ERROR: Final = "agent_error"

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
        "translation_key": err.code if err.code in TRANSLATED else OTHER_ERROR,
        "translation_placeholders": {"details": str(err)},
    }


def form_error(code: str) -> str:
    """Return the name of the sentence for an error in a form."""
    return code if code in FORM_ERRORS else OTHER_ERROR


def backup_error(err: AgentError) -> BackupAgentError:
    """Return the error of the backup integration for an error of the agent."""
    kind: type[BackupAgentError] = BackupAgentError
    if err.code == "backup_not_found":
        kind = BackupNotFound
    elif err.code in _UNREACHABLE:
        kind = AgentUnreachableError
    return kind(**translation_of(err))


def action_error(err: AgentError) -> HomeAssistantError:
    """Return the error that is shown to whoever pressed a button or called an action."""
    return HomeAssistantError(**translation_of(err))


def agent_errors_as[**P, R](
    error_of: Callable[[AgentError], HomeAssistantError],
) -> Callable[
    [Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]
]:
    """Let errors of the agent leave a coroutine as errors of Home Assistant, and touch no others."""

    def decorate(
        func: Callable[P, Coroutine[Any, Any, R]],
    ) -> Callable[P, Coroutine[Any, Any, R]]:
        @wraps(func)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return await func(*args, **kwargs)
            except AgentError as err:
                raise error_of(err) from err

        return wrapper

    return decorate
