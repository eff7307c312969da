"""Backups and their streams, as Home Assistant makes them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from lab.sample import make_sample

from custom_components.s3_backup_agent.client import AgentClient
from homeassistant.components.backup import AgentBackup, BackupAgent, suggested_filename

from .agent import LOCATION

CHUNK = 1024 * 1024
DATE = "2026-11-20T04:47:12.345678+01:00"

type OpenStream = Callable[[], Coroutine[None, None, AsyncIterator[bytes]]]


def make_backup(
    backup_id: str = "1f2e3d4c", size: int = 100_000, name: str = "Before the update"
) -> tuple[AgentBackup, bytes]:
    """Return a backup with about size bytes of incompressible content, and its tar."""
    backup, tar = make_sample(backup_id, size, name, DATE)
    return AgentBackup.from_dict(backup), tar


def streaming(
    tar: bytes, *, chunk: int = CHUNK, then: BaseException | None = None
) -> OpenStream:
    """Return a function that opens a stream of a tar, which may end in an exception."""

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(tar), chunk):
            yield tar[start : start + chunk]
        if then is not None:
            raise then

    async def open_stream() -> AsyncIterator[bytes]:
        return stream()

    return open_stream


async def collect(stream: AsyncIterator[bytes]) -> bytes:
    """Return the content of a stream."""
    return b"".join([chunk async for chunk in stream])


async def upload(
    backup_agent: BackupAgent,
    backup: AgentBackup,
    open_stream: OpenStream,
    progress: list[int] | None = None,
) -> None:
    """Upload as the backup manager does."""

    def on_progress(*, bytes_uploaded: int, **kwargs: Any) -> None:
        if progress is not None:
            progress.append(bytes_uploaded)

    await backup_agent.async_upload_backup(
        open_stream=open_stream, backup=backup, on_progress=on_progress
    )


async def send(
    client: AgentClient, backup: AgentBackup, open_stream: OpenStream
) -> dict[str, Any]:
    """Upload to the directory with the client."""
    name = suggested_filename(backup)
    return await client.upload(LOCATION, backup.as_dict(), name, open_stream)


class Interrupted:
    """A backup whose stream calls a function in the middle."""

    def __init__(
        self,
        tar: bytes,
        meet: Callable[[int], Awaitable[None]] | None = None,
        *,
        at: int = 40_000_000,
    ) -> None:
        """Initialize the backup; meet is called at a whole million of bytes, with the stream's number."""
        self.tar, self.meet, self.at = tar, meet, at
        self.opened = 0
        self.closed = 0

    async def open(self) -> AsyncIterator[bytes]:
        """Open a stream."""
        self.opened += 1
        return self._stream(self.opened)

    async def _stream(self, number: int) -> AsyncIterator[bytes]:
        try:
            for start in range(0, len(self.tar), 1_000_000):
                if start == self.at and self.meet:
                    await self.meet(number)
                yield self.tar[start : start + 1_000_000]
        finally:
            self.closed += 1


class Stalling(Interrupted):
    """A backup whose stream stalls in the middle."""

    def __init__(self, tar: bytes, at: int) -> None:
        """Initialize the backup with the position of the stall."""
        super().__init__(tar, self._wait, at=at)
        self.stalled, self.go_on = asyncio.Event(), asyncio.Event()

    async def _wait(self, number: int) -> None:
        self.stalled.set()
        await self.go_on.wait()
