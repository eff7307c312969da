"""Backup platform: list, download and delete."""

from collections.abc import AsyncIterator
from dataclasses import replace
import logging
import signal
from typing import Any
from unittest.mock import patch

import aiohttp
from lab.process import free_port
from lab.stopwatch import Stopwatch
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.s3_backup_agent import upload as upload_module
from custom_components.s3_backup_agent.client import agent as agent_module
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup import (
    BackupAgent,
    BackupAgentError,
    BackupNotFound,
)
from homeassistant.components.backup.agent import BackupAgentUnreachableError
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.const import CONF_ADDRESS, CONF_TOKEN
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

from .agent import Agent
from .backups import collect, make_backup, streaming, upload


async def test_backup_round_trip(agent: Agent, backup_agent: BackupAgent) -> None:
    """A backup is uploaded, listed, found, downloaded and deleted."""
    assert backup_agent.agent_id == f"{DOMAIN}.local"
    assert backup_agent.name == "Local directory"
    backup, tar = make_backup(size=30_000_000, name="Größe & Ferne #1")
    progress: list[int] = []
    await upload(backup_agent, backup, streaming(tar), progress)

    names = [path.name for path in agent.files()]
    stem = "Größe_&_Ferne_#1_2026-11-20_04.47_12345678"
    assert names == [f"{stem}.metadata.json", f"{stem}.tar"]
    assert await backup_agent.async_list_backups() == [backup]
    assert await backup_agent.async_get_backup(backup.backup_id) == backup
    stream = await backup_agent.async_download_backup(backup.backup_id)
    assert await collect(stream) == tar

    await backup_agent.async_delete_backup(backup.backup_id)
    assert await backup_agent.async_list_backups() == []
    assert agent.files() == []


async def test_backup_round_trip_over_tcp(hass: HomeAssistant) -> None:
    """The same over TCP with a token."""
    assert await async_setup_component(hass, "backup", {})
    token = "a token of more than sixteen characters"
    async with Agent(token=token, tcp_port=free_port()) as agent:
        address = f"http://127.0.0.1:{agent.tcp_port}"
        entry = MockConfigEntry(
            domain=DOMAIN, data={CONF_ADDRESS: address, CONF_TOKEN: token}
        )
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done()
        found: BackupAgent = hass.data[DATA_MANAGER].backup_agents[f"{DOMAIN}.local"]
        backup, tar = make_backup(size=30_000_000)
        progress: list[int] = []
        await upload(found, backup, streaming(tar), progress)
        assert progress
        assert await found.async_list_backups() == [backup]
        stream = await found.async_download_backup(backup.backup_id)
        assert await collect(stream) == tar
        await found.async_delete_backup(backup.backup_id)
        assert agent.files() == []
        assert await hass.config_entries.async_unload(entry.entry_id)


async def test_unknown_backup_raises_not_found(backup_agent: BackupAgent) -> None:
    """An unknown id raises BackupNotFound in each call."""
    for call in (
        backup_agent.async_get_backup,
        backup_agent.async_download_backup,
        backup_agent.async_delete_backup,
    ):
        with pytest.raises(BackupNotFound, match="does not exist in this location"):
            await call("unknown")


async def test_calls_raise_unreachable_without_agent(
    agent: Agent, backup_agent: BackupAgent
) -> None:
    """Without its agent, each call raises an unreachable error."""
    backup, tar = make_backup()
    await upload(backup_agent, backup, streaming(tar))
    await agent.stop()
    calls = (
        backup_agent.async_list_backups(),
        backup_agent.async_get_backup(backup.backup_id),
        backup_agent.async_download_backup(backup.backup_id),
        backup_agent.async_delete_backup(backup.backup_id),
        upload(backup_agent, backup, streaming(tar)),
    )
    for call in calls:
        with (
            patch.object(upload_module, "_AWAY_SECONDS", 0.3),
            pytest.raises(BackupAgentUnreachableError) as raised,
        ):
            await call
        assert "Check that it is running" in str(raised.value)
        assert str(agent.socket) in str(raised.value)


async def test_agent_crash_breaks_transfers(
    agent: Agent, backup_agent: BackupAgent
) -> None:
    """A crash of the agent during a transfer raises an unreachable error."""
    backup, tar = make_backup(size=30_000_000)
    await upload(backup_agent, backup, streaming(tar))
    download = await backup_agent.async_download_backup(backup.backup_id)
    assert await anext(download)

    async def stream() -> AsyncIterator[bytes]:
        yield tar[:10_000_000]
        await agent.kill()
        yield tar[10_000_000:]

    async def open_stream() -> AsyncIterator[bytes]:
        return stream()

    other = replace(backup, backup_id="another")
    with (
        patch.object(upload_module, "_REASON_SECONDS", 0.05),
        patch.object(upload_module, "_AWAY_SECONDS", 0.3),
        pytest.raises(
            BackupAgentUnreachableError, match="The transfer was interrupted"
        ),
    ):
        await upload(backup_agent, other, open_stream)
    with pytest.raises(
        BackupAgentUnreachableError, match="The transfer was interrupted"
    ):
        await collect(download)


async def test_download_can_be_closed_early(backup_agent: BackupAgent) -> None:
    """A download can be closed at any time."""
    backup, tar = make_backup(size=20_000_000)
    await upload(backup_agent, backup, streaming(tar))
    for read in (0, 1):
        stream = await backup_agent.async_download_backup(backup.backup_id)
        for _ in range(read):
            await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]


async def test_damaged_content_breaks_download(
    agent: Agent, backup_agent: BackupAgent
) -> None:
    """A download of damaged content raises, and says that the backup is damaged."""
    backup, tar = make_backup(size=20_000_000)
    await upload(backup_agent, backup, streaming(tar))
    (path,) = (path for path in agent.files() if path.suffix == ".tar")
    path.write_bytes(bytes([tar[0] ^ 1]) + tar[1:])
    with pytest.raises(BackupAgentError, match="The stored backup is damaged"):
        await collect(await backup_agent.async_download_backup(backup.backup_id))


async def test_unreadable_backup_hides_no_other_backup(
    backup_agent: BackupAgent, caplog: pytest.LogCaptureFixture
) -> None:
    """A backup that Home Assistant cannot have is skipped, and the others are listed."""
    backup, tar = make_backup()
    await upload(backup_agent, backup, streaming(tar))
    client = backup_agent._client  # type: ignore[attr-defined]
    strange = {**backup.as_dict(), "backup_id": "strange", "date": "last night"}
    listing = await client.backups("local")
    listing["backups"].insert(0, strange)

    async def backups(location_id: str) -> Any:
        return listing

    async def one(location_id: str, backup_id: str) -> Any:
        return strange

    with patch.object(client, "backups", backups), patch.object(client, "backup", one):
        assert await backup_agent.async_list_backups() == [backup]
        assert "cannot parse backup strange" in caplog.text
        with pytest.raises(BackupAgentError, match="cannot read backup"):
            await backup_agent.async_get_backup("strange")


async def test_stale_list_is_logged(
    backup_agent: BackupAgent, caplog: pytest.LogCaptureFixture
) -> None:
    """A stale list is returned; the debug log tells its age."""
    caplog.set_level(logging.DEBUG)
    listing = {
        "backups": [],
        "age_seconds": 400.5,
        "stale": True,
        "error": {"detail": "No route to the bucket"},
        "skipped": [],
    }

    async def backups(location_id: str) -> Any:
        return listing

    with patch.object(backup_agent._client, "backups", backups):  # type: ignore[attr-defined]
        assert await backup_agent.async_list_backups() == []
    assert "is stale, 400 seconds old: No route to the bucket" in caplog.text


async def test_listing_times_out_within_25_seconds(
    agent: Agent, backup_agent: BackupAgent
) -> None:
    """A listing times out within 25 seconds, since Home Assistant waits for the slowest location."""
    limit = agent_module._LISTING.total
    assert limit is not None
    # aiohttp rounds up to the next second.
    assert limit + 1 <= 25
    short = aiohttp.ClientTimeout(total=0.5, connect=0.5)
    agent.signal(signal.SIGSTOP)
    watch = Stopwatch()
    try:
        with (
            patch.object(agent_module, "_LISTING", short),
            pytest.raises(BackupAgentUnreachableError, match="did not answer in time"),
        ):
            await backup_agent.async_list_backups()
    finally:
        agent.signal(signal.SIGCONT)
    assert watch.seconds() < 3


async def test_unloaded_entry_raises_unreachable(
    hass: HomeAssistant, entry: MockConfigEntry, backup_agent: BackupAgent
) -> None:
    """A call after unloading raises an unreachable error."""
    assert await hass.config_entries.async_unload(entry.entry_id)
    with pytest.raises(BackupAgentUnreachableError):
        await backup_agent.async_list_backups()


async def test_http_views_of_home_assistant(
    hass: HomeAssistant,
    agent: Agent,
    backup_agent: BackupAgent,
    hass_client: ClientSessionGenerator,
) -> None:
    """Upload, list, download and delete work through the backup manager and its HTTP views."""
    backup, tar = make_backup(size=3_000_000)
    manager = hass.data[DATA_MANAGER]
    http = await hass_client()
    form = aiohttp.FormData()
    form.add_field("file", tar, filename="backup.tar")
    answer = await http.post(
        f"/api/backup/upload?agent_id={backup_agent.agent_id}", data=form
    )
    assert answer.status == 201, await answer.text()
    await hass.async_block_till_done()

    backups, agent_errors = await manager.async_get_backups()
    assert agent_errors == {}
    assert list(backups) == [backup.backup_id]
    assert list(backups[backup.backup_id].agents) == [backup_agent.agent_id]

    url = f"/api/backup/download/{backup.backup_id}?agent_id={backup_agent.agent_id}"
    answer = await http.get(url)
    assert await answer.read() == tar
    answer = await http.get(url.replace(backup.backup_id, "unknown"))
    assert answer.status == 404

    assert await manager.async_delete_backup(backup.backup_id) == {}
    assert agent.files() == []
    await agent.stop()
    _, agent_errors = await manager.async_get_backups()
    (error,) = agent_errors.values()
    assert isinstance(error, BackupAgentUnreachableError)
