"""Helpers for the state of Home Assistant."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from lab.garage import Garage
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.binary_sensor import BINARY_SENSORS
from custom_components.s3_backup_agent.button import BUTTONS
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.components.button import SERVICE_PRESS
from homeassistant.const import ATTR_ENTITY_ID, Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import (
    device_registry as dr,
    entity_registry as er,
    issue_registry as ir,
)

type Settings = dict[str, str]
type MakeEntry = Callable[..., MockConfigEntry]
type Tell = Callable[..., None]
type Fix = Callable[[str], Coroutine[None, None, Any]]
type Confirm = Callable[[Any], Coroutine[None, None, Any]]


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def agents_of(hass: HomeAssistant) -> dict[str, str]:
    """Return the names of the backup agents, by id."""
    return {
        agent_id: agent.name
        for agent_id, agent in hass.data[DATA_MANAGER].backup_agents.items()
        if agent.domain == DOMAIN
    }


def settings_of(garage: Garage, bucket: str, **others: str) -> Settings:
    """Return the settings of a location on the S3 server."""
    return {
        "provider": "garage",
        "endpoint": garage.endpoint,
        "bucket": bucket,
        "access_key_id": garage.key_id,
        "secret_access_key": garage.secret_key,
        **others,
    }


def shown(hass: HomeAssistant) -> dict[str, ir.IssueEntry]:
    """Return the active issues, by kind."""
    return {
        issue.translation_key: issue
        for issue in ir.async_get(hass).issues.values()
        if issue.domain == DOMAIN and issue.active and issue.translation_key
    }


def entity_id(hass: HomeAssistant, key: str, location_id: str = "local") -> str:
    """Return the id of a location's entity."""
    platforms = {
        **{it.key: Platform.BUTTON for it in BUTTONS},
        **{it.key: Platform.BINARY_SENSOR for it in BINARY_SENSORS},
    }
    platform = platforms.get(key, Platform.SENSOR)
    found = er.async_get(hass).async_get_entity_id(
        platform, DOMAIN, f"{location_id}_{key}"
    )
    assert found is not None, key
    return found


def value(hass: HomeAssistant, key: str, location_id: str = "local") -> str:
    """Return the state of a location's entity."""
    state = hass.states.get(entity_id(hass, key, location_id))
    assert state is not None, key
    return state.state


def device(hass: HomeAssistant, location_id: str = "local") -> dr.DeviceEntry | None:
    """Return the device of a location."""
    registry = dr.async_get(hass)
    for entry in hass.config_entries.async_entries(DOMAIN):
        for found in dr.async_entries_for_config_entry(registry, entry.entry_id):
            if (DOMAIN, location_id) in found.identifiers:
                return found
    return None


async def press(hass: HomeAssistant, key: str, location_id: str = "local") -> None:
    """Press a button of a location."""
    target = {ATTR_ENTITY_ID: entity_id(hass, key, location_id)}
    await hass.services.async_call(
        Platform.BUTTON, SERVICE_PRESS, target, blocking=True
    )
