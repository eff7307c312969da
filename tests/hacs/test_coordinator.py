"""Coordinator: reading the agent's state."""

from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from homeassistant.const import ATTR_ENTITY_ID, STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

from .agent import Agent
from .home import entity_id, value


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("answers", [True, False])
async def test_update_entity_reads_locations(
    hass: HomeAssistant, loaded: MockConfigEntry, agent: Agent, *, answers: bool
) -> None:
    """The action homeassistant.update_entity reads the locations; without an answer, the state stays."""
    assert await async_setup_component(hass, "homeassistant", {})
    client = loaded.runtime_data.client
    if not answers:
        await agent.stop()
    with patch.object(client, "locations", wraps=client.locations) as read:
        target = {ATTR_ENTITY_ID: [entity_id(hass, "status")]}
        await hass.services.async_call(
            "homeassistant", "update_entity", target, blocking=True
        )
    read.assert_called_once()
    assert value(hass, "status") != STATE_UNAVAILABLE
    assert list(loaded.runtime_data.locations) == ["local"]


@pytest.mark.usefixtures("deaf", "backup_agent")
async def test_lost_events_are_caught_up(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """Lost events make the coordinator read the state again."""
    connection = entry.runtime_data
    connection.data.locations = {}
    connection.data.set_uploads(
        [
            {
                "upload_id": "x",
                "location": "local",
                "backup_id": "y",
                "state": "receiving",
                "stored_bytes": 1,
                "total_bytes": 2,
                "error": None,
            }
        ]
    )

    async def events() -> AsyncIterator[Any]:
        yield {"type": "lost", "events": 3}

    with patch.object(connection.client, "events", events):
        connection.info["capabilities"].remove("uploads")
        await connection._follow_events()
        assert list(connection.locations) == ["local"]
        assert connection.data.uploads_to("local")
        connection.info["capabilities"].append("uploads")
        await connection._follow_events()
    assert connection.data.uploads_to("local") == []
