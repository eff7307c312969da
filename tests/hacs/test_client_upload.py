"""Uploads of the client."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
import importlib.util
from pathlib import Path
import sys
from typing import Any
from unittest.mock import patch
import zlib

import pytest

from custom_components.s3_backup_agent import client as client_module
from custom_components.s3_backup_agent.client import (
    AgentClient,
    AgentError,
    agent as agent_module,
    transfer as transfer_module,
)

from .agent import LOCATION, Agent
from .backups import Stalling, collect, make_backup, send, streaming
from .impostor import http, impostor


async def test_truncated_stream_is_refused(agent: Agent, client: AgentClient) -> None:
    """A stream that ends early is refused, and nothing is left behind."""
    backup, tar = make_backup(size=20_000_000)
    with pytest.raises(AgentError) as raised:
        await send(client, backup, streaming(tar[:-10_240]))
    assert raised.value.code == "size_mismatch"
    await agent.wait_until_empty()
    assert (await client.backups(LOCATION, refresh=True))["backups"] == []


async def test_longer_stream_is_accepted(client: AgentClient) -> None:
    """A stream longer than announced is stored with its true size."""
    backup, tar = make_backup()
    announced = replace(backup, size=len(tar) - 10_240)
    stored = await send(client, announced, streaming(tar))
    assert stored["size"] == len(tar)
    assert await collect(await client.download(LOCATION, backup.backup_id)) == tar


@pytest.mark.parametrize(
    ("lie", "code"),
    [({"size": 1}, "size_mismatch"), ({"crc32": "00000000"}, "checksum_mismatch")],
)
async def test_count_mismatch_is_refused(
    agent: Agent, client: AgentClient, lie: dict[str, Any], code: str
) -> None:
    """A size or checksum that differs is refused, and nothing is stored."""
    backup, tar = make_backup()
    created = await client.create_upload(LOCATION, backup.as_dict(), "name.tar")
    upload_id = created["upload_id"]
    body = await client.send_content(upload_id, await streaming(tar)())
    assert body.sent == len(tar)
    assert body.crc32 == f"{zlib.crc32(tar):08x}"
    truth = {"size": body.sent, "crc32": body.crc32}
    with pytest.raises(AgentError) as raised:
        await client.complete_upload(upload_id, **{**truth, **lie})
    assert raised.value.code == code
    await agent.wait_until_empty()


async def test_invalid_tar_is_refused(agent: Agent, client: AgentClient) -> None:
    """A stream that is not the tar of the backup is refused."""
    backup, tar = make_backup(size=20_000_000)
    _, other_tar = make_backup("another", size=20_000_000)
    for content in (bytes(len(tar)), b"x" * len(tar), other_tar):
        announced = replace(backup, size=len(content))
        with pytest.raises(AgentError) as raised:
            await send(client, announced, streaming(content))
        # The agent may close the connection before this side has sent everything.
        assert raised.value.code in ("invalid_metadata", "transfer_broken")
        await agent.wait_until_empty()


class StreamError(Exception):
    """An error of the stream's owner."""


@pytest.mark.parametrize("size", [0, 20_000_000])
@pytest.mark.parametrize(
    "error",
    [
        StreamError("mine"),
        OSError(5, "the disk"),
        TimeoutError("the stream's"),
        AgentError("theirs", "the stream's own"),
        asyncio.CancelledError("the stream's"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_stream_errors_pass_unchanged(
    agent: Agent, client: AgentClient, error: BaseException, size: int
) -> None:
    """Errors of the stream pass unchanged, and nothing is stored."""
    backup, tar = make_backup(size=size)
    with pytest.raises(type(error)) as raised:
        await send(client, backup, streaming(tar, then=error))
    assert raised.value is error
    await agent.wait_until_empty()
    # The agent still works.
    await send(client, backup, streaming(tar))


async def test_open_errors_pass_unchanged(agent: Agent, client: AgentClient) -> None:
    """Errors of opening the stream pass unchanged."""

    async def open_stream() -> AsyncIterator[bytes]:
        raise StreamError

    backup, _ = make_backup()
    with pytest.raises(StreamError):
        await send(client, backup, open_stream)
    await agent.wait_until_empty()


async def test_cancellation_releases_stream(agent: Agent, client: AgentClient) -> None:
    """A cancelled upload releases its stream, and leaves nothing behind."""
    backup, tar = make_backup(size=20_000_000)
    stalled = asyncio.Event()
    created: list[str] = []

    async def stream() -> AsyncIterator[bytes]:
        yield tar[:10_000_000]
        stalled.set()
        await asyncio.Event().wait()

    opened = stream()

    async def open_stream() -> AsyncIterator[bytes]:
        return opened

    task = asyncio.create_task(
        client.upload(
            LOCATION,
            backup.as_dict(),
            "name.tar",
            open_stream,
            lambda upload: created.append(upload["upload_id"]),
        )
    )
    await stalled.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # Raises if the stream is still being read.
    await opened.aclose()  # type: ignore[attr-defined]
    await agent.wait_until_empty()
    with pytest.raises(AgentError) as raised:
        await client.cancel_upload(created[0])
    assert raised.value.code == "upload_not_found"


async def test_cleanup_is_bounded(agent: Agent, client: AgentClient) -> None:
    """The cleanup does not wait for an agent that does not answer."""
    backup, tar = make_backup()

    async def never(upload_id: str) -> None:
        await asyncio.Event().wait()

    with (
        patch.object(client, "cancel_upload", never),
        patch.object(agent_module, "_CLEANUP_SECONDS", 0.05),
        pytest.raises(StreamError),
    ):
        await send(client, backup, streaming(tar, then=StreamError()))


async def test_second_upload_replaces_first(agent: Agent, client: AgentClient) -> None:
    """A second upload of a backup cancels the first."""
    backup, tar = make_backup(size=20_000_000)
    stream = Stalling(tar, 10_000_000)
    first = asyncio.create_task(send(client, backup, stream.open))
    await stream.stalled.wait()
    await send(client, backup, streaming(tar))
    stream.go_on.set()
    with pytest.raises(AgentError) as raised:
        await first
    assert raised.value.code in ("cancelled", "transfer_broken")
    assert len(agent.files()) == 2
    assert await collect(await client.download(LOCATION, backup.backup_id)) == tar


async def test_refusal_while_sending_is_raised(tmp_path: Path) -> None:
    """An answer that arrives before the end of the content is raised at once."""
    problem = '{"code": "storage_full", "detail": "No space left"}'
    answer = http("507 Insufficient Storage", problem)
    stream = await streaming(bytes(20_000_000))()
    async with impostor(tmp_path, answer, silent=True) as client:
        with pytest.raises(AgentError) as raised:
            await client.send_content("id", stream)
    assert raised.value.code == "storage_full"
    await stream.aclose()  # type: ignore[attr-defined]


class Writer:
    """A writer without a connection."""

    def __init__(self) -> None:
        """Initialize the writer."""
        self.written = b""

    async def write(self, chunk: bytes) -> None:
        """Collect a chunk."""
        self.written += chunk


async def test_body_is_sent_once() -> None:
    """A body skips empty chunks, has no text, and is sent once."""

    async def stream() -> AsyncIterator[bytes]:
        for chunk in (b"some ", b"", b"bytes"):
            yield chunk

    body = client_module.UploadBody(stream())
    writer: Any = Writer()
    await body.write(writer)
    assert writer.written == b"some bytes"
    assert (body.sent, body.crc32) == (10, f"{zlib.crc32(b'some bytes'):08x}")
    with pytest.raises(ConnectionResetError):
        await body.write(writer)
    with pytest.raises(TypeError):
        body.decode()


def test_crc32_without_isal() -> None:
    """Without isal, zlib computes the CRC-32."""
    spec = importlib.util.spec_from_file_location(
        f"{client_module.__name__}.bare", transfer_module.__file__
    )
    assert spec is not None
    assert spec.loader is not None
    bare = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, {"isal.isal_zlib": None}):
        spec.loader.exec_module(bare)
    assert bare.crc32 is zlib.crc32


async def test_cancelled_write_aborts_its_transport() -> None:
    """A write that waits for the socket ends with its transport, so that nothing of it is left behind."""
    # aiohttp 3.13 waits for such a future, which it resolves when the connection is lost.
    waiter = asyncio.get_running_loop().create_future()

    class Transport:
        def get_extra_info(self, name: str) -> None:
            return None

        def abort(self) -> None:
            waiter.set_result(None)

    class Writer:
        transport = Transport()

        async def write(self, chunk: bytes) -> None:
            await asyncio.shield(waiter)

    async def stream() -> AsyncIterator[bytes]:
        yield b"a"

    body = transfer_module.UploadBody(stream())
    task = asyncio.create_task(body.write(Writer()))  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiter.done()
