"""Setting up, following the agent through its restarts, and unloading."""

import asyncio
from typing import Any
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.backup import (
    async_register_backup_agents_listener,
)
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntryState
from homeassistant.const import CONF_ADDRESS, CONF_TOKEN
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

from .agent import TOKEN, Agent
from .home import agents_of, until


@pytest.fixture
async def backup(hass: HomeAssistant) -> None:
    """Set up Home Assistant's backup integration."""
    assert await async_setup_component(hass, "backup", {})


@pytest.mark.usefixtures("backup")
async def test_sets_up_and_unloads(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Each location is there while the entry is loaded, and only then."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.LOADED
    assert agents_of(hass) == {f"{DOMAIN}.local": "Local directory"}

    assert await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.NOT_LOADED
    assert agents_of(hass) == {}

    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert agents_of(hass) == {f"{DOMAIN}.local": "Local directory"}


@pytest.mark.usefixtures("backup")
async def test_has_an_agent_for_each_location(hass: HomeAssistant) -> None:
    """An agent's locations are as many backup locations, with its names and ids."""
    locations = {"garage": "Garage in the cellar", "abroad": "Größe & Ferne"}
    async with Agent(locations=locations) as agent:
        entry = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: agent.address})
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done()
        assert agents_of(hass) == {
            f"{DOMAIN}.{location_id}": name for location_id, name in locations.items()
        }


@pytest.mark.usefixtures("backup")
async def test_leaves_out_a_second_location_of_the_same_id(
    hass: HomeAssistant, entry: MockConfigEntry, caplog: pytest.LogCaptureFixture
) -> None:
    """Two agents may have a location of one id; the one that was first keeps it."""
    async with Agent(locations={"local": "Another"}) as other:
        second = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: other.address})
        second.add_to_hass(hass)
        assert await async_setup_component(hass, DOMAIN, {})
        await hass.async_block_till_done()
        assert entry.state is second.state is ConfigEntryState.LOADED
        assert agents_of(hass) == {f"{DOMAIN}.local": "Local directory"}
        assert "Two agents have a location with the id local" in caplog.text
        assert await hass.config_entries.async_unload(second.entry_id)


async def test_tries_again_later(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """An agent that is not there yet is waited for."""
    await agent.stop()
    assert not await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.reason is not None
    assert entry.reason.startswith("Can't reach the agent.")

    await agent.start()
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED


async def test_asks_for_the_token(hass: HomeAssistant) -> None:
    """A token that the agent does not accept is asked for."""
    async with Agent(token=TOKEN) as agent:
        data = {CONF_ADDRESS: agent.address, CONF_TOKEN: "wrong"}
        entry = MockConfigEntry(domain=DOMAIN, data=data)
        entry.add_to_hass(hass)
        assert not await hass.config_entries.async_setup(entry.entry_id)
        assert entry.state is ConfigEntryState.SETUP_ERROR
        (flow,) = hass.config_entries.flow.async_progress()
        assert flow["context"]["source"] == SOURCE_REAUTH


async def test_refuses_another_protocol(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """An agent that speaks otherwise is waited for until it was updated."""
    with patch("custom_components.s3_backup_agent.client.agent.PROTOCOL", 2):
        assert not await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.reason is not None
    assert "update the older one" in entry.reason


@pytest.mark.usefixtures("backup", "impatient")
async def test_follows_the_agent_through_a_restart(
    hass: HomeAssistant,
    agent: Agent,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An agent that comes back is known again, with the locations that it has now; both is said once."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    connection = entry.runtime_data
    first = connection.info["instance_id"]

    await agent.stop()
    await until(lambda: " is away: " in caplog.text)
    await asyncio.sleep(0.2)
    agent.locations = {"garage": "Garage in the cellar"}
    await agent.start()
    await until(lambda: " is back" in caplog.text)
    await hass.async_block_till_done()

    assert connection.info["instance_id"] != first
    assert agents_of(hass) == {f"{DOMAIN}.garage": "Garage in the cellar"}
    assert entry.state is ConfigEntryState.LOADED
    assert caplog.text.count(" is away: ") == 1


@pytest.mark.usefixtures("backup", "impatient")
async def test_says_nothing_new_after_a_restart_without_a_change(
    hass: HomeAssistant,
    agent: Agent,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same locations are no reason to load the backup agents again."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    called: list[str] = []
    remove = async_register_backup_agents_listener(
        hass, listener=lambda: called.append("again")
    )
    await agent.stop()
    await agent.start()
    await until(lambda: " is back" in caplog.text)
    assert called == []
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert called
    called.clear()
    remove()
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert called == []


@pytest.mark.usefixtures("impatient")
async def test_asks_for_the_token_when_it_changes(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """A running entry notices that the agent wants another token."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await agent.stop()
    agent.token = TOKEN
    await agent.start()
    await until(hass.config_entries.flow.async_progress)
    (flow,) = hass.config_entries.flow.async_progress()
    assert flow["context"]["source"] == SOURCE_REAUTH


@pytest.mark.usefixtures("impatient")
async def test_survives_a_listener_that_fails(
    hass: HomeAssistant, entry: MockConfigEntry, caplog: pytest.LogCaptureFixture
) -> None:
    """The events go on whatever a listener does."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    seen: list[str] = []

    def listener(event: Any) -> None:
        seen.append(event["type"])
        if len(seen) == 1:
            raise RuntimeError("mine")

    stop = entry.runtime_data.listen(listener)
    await until(lambda: len(seen) > 1)
    stop()
    assert seen[:2] == ["hello", "hello"]
    assert "Unexpected error while following the agent's events" in caplog.text
