"""What of a location's state belongs on the page of repairs.

What should be there is worked out anew whenever something changed, and the rest goes away.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.util import dt as dt_util

from .client import (
    AgentError,
    Backup,
    Location,
    LocationError,
    OptionProblem,
    UnsupportedProtocolError,
)
from .const import DOMAIN
from .links import OWN_PAGE, agents_configuration
from .location_reauth import KEY_ERRORS

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry

# For how long a storage may be away before somebody should look at it.
UNREACHABLE_FOR: Final = timedelta(days=1)
UNREACHABLE: Final = "unreachable"
WRONG_REGION: Final = "wrong_region"
TARS_WITHOUT_METADATA: Final = "tars_without_metadata"
METADATA_WITHOUT_TAR: Final = "metadata_without_tar"
BACKUP_DAMAGED: Final = "backup_damaged"
BACKUP_UNREAD: Final = "backup_unread"
OVERDUE: Final = "overdue"
OPTIONS_PROBLEM: Final = "options_problem"
AGENT_TOO_OLD: Final = "agent_too_old"
AGENT_TOO_NEW: Final = "agent_too_new"

# That of a location which the agent's own configuration has.
_WRONG_REGION_CONFIGURED: Final = "wrong_region_configured"
_UNREACHABLE_CODES: Final = frozenset({"storage_unreachable", "storage_timeout"})
# What is wrong with a location's settings or its storage, and does not go away by itself.
_KIND_OF_CODE: Final = {
    "storage_auth": "credentials",
    "storage_forbidden": "permissions",
    "bucket_not_found": "bucket_missing",
    "wrong_region": WRONG_REGION,
    "clock_skew": "clock",
    "storage_certificate": "certificate",
    "storage_full": "storage_full",
}
_SHOWN: Final = 10
# Where Home Assistant makes and deletes backups.
_BACKUPS_PAGE: Final = "homeassistant://config/backup/backups"


@dataclass(frozen=True, kw_only=True)
class Issue:
    """Something that somebody should look at."""

    kind: str
    location_id: str = ""
    placeholders: dict[str, str] = field(default_factory=dict)
    is_error: bool = True
    is_fixable: bool = False
    # Whether it is remembered over a restart of Home Assistant, because it takes long to be found again.
    is_lasting: bool = False
    page: str | None = None

    def issue_id(self, entry: ConfigEntry) -> str:
        """Return its id, which begins with its entry's."""
        return "_".join(filter(None, (entry.entry_id, self.kind, self.location_id)))


@callback
def open_issues(hass: HomeAssistant, entry: ConfigEntry) -> dict[str, ir.IssueEntry]:
    """Return the issues of an entry that are shown, by their ids."""
    return {
        issue_id: issue
        for (domain, issue_id), issue in ir.async_get(hass).issues.items()
        if domain == DOMAIN and issue.active and issue_id.startswith(entry.entry_id)
    }


@callback
def show(hass: HomeAssistant, entry: ConfigEntry, issue: Issue) -> None:
    """Show an issue, or show it as it is now."""
    ir.async_create_issue(
        hass,
        DOMAIN,
        issue.issue_id(entry),
        data={
            "entry_id": entry.entry_id,
            "kind": issue.kind,
            "location_id": issue.location_id,
        },
        is_fixable=issue.is_fixable,
        is_persistent=issue.is_lasting,
        learn_more_url=issue.page,
        severity=ir.IssueSeverity.ERROR if issue.is_error else ir.IssueSeverity.WARNING,
        translation_key=issue.kind,
        translation_placeholders=issue.placeholders,
    )


@callback
def remove_all(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Show no issue of an entry any more."""
    for issue_id in open_issues(hass, entry):
        ir.async_delete_issue(hass, DOMAIN, issue_id)


@callback
def note_refusal(hass: HomeAssistant, entry: ConfigEntry, err: AgentError) -> None:
    """Show that agent and integration do not fit together, and which of them is to be updated."""
    if isinstance(err, UnsupportedProtocolError):
        kind = AGENT_TOO_OLD if err.is_too_old else AGENT_TOO_NEW
        show(hass, entry, Issue(kind=kind))


def error_issues(
    hass: HomeAssistant, entry: ConfigEntry, location: Location
) -> Iterator[Issue]:
    """Yield what is shown at once of an error; what asks for another key instead yields nothing."""
    if location["status"] != "error" or (error := location["error"]) is None:
        return
    is_kept_here = location["source"] == "registered"
    kind = _KIND_OF_CODE.get(error["code"])
    if kind is None or (is_kept_here and error["code"] in KEY_ERRORS):
        return
    if kind == WRONG_REGION and not is_kept_here:
        kind = _WRONG_REGION_CONFIGURED
    yield Issue(
        kind=kind,
        location_id=location["id"],
        placeholders=_placeholders(location, error),
        is_fixable=kind == WRONG_REGION,
        page=OWN_PAGE if is_kept_here else agents_configuration(hass, entry),
    )


def options_issue(
    hass: HomeAssistant, entry: ConfigEntry, problems: list[OptionProblem]
) -> Issue:
    """Return what is shown of options that the agent left out."""
    return Issue(
        kind=OPTIONS_PROBLEM,
        placeholders={
            "problems": "\n".join(
                f"- `{problem['option']}` {problem['message']}" for problem in problems
            )
        },
        page=agents_configuration(hass, entry),
    )


def unreachable_issue(location: Location, since: datetime) -> Issue:
    """Return what is shown of a storage that is away for long."""
    error = location["error"]
    assert error is not None
    return Issue(
        kind=UNREACHABLE,
        location_id=location["id"],
        placeholders={**_placeholders(location, error), "since": _local(since)},
        is_error=False,
        is_lasting=True,
    )


def overdue_issue(location: Location, since: datetime) -> Issue:
    """Return what is shown when automatic backups do not come."""
    placeholders = {"location": location["name"], "since": _local(since)}
    return Issue(
        kind=OVERDUE,
        location_id=location["id"],
        placeholders=placeholders,
        is_error=False,
        page=_BACKUPS_PAGE,
    )


def verified_issues(location: Location, listed: list[Backup]) -> Iterator[Issue]:
    """Yield what is shown of backups that are damaged or may be, by name when they are listed."""
    known = {backup["backup_id"]: backup for backup in listed}
    for kind, ids in verified_badly(location).items():
        lines = [_line_of(it, known.get(it)) for it in ids]
        yield Issue(
            kind=kind,
            location_id=location["id"],
            placeholders={"location": location["name"], "backups": shortened(lines)},
            is_error=kind == BACKUP_DAMAGED,
            page=_BACKUPS_PAGE,
        )


def leftover_issue(
    location: Location, kind: str, keys: list[str], *, is_fixable: bool = False
) -> Issue:
    """Return what is shown of objects that are only half of a backup."""
    return Issue(
        kind=kind,
        location_id=location["id"],
        placeholders={
            "location": location["name"],
            "count": str(len(keys)),
            "keys": shortened([f"- `{key}`" for key in keys]),
        },
        is_error=False,
        is_fixable=is_fixable,
    )


def shortened(lines: list[str]) -> str:
    """Return the first of many lines."""
    return "\n".join(lines[:_SHOWN] + (["- …"] if len(lines) > _SHOWN else []))


def verified_badly(location: Location) -> dict[str, list[str]]:
    """Return the ids of the backups that are damaged, and of those that could not be verified, where there are any."""
    if not (verification := location.get("verification")):
        return {}
    found = {
        BACKUP_DAMAGED: verification["damaged"],
        BACKUP_UNREAD: verification.get("unread", []),
    }
    return {kind: ids for kind, ids in found.items() if ids}


def down_since(location: Location) -> datetime | None:
    """Return since when the agent cannot reach a location's storage, None when it can or when that is not known."""
    error = location["error"]
    if location["status"] != "error" or error is None:
        return None
    if error["code"] not in _UNREACHABLE_CODES:
        return None
    return dt_util.parse_datetime(error["since"]) or dt_util.utcnow()


def _placeholders(location: Location, error: LocationError) -> dict[str, str]:
    """Return what the sentences are filled in with."""
    return {
        "location": location["name"],
        "bucket": location["bucket"] or "",
        "details": str(AgentError.of(error)),
    }


def _line_of(backup_id: str, backup: Backup | None) -> str:
    """Return a backup as the backup panel shows it: many have the same name, and only their dates tell them apart."""
    if backup is None:
        return f"- `{backup_id}`"
    made_at = dt_util.parse_datetime(backup["date"])
    date = _local(made_at) if made_at else backup["date"]
    return f"- {backup['name']}, {date} (`{backup_id}`)"


def _local(when: datetime) -> str:
    """Return a time as it is written everywhere."""
    return dt_util.as_local(when).strftime("%Y-%m-%d %H:%M")
