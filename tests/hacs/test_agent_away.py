"""An agent that is away, and its built-in directory: what Home Assistant shows of them."""

from datetime import timedelta

import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from custom_components.s3_backup_agent.client import AGENT_UNREACHABLE, AgentClient
from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.issues import _DATA_AWAY_SINCE as AWAY_SINCE
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util

from .agent import TOKEN, Agent
from .backups import make_backup, send, streaming
from .home import MakeEntry, Settings, agents_of, device, shown, until

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.mark.usefixtures("impatient")
async def test_agent_that_is_away_has_one_error_and_one_repair(
    hass: HomeAssistant,
    hass_ws_client: WebSocketGenerator,
) -> None:
    """While an agent is away, the backup panel has one error of it, and after an hour there is one repair."""
    assert await async_setup_component(hass, "backup", {})
    websocket = await hass_ws_client(hass)

    async def errors() -> dict[str, str]:
        await websocket.send_json_auto_id({"type": "backup/info"})
        answer = await websocket.receive_json()
        found: dict[str, str] = answer["result"]["agent_errors"]
        return found

    async with Agent(locations={"cellar": "The cellar", "attic": "The attic"}) as agent:
        two = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: agent.address})
        two.add_to_hass(hass)
        assert await hass.config_entries.async_setup(two.entry_id)
        await hass.async_block_till_done()
        assert len(agents_of(hass)) == 2
        assert await errors() == {}
        await agent.kill()
        await until(lambda: two.runtime_data.lost_code == AGENT_UNREACHABLE)
        assert two.runtime_data.lost_at is not None
        found = await errors()
        assert list(found) == [f"{DOMAIN}.cellar"]
        assert "Can't reach the agent" in found[f"{DOMAIN}.cellar"]

        # The clock of a running process cannot be moved.
        two.runtime_data.lost_at -= 50 * 60
        async_fire_time_changed(hass, dt_util.utcnow() + 11 * MINUTE)
        assert shown(hass) == {}
        two.runtime_data.lost_at -= 10 * 60
        async_fire_time_changed(hass, dt_util.utcnow() + 22 * MINUTE)
        assert set(shown(hass)) == {"agent_away"}
        placeholders = shown(hass)["agent_away"].translation_placeholders
        assert placeholders is not None
        assert placeholders["address"] == agent.address

        await agent.start()
        await until(lambda: two.runtime_data.lost_at is None)
        await until(lambda: shown(hass) == {})
        assert await errors() == {}
        assert await hass.config_entries.async_unload(two.entry_id)


async def test_agent_that_is_away_since_the_start_is_shown_after_an_hour(
    hass: HomeAssistant,
    agent: Agent,
    entry: MockConfigEntry,
) -> None:
    """An agent that was never connected since Home Assistant started is shown, until it is."""
    assert await async_setup_component(hass, "backup", {})
    await agent.kill()
    assert not await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert shown(hass) == {}
    hass.data[AWAY_SINCE][entry.entry_id] -= HOUR
    assert not await hass.config_entries.async_reload(entry.entry_id)
    assert set(shown(hass)) == {"agent_away"}
    await agent.start()
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert shown(hass) == {}


@pytest.mark.usefixtures("impatient")
async def test_agent_that_refuses_the_token_is_not_away(
    hass: HomeAssistant, agent: Agent, loaded: MockConfigEntry
) -> None:
    """An agent that answers has no repair of one that is away, neither at run time nor at setup."""
    coordinator = loaded.runtime_data
    await agent.kill()
    await until(lambda: coordinator.lost_code == AGENT_UNREACHABLE)
    coordinator.lost_at -= 2 * 60 * 60
    async_fire_time_changed(hass, dt_util.utcnow() + 11 * MINUTE)
    assert set(shown(hass)) == {"agent_away"}
    agent.token = TOKEN
    await agent.start()
    await until(hass.config_entries.flow.async_progress)
    async_fire_time_changed(hass, dt_util.utcnow() + 22 * MINUTE)
    assert shown(hass) == {}

    assert await hass.config_entries.async_unload(loaded.entry_id)
    await agent.kill()
    for expected in (set(), {"agent_away"}):
        assert not await hass.config_entries.async_reload(loaded.entry_id)
        assert set(shown(hass)) == expected
        hass.data[AWAY_SINCE][loaded.entry_id] -= HOUR
    await agent.start()
    assert not await hass.config_entries.async_reload(loaded.entry_id)
    assert shown(hass) == {}


async def test_built_in_directory_is_no_backup_location(
    hass: HomeAssistant, make_entry: MakeEntry, settings: Settings
) -> None:
    """The agent's built-in directory is never offered, neither alone nor with backups in it beside a bucket."""
    async with Agent(is_embedded=True) as agent, AgentClient(agent.address) as client:
        backup, tar = make_backup()
        await send(client, backup, streaming(tar))
        for buckets, expected in (
            ({}, {}),
            ({"cellar": settings}, {f"{DOMAIN}.cellar": "The cellar"}),
        ):
            entry = make_entry(**buckets)
            data = {CONF_ADDRESS: agent.address}
            hass.config_entries.async_update_entry(entry, data=data)
            assert await hass.config_entries.async_setup(entry.entry_id)
            await hass.async_block_till_done()
            assert agents_of(hass) == expected
            assert device(hass) is None
            assert await hass.config_entries.async_remove(entry.entry_id)
        # What it holds stays.
        assert [it["id"] for it in await client.locations()] == ["local"]
        assert await client.backup("local", backup.backup_id)
