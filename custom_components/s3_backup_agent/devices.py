"""Devices of the S3 Backup Agent integration: one for each location."""

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.dispatcher import async_dispatcher_send
from homeassistant.util.hass_dict import HassKey

from .const import CONF_APP, DOMAIN, OTHER, SIGNAL_LOCATIONS
from .coordinator import AgentCoordinator, S3BackupAgentConfigEntry
from .links import agents_configuration
from .location import registrations_of, subentry_id_of

# The id of the entry that shows a location, by location id.
_DATA_OWNERS: HassKey[dict[str, str]] = HassKey(f"{DOMAIN}.owners")


def device_info(coordinator: AgentCoordinator, location_id: str) -> dr.DeviceInfo:
    """Return the device of a location."""
    location = coordinator.locations[location_id]
    names = (location["bucket"], location["prefix"])
    return dr.DeviceInfo(
        identifiers={(DOMAIN, location_id)},
        entry_type=dr.DeviceEntryType.SERVICE,
        name=location["name"],
        manufacturer=None
        if location["provider"] == OTHER
        else coordinator.providers.get(location["provider"]),
        model="/".join(name for name in names if name) or location["endpoint"],
        sw_version=coordinator.info["version"],
    )


def location_of(device: dr.DeviceEntry) -> str | None:
    """Return the id of a device's location."""
    return next((id_ for domain, id_ in device.identifiers if domain == DOMAIN), None)


@callback
def locations_of(hass: HomeAssistant, entry: S3BackupAgentConfigEntry) -> list[str]:
    """Return the ids of the locations that an entry shows; of two agents with the same id, the first keeps it."""
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
def release_locations(hass: HomeAssistant, entry: S3BackupAgentConfigEntry) -> None:
    """Let other agents take over an unloaded entry's locations, at once if the entry is disabled."""
    owners = hass.data.get(_DATA_OWNERS, {})
    for location_id in [*owners]:
        if owners[location_id] == entry.entry_id:
            del owners[location_id]
    if entry.disabled_by:
        take_over_locations(hass)


@callback
def take_over_locations(hass: HomeAssistant) -> None:
    """Show locations that a removed or disabled entry no longer shows."""
    for entry in hass.config_entries.async_loaded_entries(DOMAIN):
        update_locations(hass, entry)


@callback
def update_locations(hass: HomeAssistant, entry: S3BackupAgentConfigEntry) -> None:
    """Update the devices and entities of an entry to its locations."""
    update_devices(hass, entry)
    async_dispatcher_send(hass, SIGNAL_LOCATIONS.format(entry.entry_id))


@callback
def update_devices(hass: HomeAssistant, entry: S3BackupAgentConfigEntry) -> None:
    """Add, update and remove the devices of an entry."""
    registry = dr.async_get(hass)
    for device in dr.async_entries_for_config_entry(registry, entry.entry_id):
        if not is_known(entry, device):
            registry.async_remove_device(device.id)
    for location_id in locations_of(hass, entry):
        registry.async_get_or_create(
            config_entry_id=entry.entry_id,
            config_subentry_id=subentry_id_of(entry, location_id),
            configuration_url=_configuration_url(hass, entry, location_id),
            **device_info(entry.runtime_data, location_id),
        )


def _configuration_url(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry, location_id: str
) -> str | None:
    """Return the app's page for a location of its own configuration."""
    location = entry.runtime_data.locations[location_id]
    if location["source"] == "registered" or CONF_APP not in entry.data:
        return None
    return agents_configuration(hass, entry)


@callback
def is_known(entry: S3BackupAgentConfigEntry, device: dr.DeviceEntry) -> bool:
    """Return whether the agent has a device's location, or Home Assistant stores it."""
    location_id = location_of(device)
    return (
        location_id in entry.runtime_data.locations
        or location_id in registrations_of(entry)
    )
