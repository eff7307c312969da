"""Issues that the S3 Backup Agent integration shows on the repairs page.

All issues are derived from the current state at each change; those that no longer apply are deleted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.util import dt as dt_util
from homeassistant.util.hass_dict import HassKey

from ..client import (
    AGENT_TIMEOUT,
    AGENT_UNREACHABLE,
    AgentError,
    Backup,
    Location,
    LocationError,
    OptionProblem,
    UnsupportedProtocolError,
)
from ..const import DOMAIN
from ..links import OWN_PAGE, agents_configuration
from ..location.reauth import KEY_ERRORS
from ..texts import details_of, option_problem

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry

# How long a storage may be unreachable before an issue says so.
UNREACHABLE_FOR: Final = timedelta(days=1)
# How long an agent may be away before an issue says so.
AWAY_FOR: Final = timedelta(hours=1)
UNREACHABLE: Final = "unreachable"
AGENT_AWAY: Final = "agent_away"
WRONG_REGION: Final = "wrong_region"
TARS_WITHOUT_METADATA: Final = "tars_without_metadata"
METADATA_WITHOUT_TAR: Final = "metadata_without_tar"
BACKUP_DAMAGED: Final = "backup_damaged"
BACKUP_UNREAD: Final = "backup_unread"
OVERDUE: Final = "overdue"
LOCATION_REFUSED: Final = "location_refused"
SCHEDULE_GONE: Final = "schedule_gone"
SCHEDULE_MOVED: Final = "schedule_moved"
OPTIONS_PROBLEM: Final = "options_problem"
AGENT_TOO_OLD: Final = "agent_too_old"
AGENT_TOO_NEW: Final = "agent_too_new"
APP_REMOVED: Final = "app_removed"

# For a location of the agent's own configuration, which cannot be fixed here.
_WRONG_REGION_CONFIGURED: Final = "wrong_region_configured"
# The codes of an agent that does not answer.
AWAY_CODES: Final = frozenset({AGENT_TIMEOUT, AGENT_UNREACHABLE})
# Since when the agent of an entry that cannot be set up is away, by entry id.
_DATA_AWAY_SINCE: HassKey[dict[str, datetime]] = HassKey(f"{DOMAIN}.away_since")
_UNREACHABLE_CODES: Final = frozenset({"storage_unreachable", "storage_timeout"})
# The errors that last until the settings or the storage change.
_KIND_OF_CODE: Final = {
    "storage_auth": "credentials",
    "storage_forbidden": "permissions",
    "bucket_not_found": "bucket_missing",
    "wrong_region": WRONG_REGION,
    "clock_skew": "clock",
    "storage_certificate": "certificate",
    "storage_full": "storage_full",
}
_MAX_LINES: Final = 10
_BACKUPS_PAGE: Final = "homeassistant://config/backup/backups"
BACKUPS_SETTINGS: Final = "homeassistant://config/backup/settings"


@dataclass(frozen=True, kw_only=True)
class Issue:
    """An issue of an agent or of one of its locations."""

    kind: str
    location_id: str = ""
    placeholders: dict[str, str] = field(default_factory=dict)
    is_error: bool = True
    is_fixable: bool = False
    # Whether it outlives a restart of Home Assistant, because detecting it again takes long.
    is_persistent: bool = False
    page: str | None = None
    # Digests of what it is about: an ignored issue comes back for anything else.
    about: frozenset[str] = frozenset()

    def issue_id(self, entry: ConfigEntry) -> str:
        """Return the issue's id, which starts with the entry's."""
        return "_".join(filter(None, (entry.entry_id, self.kind, self.location_id)))


@callback
def open_issues(hass: HomeAssistant, entry: ConfigEntry) -> dict[str, ir.IssueEntry]:
    """Return the active issues of an entry, by id."""
    return {
        issue_id: issue
        for (domain, issue_id), issue in ir.async_get(hass).issues.items()
        if domain == DOMAIN and issue.active and issue_id.startswith(entry.entry_id)
    }


@callback
def show(hass: HomeAssistant, entry: ConfigEntry, issue: Issue) -> None:
    """Create or update an issue."""
    issue_id, about = issue.issue_id(entry), issue.about
    shown = ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
    if shown and shown.dismissed_version and about:
        # One that version 0.1 showed has no digests, and stays ignored.
        ignored = set(str((shown.data or {}).get("about", "")).split()) or about
        if about <= ignored:
            about = frozenset(ignored)
        else:
            ir.async_delete_issue(hass, DOMAIN, issue_id)
    ir.async_create_issue(
        hass,
        DOMAIN,
        issue_id,
        data={
            "entry_id": entry.entry_id,
            "kind": issue.kind,
            "location_id": issue.location_id,
            "about": " ".join(sorted(about)),
        },
        is_fixable=issue.is_fixable,
        is_persistent=issue.is_persistent,
        learn_more_url=issue.page,
        severity=ir.IssueSeverity.ERROR if issue.is_error else ir.IssueSeverity.WARNING,
        translation_key=issue.kind,
        translation_placeholders=issue.placeholders,
    )


@callback
def remove_all(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Delete all issues of an entry."""
    for issue_id in open_issues(hass, entry):
        ir.async_delete_issue(hass, DOMAIN, issue_id)


@callback
def note_refusal(hass: HomeAssistant, entry: ConfigEntry, err: AgentError) -> None:
    """Show whether the agent or the integration must be updated, for a protocol error."""
    if isinstance(err, UnsupportedProtocolError):
        kind = AGENT_TOO_OLD if err.is_too_old else AGENT_TOO_NEW
        show(hass, entry, Issue(kind=kind))


def app_removed_issue() -> Issue:
    """Return the issue of an app that was removed."""
    return Issue(kind=APP_REMOVED, page=OWN_PAGE)


@callback
def note_app(hass: HomeAssistant, entry: ConfigEntry, is_removed: bool | None) -> None:
    """Show that the agent's app was removed, until it is installed again; None is unknown."""
    issue = app_removed_issue()
    if is_removed:
        show(hass, entry, issue)
    elif is_removed is False:
        ir.async_delete_issue(hass, DOMAIN, issue.issue_id(entry))


@callback
def note_away(hass: HomeAssistant, entry: ConfigEntry, err: AgentError) -> None:
    """Show that the agent has been away since Home Assistant started, once that is long."""
    if err.code not in AWAY_CODES:
        note_connected(hass, entry)
        return
    away_since = hass.data.setdefault(_DATA_AWAY_SINCE, {})
    since = away_since.setdefault(entry.entry_id, dt_util.utcnow())
    if dt_util.utcnow() - since >= AWAY_FOR:
        show(hass, entry, away_issue(entry, since))


@callback
def note_connected(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Forget that the agent was away, because it answers."""
    hass.data.get(_DATA_AWAY_SINCE, {}).pop(entry.entry_id, None)
    ir.async_delete_issue(hass, DOMAIN, Issue(kind=AGENT_AWAY).issue_id(entry))


def away_issue(entry: ConfigEntry, since: datetime) -> Issue:
    """Return the issue of an agent that is away; it stands for all locations."""
    return Issue(
        kind=AGENT_AWAY,
        placeholders={"address": entry.data[CONF_ADDRESS], "since": _local(since)},
    )


def error_issues(
    hass: HomeAssistant, entry: ConfigEntry, location: Location
) -> Iterator[Issue]:
    """Yield the issue of a location's error, unless a reauth flow asks for another key."""
    if location["status"] != "error" or (error := location["error"]) is None:
        return
    is_registered = location["source"] == "registered"
    kind = _KIND_OF_CODE.get(error["code"])
    if kind is None or (is_registered and error["code"] in KEY_ERRORS):
        return
    if kind == WRONG_REGION and not is_registered:
        kind = _WRONG_REGION_CONFIGURED
    yield Issue(
        kind=kind,
        location_id=location["id"],
        placeholders=_placeholders(hass, location, error),
        is_fixable=kind == WRONG_REGION,
        page=OWN_PAGE if is_registered else agents_configuration(hass, entry),
    )


def options_issue(
    hass: HomeAssistant, entry: ConfigEntry, problems: list[OptionProblem]
) -> Issue:
    """Return the issue of invalid options, which the agent ignores."""
    return Issue(
        kind=OPTIONS_PROBLEM,
        placeholders={
            "problems": "\n".join(
                f"- {option_problem(hass, problem)}" for problem in problems
            )
        },
        page=agents_configuration(hass, entry),
    )


def refused_issue(
    hass: HomeAssistant, location_id: str, name: str, err: AgentError
) -> Issue:
    """Return the issue of a location that the agent refuses."""
    return Issue(
        kind=LOCATION_REFUSED,
        location_id=location_id,
        placeholders={"location": name, "details": details_of(hass, err)},
        page=OWN_PAGE,
    )


def schedule_issue(gone_id: str, replacement: Location | None) -> Issue:
    """Return the issue of a location that automatic backups name and that is gone."""
    if replacement is None:
        return Issue(
            kind=SCHEDULE_GONE,
            location_id=gone_id,
            placeholders={"gone": gone_id},
            page=BACKUPS_SETTINGS,
        )
    return Issue(
        kind=SCHEDULE_MOVED,
        location_id=gone_id,
        placeholders={"gone": gone_id, "location": replacement["name"]},
        is_fixable=True,
    )


def unreachable_issue(
    hass: HomeAssistant, location: Location, since: datetime
) -> Issue:
    """Return the issue of a storage that is unreachable for long."""
    error = location["error"]
    assert error is not None
    return Issue(
        kind=UNREACHABLE,
        location_id=location["id"],
        placeholders={**_placeholders(hass, location, error), "since": _local(since)},
        is_error=False,
        is_persistent=True,
    )


def overdue_issue(location: Location, since: datetime) -> Issue:
    """Return the issue of missing automatic backups."""
    placeholders = {"location": location["name"], "since": _local(since)}
    return Issue(
        kind=OVERDUE,
        location_id=location["id"],
        placeholders=placeholders,
        is_error=False,
        page=_BACKUPS_PAGE,
    )


def verification_issues(location: Location, listed: list[Backup]) -> Iterator[Issue]:
    """Yield the issues of damaged and unverifiable backups, by name if they are listed."""
    known = {backup["backup_id"]: backup for backup in listed}
    for kind, ids in failed_verifications(location).items():
        lines = [line_of(it, known.get(it)) for it in ids]
        yield Issue(
            kind=kind,
            location_id=location["id"],
            placeholders={"location": location["name"], "backups": shortened(lines)},
            is_error=kind == BACKUP_DAMAGED,
            page=_BACKUPS_PAGE,
        )


def orphan_issue(
    location: Location, kind: str, keys: list[str], *, is_fixable: bool = False
) -> Issue:
    """Return the issue of orphans: tars without metadata, or metadata without tars."""
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
        # Only a persistent issue keeps what it is about.
        is_persistent=True,
        about=digests(keys),
    )


def digests(subjects: list[str]) -> frozenset[str]:
    """Return what an issue is about, short enough to be stored."""
    return frozenset(sha256(subject.encode()).hexdigest()[:12] for subject in subjects)


def shortened(lines: list[str]) -> str:
    """Join lines; many are cut off."""
    return "\n".join(lines[:_MAX_LINES] + (["- …"] if len(lines) > _MAX_LINES else []))


def failed_verifications(location: Location) -> dict[str, list[str]]:
    """Return the ids of damaged and of unverifiable backups, by kind of issue."""
    if not (verification := location.get("verification")):
        return {}
    found = {
        BACKUP_DAMAGED: verification["damaged"],
        BACKUP_UNREAD: verification.get("unread", []),
    }
    return {kind: ids for kind, ids in found.items() if ids}


def down_since(location: Location) -> datetime | None:
    """Return since when a location's storage is unreachable, None if it is not or unknown."""
    error = location["error"]
    if location["status"] != "error" or error is None:
        return None
    if error["code"] not in _UNREACHABLE_CODES:
        return None
    return dt_util.parse_datetime(error["since"]) or dt_util.utcnow()


def _placeholders(
    hass: HomeAssistant, location: Location, error: LocationError
) -> dict[str, str]:
    """Return the placeholders of an error's issue."""
    return {
        "location": location["name"],
        "bucket": location["bucket"] or "",
        "details": details_of(hass, AgentError.of(error)),
    }


def line_of(backup_id: str, backup: Backup | None) -> str:
    """Return a list item with name and date, since many backups share a name."""
    if backup is None:
        return f"- `{backup_id}`"
    made_at = dt_util.parse_datetime(backup["date"])
    date = _local(made_at) if made_at else backup["date"]
    return f"- {backup['name']}, {date} (`{backup_id}`)"


def _local(when: datetime) -> str:
    """Format a time in the local time zone."""
    return dt_util.as_local(when).strftime("%Y-%m-%d %H:%M")
