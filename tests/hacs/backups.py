"""Backups as Home Assistant makes them, small or large, and streams of them as it hands them over."""

from collections.abc import AsyncIterator, Callable, Coroutine

from lab.sample import make_sample

from homeassistant.components.backup import AgentBackup

CHUNK = 1024 * 1024
DATE = "2026-11-20T04:47:12.345678+01:00"

type OpenStream = Callable[[], Coroutine[None, None, AsyncIterator[bytes]]]


def make_backup(
    backup_id: str = "1f2e3d4c", size: int = 100_000, name: str = "Before the update"
) -> tuple[AgentBackup, bytes]:
    """Return a backup with about size bytes of content that does not compress, and its tar."""
    backup, tar = make_sample(backup_id, size, name, DATE)
    return AgentBackup.from_dict(backup), tar


def streaming(
    tar: bytes, *, chunk: int = CHUNK, then: BaseException | None = None
) -> OpenStream:
    """Return what opens a stream of tar, which ends in an exception when there is one."""

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(tar), chunk):
            yield tar[start : start + chunk]
        if then is not None:
            raise then

    async def open_stream() -> AsyncIterator[bytes]:
        return stream()

    return open_stream


async def collect(stream: AsyncIterator[bytes]) -> bytes:
    """Return all that a stream yields."""
    return b"".join([chunk async for chunk in stream])
