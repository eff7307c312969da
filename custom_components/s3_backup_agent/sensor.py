"""Support for S3 Backup Agent sensors."""

from collections.abc import Callable, Iterable
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

from .client import LastUpload, Location, UploadStatus
from .coordinator import S3BackupAgentConfigEntry
from .entity import LocationEntity, add_for_each_location
from .errors import STORAGE_ERRORS

if TYPE_CHECKING:
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
    from homeassistant.helpers.typing import StateType

# The agent pushes all states.
PARALLEL_UPDATES = 0

OK: Final = "ok"
# The state while an upload waits for the storage.
WAITING: Final = "waiting"
# The state of a storage that works, but holds a damaged backup.
DAMAGED: Final = "backup_damaged"
# The state for an error code that this version does not know.
_OTHER: Final = "error"
# The states for errors of the storage.
PROBLEMS: Final = tuple(sorted(STORAGE_ERRORS))


@dataclass(frozen=True, kw_only=True)
class LocationSensorDescription(SensorEntityDescription):
    """Describes an S3 Backup Agent sensor."""

    value: Callable[[LocationSensor], StateType | datetime]
    attributes: Callable[[LocationSensor], dict[str, datetime | None]] | None = None


class LocationSensor(LocationEntity, SensorEntity):
    """Representation of an S3 Backup Agent sensor."""

    entity_description: LocationSensorDescription

    @property
    @override
    def native_value(self) -> StateType | datetime:
        """Return the value of the sensor."""
        return self.entity_description.value(self)

    @property
    @override
    def extra_state_attributes(self) -> dict[str, datetime | None] | None:
        """Return the attributes of the sensor."""
        attributes = self.entity_description.attributes
        return attributes(self) if attributes else None


def status_of(location: Location, uploads: Iterable[UploadStatus]) -> str | None:
    """Return the state of a location's status sensor."""
    if any(upload.get("waiting") for upload in uploads):
        return WAITING
    if (error := location["error"]) is not None:
        return error["code"] if error["code"] in PROBLEMS else _OTHER
    if (verification := location.get("verification")) and verification["damaged"]:
        return DAMAGED
    return OK if location["status"] == "ok" else None


def _waiting_times(sensor: LocationSensor) -> dict[str, datetime | None]:
    """Return since when and until when uploads wait for the storage."""
    waits = [(it, waiting) for it in sensor.uploads if (waiting := it.get("waiting"))]
    since = [waiting["since"] for _, waiting in waits]
    until = [upload.get("waiting_until") or "" for upload, _ in waits]
    return {
        "waiting_since": dt_util.parse_datetime(min(since, default="")),
        "waiting_until": dt_util.parse_datetime(max(until, default="")),
    }


def _last_upload(sensor: LocationSensor) -> LastUpload | None:
    """Return the newest backup that the agent uploaded."""
    return sensor.location.get("last_upload")


def _uploaded_at(sensor: LocationSensor) -> datetime | None:
    """Return the time of the last upload."""
    last = _last_upload(sensor)
    return dt_util.parse_datetime(last["uploaded_at"]) if last else None


def _time(text: str | None) -> datetime | None:
    """Return a time of the agent."""
    return dt_util.parse_datetime(text) if text else None


def _duration(sensor: LocationSensor) -> int | None:
    """Return the duration of the last upload."""
    last = _last_upload(sensor)
    return last["duration_ms"] if last else None


def _progress(sensor: LocationSensor) -> float | None:
    """Return the stored percentage of the uploads in progress."""
    stored = sum(upload["stored_bytes"] for upload in sensor.uploads)
    total = sum(upload["total_bytes"] for upload in sensor.uploads)
    # A backup may be larger than announced.
    return min(100.0, round(100 * stored / total, 1)) if total else None


SENSORS: Final = (
    LocationSensorDescription(
        key="status",
        translation_key="status",
        device_class=SensorDeviceClass.ENUM,
        options=[OK, WAITING, DAMAGED, *PROBLEMS, _OTHER],
        value=lambda sensor: status_of(sensor.location, sensor.uploads),
        attributes=_waiting_times,
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
        key="last_check",
        translation_key="last_check",
        device_class=SensorDeviceClass.TIMESTAMP,
        entity_category=EntityCategory.DIAGNOSTIC,
        value=lambda sensor: _time(sensor.location.get("asked_at")),
    ),
    LocationSensorDescription(
        key="last_verified",
        translation_key="last_verified",
        device_class=SensorDeviceClass.TIMESTAMP,
        entity_category=EntityCategory.DIAGNOSTIC,
        value=lambda sensor: _time(sensor.location.get("verified_at")),
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
    """Set up the sensors of each location."""
    add_for_each_location(hass, entry, async_add_entities, LocationSensor, SENSORS)
