"""Errors of calls: reported by the agent, or of the connection to it."""

import errno
import json
import os
import re
from typing import Final, Self, override

import aiohttp
from aiohttp.http import HttpProcessingError

from .models import LocationError, Report

# The codes of this client; all others are the agent's.
AGENT_UNREACHABLE: Final = "agent_unreachable"
AGENT_TIMEOUT: Final = "agent_timeout"
INVALID_RESPONSE: Final = "invalid_response"
TRANSFER_BROKEN: Final = "transfer_broken"
UNSUPPORTED_PROTOCOL: Final = "unsupported_protocol"

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
    ) -> None:
        """Initialize the error with the fields of the agent's problem."""
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.provider_code = provider_code
        self.request_id = request_id
        self.retryable = retryable

    @classmethod
    def of(cls, report: Report | LocationError) -> Self:
        """Return the error of a report in an event, a status or a check."""
        return cls(
            report["code"],
            report["detail"],
            hint=report["hint"],
            provider_code=report["provider_code"],
        )

    @override
    def __str__(self) -> str:
        """Return the detail, the provider's code and the hint."""
        text = self.detail
        if self.provider_code and self.provider_code not in text:
            text = f"{text} ({self.provider_code})"
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
        )
    except ValueError, KeyError, TypeError, AttributeError:
        return AgentError(
            INVALID_RESPONSE,
            f"Not an agent's answer: HTTP {response.status} {response.reason}",
        )


def connection_error(err: Exception) -> AgentError:
    """Return the error for a call without an answer."""
    if isinstance(err, TimeoutError):
        return AgentError(
            AGENT_TIMEOUT, "The agent did not answer in time", retryable=True
        )
    # aiohttp puts its TLS settings between the address and the reason.
    detail = re.sub(r" ssl:(<[^>]*>|\S+)", "", str(err)) or repr(err)
    return AgentError(AGENT_UNREACHABLE, detail, hint=_advice(err), retryable=True)


def _advice(err: Exception) -> str | None:
    """Return what to change for a Unix socket that this process may not open."""
    is_denied = isinstance(err, OSError) and err.errno == errno.EACCES
    # Root may open every socket; something else denies it, such as AppArmor.
    if not is_denied or not (user := os.geteuid()):
        return None
    return _DENIED.format(user=user, group=os.getegid())


def body_error(err: Exception) -> AgentError:
    """Return the error for an answer that was cut off."""
    if isinstance(err, TimeoutError):
        return connection_error(err)
    return AgentError(
        TRANSFER_BROKEN,
        f"The connection to the agent broke: {err or repr(err)}",
        retryable=True,
    )
