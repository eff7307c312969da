"""System health: what the page shows of agents and locations."""

import asyncio
from typing import Any
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    get_system_health_info,
)

from custom_components.s3_backup_agent import system_health as module
from custom_components.s3_backup_agent.client import AgentClient, AgentError
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

from .agent import Agent
from .home import until
from .test_hassfest import load


@pytest.fixture(autouse=True)
async def system_health(hass: HomeAssistant) -> None:
    """Set up the page."""
    assert await async_setup_component(hass, "system_health", {})


async def rows(hass: HomeAssistant) -> dict[str, Any]:
    """Return what the page shows once all of it is there."""
    await hass.async_block_till_done()
    info = await get_system_health_info(hass, DOMAIN)
    return {
        key: await value if asyncio.iscoroutine(value) else value
        for key, value in info.items()
    }


async def test_of_one_agent(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """The agent and its location are well, and each row has a name."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    connection = entry.runtime_data
    await connection.client.backups("local")
    await until(lambda: connection.locations["local"]["status"] == "ok")
    shown = await rows(hass)
    assert shown == {
        "can_reach_agent": "ok",
        "agent_version": connection.info["version"],
        "protocol": "1",
        "locations": 1,
        "Local directory": "OK",
    }
    names = load("translations/en.json")["system_health"]["info"]
    assert set(names) == set(shown) - {"Local directory"}


async def test_of_several_agents(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """Each location has a row, in the words of its sensor; those of the same name are told apart."""
    locations = {"other": "Local directory", "broken": "Broken"}
    async with Agent(locations=locations) as other:
        folder = other.folder / "state" / "locations" / "broken"
        folder.rmdir()
        folder.write_text("no folder")
        second = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: other.address})
        second.add_to_hass(hass)
        assert await async_setup_component(hass, DOMAIN, {})
        await hass.async_block_till_done()
        connection = second.runtime_data
        with pytest.raises(AgentError):
            await connection.client.backups("broken")
        await until(lambda: connection.locations["broken"]["error"])
        await until(lambda: connection.locations["other"]["status"] == "ok")
        await until(lambda: entry.runtime_data.locations["local"]["status"] == "ok")
        shown = await rows(hass)
        assert shown["locations"] == 3
        assert shown["agent_version"] == connection.info["version"]
        assert shown["Local directory (local)"] == "OK"
        assert shown["Local directory (other)"] == "OK"
        assert shown["Broken"] == {
            "type": "failed",
            "error": "Storage error",
        }
        assert await hass.config_entries.async_unload(second.entry_id)


async def test_of_an_agent_that_is_away(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """What does not answer is said, with where it should be."""
    await agent.stop()
    assert not await hass.config_entries.async_setup(entry.entry_id)
    assert await rows(hass) == {
        "can_reach_agent": {
            "type": "failed",
            "error": f"{agent.address}: agent_unreachable",
        },
        "agent_version": "-",
        "protocol": "-",
        "locations": 0,
    }


async def test_does_not_wait_for_long(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """An agent that hangs does not keep the page waiting."""
    assert await hass.config_entries.async_setup(entry.entry_id)

    async def hang(client: AgentClient) -> None:
        await asyncio.sleep(60)

    with (
        patch.object(AgentClient, "info", hang),
        patch.object(module, "_REACH_SECONDS", 0.1),
    ):
        shown = await rows(hass)
    assert shown["can_reach_agent"] == {
        "type": "failed",
        "error": f"{agent.address}: timeout",
    }
