"""Repairs issues of overdue automatic backups."""

from datetime import datetime, timedelta
from typing import Any

from freezegun.api import FrozenDateTimeFactory
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup.config import Day, ScheduleRecurrence
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import async_track_state_change_event
from homeassistant.util import dt as dt_util

from .home import Tell, entity_id, shown, value

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def schedule(hass: HomeAssistant, loaded: MockConfigEntry) -> Any:
    """Return Home Assistant's backup settings, with this location as target."""
    data = hass.data[DATA_MANAGER].config.data
    data.create_backup.agent_ids = [f"{DOMAIN}.local"]
    return data


def uploaded(when: datetime) -> dict[str, Any]:
    """Return the last upload of a location."""
    about = {"backup_id": "x", "size_bytes": 1, "duration_ms": 1}
    return {"last_upload": {**about, "uploaded_at": when.isoformat()}}


async def test_second_missing_backup_is_shown(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    tell: Tell,
    schedule: Any,
    freezer: FrozenDateTimeFactory,
) -> None:
    """A second missing backup is shown, across restarts, until one is uploaded."""
    now = dt_util.now().replace(hour=9, minute=0, second=0, microsecond=0)
    freezer.move_to(now)
    schedule.schedule.recurrence = ScheduleRecurrence.DAILY
    tell(**uploaded(now - 10 * DAY))
    assert shown(hass) == {}, "the location was just added to the schedule"
    freezer.move_to(now + 1 * DAY + 12 * HOUR)
    tell(**uploaded(now - 10 * DAY))
    assert shown(hass) == {}
    freezer.move_to(now + 2 * DAY + 3 * HOUR)
    tell(**uploaded(now - 10 * DAY))
    assert shown(hass) == {}, "the second backup may still upload"
    assert value(hass, "overdue") == STATE_OFF
    freezer.move_to(now + 2 * DAY + 12 * HOUR)
    tell(last_upload=None)
    assert value(hass, "overdue") == STATE_ON
    (issue,) = shown(hass).values()
    assert issue.translation_key == "overdue"
    assert issue.severity is ir.IssueSeverity.WARNING
    assert issue.translation_placeholders is not None
    first = (now + DAY).strftime("%Y-%m-%d 04:45")
    assert issue.translation_placeholders["since"] == first

    async_fire_time_changed(hass)
    await hass.async_block_till_done()
    states: list[str | None] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        states.append(getattr(event.data["new_state"], "state", None))

    async_track_state_change_event(hass, entity_id(hass, "overdue"), note)
    assert await hass.config_entries.async_reload(loaded.entry_id)
    tell(last_upload=None)
    assert set(shown(hass)) == {"overdue"}
    await hass.async_block_till_done()
    assert states[0] == STATE_UNAVAILABLE
    assert set(states[1:]) == {STATE_ON}, "a restart ends nothing"
    tell(**uploaded(dt_util.utcnow()))
    assert shown(hass) == {}


async def test_nothing_is_overdue_without_listing(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    tell: Tell,
    schedule: Any,
    freezer: FrozenDateTimeFactory,
) -> None:
    """Without a listing nothing is overdue, and a shown issue stays."""
    schedule.schedule.recurrence = ScheduleRecurrence.DAILY
    nothing: dict[str, Any] = {"backups": None, "last_upload": None}
    tell(status="unknown", **nothing)
    freezer.move_to(dt_util.utcnow() + 4 * DAY)
    tell(status="unknown", **nothing)
    tell("storage_error", **nothing)
    assert shown(hass) == {}
    tell(last_upload=None)
    assert set(shown(hass)) == {"overdue"}, "backups were expected all along"
    tell("storage_error", **nothing)
    assert set(shown(hass)) == {"overdue"}
    assert value(hass, "overdue") == STATE_ON
    loaded.runtime_data.overdue = {}
    tell("storage_error", **nothing)
    assert set(shown(hass)) == {"overdue"}
    assert value(hass, "overdue") == STATE_UNKNOWN, "a restarted integration"
    tell(**uploaded(dt_util.utcnow()))
    assert shown(hass) == {}
    assert value(hass, "overdue") == STATE_OFF


async def test_location_out_of_schedule_misses_nothing_without_listing(
    hass: HomeAssistant, tell: Tell, schedule: Any, freezer: FrozenDateTimeFactory
) -> None:
    """A location that leaves the schedule misses no backup, even without a listing."""
    schedule.schedule.recurrence = ScheduleRecurrence.DAILY
    tell(last_upload=None)
    freezer.move_to(dt_util.utcnow() + 4 * DAY)
    tell(last_upload=None)
    assert set(shown(hass)) == {"overdue"}
    schedule.create_backup.agent_ids = ["backup.local"]
    tell("storage_error", backups=None, last_upload=None)
    assert shown(hass) == {}
    assert value(hass, "overdue") == STATE_OFF


@pytest.mark.parametrize("how", ["never", "elsewhere", "no days"])
async def test_location_outside_schedule_misses_nothing(
    hass: HomeAssistant,
    tell: Tell,
    schedule: Any,
    freezer: FrozenDateTimeFactory,
    how: str,
) -> None:
    """A location that is not, or no longer, a target misses no backup."""
    now = dt_util.utcnow()
    schedule.schedule.recurrence = ScheduleRecurrence.DAILY
    tell(last_upload=None)
    freezer.move_to(now + 4 * DAY)
    tell(last_upload=None)
    assert set(shown(hass)) == {"overdue"}
    if how == "never":
        schedule.schedule.recurrence = ScheduleRecurrence.NEVER
    elif how == "elsewhere":
        schedule.create_backup.agent_ids = ["backup.local"]
    else:
        schedule.schedule.recurrence = ScheduleRecurrence.CUSTOM_DAYS
    tell(last_upload=None)
    assert shown(hass) == {}


async def test_older_agent_misses_nothing(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    tell: Tell,
    schedule: Any,
    freezer: FrozenDateTimeFactory,
) -> None:
    """An older agent without upload times misses no backup."""
    del loaded.runtime_data.locations["local"]["last_upload"]
    schedule.schedule.recurrence = ScheduleRecurrence.DAILY
    tell()
    freezer.move_to(dt_util.utcnow() + 4 * DAY)
    tell()
    assert shown(hass) == {}


async def test_rhythm_of_schedule_is_respected(
    hass: HomeAssistant, tell: Tell, schedule: Any, freezer: FrozenDateTimeFactory
) -> None:
    """A weekly schedule expects weekly backups, and a changed schedule starts anew."""
    monday = datetime(2026, 11, 23, 20, tzinfo=dt_util.get_default_time_zone())
    freezer.move_to(monday)
    schedule.schedule.recurrence = ScheduleRecurrence.CUSTOM_DAYS
    schedule.schedule.days = [Day.SUNDAY]
    schedule.schedule.time = datetime(2026, 1, 1, 3).time()
    tell(**uploaded(monday))
    freezer.move_to(monday + 12 * DAY)
    tell(**uploaded(monday))
    assert shown(hass) == {}
    freezer.move_to(monday + 13 * DAY)
    tell(**uploaded(monday))
    assert set(shown(hass)) == {"overdue"}
    schedule.schedule.recurrence = ScheduleRecurrence.DAILY
    tell(**uploaded(monday))
    assert shown(hass) == {}
