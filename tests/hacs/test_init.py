"""Setup, reconnecting and unloading."""

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
    """Set up the backup integration."""
    assert await async_setup_component(hass, "backup", {})


@pytest.mark.usefixtures("backup")
async def test_setup_and_unload(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Backup agents exist while the entry is loaded."""
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
async def test_each_location_is_backup_agent(hass: HomeAssistant) -> None:
    """Each location is a backup agent with its name and id."""
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
async def test_duplicate_location_id_is_ignored(
    hass: HomeAssistant, entry: MockConfigEntry, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two agents' locations with one id, the first is used."""
    async with Agent(locations={"local": "Another"}) as other:
        second = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: other.address})
        second.add_to_hass(hass)
        assert await async_setup_component(hass, DOMAIN, {})
        await hass.async_block_till_done()
        assert entry.state is second.state is ConfigEntryState.LOADED
        assert agents_of(hass) == {f"{DOMAIN}.local": "Local directory"}
        assert "Two agents have a location with the id local" in caplog.text
        assert await hass.config_entries.async_unload(second.entry_id)


async def test_setup_retries_without_agent(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """The setup is retried until the agent is available."""
    await agent.stop()
    assert not await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.reason is not None
    assert entry.reason.startswith("Can't reach the agent.")

    await agent.start()
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED


async def test_wrong_token_starts_reauth(hass: HomeAssistant) -> None:
    """A rejected token starts a reauth flow."""
    async with Agent(token=TOKEN) as agent:
        data = {CONF_ADDRESS: agent.address, CONF_TOKEN: "wrong"}
        entry = MockConfigEntry(domain=DOMAIN, data=data)
        entry.add_to_hass(hass)
        assert not await hass.config_entries.async_setup(entry.entry_id)
        assert entry.state is ConfigEntryState.SETUP_ERROR
        (flow,) = hass.config_entries.flow.async_progress()
        assert flow["context"]["source"] == SOURCE_REAUTH


async def test_unsupported_protocol_retries_setup(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """An agent with another protocol version retries the setup."""
    with patch("custom_components.s3_backup_agent.client.agent.PROTOCOL", 2):
        assert not await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.reason is not None
    assert "Update the older one" in entry.reason


@pytest.mark.usefixtures("backup", "impatient")
async def test_reconnect_updates_locations(
    hass: HomeAssistant,
    agent: Agent,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After a restart of the agent, its new locations are used, and the outage is logged once."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    connection = entry.runtime_data
    first = connection.info["instance_id"]

    await agent.stop()
    await until(lambda: " is unreachable: " in caplog.text)
    await asyncio.sleep(0.2)
    agent.locations = {"garage": "Garage in the cellar"}
    await agent.start()
    await until(lambda: " is reachable again" in caplog.text)
    await hass.async_block_till_done()

    assert connection.info["instance_id"] != first
    assert agents_of(hass) == {f"{DOMAIN}.garage": "Garage in the cellar"}
    assert entry.state is ConfigEntryState.LOADED
    assert caplog.text.count(" is unreachable: ") == 1


@pytest.mark.usefixtures("backup", "impatient")
async def test_reconnect_without_change_notifies_nothing(
    hass: HomeAssistant,
    agent: Agent,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Unchanged locations do not reload the backup agents."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    called: list[str] = []
    remove = async_register_backup_agents_listener(
        hass, listener=lambda: called.append("again")
    )
    await agent.stop()
    await agent.start()
    await until(lambda: " is reachable again" in caplog.text)
    assert called == []
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert called
    called.clear()
    remove()
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert called == []


@pytest.mark.usefixtures("impatient")
async def test_changed_token_starts_reauth(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """A token that changes at run time starts a reauth flow."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await agent.stop()
    agent.token = TOKEN
    await agent.start()
    await until(hass.config_entries.flow.async_progress)
    (flow,) = hass.config_entries.flow.async_progress()
    assert flow["context"]["source"] == SOURCE_REAUTH


@pytest.mark.usefixtures("impatient")
async def test_failing_listener_keeps_events(
    hass: HomeAssistant, entry: MockConfigEntry, caplog: pytest.LogCaptureFixture
) -> None:
    """The events continue after a listener fails."""
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
