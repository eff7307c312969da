"""Uploads through a restart of the agent."""

import asyncio
from typing import Any
from unittest.mock import patch

import pytest

from custom_components.s3_backup_agent import coordinator as coordinator_module
from custom_components.s3_backup_agent.client import AGENT_UNREACHABLE, AgentError
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup import (
    AgentBackup,
    BackupAgent,
    BackupAgentError,
    BackupReaderWriterError,
)
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.core import HomeAssistant

from .agent import Agent
from .backups import Interrupted, collect, make_backup, upload
from .home import MakeEntry, Settings, until

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
async def cellar(
    hass: HomeAssistant, settings: Settings, make_entry: MakeEntry
) -> BackupAgent:
    """Return a location that is stored in Home Assistant, on an S3 server."""
    entry = make_entry(cellar=settings)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    found: BackupAgent = hass.data[DATA_MANAGER].backup_agents[f"{DOMAIN}.cellar"]
    return found


@pytest.mark.parametrize("ending", ["killed", "stopped"])
async def test_upload_resumes_after_agent_restart(
    cellar: BackupAgent, agent: Agent, large: tuple[AgentBackup, bytes], *, ending: str
) -> None:
    """An upload resumes after the agent stops or crashes, and the backup is complete."""
    backup, tar = large
    progress: list[int] = []
    comebacks: list[asyncio.Task[None]] = []

    async def come_back() -> None:
        await (agent.kill() if ending == "killed" else agent.stop())
        await asyncio.sleep(0.5)
        await agent.start()

    async def end(number: int) -> None:
        if number == 1:
            await until(lambda: progress and progress[-1] > 20_000_000)
            comebacks.append(asyncio.create_task(come_back()))
            await asyncio.sleep(0.1)

    stream = Interrupted(tar, end)
    resumed: list[int] = []
    client = cellar._client  # type: ignore[attr-defined]
    create_upload = client.create_upload

    async def create(*args: Any) -> Any:
        created = await create_upload(*args)
        resumed.append(created["stored_bytes"])
        return created

    with patch.object(client, "create_upload", create):
        await upload(cellar, backup, stream.open, progress)
    assert stream.opened == 2
    assert progress == sorted(set(progress))
    assert len(resumed) == 2
    assert resumed[0] == 0
    if ending == "killed":
        assert resumed[1] > 0
    assert await cellar.async_list_backups() == [backup]
    assert await collect(await cellar.async_download_backup(backup.backup_id)) == tar
    await asyncio.gather(*comebacks)
    assert stream.closed == 2


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_upload_survives_restart_between_calls(
    backup_agent: BackupAgent,
    agent: Agent,
    large: tuple[AgentBackup, bytes],
    *,
    moment: str,
) -> None:
    """An upload that a restarted agent does not know is created again."""
    backup, tar = large
    client = backup_agent._client  # type: ignore[attr-defined]
    name = "send_content" if moment == "before" else "complete_upload"
    call = getattr(client, name)
    restarts: list[str] = []

    async def restart_before(*args: Any) -> Any:
        if not restarts:
            restarts.append(moment)
            await agent.kill()
            await agent.start()
        return await call(*args)

    stream = Interrupted(tar)
    with patch.object(client, name, restart_before):
        await upload(backup_agent, backup, stream.open)
    assert stream.opened == 2
    assert await backup_agent.async_list_backups() == [backup]


@pytest.mark.parametrize("was_restarted", [True, False])
async def test_upload_waits_for_registration(
    cellar: BackupAgent, agent: Agent, *, was_restarted: bool
) -> None:
    """Only a restarted agent's unknown location is retried."""
    backup, tar = make_backup()
    client = cellar._client  # type: ignore[attr-defined]
    create_upload = client.create_upload
    calls = 0

    async def create(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            if was_restarted:
                await agent.kill()
                await agent.start()
            raise AgentError("location_not_found", "There is no such location")
        return await create_upload(*args)

    stream = Interrupted(tar)
    with patch.object(client, "create_upload", create):
        if was_restarted:
            await upload(cellar, backup, stream.open)
        else:
            with pytest.raises(BackupAgentError):
                await upload(cellar, backup, stream.open)
    assert calls == 1 + was_restarted


async def test_wait_polls_without_hello(
    backup_agent: BackupAgent,
) -> None:
    """The wait for the agent needs no new hello."""
    connection = backup_agent._coordinator  # type: ignore[attr-defined]
    info = connection.client.info
    calls = 0

    async def fail_once() -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise AgentError(AGENT_UNREACHABLE, "gone for a moment", retryable=True)
        return await info()

    with (
        patch.object(coordinator_module, "_POLL_SECONDS", 0.05),
        patch.object(connection.client, "info", fail_once),
    ):
        async with asyncio.timeout(3):
            await connection.wait_until_connected()
    assert calls == 2


@pytest.mark.parametrize(
    "error",
    [BackupReaderWriterError("the writer's"), OSError(28, "full")],
    ids=lambda error: type(error).__name__,
)
async def test_errors_of_second_stream_pass_unchanged(
    backup_agent: BackupAgent,
    agent: Agent,
    large: tuple[AgentBackup, bytes],
    error: Exception,
) -> None:
    """Errors of Home Assistant's stream pass unchanged in any attempt."""
    backup, tar = large
    comebacks: list[asyncio.Task[None]] = []

    async def come_back() -> None:
        await agent.kill()
        await agent.start()

    async def end(number: int) -> None:
        if number == 2:
            raise error
        # In a task, because this reader is cancelled.
        comebacks.append(asyncio.create_task(come_back()))
        await asyncio.sleep(0.1)

    stream = Interrupted(tar, end)
    with pytest.raises(type(error)) as raised:
        await upload(backup_agent, backup, stream.open)
    assert raised.value is error
    assert stream.opened == 2
    assert await backup_agent.async_list_backups() == []
