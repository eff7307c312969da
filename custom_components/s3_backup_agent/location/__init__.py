"""Locations that are stored in Home Assistant, as config subentries of their agent's entry."""

from ipaddress import ip_address
from itertools import count
from typing import TYPE_CHECKING, Final

from yarl import URL

from ..client import Settings
from ..const import DOMAIN, SUBENTRY_LOCATION

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry, ConfigSubentry
    from homeassistant.core import HomeAssistant

# The agent's own limit.
_MAX_ID: Final = 64
# Names that no public DNS has: RFC 6761, RFC 6762, RFC 8375, ICANN's reservation of .internal; the rest is what routers use.
_LOCAL_NAMES: Final = (
    "localhost",
    "local",
    "home.arpa",
    "internal",
    "lan",
    "home",
    "fritz.box",
)


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


def free_id(hass: HomeAssistant, wanted: str) -> str:
    """Return an id for a new location: the wanted one, or it with a number.

    Home Assistant's id of a backup location does not name the agent, so that all agents share the ids.
    """
    taken: set[str | None] = set()
    for entry in hass.config_entries.async_entries(DOMAIN):
        taken |= {subentry.unique_id for subentry in entry.subentries.values()}
    for loaded in hass.config_entries.async_loaded_entries(DOMAIN):
        taken |= {
            location["id"]
            for location in loaded.runtime_data.locations.values()
            if location["source"] != "registered"
        }
    if wanted not in taken:
        return wanted
    ends = (f"-{number}" for number in count(2))
    ids = (wanted[: _MAX_ID - len(end)] + end for end in ends)
    return next(unique_id for unique_id in ids if unique_id not in taken)


def is_public(endpoint: str | None) -> bool:
    """Return whether an endpoint is the same server for each machine."""
    host = (URL(endpoint).host if endpoint else None) or ""
    try:
        return ip_address(host).is_global
    except ValueError:
        name = host.rstrip(".").lower()
        is_local = any(name == it or name.endswith(f".{it}") for it in _LOCAL_NAMES)
        return "." in name and not is_local
