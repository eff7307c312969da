"""A server that is not the agent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from custom_components.s3_backup_agent.client import AgentClient

# An answer with a tenth of its announced length.
CUT_SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome bytes"


@asynccontextmanager
async def impostor(
    folder: Path, answer: bytes, *, silent: bool = False
) -> AsyncIterator[AgentClient]:
    """Return a client of a server that sends one answer to each request; a silent one then keeps the connection."""
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if silent:
            await left.wait()
        writer.close()

    path = folder / "else.sock"
    server = await asyncio.start_unix_server(serve, path)
    try:
        async with AgentClient(f"unix://{path}") as client:
            yield client
    finally:
        left.set()
        server.close()
        await server.wait_closed()


def http(status: str, body: str, *headers: str) -> bytes:
    """Return an HTTP answer."""
    head = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join((*head, "", body)).encode()
