"""The issue of backups that lack something, by the agent's inventory of their archives."""

from typing import Final

from ..client import Backup, Location
from . import BACKUPS_SETTINGS, Issue, digests, line_of, shortened

BACKUP_INCOMPLETE: Final = "backup_incomplete"

# The lists of an inventory that name what a restore lacks.
_FAULTS: Final = ("missing", "empty", "not_encrypted", "encrypted")
_MAX_NAMES: Final = 5
_MAX_SUBJECTS: Final = 100


def incomplete_issue(location: Location, listed: list[Backup]) -> Issue | None:
    """Return the issue of incomplete backups, with what they lack; None if the listing has none."""
    known = {backup["backup_id"]: backup for backup in listed}
    lacking = {
        backup_id: names
        for backup_id in location.get("incomplete") or ()
        if backup_id in known and (names := _faults_of(known[backup_id]))
    }
    if not lacking:
        return None
    lines = [
        f"{line_of(backup_id, known[backup_id])}: {_shortened(names)}"
        for backup_id, names in lacking.items()
    ]
    shown_names = {name for names in lacking.values() for name in names[:_MAX_NAMES]}
    return Issue(
        kind=BACKUP_INCOMPLETE,
        location_id=location["id"],
        placeholders={"location": location["name"], "backups": shortened(lines)},
        is_error=False,
        # Only a persistent issue keeps what it is about.
        is_persistent=True,
        page=BACKUPS_SETTINGS,
        # The next backup lacks the same, and is no news.
        about=digests(sorted(shown_names)[:_MAX_SUBJECTS]),
    )


def _faults_of(backup: Backup) -> list[str]:
    """Return the names of all archives that a backup lacks, or that a restore cannot use."""
    inventory = backup.get("s3_backup_agent", {}).get("inventory") or {}
    return [name for fault in _FAULTS for name in inventory.get(fault, ())]


def _shortened(names: list[str]) -> str:
    """Join names; many are cut off."""
    more = ["…"] if len(names) > _MAX_NAMES else []
    return ", ".join([f"`{name}`" for name in names[:_MAX_NAMES]] + more)
