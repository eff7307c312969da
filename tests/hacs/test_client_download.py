"""Downloads of the client."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
import zlib

import pytest

from custom_components.s3_backup_agent.client import AgentClient, AgentError

from .agent import LOCATION, Agent
from .backups import collect, make_backup, send, streaming
from .impostor import CUT_SHORT, impostor


async def test_download_can_be_closed_early(client: AgentClient) -> None:
    """A download can be closed at any time."""
    backup, tar = make_backup(size=20_000_000)
    await send(client, backup, streaming(tar))
    for read in (0, 1):
        download = await client.download(LOCATION, backup.backup_id)
        for _ in range(read):
            assert await anext(download)
        await download.aclose()
    assert await collect(await client.download(LOCATION, backup.backup_id)) == tar


@pytest.mark.parametrize("size", [100_000, 20_000_000])
async def test_damaged_content_raises(
    agent: Agent, client: AgentClient, size: int
) -> None:
    """Stored bytes that have changed raise."""
    backup, tar = make_backup(size=size)
    await send(client, backup, streaming(tar))
    (path,) = (path for path in agent.files() if path.suffix == ".tar")
    damaged = bytearray(tar)
    damaged[size // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(AgentError) as raised:
        await collect(await client.download(LOCATION, backup.backup_id))
    assert raised.value.code in ("transfer_broken", "checksum_mismatch")


async def test_unknown_length_is_refused(tmp_path: Path) -> None:
    """Content without a length is refused, because truncation would go unnoticed."""
    answer = b"HTTP/1.1 200 OK\r\n\r\nsome bytes"
    async with impostor(tmp_path, answer) as client:
        with pytest.raises(AgentError) as raised:
            await client.download(LOCATION, "id")
        assert raised.value.code == "invalid_response"


async def test_truncated_content_raises(tmp_path: Path) -> None:
    """Fewer bytes than announced raise."""
    async with impostor(tmp_path, CUT_SHORT) as client:
        download = await client.download(LOCATION, "id")
        assert await anext(download) == b"some bytes"
        with pytest.raises(AgentError) as raised:
            await anext(download)
        assert raised.value.code == "transfer_broken"


async def test_crc32_mismatch_raises(tmp_path: Path) -> None:
    """A CRC-32 mismatch raises at the end."""
    for crc32, code in (
        (f"{zlib.crc32(b'some bytes'):08x}", None),
        ("00000000", "checksum_mismatch"),
    ):
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nS3-Backup-Agent-CRC32: {crc32}"
        )
        answer = f"{head}\r\n\r\nsome bytes".encode()
        async with impostor(tmp_path, answer) as client:
            download = await client.download(LOCATION, "id")
            assert await anext(download) == b"some bytes"
            with pytest.raises(AgentError if code else StopAsyncIteration) as raised:
                await anext(download)
            assert getattr(raised.value, "code", None) == code


async def test_cancelled_read_closes_download(tmp_path: Path) -> None:
    """A cancelled read closes the connection."""
    async with impostor(tmp_path, CUT_SHORT, silent=True) as client:
        download = await client.download(LOCATION, "id")
        assert await anext(download) == b"some bytes"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(download)
        assert download._response.closed


@pytest.mark.parametrize("read", ["nothing", "all that came"])
async def test_closing_client_breaks_download(tmp_path: Path, *, read: str) -> None:
    """Closing the client raises in a waiting reader, also with buffered bytes."""
    async with impostor(tmp_path, CUT_SHORT, silent=True) as client:
        download = await client.download(LOCATION, "id")
        if read == "nothing":
            await client.close()
        await breaks_when_closed(client, collect(download))


async def test_closing_client_breaks_verification(tmp_path: Path) -> None:
    """Closing the client raises in a waiting verification."""
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"type": "progress"}\n'
    async with impostor(tmp_path, answer, silent=True) as client:
        await breaks_when_closed(client, client.verify(LOCATION, "id", full=True))


async def breaks_when_closed(
    client: AgentClient, reading: Coroutine[Any, Any, object]
) -> None:
    """Close the client during a read, which must raise."""
    reader = asyncio.create_task(reading)
    await asyncio.sleep(0.05)
    await client.close()
    with pytest.raises(AgentError) as raised:
        async with asyncio.timeout(2):
            await reader
    assert raised.value.code == "transfer_broken"
