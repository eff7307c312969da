"""Proxies: one whose connections can be cut, and one that leads every name to one server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

from yarl import URL

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


@asynccontextmanager
async def forward_proxy(endpoint: str) -> AsyncIterator[str]:
    """Run an HTTP proxy that sends requests for any host to one server; return its URL."""
    target = URL(endpoint)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n")
            there = await asyncio.open_connection(target.host, target.port)
            # One request a connection: the server closes it after its answer.
            there[1].write(_origin_form(head) + b"Connection: close\r\n")
            await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))
        writer.close()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def _origin_form(line: bytes) -> bytes:
    """Return a request line for a proxy as it is sent to the server itself."""
    method, url, version = line.decode().split(" ")
    return f"{method} {URL(url, encoded=True).raw_path_qs} {version}".encode()
