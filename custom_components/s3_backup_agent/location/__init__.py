"""Locations that are stored in Home Assistant, as config subentries of their agent's entry."""

from typing import TYPE_CHECKING

from ..client import Settings
from ..const import SUBENTRY_LOCATION

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry, ConfigSubentry


def registrations_of(entry: ConfigEntry) -> dict[str, Settings]:
    """Return the settings to register with the agent, by location id."""
    return {
        subentry.unique_id: {**subentry.data, "name": subentry.title}
        for subentry in entry.subentries.values()
        if subentry.subentry_type == SUBENTRY_LOCATION and subentry.unique_id
    }


def subentry_of(entry: ConfigEntry, location_id: str) -> ConfigSubentry | None:
    """Return the config subentry of a location, None for one of the agent's own configuration."""
    for subentry in entry.subentries.values():
        if (
            subentry.subentry_type == SUBENTRY_LOCATION
            and subentry.unique_id == location_id
        ):
            return subentry
    return None


def subentry_id_of(entry: ConfigEntry, location_id: str) -> str | None:
    """Return the id of a location's config subentry."""
    subentry = subentry_of(entry, location_id)
    return subentry.subentry_id if subentry else None


def default_name(settings: Settings) -> str:
    """Return the name of a location without a name of its own."""
    names = (settings["bucket"], settings.get("prefix", "").strip("/"))
    return "/".join(name for name in names if name)
