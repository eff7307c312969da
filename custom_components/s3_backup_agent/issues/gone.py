"""Finds locations that Home Assistant's automatic backups name and that are gone, and replaces them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant, callback

from ..const import DOMAIN
from ..location import registrations_of

if TYPE_CHECKING:
    from homeassistant.components.backup.config import AgentParametersDict

    from ..client import Location
    from ..coordinator import S3BackupAgentConfigEntry

_PREFIX: Final = f"{DOMAIN}."


@dataclass(frozen=True, kw_only=True)
class Gone:
    """A location that automatic backups name and that is gone."""

    location_id: str
    # The entry that shows it.
    entry: S3BackupAgentConfigEntry
    # The location that has its folder, or that is the only one.
    replacement: Location | None


@callback
def find_gone(hass: HomeAssistant) -> list[Gone] | None:
    """Return the locations that are gone; None while an agent is away, and may have them."""
    entries: list[S3BackupAgentConfigEntry] = sorted(
        hass.config_entries.async_entries(DOMAIN, include_ignore=False),
        key=lambda entry: entry.created_at,
    )
    if not entries or any(
        entry.state is not ConfigEntryState.LOADED
        or entry.runtime_data.lost_at is not None
        # A location whose options are invalid is not gone.
        or entry.runtime_data.info.get("problems")
        for entry in entries
    ):
        return None
    found = {
        location["id"]: (entry, location)
        for entry in reversed(entries)
        for location in entry.runtime_data.locations.values()
    }
    stored = {
        location_id for entry in entries for location_id in registrations_of(entry)
    }
    named = _scheduled(hass)
    gone_ids = [location_id for location_id in named if location_id not in found]
    gone: list[Gone] = []
    for gone_id in gone_ids:
        same = [
            location_id
            for location_id, (_, location) in found.items()
            if gone_id in location.get("other_ids", ())
        ]
        if not same and gone_id in stored:
            # The agent refuses it, which has an issue of its own.
            continue
        if not same and len(gone_ids) == 1 and not set(found) & set(named):
            same = [*found]
        entry, replacement = found[same[0]] if len(same) == 1 else (entries[0], None)
        gone.append(Gone(location_id=gone_id, entry=entry, replacement=replacement))
    return gone


@callback
def replace(hass: HomeAssistant, gone: Gone) -> None:
    """Replace a location in the settings of automatic backups, as their page does."""
    assert gone.replacement is not None
    config = hass.data[DATA_MANAGER].config
    old_id = _PREFIX + gone.location_id
    new_id = _PREFIX + gone.replacement["id"]
    agent_ids = [
        new_id if agent_id == old_id else agent_id
        for agent_id in config.data.create_backup.agent_ids
    ]
    agents: dict[str, AgentParametersDict] = {}
    is_same = gone.location_id in gone.replacement.get("other_ids", ())
    old = config.data.agents.get(old_id)
    if is_same and old and new_id not in config.data.agents:
        # Encryption and retention, which another bucket has for itself.
        agents[new_id] = {"protected": old.protected, "retention": None}
        if retention := old.retention:
            agents[new_id]["retention"] = {
                "copies": retention.copies,
                "days": retention.days,
            }
    config.update(
        agents=agents, create_backup={"agent_ids": list(dict.fromkeys(agent_ids))}
    )


def _scheduled(hass: HomeAssistant) -> list[str]:
    """Return the ids of the locations that automatic backups name."""
    create_backup = hass.data[DATA_MANAGER].config.data.create_backup
    return [
        agent_id.removeprefix(_PREFIX)
        for agent_id in create_backup.agent_ids
        if agent_id.startswith(_PREFIX)
    ]
