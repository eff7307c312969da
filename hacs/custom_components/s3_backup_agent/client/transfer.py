"""The bytes of backups on their way to and from an agent."""

import asyncio
from collections.abc import AsyncIterator
import socket
from typing import Final, Self, override

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from .errors import BROKEN, CHECKSUM_MISMATCH, AgentError, body_error

try:
    # Several times faster; Home Assistant has it for its own HTTP server.
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

# An upload or a download may take days, and the agent sits out a quarter of an hour without its bucket; only a longer
# silence ends it.
IDLE_SECONDS: Final = 30 * 60
_SOCKET_BUFFER_BYTES: Final = 1024 * 1024
_CRC32_HEADER: Final = "S3-Backup-Agent-CRC32"


class Download:
    """The tar of a backup on its way here, as an async iterator of its bytes."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        """Read the body of a response."""
        self.size = response.content_length
        self._response = response
        # Older agents, and backups that they or other tools uploaded, have none.
        self._wanted: str | None = response.headers.get(_CRC32_HEADER)
        self._crc = 0

    def __aiter__(self) -> Self:
        """Return the iterator."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes; raises AgentError when they end before their time."""
        try:
            # What one system call brought, without joining it with the next.
            chunk, _ = await self._response.content.readchunk()
        except BROKEN as err:
            self._response.close()
            raise body_error(err) from err
        except BaseException:
            self._response.close()
            raise
        if not chunk:
            self._response.close()
            if self._wanted is not None and self._wanted != f"{self._crc:08x}":
                raise AgentError(
                    CHECKSUM_MISMATCH,
                    f"The CRC-32 of what arrived is not {self._wanted}: it was damaged on its way from the agent",
                )
            raise StopAsyncIteration
        self._crc = crc32(chunk, self._crc)
        return chunk

    async def aclose(self) -> None:
        """Stop here; closing early is normal."""
        self._response.close()


class UploadBody(aiohttp.Payload):
    """The tar of a backup on its way to the agent, counted while it passes."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        """Send what a stream yields."""
        super().__init__(stream, content_type="application/x-tar")
        self._stream = stream
        self._crc = 0
        self.started = False
        self._finished = asyncio.Event()
        self.sent = 0
        self.stream_error: BaseException | None = None

    @property
    def crc32(self) -> str:
        """The CRC-32 of what was sent."""
        return f"{self._crc:08x}"

    @override
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Refuse: the content is a stream of bytes."""
        raise TypeError("a stream has no text")

    @override
    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the stream."""
        await self.write_with_length(writer, None)

    @override
    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Send the stream, in chunks as it yields them."""
        if self.started:
            # Older versions of aiohttp repeat a PUT whose connection broke, with what is left of its body.
            raise ConnectionResetError("the stream cannot be sent again")
        self._consumed = self.started = True
        _widen(writer)
        try:
            while chunk := await self._next():
                self.sent += len(chunk)
                self._crc = crc32(chunk, self._crc)
                async with asyncio.timeout(IDLE_SECONDS):
                    await writer.write(chunk)
        except asyncio.CancelledError:
            _stop_waiting(writer)
            raise
        finally:
            self._finished.set()

    async def wait_until_left_alone(self) -> None:
        """Wait until nobody reads the stream any more."""
        if self.started:
            await self._finished.wait()

    async def _next(self) -> bytes:
        """Return the next chunk, empty at the end; remembers what the stream itself raises."""
        try:
            while not (chunk := await anext(self._stream)):
                pass
        except StopAsyncIteration:
            return b""
        except asyncio.CancelledError as err:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                self.stream_error = err
            raise
        except BaseException as err:
            self.stream_error = err
            raise
        return chunk


def _widen(writer: AbstractStreamWriter) -> None:
    """Let more bytes into the socket at once: fewer system calls and wake-ups for each gibibyte."""
    transport = getattr(writer, "transport", None)
    if transport is not None and (sock := transport.get_extra_info("socket")):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)


def _stop_waiting(writer: AbstractStreamWriter) -> None:
    """Wait for no room in the socket any more; older versions of aiohttp go on, and log that the connection is lost."""
    protocol = getattr(writer, "protocol", None)
    waiter: asyncio.Future[None] | None = getattr(protocol, "_drain_waiter", None)
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
