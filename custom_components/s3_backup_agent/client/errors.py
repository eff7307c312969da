"""Errors of calls: reported by the agent, or of the connection to it."""

from collections.abc import Mapping, Sequence
import errno
import json
import os
import re
from typing import Final, Self, override

import aiohttp
from aiohttp.http import HttpProcessingError

from .models import InvalidSetting, LocationError, Report

# The codes of this client; all others are the agent's.
AGENT_UNREACHABLE: Final = "agent_unreachable"
AGENT_TIMEOUT: Final = "agent_timeout"
INVALID_RESPONSE: Final = "invalid_response"
TRANSFER_BROKEN: Final = "transfer_broken"
UNSUPPORTED_PROTOCOL: Final = "unsupported_protocol"
# The reason of an agent that is unreachable because this process may not open its socket.
SOCKET_DENIED: Final = "socket_denied"

# Detected by either side.
CHECKSUM_MISMATCH: Final = "checksum_mismatch"

# The exceptions of aiohttp for a broken connection or an invalid answer.
BROKEN: Final = (aiohttp.ClientError, HttpProcessingError, OSError)


_DENIED: Final = (
    "Home Assistant runs as user {user} with group {group}, and may not open the socket. In the agent's configuration, set "
    'socket_mode = "0660" and socket_group = "{group}" in the section [listen], and restart the agent. Every folder above the '
    "socket must be open to that group, too."
)


class AgentError(Exception):
    """Raised when a call fails."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        hint: str | None = None,
        provider_code: str | None = None,
        request_id: str | None = None,
        retryable: bool = False,
        reason: str = "",
        placeholders: Mapping[str, str] | None = None,
        settings: Sequence[InvalidSetting] = (),
    ) -> None:
        """Initialize the error with the fields of the agent's problem."""
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.provider_code = provider_code
        self.request_id = request_id
        self.retryable = retryable
        # A finer code, and what the error is about, for a sentence in another language.
        self.reason = reason
        self.placeholders: Mapping[str, str] = placeholders or {}
        # The invalid settings of a location that the agent refuses.
        self.settings = settings

    @classmethod
    def of(cls, report: Report | LocationError) -> Self:
        """Return the error of a report in an event, a status or a check."""
        return cls(
            report["code"],
            report["detail"],
            hint=report["hint"],
            provider_code=report["provider_code"],
            reason=report.get("reason", ""),
            placeholders=report.get("placeholders"),
        )

    @property
    def words(self) -> str:
        """The detail and the provider's code."""
        if self.provider_code and self.provider_code not in self.detail:
            return f"{self.detail} ({self.provider_code})"
        return self.detail

    @override
    def __str__(self) -> str:
        """Return the detail, the provider's code and the hint."""
        text = self.words
        if not self.hint:
            return text
        return f"{text}{'' if text.endswith(('.', '!', '?')) else '.'} {self.hint}"


class UnsupportedProtocolError(AgentError):
    """Raised when the agent speaks another version of the protocol."""

    def __init__(self, found: object, wanted: int) -> None:
        """Initialize the error with both versions."""
        super().__init__(
            UNSUPPORTED_PROTOCOL,
            f"The agent speaks version {found} of the protocol, not version {wanted}",
        )
        self.is_too_old = isinstance(found, int) and found < wanted


def problem(response: aiohttp.ClientResponse, body: bytes) -> AgentError:
    """Return the error of a problem response, or for an answer that is not the agent's."""
    try:
        problem = json.loads(body)
        return AgentError(
            str(problem["code"]),
            str(problem["detail"]),
            hint=problem.get("hint"),
            provider_code=problem.get("provider_code"),
            request_id=problem.get("request_id"),
            retryable=bool(problem.get("retryable")),
            reason=str(problem.get("reason", "")),
            placeholders=problem.get("placeholders"),
            settings=problem.get("problems", ()),
        )
    except ValueError, KeyError, TypeError, AttributeError:
        return AgentError(
            INVALID_RESPONSE,
            f"Not an agent's answer: HTTP {response.status} {response.reason}",
            placeholders={"said": f"HTTP {response.status} {response.reason}"},
        )


def connection_error(err: Exception) -> AgentError:
    """Return the error for a call without an answer."""
    if isinstance(err, TimeoutError):
        return AgentError(
            AGENT_TIMEOUT, "The agent did not answer in time", retryable=True
        )
    # aiohttp puts its TLS settings between the address and the reason.
    detail = re.sub(r" ssl:(<[^>]*>|\S+)", "", str(err)) or repr(err)
    is_denied = isinstance(err, OSError) and err.errno == errno.EACCES
    # Root may open every socket; something else denies it, such as AppArmor.
    if not is_denied or not (user := os.geteuid()):
        said = {"said": detail}
        return AgentError(AGENT_UNREACHABLE, detail, retryable=True, placeholders=said)
    names = {"user": str(user), "group": str(os.getegid())}
    return AgentError(
        AGENT_UNREACHABLE,
        detail,
        hint=_DENIED.format_map(names),
        retryable=True,
        reason=SOCKET_DENIED,
        placeholders={"said": detail, **names},
    )


def body_error(err: Exception) -> AgentError:
    """Return the error for an answer that was cut off."""
    if isinstance(err, TimeoutError):
        return connection_error(err)
    return AgentError(
        TRANSFER_BROKEN,
        f"The connection to the agent broke: {err or repr(err)}",
        retryable=True,
        placeholders={"said": str(err) or repr(err)},
    )
