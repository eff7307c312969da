"""Diagnostics support for the S3 Backup Agent integration."""

from collections.abc import Callable, Iterable, Mapping
import re
from typing import TYPE_CHECKING, Any, Final

from homeassistant.components.diagnostics import REDACTED
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_TOKEN

from .agent_log import wanted_level
from .client import AgentClient, AgentError
from .coordinator import AgentState, S3BackupAgentConfigEntry, create_client
from .devices import location_of

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from homeassistant.helpers.device_registry import DeviceEntry

_SECRETS: Final = frozenset(
    {
        CONF_TOKEN,
        "access_key_id",
        "encryption_key",
        "secret_access_key",
        "session_token",
    }
)
_CAPABILITY: Final = "diagnostics"
# A shorter secret would match ordinary words.
_MIN_LENGTH: Final = 6
_USER_INFO: Final = re.compile(r"(?<=://)([^/?#\s]+)@")


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry
) -> dict[str, Any]:
    """Return diagnostics for a config entry, loaded or not."""
    agent = await _ask_agent(hass, entry)
    clean = _cleaner(entry)
    return clean(
        {
            "entry": entry.as_dict(),
            "connection": _of_connection(entry),
            "wanted_log_level": wanted_level(),
            "agent": agent,
        }
    )


async def async_get_device_diagnostics(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry, device: DeviceEntry
) -> dict[str, Any]:
    """Return diagnostics for a location's device, whether its entry is loaded or not."""
    location_id = location_of(device) or ""
    subentries = entry.as_dict()["subentries"]
    agent = await _ask_agent(hass, entry)
    is_loaded = entry.state is ConfigEntryState.LOADED
    state = entry.runtime_data.data if is_loaded else AgentState()
    clean = _cleaner(entry)
    return clean(
        {
            "location_id": location_id,
            "subentry": _first(subentries, lambda it: it["unique_id"] == location_id),
            "location": state.locations.get(location_id),
            "uploads": state.uploads_to(location_id),
            "error": agent.get("error"),
            "agent": _first(
                agent.get("locations", ()),
                lambda it: it["location"]["id"] == location_id,
            ),
        }
    )


def _of_connection(entry: S3BackupAgentConfigEntry) -> dict[str, Any] | None:
    """Return the coordinator's state, None for an unloaded entry."""
    if entry.state is not ConfigEntryState.LOADED:
        return None
    coordinator = entry.runtime_data
    return {
        "available": coordinator.last_update_success,
        "info": coordinator.info,
        "locations": list(coordinator.locations.values()),
        "overdue": {
            location_id: since.isoformat()
            for location_id, since in coordinator.overdue.items()
            if since
        },
        "uploads": {
            location_id: uploads
            for location_id in coordinator.locations
            if (uploads := coordinator.data.uploads_to(location_id))
        },
    }


async def _ask_agent(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry
) -> dict[str, Any]:
    """Return the diagnostics of an entry's agent."""
    async with create_client(hass, entry.data) as client:
        return await _of_agent(client)


async def _of_agent(client: AgentClient) -> dict[str, Any]:
    """Return the agent's diagnostics, or the error."""
    try:
        info = await client.info()
        if _CAPABILITY in info["capabilities"]:
            return await client.diagnostics()
    except AgentError as err:
        return {"error": {"code": err.code, "detail": str(err)}}
    return {"info": info, "error": "This agent has no diagnostics yet; update it."}


def _first(
    items: Iterable[dict[str, Any]], is_wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any] | None:
    """Return the first item that matches."""
    return next((item for item in items if is_wanted(item)), None)


def _cleaner(
    entry: S3BackupAgentConfigEntry,
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function that redacts an entry's secrets, by key and by value."""
    kept = [entry.data, *(subentry.data for subentry in entry.subentries.values())]
    values = {str(data[key]) for data in kept for key in _SECRETS & data.keys()}
    found = (_USER_INFO.search(data.get("proxy", "")) for data in kept)
    values |= {match[1].rpartition(":")[2] for match in found if match}
    # Longest first: one secret may start with another.
    secrets = sorted(
        (value for value in values if len(value) >= _MIN_LENGTH), key=len, reverse=True
    )

    def clean(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                key: REDACTED if key in _SECRETS and item else clean(item)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple, set, frozenset)):
            return [clean(item) for item in value]
        if isinstance(value, str):
            for secret in secrets:
                value = value.replace(secret, REDACTED)
            return _USER_INFO.sub(f"{REDACTED}@", value)
        return value

    return clean
