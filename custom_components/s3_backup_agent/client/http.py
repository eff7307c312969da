"""Calls over HTTP: an address, a token, and an answer of JSON or of JSON lines."""

from collections.abc import AsyncGenerator
import json
from typing import Any, Final, Self
import weakref

import aiohttp

from .address import normalize_address
from .errors import (
    AGENT_UNREACHABLE,
    BROKEN,
    INVALID_RESPONSE,
    AgentError,
    body_error,
    connection_error,
    problem,
)
from .turn import Turn

# Bounds the memory of an answer that never ends its line. A backup's line has up to 1 MiB; agents before the streamed
# listing answer with a single line.
_MAX_LINE_BYTES: Final = 64 * 1024 * 1024


class HttpClient:
    """Makes calls over a Unix socket or over TCP."""

    def __init__(
        self, address: str, token: str | None, session: aiohttp.ClientSession | None
    ) -> None:
        """Initialize the client; over TCP it uses the given session."""
        self.address = normalize_address(address)
        # One connection per call: a kept-alive one breaks at an agent's restart, which only the next call notices.
        self._headers = {"Accept-Encoding": "identity", "Connection": "close"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._base = self.address
        self._owns_session = True
        if self.address.startswith("unix://"):
            self._base = "http://agent"
            path = self.address.removeprefix("unix://")
            session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path))
        elif session is None:
            session = aiohttp.ClientSession()
        else:
            self._owns_session = False
        self._session = session
        # The responses that may still have a reader.
        self._responses: weakref.WeakSet[aiohttp.ClientResponse] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close all connections; readers of a response get an error."""
        if self._owns_session:
            # Closing only the session would leave their readers waiting.
            for response in tuple(self._responses):
                response.close()
            await self._session.close()

    async def _lines(
        self, method: str, path: str, **kwargs: Any
    ) -> AsyncGenerator[dict[str, Any]]:
        """Make a call whose answer is JSON lines, without blocking the event loop for long."""
        response = await self._request(method, path, **kwargs)
        turn = Turn()
        try:
            async for line in _split_lines(response.content):
                yield _object(line)
                await turn.give_way()
        except BROKEN as err:
            raise body_error(err) from err
        finally:
            response.close()

    async def _json(self, method: str, path: str, **kwargs: Any) -> Any:
        """Make a call whose answer is a JSON object."""
        response = await self._request(method, path, **kwargs)
        try:
            return _object(await _read(response))
        finally:
            response.close()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> aiohttp.ClientResponse:
        """Make a call; return a successful response, which the caller closes."""
        if self._session.closed:
            raise AgentError(AGENT_UNREACHABLE, "This side closed the connection")
        try:
            response = await self._session.request(
                method,
                self._base + path,
                headers={**self._headers, **(headers or {})},
                **kwargs,
            )
        except BROKEN as err:
            raise connection_error(err) from err
        self._responses.add(response)
        if response.status < 400:
            return response
        try:
            raise problem(response, await _read(response))
        finally:
            response.close()


async def _split_lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    """Yield lines; aiohttp 3.13's own reader refuses those of more than 128 KiB."""
    pending: list[bytes] = []
    async for chunk in content.iter_any():
        first, *others = chunk.split(b"\n")
        pending.append(first)
        if sum(map(len, pending)) > _MAX_LINE_BYTES:
            raise AgentError(INVALID_RESPONSE, "A line of the answer is too long")
        for line in others:
            yield b"".join(pending)
            pending = [line]
    if last := b"".join(pending):
        yield last


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read the body of a response."""
    try:
        return await response.read()
    except BROKEN as err:
        raise body_error(err) from err


def _object(text: bytes) -> Any:
    """Decode a JSON object."""
    try:
        answer = json.loads(text)
    except ValueError as err:
        raise AgentError(INVALID_RESPONSE, "The answer is not JSON") from err
    if not isinstance(answer, dict):
        raise AgentError(INVALID_RESPONSE, "The answer is not a JSON object")
    return answer
