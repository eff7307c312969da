"""System health."""

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
    """Set up the system_health integration."""
    assert await async_setup_component(hass, "system_health", {})


async def rows(hass: HomeAssistant) -> dict[str, Any]:
    """Return the resolved rows."""
    await hass.async_block_till_done()
    info = await get_system_health_info(hass, DOMAIN)
    return {
        key: await value if asyncio.iscoroutine(value) else value
        for key, value in info.items()
    }


async def test_one_agent(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """An agent and its location have rows with names."""
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


async def test_several_agents(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """Each location has a row with its sensor's state; equal names get their id."""
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


async def test_unreachable_agent(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """An unreachable agent is shown with its address."""
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


async def test_hanging_agent_times_out(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """A hanging agent times out."""
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
