"""Bodies of downloads and uploads."""

import asyncio
from collections.abc import AsyncIterator
import socket
from typing import Final, Self, override

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from .errors import BROKEN, CHECKSUM_MISMATCH, AgentError, body_error

try:
    # Several times faster; part of Home Assistant.
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

# The idle timeout: the agent may retry for a quarter of an hour while its bucket is unreachable.
IDLE_SECONDS: Final = 30 * 60
_SOCKET_BUFFER_BYTES: Final = 1024 * 1024
_CRC32_HEADER: Final = "S3-Backup-Agent-CRC32"
_DOWNLOAD_HEADER: Final = "S3-Backup-Agent-Download"


class Download:
    """The tar of a backup, as an async iterator of its bytes."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        """Initialize the download of a response."""
        self.size = response.content_length
        # Identifies the event with the reason of a failure. Absent in older agents.
        self.id: str | None = response.headers.get(_DOWNLOAD_HEADER)
        self._response = response
        # Absent in older agents, and for backups of other tools.
        self._expected: str | None = response.headers.get(_CRC32_HEADER)
        self._crc = 0

    def __aiter__(self) -> Self:
        """Return the iterator."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes; raises AgentError for a broken or corrupted body."""
        try:
            # Returns single reads of the socket, without joining them.
            chunk, _ = await self._response.content.readchunk()
        except BROKEN as err:
            self._response.close()
            raise body_error(err) from err
        except BaseException:
            self._response.close()
            raise
        if not chunk:
            self._response.close()
            if self._expected is not None and self._expected != f"{self._crc:08x}":
                raise AgentError(
                    CHECKSUM_MISMATCH,
                    f"CRC-32 mismatch: the agent sent {self._expected}, and {self._crc:08x} arrived",
                )
            raise StopAsyncIteration
        self._crc = crc32(chunk, self._crc)
        return chunk

    async def aclose(self) -> None:
        """Close the download; it may be incomplete."""
        self._response.close()


class UploadBody(aiohttp.Payload):
    """The tar of a backup as a request body, with its size and CRC-32."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        """Initialize the body of a stream."""
        super().__init__(stream, content_type="application/x-tar")
        self._stream = stream
        self._crc = 0
        self.started = False
        self._finished = asyncio.Event()
        self.sent = 0
        self.stream_error: BaseException | None = None

    @property
    def crc32(self) -> str:
        """The CRC-32 of the bytes sent."""
        return f"{self._crc:08x}"

    @property
    @override
    def consumed(self) -> bool:
        """Return whether the stream was read, so that it cannot be sent again."""
        return self.started

    @override
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Raise TypeError: the content is bytes."""
        raise TypeError("a stream has no text")

    @override
    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the stream."""
        await self.write_with_length(writer, None)

    @override
    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Send the stream in the chunks it yields."""
        if self.started:
            # aiohttp 3.13 sends a PUT again after its connection broke, with the rest of the body.
            raise ConnectionResetError("the stream cannot be sent again")
        self.started = True
        if transport := _transport_of(writer):
            _enlarge_send_buffer(transport)
        try:
            while chunk := await self._next():
                self.sent += len(chunk)
                self._crc = crc32(chunk, self._crc)
                await _write(writer, chunk)
        finally:
            self._finished.set()

    async def wait_until_released(self) -> None:
        """Wait until the body no longer reads its stream."""
        if self.started:
            await self._finished.wait()

    async def _next(self) -> bytes:
        """Return the next chunk, empty at the end; stores the stream's own error."""
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


async def _write(writer: AbstractStreamWriter, chunk: bytes) -> None:
    """Write a chunk; raises TimeoutError after the idle timeout.

    A cancelled write of aiohttp 3.13 leaves a future behind that reports the lost connection. So the write is not
    cancelled: it ends with its transport.
    """
    writing = asyncio.ensure_future(writer.write(chunk))
    # Its error may come after the cancellation, when nothing awaits it.
    writing.add_done_callback(lambda it: it.cancelled() or it.exception())
    try:
        await asyncio.wait({writing}, timeout=IDLE_SECONDS)
    finally:
        if not writing.done():
            _end(writing, writer)
    if not writing.done():
        raise TimeoutError
    writing.result()


def _end(writing: asyncio.Future[None], writer: AbstractStreamWriter) -> None:
    """End a write by closing its connection."""
    if transport := _transport_of(writer):
        transport.abort()
    else:
        writing.cancel()


def _transport_of(writer: AbstractStreamWriter) -> asyncio.WriteTransport | None:
    """Return the transport of aiohttp's StreamWriter, which its abstract class does not declare."""
    return getattr(writer, "transport", None)


def _enlarge_send_buffer(transport: asyncio.WriteTransport) -> None:
    """Enlarge the socket's send buffer, for fewer system calls per gibibyte."""
    if sock := transport.get_extra_info("socket"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
