"""Backups in the form that this version of Home Assistant accepts.

A bucket may hold backups of a later Home Assistant. What this version does not know is left out here, and stays in the
bucket. Source of the form: homeassistant/components/backup/models.py, whose from_dict raises on unknown values.
"""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Final

from homeassistant.components.backup import AddonInfo, AgentBackup, Folder
from homeassistant.util import dt as dt_util

from .client import Backup

_ADDON_FIELDS: Final = tuple(field.name for field in fields(AddonInfo))


def parse_backup(backup: Backup) -> AgentBackup:
    """Return a backup as Home Assistant's type; raises KeyError, TypeError or ValueError if this version cannot have it."""
    version = _text(backup.get("homeassistant_version"))
    is_included = _flag(backup.get("homeassistant_included"), version is not None)
    extra = backup.get("extra_metadata")
    return AgentBackup.from_dict(
        {
            **backup,
            "addons": list(_addons(backup.get("addons"))),
            "database_included": _flag(backup.get("database_included"), is_included),
            "date": _date(backup),
            "extra_metadata": extra if isinstance(extra, dict) else {},
            "folders": list(_folders(backup.get("folders"))),
            "homeassistant_included": is_included,
            "homeassistant_version": version,
            # Home Assistant asks for a password if this says so.
            "protected": _flag(backup.get("protected"), bool(backup.get("protected"))),
        }
    )


def _addons(addons: Any) -> Iterator[dict[str, str | None]]:
    """Yield the add-ons with the keys of this version."""
    for addon in addons if isinstance(addons, list) else ():
        if isinstance(addon, dict) and _text(addon.get("slug")):
            yield {name: _text(addon.get(name)) for name in _ADDON_FIELDS}


def _folders(folders: Any) -> Iterator[Folder]:
    """Yield the folders of this version."""
    known = frozenset(Folder)
    for folder in folders if isinstance(folders, list) else ():
        if isinstance(folder, str) and folder in known:
            yield Folder(folder)


def _date(backup: Backup) -> str:
    """Return a date with a time zone, which Home Assistant compares with others; that of the upload if there is none."""
    uploaded_at = (backup.get("s3_backup_agent") or {}).get("uploaded_at")
    for date in (backup["date"], uploaded_at):
        if not isinstance(date, str):
            continue
        if (parsed := dt_util.parse_datetime(date)) is not None:
            is_zoned = parsed.tzinfo is not None
            return date if is_zoned else dt_util.as_local(parsed).isoformat()
    raise ValueError(f"invalid date: {backup['date']!r}")


def _flag(value: Any, default: bool) -> bool:
    """Return a boolean, or the default."""
    return value if isinstance(value, bool) else default


def _text(value: Any) -> str | None:
    """Return a text, or None."""
    return value if isinstance(value, str) else None
