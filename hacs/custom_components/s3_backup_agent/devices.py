"""The devices: one for each location of an agent."""

from typing import TYPE_CHECKING

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.dispatcher import async_dispatcher_send
from homeassistant.util.hass_dict import HassKey

from .connection import AgentConnection
from .const import CONF_APP, DOMAIN, OTHER, SIGNAL_LOCATIONS
from .links import agents_configuration
from .locations import registrations_of, subentry_of

if TYPE_CHECKING:
    from . import S3BackupAgentConfigEntry

# The entry that a location's device is of, by the location.
_DATA_OWNERS: HassKey[dict[str, str]] = HassKey(f"{DOMAIN}.owners")


def device_info(connection: AgentConnection, location_id: str) -> dr.DeviceInfo:
    """Return the device that a location is."""
    location = connection.locations[location_id]
    names = (location["bucket"], location["prefix"])
    return dr.DeviceInfo(
        identifiers={(DOMAIN, location_id)},
        entry_type=dr.DeviceEntryType.SERVICE,
        name=location["name"],
        manufacturer=None
        if location["provider"] == OTHER
        else connection.providers.get(location["provider"]),
        model="/".join(name for name in names if name) or location["endpoint"],
        sw_version=connection.info["version"],
    )


def location_of(device: dr.DeviceEntry) -> str | None:
    """Return the id of the location that a device is."""
    return next((id_ for domain, id_ in device.identifiers if domain == DOMAIN), None)


@callback
def locations_of(hass: HomeAssistant, entry: S3BackupAgentConfigEntry) -> list[str]:
    """Return the ids of the locations whose devices are an entry's: not those that another agent had first."""
    owners = hass.data.setdefault(_DATA_OWNERS, {})
    locations = entry.runtime_data.locations
    for location_id in [*owners]:
        if owners[location_id] == entry.entry_id and location_id not in locations:
            del owners[location_id]
    return [
        location_id
        for location_id in locations
        if owners.setdefault(location_id, entry.entry_id) == entry.entry_id
    ]


@callback
def let_go(hass: HomeAssistant, entry: S3BackupAgentConfigEntry) -> None:
    """Leave an entry's locations to other agents that have them, at once when somebody switched it off."""
    owners = hass.data.get(_DATA_OWNERS, {})
    for location_id in [*owners]:
        if owners[location_id] == entry.entry_id:
            del owners[location_id]
    if entry.disabled_by:
        hand_over(hass)


@callback
def hand_over(hass: HomeAssistant) -> None:
    """Let other agents have the locations of an entry that is gone for good."""
    for entry in hass.config_entries.async_loaded_entries(DOMAIN):
        show_locations(hass, entry)


@callback
def show_locations(hass: HomeAssistant, entry: S3BackupAgentConfigEntry) -> None:
    """Make the devices and entities of an entry what its locations are."""
    update_devices(hass, entry)
    async_dispatcher_send(hass, SIGNAL_LOCATIONS.format(entry.entry_id))


@callback
def update_devices(hass: HomeAssistant, entry: S3BackupAgentConfigEntry) -> None:
    """Make the devices what the locations are: remove those that are gone, and take over what changed."""
    registry = dr.async_get(hass)
    for device in dr.async_entries_for_config_entry(registry, entry.entry_id):
        if not is_known(entry, device):
            registry.async_remove_device(device.id)
    for location_id in locations_of(hass, entry):
        registry.async_get_or_create(
            config_entry_id=entry.entry_id,
            config_subentry_id=subentry_of(entry, location_id),
            configuration_url=_page_of(hass, entry, location_id),
            **device_info(entry.runtime_data, location_id),
        )


def _page_of(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry, location_id: str
) -> str | None:
    """Return the page where a location is changed: those of the app's own configuration have one."""
    location = entry.runtime_data.locations[location_id]
    if location["source"] == "registered" or CONF_APP not in entry.data:
        return None
    return agents_configuration(hass, entry)


@callback
def is_known(entry: S3BackupAgentConfigEntry, device: dr.DeviceEntry) -> bool:
    """Return whether the location of a device is the agent's, or kept here."""
    location_id = location_of(device)
    return (
        location_id in entry.runtime_data.locations
        or location_id in registrations_of(entry)
    )
