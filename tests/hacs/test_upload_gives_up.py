"""Uploads that fail or are cancelled."""

import asyncio
from collections.abc import AsyncIterator
from unittest.mock import patch

from lab.stopwatch import Stopwatch
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent import upload as upload_module
from homeassistant.components.backup import AgentBackup, BackupAgent, BackupAgentError
from homeassistant.components.backup.agent import BackupAgentUnreachableError
from homeassistant.components.backup.util import EncryptedBackupStreamer
from homeassistant.core import HomeAssistant

from .agent import Agent
from .backups import Interrupted, upload
from .home import until

pytestmark = pytest.mark.usefixtures("quick")


async def test_upload_fails_after_ten_minutes(
    backup_agent: BackupAgent, agent: Agent, large: tuple[AgentBackup, bytes]
) -> None:
    """An agent that stays away for ten minutes fails the upload."""
    assert upload_module._AWAY_SECONDS == 10 * 60
    backup, tar = large
    stream = Interrupted(tar, lambda number: agent.kill())
    watch = Stopwatch()
    with (
        patch.object(upload_module, "_AWAY_SECONDS", 1.5),
        pytest.raises(
            BackupAgentUnreachableError, match="The transfer was interrupted"
        ),
    ):
        await upload(backup_agent, backup, stream.open)
    assert watch.wall_seconds() > 1
    assert watch.seconds() < 6
    assert stream.opened == 1

    # The ten minutes are over already.
    watch = Stopwatch()
    with (
        patch.object(upload_module, "_AWAY_SECONDS", 1.5),
        pytest.raises(BackupAgentUnreachableError, match="Check that it is running"),
    ):
        await upload(backup_agent, backup, stream.open)
    assert watch.seconds() < 1


@pytest.fixture
async def waiting(
    backup_agent: BackupAgent,
    agent: Agent,
    large: tuple[AgentBackup, bytes],
    caplog: pytest.LogCaptureFixture,
) -> asyncio.Task[None]:
    """Return an upload that waits for its crashed agent."""
    backup, tar = large
    stream = Interrupted(tar, lambda number: agent.kill())
    task = asyncio.create_task(upload(backup_agent, backup, stream.open))
    await until(lambda: "waiting for the agent" in caplog.text)
    return task


async def test_waiting_upload_can_be_cancelled(waiting: asyncio.Task[None]) -> None:
    """A waiting upload is cancelled at once."""
    waiting.cancel()
    watch = Stopwatch()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert watch.seconds() < 1


async def test_unloading_ends_waiting_upload(
    hass: HomeAssistant, entry: MockConfigEntry, waiting: asyncio.Task[None]
) -> None:
    """Unloading the entry fails a waiting upload."""
    await asyncio.sleep(0.2)
    assert await hass.config_entries.async_unload(entry.entry_id)
    with pytest.raises(
        BackupAgentUnreachableError, match="The transfer was interrupted"
    ):
        await waiting


async def test_refused_upload_is_not_retried(
    backup_agent: BackupAgent, agent: Agent, large: tuple[AgentBackup, bytes]
) -> None:
    """The agent's own errors are final."""
    backup, tar = large
    stream = Interrupted(tar[:-20_480])
    with pytest.raises(BackupAgentError, match="arrived incomplete"):
        await upload(backup_agent, backup, stream.open)
    assert stream.opened == 1
    await agent.wait_until_empty()


async def test_upload_cancelled_before_content_is_not_retried(
    hass: HomeAssistant, backup_agent: BackupAgent, large: tuple[AgentBackup, bytes]
) -> None:
    """An upload that is cancelled before its content is not retried."""
    backup, tar = large
    client = backup_agent._client  # type: ignore[attr-defined]
    opened: list[str] = []

    async def open_stream() -> AsyncIterator[bytes]:
        opened.append("once more")
        for upload_under_way in await client.uploads():
            await client.cancel_upload(upload_under_way["upload_id"])
        await asyncio.sleep(0.1)
        return await Interrupted(tar).open()

    with pytest.raises(BackupAgentError, match="The upload was cancelled"):
        await upload(backup_agent, backup, open_stream)
    assert opened == ["once more"]


async def test_encryption_thread_ends(
    hass: HomeAssistant, backup_agent: BackupAgent, large: tuple[AgentBackup, bytes]
) -> None:
    """The thread of Home Assistant's encryption ends with a cancelled upload."""
    backup, tar = large
    client = backup_agent._client  # type: ignore[attr-defined]

    async def cancel(_: int) -> None:
        (under_way,) = await client.uploads()
        await client.cancel_upload(under_way["upload_id"])

    stream = Interrupted(tar, cancel, at=20_000_000)
    streamer = EncryptedBackupStreamer(hass, backup, stream.open, "a password")
    with pytest.raises(BackupAgentError, match="The upload was cancelled"):
        await upload(backup_agent, backup, streamer.open_stream)
    (worker,) = streamer._workers
    await hass.async_add_executor_job(worker.thread.join, 5)
    assert not worker.thread.is_alive()
