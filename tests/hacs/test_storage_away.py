"""Storage that is away when an upload begins, or fails in the middle of a download."""

import asyncio
from collections.abc import AsyncIterator

from lab.garage import Garage
from lab.stopwatch import Stopwatch
import pytest

from custom_components.s3_backup_agent.client import AgentClient
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup import (
    BackupAgent,
    BackupAgentError,
    BackupNotFound,
)
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.core import HomeAssistant
from homeassistant.helpers.translation import async_translate_state

from .agent import Agent
from .backups import collect, make_backup, streaming, upload
from .home import MakeEntry, entity_id, settings_of, until, value


@pytest.fixture
async def own_garage() -> AsyncIterator[Garage]:
    """Return an S3 server that the test may stop."""
    async with Garage() as garage:
        yield garage


@pytest.fixture
async def cellar(
    hass: HomeAssistant, make_entry: MakeEntry, own_garage: Garage
) -> BackupAgent:
    """Return the backup agent of a bucket on that server."""
    bucket = await own_garage.create_bucket("cellar")
    entry = make_entry(cellar=settings_of(own_garage, bucket))
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    found: BackupAgent = hass.data[DATA_MANAGER].backup_agents[f"{DOMAIN}.cellar"]
    return found


async def test_upload_begins_while_storage_is_away(
    agent: Agent, own_garage: Garage, cellar: BackupAgent
) -> None:
    """An upload waits for storage that is away when it begins."""
    backup, tar = make_backup(size=20_000_000)
    await own_garage.kill()
    task = asyncio.create_task(upload(cellar, backup, streaming(tar)))
    await until(lambda: "retrying for up to" in agent.log())
    await own_garage.start()
    await task
    assert await cellar.async_list_backups() == [backup]
    assert await collect(await cellar.async_download_backup(backup.backup_id)) == tar


async def test_waiting_upload_is_shown(
    hass: HomeAssistant, own_garage: Garage, cellar: BackupAgent
) -> None:
    """The status says that an upload waits for the storage, since when, and until when at most."""
    backup, tar = make_backup(size=20_000_000)
    await own_garage.kill()
    task = asyncio.create_task(upload(cellar, backup, streaming(tar)))
    await until(lambda: value(hass, "status", "cellar") == "waiting")
    state = hass.states.get(entity_id(hass, "status", "cellar"))
    assert state is not None
    waits = state.attributes["waiting_until"] - state.attributes["waiting_since"]
    assert abs(waits.total_seconds() - 15 * 60) <= 1
    word = async_translate_state(hass, "waiting", "sensor", DOMAIN, "status", None)
    assert word == "Waiting for the storage"
    await own_garage.start()
    await task
    await until(lambda: value(hass, "status", "cellar") == "ok")
    state = hass.states.get(entity_id(hass, "status", "cellar"))
    assert state is not None
    assert state.attributes["waiting_since"] is None


async def test_waiting_upload_is_cancelled_at_once(
    agent: Agent, client: AgentClient, own_garage: Garage, cellar: BackupAgent
) -> None:
    """An upload that waits for storage ends with its caller."""
    backup, tar = make_backup()
    await own_garage.kill()
    task = asyncio.create_task(upload(cellar, backup, streaming(tar)))
    await until(lambda: "retrying for up to" in agent.log())
    task.cancel()
    watch = Stopwatch()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert watch.seconds() < 1
    async with asyncio.timeout(5):
        while await client.uploads():
            await asyncio.sleep(0.02)


async def test_broken_download_raises_agents_reason(
    agent: Agent, own_garage: Garage, cellar: BackupAgent
) -> None:
    """A download that the storage ends in the middle raises in the agent's words."""
    backup, tar = make_backup(size=100_000_000)
    await upload(cellar, backup, streaming(tar))
    download = await cellar.async_download_backup(backup.backup_id)
    assert await anext(download)
    await asyncio.to_thread(own_garage.empty, "cellar")
    with pytest.raises(BackupNotFound, match="is gone from the bucket"):
        await collect(download)
    assert agent.log().count("is gone from the bucket") == 1


@pytest.mark.usefixtures("deaf")
async def test_broken_download_raises_without_events(
    agent: Agent, backup_agent: BackupAgent
) -> None:
    """Without the agent's events, a broken download raises all the same."""
    backup, tar = make_backup(size=20_000_000)
    await upload(backup_agent, backup, streaming(tar))
    (path,) = (path for path in agent.files() if path.suffix == ".tar")
    path.write_bytes(bytes([tar[0] ^ 1]) + tar[1:])
    with pytest.raises(BackupAgentError, match="The transfer was interrupted"):
        await collect(await backup_agent.async_download_backup(backup.backup_id))
