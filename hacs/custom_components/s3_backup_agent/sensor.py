"""The sensors of a location."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import (
    PERCENTAGE,
    EntityCategory,
    UnitOfInformation,
    UnitOfTime,
)
from homeassistant.core import HomeAssistant
import homeassistant.util.dt as dt_util

from .client import LastUpload, Location
from .entity import LocationEntity, add_for_each_location
from .errors import STORAGE_ERRORS

if TYPE_CHECKING:
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
    from homeassistant.helpers.typing import StateType

    from . import S3BackupAgentConfigEntry

# They are pushed.
PARALLEL_UPDATES = 0

OK: Final = "ok"
# What a newer agent reports that this version has no word for.
_OTHER: Final = "error"
# The errors that are about the storage, and not about one call.
PROBLEMS: Final = tuple(sorted(STORAGE_ERRORS))


@dataclass(frozen=True, kw_only=True)
class LocationSensorDescription(SensorEntityDescription):
    """A sensor, and where its value comes from."""

    value: Callable[[LocationSensor], StateType | datetime]


class LocationSensor(LocationEntity, SensorEntity):
    """A sensor of a location."""

    entity_description: LocationSensorDescription

    @property
    @override
    def native_value(self) -> StateType | datetime:
        """The value right now."""
        return self.entity_description.value(self)


def status_of(location: Location) -> str | None:
    """Return how a location is, or None before it was asked for anything."""
    status, error = location["status"], location["error"]
    if error is not None:
        return error["code"] if error["code"] in PROBLEMS else _OTHER
    return OK if status == "ok" else None


def _last_upload(sensor: LocationSensor) -> LastUpload | None:
    """Return the newest backup that the agent knows to have uploaded."""
    return sensor.location.get("last_upload")


def _uploaded_at(sensor: LocationSensor) -> datetime | None:
    """Return when that was."""
    last = _last_upload(sensor)
    return dt_util.parse_datetime(last["uploaded_at"]) if last else None


def _duration(sensor: LocationSensor) -> int | None:
    """Return how long it took."""
    last = _last_upload(sensor)
    return last["duration_ms"] if last else None


def _progress(sensor: LocationSensor) -> float | None:
    """Return how much of what is being uploaded is stored, or None when nothing is."""
    stored = sum(upload["stored_bytes"] for upload in sensor.uploads)
    total = sum(upload["total_bytes"] for upload in sensor.uploads)
    # A backup may turn out a little larger than announced.
    return min(100.0, round(100 * stored / total, 1)) if total else None


SENSORS: Final = (
    LocationSensorDescription(
        key="status",
        translation_key="status",
        device_class=SensorDeviceClass.ENUM,
        options=[OK, *PROBLEMS, _OTHER],
        value=lambda sensor: status_of(sensor.location),
    ),
    LocationSensorDescription(
        key="backups",
        translation_key="backups",
        state_class=SensorStateClass.MEASUREMENT,
        value=lambda sensor: sensor.location["backups"],
    ),
    LocationSensorDescription(
        key="total_size",
        translation_key="total_size",
        device_class=SensorDeviceClass.DATA_SIZE,
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfInformation.BYTES,
        suggested_unit_of_measurement=UnitOfInformation.GIGABYTES,
        suggested_display_precision=2,
        value=lambda sensor: sensor.location["size_bytes"],
    ),
    LocationSensorDescription(
        key="last_upload",
        translation_key="last_upload",
        device_class=SensorDeviceClass.TIMESTAMP,
        value=_uploaded_at,
    ),
    LocationSensorDescription(
        key="last_upload_duration",
        translation_key="last_upload_duration",
        device_class=SensorDeviceClass.DURATION,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        native_unit_of_measurement=UnitOfTime.MILLISECONDS,
        suggested_unit_of_measurement=UnitOfTime.MINUTES,
        suggested_display_precision=1,
        value=_duration,
    ),
    LocationSensorDescription(
        key="upload_progress",
        translation_key="upload_progress",
        entity_category=EntityCategory.DIAGNOSTIC,
        native_unit_of_measurement=PERCENTAGE,
        suggested_display_precision=0,
        value=_progress,
    ),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: S3BackupAgentConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the sensors of each location."""
    add_for_each_location(hass, entry, async_add_entities, LocationSensor, SENSORS)
