"""A client of Home Assistant's websocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import contextlib
import itertools
from typing import Any

import aiohttp

from .process import LabError

CALL_TIMEOUT_S = 120


class CallError(LabError):
    """Home Assistant refused a command."""

    def __init__(self, command: str, error: dict[str, Any]) -> None:
        """Store the error's code and message."""
        super().__init__(f"{command}: {error.get('code')}: {error.get('message')}")
        self.code = str(error.get("code"))


class DisconnectedError(LabError):
    """Home Assistant closed the connection before it answered."""


class WebSocket:
    """An authenticated connection; commands and subscriptions may run concurrently."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Wrap an authenticated connection; use `WebSocket.connect` to open one."""
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._events: dict[int, asyncio.Queue[Any]] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def connect(
        cls, session: aiohttp.ClientSession, url: str, token: str
    ) -> WebSocket:
        """Open `{url}/api/websocket` and authenticate."""
        socket = await session.ws_connect(f"{url}/api/websocket", max_msg_size=0)
        await socket.receive_json()
        await socket.send_json({"type": "auth", "access_token": token})
        answer = await socket.receive_json()
        if answer["type"] != "auth_ok":
            raise LabError(f"Home Assistant refused the token: {answer}")
        return cls(socket)

    async def close(self) -> None:
        """Close the connection."""
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        await self._socket.close()

    async def call(
        self, command: str, *, timeout_s: float = CALL_TIMEOUT_S, **fields: Any
    ) -> Any:
        """Send a command and return its result."""
        return await self._call(next(self._ids), command, timeout_s, fields)

    @contextlib.asynccontextmanager
    async def subscribe(
        self, command: str, **fields: Any
    ) -> AsyncIterator[asyncio.Queue[Any]]:
        """Subscribe with a command, and return the queue of its events."""
        number = next(self._ids)
        self._events[number] = asyncio.Queue()
        await self._call(number, command, CALL_TIMEOUT_S, fields)
        try:
            yield self._events[number]
        finally:
            del self._events[number]
            if not self._socket.closed:
                await self.call("unsubscribe_events", subscription=number)

    async def _call(
        self, number: int, command: str, timeout_s: float, fields: dict[str, Any]
    ) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            await self._socket.send_json({"id": number, "type": command, **fields})
            async with asyncio.timeout(timeout_s):
                message = await answer
        finally:
            del self._answers[number]
        if not message["success"]:
            raise CallError(command, message["error"])
        return message["result"]

    async def _read(self) -> None:
        async for frame in self._socket:
            messages = frame.json()
            for message in messages if isinstance(messages, list) else [messages]:
                self._sort(message)
        for answer in self._answers.values():
            answer.set_exception(
                DisconnectedError("Home Assistant closed the connection")
            )

    def _sort(self, message: dict[str, Any]) -> None:
        number = message["id"]
        if message["type"] == "event" and number in self._events:
            self._events[number].put_nowait(message["event"])
        elif number in self._answers and not self._answers[number].done():
            self._answers[number].set_result(message)
