"""Keeps an agent's issues and reauth flows in line with the state of its locations."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
import time
from typing import Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import async_track_time_interval
from homeassistant.util import dt as dt_util

from ..client import AgentError, Event, Listing, Location
from ..const import DOMAIN
from ..coordinator import AgentCoordinator, S3BackupAgentConfigEntry
from ..location import registrations_of, subentry_of
from ..location.reauth import KEY_ERRORS, key_flows, start_key_reauth
from . import (
    AGENT_TOO_NEW,
    AGENT_TOO_OLD,
    AWAY_CODES,
    AWAY_FOR,
    METADATA_WITHOUT_TAR,
    OVERDUE,
    SCHEDULE_GONE,
    SCHEDULE_MOVED,
    TARS_WITHOUT_METADATA,
    UNREACHABLE,
    UNREACHABLE_FOR,
    Issue,
    app_removed_issue,
    away_issue,
    down_since,
    error_issues,
    failed_verifications,
    open_issues,
    options_issue,
    orphan_issue,
    overdue_issue,
    refused_issue,
    schedule_issue,
    show,
    unreachable_issue,
    verification_issues,
)
from .gone import find_gone
from .incomplete import BACKUP_INCOMPLETE, incomplete_issue
from .schedule import Schedule

# Some issues appear with time alone.
_INTERVAL: Final = timedelta(minutes=10)
# The events that may change issues.
_RELEVANT_EVENTS: Final = frozenset({"app", "hello", "location", "lost"})
# The agent's codes of orphans.
_ORPHANS: Final = {
    TARS_WITHOUT_METADATA: "metadata_missing",
    METADATA_WITHOUT_TAR: "tar_missing",
}


class IssueWatcher:
    """Updates issues and reauth flows at each change of a location."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: S3BackupAgentConfigEntry,
        coordinator: AgentCoordinator,
    ) -> None:
        """Initialize the watcher."""
        self._hass = hass
        self._entry = entry
        self._coordinator = coordinator
        self._schedule = Schedule(hass, entry.entry_id)
        self._settings = registrations_of(entry)
        # The locations with changed settings whose new state is not known yet.
        self._settling: Counter[str] = Counter()
        # The locations with a listing in flight.
        self._listing: set[str] = set()
        # Since when a storage is unreachable; the agent forgets it at a restart.
        self._down_since: dict[str, datetime] = {}
        # The last listing that names a location's backups, with what it was requested for.
        self._lists: dict[str, tuple[object, Listing | None]] = {}

    async def start(self) -> None:
        """Watch until the entry is unloaded."""
        await self._schedule.load()
        entry = self._entry
        entry.async_on_unload(self._coordinator.listen(self._on_event))
        entry.async_on_unload(
            async_track_time_interval(
                self._hass, self._on_time, _INTERVAL, cancel_on_shutdown=True
            )
        )
        self.update()
        self._request_states()

    async def follow_change(self) -> None:
        """Register the entry's changed locations, and refresh their state.

        Until then they have no issues: the agent's last state is about the old settings.
        """
        before, self._settings = self._settings, registrations_of(self._entry)
        changed = {
            location_id
            for location_id, settings in self._settings.items()
            if settings != before.get(location_id)
        }
        with self._settle(changed):
            await self._coordinator.async_sync()
            if changed:
                # Starts eagerly, so that the locations stay in _settling without a gap.
                self._entry.async_create_background_task(
                    self._hass, self._refresh(changed), f"{DOMAIN} changed locations"
                )
        self.update()

    @contextmanager
    def _settle(self, changed: set[str]) -> Iterator[None]:
        """Hide the issues of locations meanwhile; changes may overlap."""
        self._settling.update(changed)
        try:
            yield
        finally:
            self._settling -= Counter(changed)

    async def _refresh(self, changed: set[str]) -> None:
        """Refresh the listings of locations; errors arrive as location events."""
        with self._settle(changed):
            for location_id in changed:
                with suppress(AgentError):
                    await self._coordinator.client.backups(location_id, refresh=True)
        self.update()

    @callback
    def update(self) -> None:
        """Show the issues that apply now, and delete the others.

        Issues of a location in an unknown state stay; without a listing, so do overdue backups and orphans.
        """
        locations = self._coordinator.locations
        self._update_overdue(locations)
        wanted = {
            issue.issue_id(self._entry): issue
            for location in locations.values()
            if location["id"] not in self._settling
            for issue in self._issues(location)
        }
        lost_at = self._coordinator.lost_at
        if lost_at is not None:
            # One issue says it; the locations' issues stay as they are.
            shown_ids = open_issues(self._hass, self._entry)
            wanted = {it: issue for it, issue in wanted.items() if it in shown_ids}
            since = dt_util.utcnow() - timedelta(seconds=time.monotonic() - lost_at)
            is_away = self._coordinator.lost_code in AWAY_CODES
            is_long = dt_util.utcnow() - since >= AWAY_FOR
            if is_away and is_long and not self._coordinator.is_app_removed:
                issue = away_issue(self._entry, since)
                wanted[issue.issue_id(self._entry)] = issue
        if problems := self._coordinator.info.get("problems"):
            issue = options_issue(self._hass, self._entry, problems)
            wanted[issue.issue_id(self._entry)] = issue
        if self._coordinator.is_app_removed:
            issue = app_removed_issue()
            wanted[issue.issue_id(self._entry)] = issue
        for location_id, err in self._coordinator.refused.items():
            if subentry := subentry_of(self._entry, location_id):
                issue = refused_issue(self._hass, location_id, subentry.title, err)
                wanted[issue.issue_id(self._entry)] = issue
        gone = find_gone(self._hass)
        for it in gone or ():
            if it.entry is self._entry:
                issue = schedule_issue(it.location_id, it.replacement)
                wanted[issue.issue_id(self._entry)] = issue
        unknown = {
            location["id"]
            for location in locations.values()
            if location["status"] == "unknown" and location["id"] not in self._settling
        }
        kept = {
            Issue(kind=OVERDUE, location_id=location["id"]).issue_id(self._entry)
            for location in locations.values()
            if location["backups"] is None
            and location["id"] not in self._settling
            and location["id"] not in self._coordinator.overdue
        }
        kept |= {
            Issue(kind=kind, location_id=location["id"]).issue_id(self._entry)
            for kind in (*_ORPHANS, BACKUP_INCOMPLETE)
            for location in locations.values()
            if self._lacks_names(location, kind)
        }
        if lost_at is not None:
            # Only a connected agent tells its protocol version.
            kept |= {
                Issue(kind=kind).issue_id(self._entry)
                for kind in (AGENT_TOO_OLD, AGENT_TOO_NEW)
            }
        for issue_id, shown in open_issues(self._hass, self._entry).items():
            if gone is None and shown.translation_key in (
                SCHEDULE_GONE,
                SCHEDULE_MOVED,
            ):
                continue
            about = (shown.data or {}).get("location_id")
            if issue_id not in wanted and issue_id not in kept and about not in unknown:
                ir.async_delete_issue(self._hass, DOMAIN, issue_id)
        for issue in wanted.values():
            show(self._hass, self._entry, issue)
        self._update_flows(locations)

    @callback
    def _on_event(self, event: Event) -> None:
        """Update the issues at an event of the agent."""
        if event["type"] in _RELEVANT_EVENTS:
            self.update()
        if event["type"] == "hello":
            self._request_states()

    @callback
    def _on_time(self, now: datetime) -> None:
        """Update the issues as time passes."""
        self.update()
        self._request_states()

    @callback
    def _request_states(self) -> None:
        """Request the listings of locations that are not ok; Home Assistant itself may not list for hours."""
        wanted = {
            location["id"]
            for location in self._coordinator.locations.values()
            if location["status"] != "ok"
        }
        if wanted - self._listing:
            self._entry.async_create_background_task(
                self._hass, self._list(wanted - self._listing), f"{DOMAIN} states"
            )

    async def _list(self, location_ids: set[str]) -> None:
        """Request listings; the state of each location arrives as an event."""
        self._listing |= location_ids
        try:
            for location_id in location_ids:
                with suppress(AgentError):
                    await self._coordinator.client.backups(location_id)
        finally:
            self._listing -= location_ids

    def _issues(self, location: Location) -> Iterator[Issue]:
        """Yield the issues of a location."""
        yield from error_issues(self._hass, self._entry, location)
        if since := self._unreachable_since(location):
            yield unreachable_issue(self._hass, location, since)
        if missing := self._coordinator.overdue.get(location["id"]):
            yield overdue_issue(location, missing)
        yield from self._backup_issues(location)

    @callback
    def _update_overdue(self, locations: dict[str, Location]) -> None:
        """Update since when backups are missing; without a listing, no more are."""
        overdue: dict[str, datetime | None] = {}
        for location_id, location in locations.items():
            if "last_upload" not in location:
                continue
            last = location["last_upload"]
            uploaded_at = last and dt_util.parse_datetime(last["uploaded_at"])
            missing = self._schedule.missing_since(location_id, uploaded_at)
            if missing and location["backups"] is None:
                # The storage may have them.
                if location_id not in self._coordinator.overdue:
                    continue
                missing = self._coordinator.overdue[location_id]
            overdue[location_id] = missing
        if overdue != self._coordinator.overdue:
            self._coordinator.overdue = overdue
            self._coordinator.async_update_listeners()

    def _unreachable_since(self, location: Location) -> datetime | None:
        """Return since when a storage is unreachable, if that is an issue."""
        location_id = location["id"]
        if location["status"] == "unknown":
            return None
        if (since := down_since(location)) is None:
            self._down_since.pop(location_id, None)
            return None
        since = min(since, self._down_since.get(location_id, since))
        self._down_since[location_id] = since
        if dt_util.utcnow() - since >= UNREACHABLE_FOR:
            return since
        shown = Issue(kind=UNREACHABLE, location_id=location_id)
        if shown.issue_id(self._entry) in open_issues(self._hass, self._entry):
            return since
        return None

    def _backup_issues(self, location: Location) -> Iterator[Issue]:
        """Yield the issues of damaged backups and orphans, with the names from a listing."""
        counts = location.get("skipped") or {}
        failed, incomplete = failed_verifications(location), location.get("incomplete")
        has_orphans = any(counts.get(code) for code in _ORPHANS.values())
        if not failed and not incomplete and not has_orphans:
            self._lists.pop(location["id"], None)
            return
        listing = self._listing_for(location, (counts, failed, incomplete))
        listed = listing["backups"] if listing else []
        yield from verification_issues(location, listed)
        if issue := incomplete_issue(location, listed):
            yield issue
        can_adopt = "recover" in self._coordinator.info["capabilities"]
        skipped = listing["skipped"] if listing else []
        for kind, code in _ORPHANS.items():
            keys = [orphan["key"] for orphan in skipped if orphan.get("code") == code]
            is_fixable = kind == TARS_WITHOUT_METADATA
            if keys and counts.get(code) and (can_adopt or not is_fixable):
                yield orphan_issue(location, kind, keys, is_fixable=is_fixable)

    def _lacks_names(self, location: Location, kind: str) -> bool:
        """Return whether a location may have what an issue names, and no listing has named it yet."""
        if location["id"] in self._settling:
            return False
        _, listing = self._lists.get(location["id"], (None, None))
        if kind == BACKUP_INCOMPLETE:
            if "incomplete" not in location:
                # An earlier agent, which never names any.
                return False
            incomplete = location["incomplete"]
            if incomplete is None:
                return True
            listed = listing["backups"] if listing else []
            return not {it["backup_id"] for it in listed}.issuperset(incomplete)
        counts = location.get("skipped")
        return listing is None and (counts is None or bool(counts.get(_ORPHANS[kind])))

    def _listing_for(self, location: Location, about: object) -> Listing | None:
        """Return the last listing, and request another one for a new subject."""
        known, listing = self._lists.get(location["id"], (None, None))
        # While the agent has no listing, the request would fail.
        if known != about and location["backups"] is not None:
            self._lists[location["id"]] = (about, listing)
            self._entry.async_create_background_task(
                self._hass,
                self._fetch_listing(location["id"], about),
                f"{DOMAIN} names",
                eager_start=False,
            )
        return listing

    async def _fetch_listing(self, location_id: str, about: object) -> None:
        """Request a listing, and update the issues with its names."""
        try:
            listing = await self._coordinator.client.backups(location_id)
        except AgentError:
            # The next update requests it again.
            self._lists.pop(location_id, None)
            return
        self._lists[location_id] = (about, listing)
        self.update()

    @callback
    def _update_flows(self, locations: dict[str, Location]) -> None:
        """Start reauth flows for rejected keys, and abort those that are no longer needed."""
        for location_id, flow_id in key_flows(self._hass, self._entry).items():
            location = locations.get(location_id)
            if location is None or location["status"] == "ok":
                self._hass.config_entries.flow.async_abort(flow_id)
        for location_id, location in locations.items():
            if location_id in self._settling:
                continue
            if location["status"] != "error" or (error := location["error"]) is None:
                continue
            if location["source"] != "registered" or error["code"] not in KEY_ERRORS:
                continue
            if subentry := subentry_of(self._entry, location_id):
                start_key_reauth(self._hass, self._entry, subentry)
