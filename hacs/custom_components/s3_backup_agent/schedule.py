"""Whether backups come as often as Home Assistant's own schedule makes them."""

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.storage import Store
from homeassistant.util import dt as dt_util

from .const import DOMAIN

if TYPE_CHECKING:
    from homeassistant.components.backup.config import BackupConfigData, BackupSchedule

_WEEK: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# When Home Assistant makes backups without a time of one's own, and how much later that may be.
_USUAL_TIME: Final = time(4, 45)
_JITTER: Final = timedelta(hours=1)
# A large backup may be on its way for hours.
_UPLOADING: Final = timedelta(hours=12)
_SAVE_SECONDS: Final = 10


class Schedule:
    """What Home Assistant's schedule expects of locations.

    Since when it does so is kept over restarts: a location that has just become part of it lacks nothing yet.
    """

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Know nothing yet."""
        self._hass = hass
        self._expected: dict[str, dict[str, str]] = {}
        self._store: Store[dict[str, dict[str, str]]] = Store(
            hass, 1, f"{DOMAIN}.schedule.{entry_id}"
        )

    async def load(self) -> None:
        """Remember what was expected before."""
        self._expected = await self._store.async_load() or {}

    async def forget(self) -> None:
        """Keep nothing."""
        await self._store.async_remove()

    @callback
    def missing_since(
        self, location_id: str, uploaded_at: datetime | None
    ) -> datetime | None:
        """Return when the first of at least two backups should have come that did not; None when all is well."""
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
        missing = self._expected_after(since)
        return missing[0] if len(missing) > 1 else None

    def _expected_after(self, since: datetime) -> list[datetime]:
        """Return when backups should have been made and have come since."""
        schedule = self._config.schedule
        at = schedule.time or _USUAL_TIME
        days = _days(schedule)
        now = dt_util.now()
        first = dt_util.as_local(since).date()
        times = (
            datetime.combine(first + timedelta(days=number), at, now.tzinfo)
            for number in range((now.date() - first).days + 1)
        )
        late = _UPLOADING if schedule.time else _UPLOADING + _JITTER
        return [
            expected
            for expected in times
            if _WEEK[expected.weekday()] in days and since < expected < now - late
        ]

    def _rhythm(self, location_id: str) -> str | None:
        """Return on which days a location gets automatic backups, None when it gets none."""
        if f"{DOMAIN}.{location_id}" not in self._config.create_backup.agent_ids:
            return None
        return ",".join(_days(self._config.schedule)) or None

    @property
    def _config(self) -> BackupConfigData:
        """Home Assistant's settings of backups."""
        return self._hass.data[DATA_MANAGER].config.data

    def _save(self) -> None:
        """Keep what is expected."""
        self._store.async_delay_save(lambda: self._expected, _SAVE_SECONDS)


def _days(schedule: BackupSchedule) -> tuple[str, ...]:
    """Return the days of the week on which there are backups."""
    if schedule.recurrence == "daily":
        return _WEEK
    if schedule.recurrence == "custom_days":
        return tuple(day for day in _WEEK if day in schedule.days)
    return ()
