"""Watches the locations of an agent, and sees to it that what is wrong is shown while it is, and asked about."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import async_track_time_interval
from homeassistant.util import dt as dt_util

from .client import AgentError, Event, Listing, Location
from .connection import AgentConnection
from .const import DOMAIN
from .issues import (
    AGENT_TOO_NEW,
    AGENT_TOO_OLD,
    METADATA_WITHOUT_TAR,
    OVERDUE,
    TARS_WITHOUT_METADATA,
    UNREACHABLE,
    UNREACHABLE_FOR,
    Issue,
    down_since,
    error_issues,
    leftover_issue,
    open_issues,
    options_issue,
    overdue_issue,
    remove_all,
    show,
    unreachable_issue,
    verified_badly,
    verified_issues,
)
from .location_reauth import KEY_ERRORS, ask_for_key, questions
from .locations import kept_here, registrations_of
from .schedule import Schedule

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry

# Some of it comes with time alone.
_INTERVAL: Final = timedelta(minutes=10)
# What the agent tells that may change what is shown.
_TELLING: Final = frozenset({"hello", "location", "lost"})
# The codes of what is only half of a backup.
_LEFTOVERS: Final = {
    TARS_WITHOUT_METADATA: "metadata_missing",
    METADATA_WITHOUT_TAR: "tar_missing",
}


class LocationWatch:
    """Keeps the issues and the questions about locations as their state is."""

    def __init__(
        self, hass: HomeAssistant, entry: ConfigEntry, connection: AgentConnection
    ) -> None:
        """Prepare to watch."""
        self._hass = hass
        self._entry = entry
        self._connection = connection
        self._schedule = Schedule(hass, entry.entry_id)
        self._settings = registrations_of(entry)
        # The locations whose settings have changed, and of which is not known yet how they do.
        self._settling: Counter[str] = Counter()
        # Those that are being asked how they are.
        self._asking: set[str] = set()
        # Since when a storage is away, also when the agent was started again meanwhile.
        self._down_since: dict[str, datetime] = {}
        # The list that has the names for what the agent tells of a location, with what it was asked for.
        self._lists: dict[str, tuple[object, Listing | None]] = {}

    async def start(self) -> None:
        """Watch until the entry is unloaded."""
        await self._schedule.load()
        entry = self._entry
        entry.async_on_unload(self._connection.listen(self._on_event))
        entry.async_on_unload(
            async_track_time_interval(
                self._hass, self._on_time, _INTERVAL, cancel_on_shutdown=True
            )
        )
        entry.async_on_unload(self._stop)
        self.look()
        self._ask_for_states()

    async def follow_change(self) -> None:
        """Tell the agent what has changed in the entry, and see how the locations do that were changed.

        Until then nothing is shown of them: what the agent says of them is about the settings from before.
        """
        before, self._settings = self._settings, registrations_of(self._entry)
        changed = {
            location_id
            for location_id, settings in self._settings.items()
            if settings != before.get(location_id)
        }
        with self._settle(changed):
            await self._connection.update()
            if changed:
                # It begins at once, so that there is no gap.
                self._entry.async_create_background_task(
                    self._hass, self._refresh(changed), f"{DOMAIN} changed locations"
                )
        self.look()

    @contextmanager
    def _settle(self, changed: set[str]) -> Iterator[None]:
        """Show nothing of locations meanwhile; they may be changed once more before it ends."""
        self._settling.update(changed)
        try:
            yield
        finally:
            self._settling -= Counter(changed)

    async def _refresh(self, changed: set[str]) -> None:
        """Let the agent ask the buckets, whatever comes of it."""
        with self._settle(changed):
            for location_id in changed:
                with suppress(AgentError):
                    await self._connection.client.backups(location_id, refresh=True)
        self.look()

    @callback
    def look(self) -> None:
        """Show what is wrong now, and no longer what is not.

        As long as the state of a location is not known what was shown stays; without a list, that backups do not come.
        """
        locations = self._connection.locations
        wanted = {
            issue.issue_id(self._entry): issue
            for location in locations.values()
            if location["id"] not in self._settling
            for issue in self._issues(location)
        }
        if problems := self._connection.info.get("problems"):
            issue = options_issue(self._hass, self._entry, problems)
            wanted[issue.issue_id(self._entry)] = issue
        unknown = {
            location["id"]
            for location in locations.values()
            if location["status"] == "unknown" and location["id"] not in self._settling
        }
        kept = {
            Issue(kind=OVERDUE, location_id=location["id"]).issue_id(self._entry)
            for location in locations.values()
            if location["backups"] is None and location["id"] not in self._settling
        }
        if self._connection.lost_at is not None:
            # Whether they fit together again is only known once the agent is back.
            kept |= {
                Issue(kind=kind).issue_id(self._entry)
                for kind in (AGENT_TOO_OLD, AGENT_TOO_NEW)
            }
        for issue_id, shown in open_issues(self._hass, self._entry).items():
            about = (shown.data or {}).get("location_id")
            if issue_id not in wanted and issue_id not in kept and about not in unknown:
                ir.async_delete_issue(self._hass, DOMAIN, issue_id)
        for issue in wanted.values():
            show(self._hass, self._entry, issue)
        self._ask(locations)

    @callback
    def _on_event(self, event: Event) -> None:
        """Look again when the agent told something."""
        if event["type"] in _TELLING:
            self.look()
        if event["type"] == "hello":
            self._ask_for_states()

    @callback
    def _on_time(self, now: datetime) -> None:
        """Look again, because it has become later."""
        self.look()
        self._ask_for_states()

    @callback
    def _ask_for_states(self) -> None:
        """Have the buckets asked that were not asked yet, or did not work: nobody else may want a list for hours."""
        asked = {
            location["id"]
            for location in self._connection.locations.values()
            if location["status"] != "ok"
        }
        if asked - self._asking:
            self._entry.async_create_background_task(
                self._hass, self._list(asked - self._asking), f"{DOMAIN} states"
            )

    async def _list(self, location_ids: set[str]) -> None:
        """Let the agent list, which tells how a location is; what goes wrong is told in the same way."""
        self._asking |= location_ids
        try:
            for location_id in location_ids:
                with suppress(AgentError):
                    await self._connection.client.backups(location_id)
        finally:
            self._asking -= location_ids

    def _issues(self, location: Location) -> Iterator[Issue]:
        """Yield what is wrong with a location."""
        yield from error_issues(self._hass, self._entry, location)
        if since := self._is_down_since(location):
            yield unreachable_issue(location, since)
        if "last_upload" in location:
            last = location["last_upload"]
            uploaded_at = last and dt_util.parse_datetime(last["uploaded_at"])
            missing = self._schedule.missing_since(location["id"], uploaded_at)
            if missing and location["backups"] is not None:
                yield overdue_issue(location, missing)
        yield from self._bad_backups(location)

    def _is_down_since(self, location: Location) -> datetime | None:
        """Return since when a storage is away, once that is long enough or was shown already."""
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

    def _bad_backups(self, location: Location) -> Iterator[Issue]:
        """Yield which backups are damaged or may be, and what is only half of one, once that is known by name."""
        counts = location.get("skipped") or {}
        badly = verified_badly(location)
        if not badly and not any(counts.get(code) for code in _LEFTOVERS.values()):
            self._lists.pop(location["id"], None)
            return
        listing = self._listing(location, (counts, badly))
        yield from verified_issues(location, listing["backups"] if listing else [])
        can_adopt = "recover" in self._connection.info["capabilities"]
        skipped = listing["skipped"] if listing else []
        for kind, code in _LEFTOVERS.items():
            keys = [left["key"] for left in skipped if left.get("code") == code]
            is_fixable = kind == TARS_WITHOUT_METADATA
            if keys and counts.get(code) and (can_adopt or not is_fixable):
                yield leftover_issue(location, kind, keys, is_fixable=is_fixable)

    def _listing(self, location: Location, about: object) -> Listing | None:
        """Return the last list, and ask for another when it is about something else; while the agent has none, it fails."""
        known, listing = self._lists.get(location["id"], (None, None))
        if known != about and location["backups"] is not None:
            self._lists[location["id"]] = (about, listing)
            self._entry.async_create_background_task(
                self._hass,
                self._name(location["id"], about),
                f"{DOMAIN} names",
                eager_start=False,
            )
        return listing

    async def _name(self, location_id: str, about: object) -> None:
        """Ask what it is that was told of."""
        try:
            listing = await self._connection.client.backups(location_id)
        except AgentError:
            # With the next look.
            self._lists.pop(location_id, None)
            return
        self._lists[location_id] = (about, listing)
        self.look()

    @callback
    def _ask(self, locations: dict[str, Location]) -> None:
        """Ask for the keys that are not accepted, and no longer for those that are."""
        for location_id, flow_id in questions(self._hass, self._entry).items():
            location = locations.get(location_id)
            if location is None or location["status"] == "ok":
                self._hass.config_entries.flow.async_abort(flow_id)
        for location_id, location in locations.items():
            if location_id in self._settling:
                continue
            if location["status"] != "error" or (error := location["error"]) is None:
                continue
            subentry = kept_here(self._entry, location_id)
            if subentry and error["code"] in KEY_ERRORS:
                ask_for_key(self._hass, self._entry, subentry)

    @callback
    def _stop(self) -> None:
        """Leave nothing behind of an entry that somebody switched off."""
        if self._entry.disabled_by:
            remove_all(self._hass, self._entry)
