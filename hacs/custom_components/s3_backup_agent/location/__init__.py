"""Locations that are stored in Home Assistant, as config subentries of their agent's entry."""

import hashlib
import re
from typing import TYPE_CHECKING

from ..client import Provider, Settings
from ..const import SUBENTRY_LOCATION

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry, ConfigSubentry

# `{name}` and `{.name}` in a provider's endpoint form; the latter adds a dot unless the value is empty.
_PLACEHOLDER = re.compile(r"\{(\.?)(\w+)\}")


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


def folder_id_of(provider: Provider | None, settings: Settings) -> str:
    """Return the id of the folder in a bucket that settings lead to."""
    return folder_id(
        settings.get("endpoint") or _endpoint(provider, settings),
        settings["bucket"],
        settings.get("prefix"),
    )


def folder_id(endpoint: str | None, bucket: str | None, prefix: str | None) -> str:
    """Return the id of a folder in a bucket, equal however its parts are entered.

    It becomes the unique id of the subentry, so that a location that is added again keeps its backup settings.
    """
    parts = (
        (endpoint or "").lower().rstrip("/"),
        bucket or "",
        (prefix or "").strip("/"),
    )
    return f"ha-{hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:12]}"


def default_name(settings: Settings) -> str:
    """Return the name of a location without a name of its own."""
    names = (settings["bucket"], settings.get("prefix", "").strip("/"))
    return "/".join(name for name in names if name)


def _endpoint(provider: Provider | None, settings: Settings) -> str:
    """Return the endpoint that the agent derives from a provider's form."""
    if provider is None:
        return ""
    values = {"region": provider["region"], **settings}

    def fill(found: re.Match[str]) -> str:
        value = values.get(found[2], "")
        return found[1] + value if value else ""

    return _PLACEHOLDER.sub(fill, provider["endpoint"] or "")
