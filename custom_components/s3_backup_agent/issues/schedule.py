"""Detects automatic backups that are overdue by Home Assistant's own schedule."""

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.storage import Store
from homeassistant.util import dt as dt_util

from ..const import DOMAIN

if TYPE_CHECKING:
    from homeassistant.components.backup.config import BackupConfigData, BackupSchedule

_WEEK: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Home Assistant's default time of automatic backups, and its jitter.
_DEFAULT_TIME: Final = time(4, 45)
_JITTER: Final = timedelta(hours=1)
# A large backup may upload for hours.
_UPLOAD_TIME: Final = timedelta(hours=12)
_SAVE_SECONDS: Final = 10


class Schedule:
    """The automatic backups that Home Assistant's schedule expects at locations.

    The start of each expectation is stored: a location that was just added to the schedule misses no backup yet.
    """

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Initialize the schedule."""
        self._hass = hass
        self._expected: dict[str, dict[str, str]] = {}
        self._store: Store[dict[str, dict[str, str]]] = Store(
            hass, 1, f"{DOMAIN}.schedule.{entry_id}"
        )

    async def load(self) -> None:
        """Load the stored expectations."""
        self._expected = await self._store.async_load() or {}

    async def remove(self) -> None:
        """Remove the stored expectations."""
        await self._store.async_remove()

    @callback
    def missing_since(
        self, location_id: str, uploaded_at: datetime | None
    ) -> datetime | None:
        """Return the due time of the first missing backup, None if fewer than two are missing."""
        rhythm = self._rhythm(location_id)
        known = self._expected.get(location_id)
        if rhythm is None:
            if known is not None:
                del self._expected[location_id]
                self._save()
            return None
        if known is None or known["rhythm"] != rhythm:
            now = dt_util.utcnow().isoformat()
            known = self._expected[location_id] = {"rhythm": rhythm, "since": now}
            self._save()
        since = dt_util.parse_datetime(known["since"], raise_on_error=True)
        if uploaded_at is not None:
            since = max(since, uploaded_at)
        missing = self._due_after(since)
        return missing[0] if len(missing) > 1 else None

    def _due_after(self, since: datetime) -> list[datetime]:
        """Return the due times whose backups should be stored by now."""
        schedule = self._config.schedule
        at = schedule.time or _DEFAULT_TIME
        days = _days(schedule)
        now = dt_util.now()
        first = dt_util.as_local(since).date()
        times = (
            datetime.combine(first + timedelta(days=number), at, now.tzinfo)
            for number in range((now.date() - first).days + 1)
        )
        late = _UPLOAD_TIME if schedule.time else _UPLOAD_TIME + _JITTER
        return [
            due
            for due in times
            if _WEEK[due.weekday()] in days and since < due < now - late
        ]

    def _rhythm(self, location_id: str) -> str | None:
        """Return the weekdays of a location's automatic backups, None if it gets none."""
        if f"{DOMAIN}.{location_id}" not in self._config.create_backup.agent_ids:
            return None
        return ",".join(_days(self._config.schedule)) or None

    @property
    def _config(self) -> BackupConfigData:
        """Home Assistant's backup settings."""
        return self._hass.data[DATA_MANAGER].config.data

    def _save(self) -> None:
        """Store the expectations, after a delay."""
        self._store.async_delay_save(lambda: self._expected, _SAVE_SECONDS)


def _days(schedule: BackupSchedule) -> tuple[str, ...]:
    """Return the weekdays of a schedule."""
    if schedule.recurrence == "daily":
        return _WEEK
    if schedule.recurrence == "custom_days":
        return tuple(day for day in _WEEK if day in schedule.days)
    return ()
