"""Support for S3 Backup Agent binary sensors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, override

from homeassistant.components.binary_sensor import (
    BinarySensorDeviceClass,
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.core import HomeAssistant

from .client import Location
from .coordinator import S3BackupAgentConfigEntry
from .entity import LocationEntity, add_for_each_location

if TYPE_CHECKING:
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

# The agent pushes all states.
PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class LocationBinarySensorDescription(BinarySensorEntityDescription):
    """Describes an S3 Backup Agent binary sensor."""

    is_on: Callable[[LocationBinarySensor], bool | None]


class LocationBinarySensor(LocationEntity, BinarySensorEntity):
    """Representation of an S3 Backup Agent binary sensor."""

    entity_description: LocationBinarySensorDescription

    @property
    @override
    def is_on(self) -> bool | None:
        """Return whether the binary sensor is on."""
        return self.entity_description.is_on(self)


def _has_problem(location: Location) -> bool | None:
    """Return whether a location has an error or a damaged backup, None before its storage answered."""
    verification = location.get("verification")
    if location["error"] or (verification and verification["damaged"]):
        return True
    return None if location["status"] == "unknown" else False


def _is_overdue(sensor: LocationBinarySensor) -> bool | None:
    """Return whether a location misses backups, None while that is unknown."""
    overdue = sensor.coordinator.overdue
    if sensor.location_id not in overdue:
        return None
    return overdue[sensor.location_id] is not None


BINARY_SENSORS: Final = (
    LocationBinarySensorDescription(
        key="problem",
        translation_key="problem",
        device_class=BinarySensorDeviceClass.PROBLEM,
        is_on=lambda sensor: _has_problem(sensor.location),
    ),
    LocationBinarySensorDescription(
        key="overdue",
        translation_key="overdue",
        device_class=BinarySensorDeviceClass.PROBLEM,
        is_on=_is_overdue,
    ),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: S3BackupAgentConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the binary sensors of each location."""
    add_for_each_location(
        hass, entry, async_add_entities, LocationBinarySensor, BINARY_SENSORS
    )
