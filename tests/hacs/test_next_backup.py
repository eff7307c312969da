"""The agent learns when Home Assistant's next automatic backup is due."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.core import HomeAssistant
from homeassistant.util import dt as dt_util

from .agent import LOCATION, Agent


async def told(loaded: MockConfigEntry, next_backup: str | None) -> None:
    """Wait until the agent knows that time."""
    client = loaded.runtime_data.client
    async with asyncio.timeout(20):
        while True:
            known = (await client.diagnostics())["home_assistant"]
            schedule = known["schedule"]
            if schedule and schedule["next_backup"] == next_backup:
                assert known["connected"]
                return
            await asyncio.sleep(0.1)


@pytest.fixture
def backups(hass: HomeAssistant, loaded: MockConfigEntry) -> Any:
    """Return Home Assistant's backup settings."""
    return hass.data[DATA_MANAGER].config.data


async def test_next_backup_is_told_and_follows_changes(
    loaded: MockConfigEntry, agent: Agent, backups: Any
) -> None:
    """The time is told after each connection and change, for a schedule with one of the agent's locations."""
    await told(loaded, None)
    due = dt_util.now() + timedelta(hours=5)
    backups.schedule.next_automatic_backup = due
    backups.create_backup.agent_ids = [f"{DOMAIN}.{LOCATION}"]
    ping = {"type": "ping"}
    loaded.runtime_data.handle_event(ping)
    await told(loaded, due.isoformat())
    backups.create_backup.agent_ids = ["backup.local"]
    loaded.runtime_data.handle_event(ping)
    await told(loaded, None)
    backups.create_backup.agent_ids = [f"{DOMAIN}.{LOCATION}"]
    await agent.stop()
    await agent.start()
    await told(loaded, due.isoformat())
