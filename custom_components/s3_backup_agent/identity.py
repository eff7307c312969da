"""Identity of agents: one entry for each, also after a move or a reinstallation."""

from typing import TYPE_CHECKING, Any

from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant, callback

from .client import Info
from .const import CONF_AGENT_ID, CONF_APP, DOMAIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from homeassistant.config_entries import ConfigEntry


def known_data(data: Mapping[str, Any], info: Info | None) -> dict[str, Any]:
    """Return entry data with the agent's id."""
    agent_id = info.get(CONF_AGENT_ID) if info else None
    return {**data, CONF_AGENT_ID: agent_id} if agent_id else {**data}


def unique_id_of(data: Mapping[str, Any]) -> str:
    """Return an agent's unique id: its app, its own id, or the address of an older agent."""
    unique_id: str = data.get(CONF_APP) or data.get(CONF_AGENT_ID) or data[CONF_ADDRESS]
    return unique_id


@callback
def entry_of(
    hass: HomeAssistant, data: Mapping[str, Any], *, other_than: str | None = None
) -> ConfigEntry | None:
    """Return the entry with the same app, the same agent id, or the same address."""
    entries = [
        entry
        for entry in hass.config_entries.async_entries(DOMAIN, include_ignore=False)
        if entry.entry_id != other_than
    ]
    for key in (CONF_APP, CONF_AGENT_ID, CONF_ADDRESS):
        for entry in entries:
            if data.get(key) and entry.data.get(key) == data[key]:
                return entry
    return None


@callback
def remember(hass: HomeAssistant, entry: ConfigEntry, info: Info) -> None:
    """Store the agent's id in its entry, and migrate a unique id that is an address."""
    data = known_data(entry.data, info)
    unique_id = unique_id_of(data)
    holder = hass.config_entries.async_entry_for_domain_unique_id(DOMAIN, unique_id)
    if holder is not None and holder is not entry:
        unique_id = entry.unique_id or unique_id
    if data != entry.data or unique_id != entry.unique_id:
        hass.config_entries.async_update_entry(entry, data=data, unique_id=unique_id)
