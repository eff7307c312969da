"""A proxy whose connections can be cut."""

import asyncio
from contextlib import suppress
from typing import Self

from .agent import Agent


class Proxy:
    """A proxy between Home Assistant and the agent, used as `async with Proxy(agent) as proxy:`."""

    def __init__(self, agent: Agent) -> None:
        """Initialize the proxy on a socket beside the agent's."""
        self.path = agent.folder / "proxy.sock"
        self.address = f"unix://{self.path}"
        self._agent = agent
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Start the proxy."""
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the proxy."""
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Cut all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there = await asyncio.open_unix_connection(str(self._agent.socket))
        self._writers |= {writer, there[1]}
        await asyncio.gather(self._copy(reader, there[1]), self._copy(there[0], writer))
        self._writers -= {writer, there[1]}

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
