"""Uploads that rightly do not go on: the agent stays away or refuses, or somebody cancels."""

import asyncio
from collections.abc import AsyncIterator
import time
from unittest.mock import patch

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


async def test_gives_up_on_an_agent_that_stays_away(
    backup_agent: BackupAgent, agent: Agent, large: tuple[AgentBackup, bytes]
) -> None:
    """After the time that it is given, ten minutes, the agent is missed as in any other call."""
    assert upload_module._AWAY_SECONDS == 10 * 60
    backup, tar = large
    stream = Interrupted(tar, lambda number: agent.kill())
    start = time.monotonic()
    with (
        patch.object(upload_module, "_AWAY_SECONDS", 1.5),
        pytest.raises(
            BackupAgentUnreachableError, match="The transfer was interrupted"
        ),
    ):
        await upload(backup_agent, backup, stream.open)
    assert 1 < time.monotonic() - start < 6
    assert stream.opened == 1

    # It was given its time already.
    start = time.monotonic()
    with (
        patch.object(upload_module, "_AWAY_SECONDS", 1.5),
        pytest.raises(BackupAgentUnreachableError, match="is it running"),
    ):
        await upload(backup_agent, backup, stream.open)
    assert time.monotonic() - start < 1


@pytest.fixture
async def waiting(
    backup_agent: BackupAgent,
    agent: Agent,
    large: tuple[AgentBackup, bytes],
    caplog: pytest.LogCaptureFixture,
) -> asyncio.Task[None]:
    """Return an upload that waits for its agent, which was killed."""
    backup, tar = large
    stream = Interrupted(tar, lambda number: agent.kill())
    task = asyncio.create_task(upload(backup_agent, backup, stream.open))
    await until(lambda: "waiting for the agent" in caplog.text)
    return task


async def test_can_be_cancelled_while_it_waits(waiting: asyncio.Task[None]) -> None:
    """Home Assistant need not wait for the agent, too."""
    waiting.cancel()
    start = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert time.monotonic() - start < 1


async def test_ends_with_its_entry(
    hass: HomeAssistant, entry: MockConfigEntry, waiting: asyncio.Task[None]
) -> None:
    """An entry that is unloaded waits for nothing."""
    await asyncio.sleep(0.2)
    assert await hass.config_entries.async_unload(entry.entry_id)
    with pytest.raises(
        BackupAgentUnreachableError, match="The transfer was interrupted"
    ):
        await waiting


async def test_does_not_repeat_what_the_agent_refuses(
    backup_agent: BackupAgent, agent: Agent, large: tuple[AgentBackup, bytes]
) -> None:
    """What the agent itself says is final."""
    backup, tar = large
    stream = Interrupted(tar[:-20_480])
    with pytest.raises(BackupAgentError, match="did not arrive whole"):
        await upload(backup_agent, backup, stream.open)
    assert stream.opened == 1
    await agent.wait_until_empty()


async def test_is_cancelled_before_its_content(
    hass: HomeAssistant, backup_agent: BackupAgent, large: tuple[AgentBackup, bytes]
) -> None:
    """What somebody cancelled is not sent again, even when it had not begun."""
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


async def test_leaves_no_thread_behind(
    hass: HomeAssistant, backup_agent: BackupAgent, large: tuple[AgentBackup, bytes]
) -> None:
    """Home Assistant encrypts in a thread, which waits for its stream to be read."""
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
