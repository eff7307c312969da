"""Uploads through the backup platform."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from custom_components.s3_backup_agent.client import AgentError
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup import (
    BackupAgent,
    BackupAgentError,
    BackupReaderWriterError,
)
from homeassistant.core import HomeAssistant

from .agent import Agent
from .backups import make_backup, streaming, upload


async def test_upload_reports_stored_bytes(backup_agent: BackupAgent) -> None:
    """Progress counts stored bytes, and arrives during the upload."""
    backup, tar = make_backup(size=30_000_000)
    progress: list[int] = []
    before_end: list[int] = []

    async def stream() -> AsyncIterator[bytes]:
        yield tar[:25_000_000]
        async with asyncio.timeout(10):
            while not any(progress):
                await asyncio.sleep(0.01)
        before_end.extend(progress)
        yield tar[25_000_000:]

    async def open_stream() -> AsyncIterator[bytes]:
        return stream()

    await upload(backup_agent, backup, open_stream, progress)
    assert 0 < before_end[-1] <= 25_000_000
    assert progress == sorted(progress)
    assert progress[-1] <= len(tar)


async def test_upload_without_progress_callback(backup_agent: BackupAgent) -> None:
    """Home Assistant 2026.3 passes no progress callback."""
    backup, tar = make_backup()
    await backup_agent.async_upload_backup(  # type: ignore[call-arg]
        open_stream=streaming(tar), backup=backup
    )
    assert await backup_agent.async_list_backups() == [backup]


async def test_truncated_stream_is_refused(
    agent: Agent, backup_agent: BackupAgent
) -> None:
    """A stream that ends early is refused, and nothing is stored."""
    backup, tar = make_backup(size=20_000_000)
    with pytest.raises(BackupAgentError, match="arrived incomplete"):
        await upload(backup_agent, backup, streaming(tar[:-10_240]))
    await agent.wait_until_empty()
    assert await backup_agent.async_list_backups() == []


@pytest.mark.parametrize("size", [0, 100_000, 20_000_000])
async def test_invalid_tar_is_refused(
    agent: Agent, backup_agent: BackupAgent, size: int
) -> None:
    """A stream that is not the tar of the backup is refused with the reason."""
    backup, tar = make_backup(size=size)
    _, other_tar = make_backup("another", size=size)
    for content in (bytes(len(tar)), b"x" * len(tar), other_tar):
        announced = replace(backup, size=len(content))
        with pytest.raises(
            BackupAgentError, match="not a complete Home Assistant backup"
        ):
            await upload(backup_agent, announced, streaming(content))
        await agent.wait_until_empty()


async def test_longer_stream_is_accepted(backup_agent: BackupAgent) -> None:
    """A stream longer than announced is stored with its true size."""
    backup, tar = make_backup()
    announced = replace(backup, size=backup.size - 10_240)
    await upload(backup_agent, announced, streaming(tar))
    assert await backup_agent.async_list_backups() == [backup]


async def test_upload_checksum_mismatch_is_refused(
    agent: Agent, backup_agent: BackupAgent
) -> None:
    """A checksum mismatch raises, and nothing is stored."""
    backup, tar = make_backup()
    with (
        patch(
            "custom_components.s3_backup_agent.client.transfer.crc32",
            lambda chunk, crc: 0x1234,
        ),
        pytest.raises(BackupAgentError, match="damaged in transit"),
    ):
        await upload(backup_agent, backup, streaming(tar))
    await agent.wait_until_empty()


@pytest.mark.parametrize(
    "error",
    [BackupReaderWriterError("the writer's"), OSError(28, "full"), ValueError("x")],
    ids=lambda error: type(error).__name__,
)
async def test_stream_errors_pass_unchanged(
    agent: Agent, backup_agent: BackupAgent, error: Exception
) -> None:
    """Errors of Home Assistant's stream pass unchanged."""
    backup, tar = make_backup(size=20_000_000)
    with pytest.raises(type(error)) as raised:
        await upload(backup_agent, backup, streaming(tar, then=error))
    assert raised.value is error
    await agent.wait_until_empty()


async def test_cancellation_cancels_upload_at_agent(
    agent: Agent, backup_agent: BackupAgent
) -> None:
    """Cancelling the task cancels the upload at the agent."""
    backup, tar = make_backup(size=20_000_000)
    stalled = asyncio.Event()

    async def stream() -> AsyncIterator[bytes]:
        yield tar[:15_000_000]
        stalled.set()
        await asyncio.Event().wait()

    async def open_stream() -> AsyncIterator[bytes]:
        return stream()

    task = asyncio.create_task(upload(backup_agent, backup, open_stream))
    await stalled.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await agent.wait_until_empty()


async def test_agents_reason_replaces_broken_connection(
    hass: HomeAssistant, agent: Agent, backup_agent: BackupAgent
) -> None:
    """The agent's reason is raised when it closes the connection of a failed upload."""
    backup, tar = make_backup()
    connection = hass.config_entries.async_loaded_entries(DOMAIN)[0].runtime_data
    reason = {
        "code": "storage_forbidden",
        "detail": "Access to bucket x denied",
        "hint": "Allow PutObject.",
        "provider_code": "AccessDenied",
    }

    async def broken(*args: Any, **kwargs: Any) -> None:
        args[-1]({"upload_id": "u"})
        for upload_id in ("other", "u", "u"):
            event = {
                "type": "upload",
                "upload_id": upload_id,
                "state": "failed",
                "stored_bytes": 0,
                "error": reason if upload_id == "u" else None,
            }
            for listener in tuple(connection._event_listeners):
                listener(event)
        raise AgentError("transfer_broken", "reset by peer")

    with (
        patch.object(connection.client, "upload", broken),
        pytest.raises(
            BackupAgentError,
            match=r"lacks a permission: Access to bucket x denied \(AccessDenied\)\. Allow PutObject\.",
        ),
    ):
        await upload(backup_agent, backup, streaming(tar))
