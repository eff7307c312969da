"""Errors of the agent as errors of Home Assistant."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, TypedDict

from homeassistant.components.backup import BackupAgentError, BackupNotFound
from homeassistant.components.backup.agent import BackupAgentUnreachableError
from homeassistant.core import async_get_hass
from homeassistant.exceptions import HomeAssistantError

from .client import (
    AGENT_TIMEOUT,
    AGENT_UNREACHABLE,
    TRANSFER_BROKEN,
    UNSUPPORTED_PROTOCOL,
    AgentError,
)
from .const import DOMAIN
from .texts import details_of, plain

# Errors of a location. Each is translated as `error` of forms, under `exceptions`, and as a state of the status sensor.
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
# The error of a download that the agent found damaged; an upload's `checksum_mismatch` has other words.
CONTENT_DAMAGED: Final = "content_damaged"
# The errors that a form can show: those of a location, of a call, and of the agent.
FORM_ERRORS: Final = STORAGE_ERRORS | {
    AGENT_TIMEOUT,
    AGENT_UNREACHABLE,
    "object_locked",
    "shutting_down",
    "too_many_attempts",
    TRANSFER_BROKEN,
    "unauthorized",
}
# The codes with a translation under `exceptions`.
TRANSLATED: Final = FORM_ERRORS | {
    CONTENT_DAMAGED,
    "backup_not_found",
    "cancelled",
    "checksum_mismatch",
    "internal",
    "invalid_metadata",
    "invalid_response",
    "location_not_found",
    "size_mismatch",
    "too_many_uploads",
    "unsupported_protocol",
}
# The translation key for any other code.
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


# The errors of the agent itself, the same for each of its locations.
AGENT_AWAY: Final = frozenset({AGENT_UNREACHABLE, UNSUPPORTED_PROTOCOL, "unauthorized"})


class AgentUnreachableError(BackupAgentUnreachableError):
    """Raised when the agent or its bucket is unreachable; keeps the translation, unlike its parent."""

    _message = None  # type: ignore[assignment]


class Translation(TypedDict):
    """Translation arguments of a Home Assistant exception."""

    translation_domain: str
    translation_key: str
    translation_placeholders: dict[str, str]


def translation_of(err: AgentError) -> Translation:
    """Return the translation for an error, with the provider's own words."""
    return {
        "translation_domain": DOMAIN,
        "translation_key": err.code if err.code in TRANSLATED else OTHER_ERROR,
        "translation_placeholders": {
            "details": plain(details_of(async_get_hass(), err))
        },
    }


def form_error(code: str) -> str:
    """Return the translation key for an error in a form."""
    return code if code in FORM_ERRORS else OTHER_ERROR


def backup_error(err: AgentError) -> BackupAgentError:
    """Return the backup integration's error for an agent's error."""
    kind: type[BackupAgentError] = BackupAgentError
    if err.code == "backup_not_found":
        kind = BackupNotFound
    elif err.code in _UNREACHABLE:
        kind = AgentUnreachableError
    return kind(**translation_of(err))


def action_error(err: AgentError) -> HomeAssistantError:
    """Return the error that a button or an action raises."""
    return HomeAssistantError(**translation_of(err))


def agent_errors_as[**P, R](
    error_of: Callable[[AgentError], HomeAssistantError],
) -> Callable[
    [Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]
]:
    """Decorate a coroutine to raise the agent's errors as Home Assistant's; others pass."""

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
