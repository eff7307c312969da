"""Helpers for the config flow."""

from typing import Any

from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.config_entries import SOURCE_RECONFIGURE, SOURCE_USER, ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType


async def reconfigure(hass: HomeAssistant, entry: ConfigEntry) -> Any:
    """Start the reconfigure flow."""
    return await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    )


async def start(hass: HomeAssistant) -> str:
    """Start the user flow; return its id."""
    flow = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )
    assert flow["type"] is FlowResultType.FORM
    assert flow["step_id"] == "manual"
    assert flow["errors"] == {}
    flow_id: str = flow["flow_id"]
    return flow_id


async def submit(hass: HomeAssistant, flow_id: str, **fields: Any) -> Any:
    """Fill in a form."""
    return await hass.config_entries.flow.async_configure(flow_id, fields)
