"""The locations that are kept in Home Assistant, as config subentries of their agent's entry."""

import hashlib
import re
from typing import TYPE_CHECKING

from .client import Provider, Settings
from .const import SUBENTRY_LOCATION

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry, ConfigSubentry

# `{name}` and `{.name}` in the form of an endpoint; the latter is a dot and the value, or nothing.
_PLACEHOLDER = re.compile(r"\{(\.?)(\w+)\}")


def registrations_of(entry: ConfigEntry) -> dict[str, Settings]:
    """Return the settings that the agent is to know, by the ids of their locations."""
    return {
        subentry.unique_id: {**subentry.data, "name": subentry.title}
        for subentry in entry.subentries.values()
        if subentry.subentry_type == SUBENTRY_LOCATION and subentry.unique_id
    }


def subentry_of(entry: ConfigEntry, location_id: str) -> str | None:
    """Return the id of the config subentry that keeps a location, if there is one."""
    for subentry in entry.subentries.values():
        if (
            subentry.subentry_type == SUBENTRY_LOCATION
            and subentry.unique_id == location_id
        ):
            return subentry.subentry_id
    return None


def kept_here(entry: ConfigEntry, location_id: str) -> ConfigSubentry | None:
    """Return the config subentry that a location is kept in, if there is one."""
    subentry_id = subentry_of(entry, location_id)
    return entry.subentries[subentry_id] if subentry_id else None


def place_of(provider: Provider | None, settings: Settings) -> str:
    """Return a word for the folder of the bucket that settings lead to, the same one whenever they are entered."""
    return place(
        settings.get("endpoint") or _endpoint(provider, settings),
        settings["bucket"],
        settings.get("prefix"),
    )


def place(endpoint: str | None, bucket: str | None, prefix: str | None) -> str:
    """Return a word for a folder of a bucket, which can be a location's id."""
    parts = (
        (endpoint or "").lower().rstrip("/"),
        bucket or "",
        (prefix or "").strip("/"),
    )
    return f"ha-{hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:12]}"


def default_name(settings: Settings) -> str:
    """Return the name of a location that nobody named."""
    names = (settings["bucket"], settings.get("prefix", "").strip("/"))
    return "/".join(name for name in names if name)


def _endpoint(provider: Provider | None, settings: Settings) -> str:
    """Return the endpoint that the agent makes of a provider's form."""
    if provider is None:
        return ""
    values = {"region": provider["region"], **settings}

    def fill(found: re.Match[str]) -> str:
        value = values.get(found[2], "")
        return found[1] + value if value else ""

    return _PLACEHOLDER.sub(fill, provider["endpoint"] or "")
