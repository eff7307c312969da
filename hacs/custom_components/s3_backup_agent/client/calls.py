"""How a call is made: an address, a token, and an answer of JSON, or of many lines of it."""

from collections.abc import AsyncGenerator
from typing import Any, Self
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
from .turns import decode


class Calls:
    """Makes calls over a Unix socket or over TCP."""

    def __init__(
        self, address: str, token: str | None, session: aiohttp.ClientSession | None
    ) -> None:
        """Prepare to reach an agent, with a session of its own where none is lent that fits."""
        self.address = normalize_address(address)
        # Each call has a connection of its own: a kept one may die with a restart of the agent, unnoticed until
        # the next call fails on it.
        self._headers = {"Accept-Encoding": "identity", "Connection": "close"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._base = self.address
        self._lent = False
        if self.address.startswith("unix://"):
            self._base = "http://agent"
            path = self.address.removeprefix("unix://")
            session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path))
        elif session is None:
            session = aiohttp.ClientSession()
        else:
            self._lent = True
        self._session = session
        # Answers that somebody may be reading.
        self._responses: weakref.WeakSet[aiohttp.ClientResponse] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Let go of all connections; whoever still reads an answer is told that it broke off."""
        if not self._lent:
            # The session would close their connections without a word to their readers.
            for response in tuple(self._responses):
                response.close()
            await self._session.close()

    async def _lines(
        self, method: str, path: str, **kwargs: Any
    ) -> AsyncGenerator[dict[str, Any]]:
        """Make a call whose answer is JSON line by line."""
        response = await self._request(method, path, **kwargs)
        try:
            async for line in response.content:
                yield await _object(line)
        except BROKEN as err:
            raise body_error(err) from err
        except ValueError as err:
            # What aiohttp 3.13 raises of a line that is too long for it; Home Assistant 2026.3 has that one.
            raise AgentError(INVALID_RESPONSE, f"Not an agent's answer: {err}") from err
        finally:
            response.close()

    async def _json(self, method: str, path: str, **kwargs: Any) -> Any:
        """Make a call whose answer is JSON."""
        response = await self._request(method, path, **kwargs)
        try:
            return await _object(await _read(response))
        finally:
            response.close()

    async def _request(
        self, method: str, path: str, **kwargs: Any
    ) -> aiohttp.ClientResponse:
        """Make a call; return an answer that is not an error and that the caller closes."""
        if self._session.closed:
            raise AgentError(AGENT_UNREACHABLE, "This side closed the connection")
        try:
            response = await self._session.request(
                method, self._base + path, headers=self._headers, **kwargs
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


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read a short answer."""
    try:
        return await response.read()
    except BROKEN as err:
        raise body_error(err) from err


async def _object(text: bytes) -> Any:
    """Decode an answer that must be a JSON object."""
    try:
        answer = await decode(text)
    except ValueError as err:
        raise AgentError(INVALID_RESPONSE, "The answer is not JSON") from err
    if not isinstance(answer, dict):
        raise AgentError(INVALID_RESPONSE, "The answer is not a JSON object")
    return answer
