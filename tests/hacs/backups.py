"""Backups as Home Assistant makes them, small or large, and streams of them as it hands them over."""

from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
import io
import json
import random
import tarfile

from homeassistant.components.backup import AgentBackup, Folder

CHUNK = 1024 * 1024

type OpenStream = Callable[[], Coroutine[None, None, AsyncIterator[bytes]]]


def make_backup(
    backup_id: str = "1f2e3d4c", size: int = 100_000, name: str = "Before the update"
) -> tuple[AgentBackup, bytes]:
    """Return a backup with about size bytes of content that does not compress, and its tar."""
    backup = AgentBackup(
        addons=[],
        backup_id=backup_id,
        database_included=True,
        date="2026-11-20T04:47:12.345678+01:00",
        extra_metadata={"instance_id": "abc", "with_automatic_settings": False},
        folders=[Folder.MEDIA],
        homeassistant_included=True,
        homeassistant_version="2026.11.0",
        name=name,
        protected=False,
        size=0,
    )
    about = {
        "slug": backup_id,
        "name": name,
        "date": backup.date,
        "type": "partial",
        "version": 2,
        "compressed": True,
        "folders": ["homeassistant", "media"],
        "addons": [],
        "extra": backup.extra_metadata,
        "homeassistant": {"version": "2026.11.0", "exclude_database": False},
        "protected": False,
    }
    content = {
        "./homeassistant.tar.gz": random.Random(backup_id).randbytes(size),
        "./media.tar.gz": b"media",
        "./backup.json": json.dumps(about).encode(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, data in content.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return replace(backup, size=len(buffer.getvalue())), buffer.getvalue()


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
