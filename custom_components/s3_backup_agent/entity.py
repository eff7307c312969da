"""Base entity for the S3 Backup Agent integration."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, override

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.helpers.entity import Entity, EntityDescription
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from .client import Location, UploadStatus
from .const import SIGNAL_LOCATIONS
from .coordinator import AgentCoordinator, S3BackupAgentConfigEntry
from .devices import device_info, locations_of
from .location import registrations_of, subentry_id_of

if TYPE_CHECKING:
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback


class LocationEntity(CoordinatorEntity[AgentCoordinator]):
    """An entity of a location."""

    _attr_has_entity_name = True

    def __init__(
        self,
        coordinator: AgentCoordinator,
        location_id: str,
        description: EntityDescription,
    ) -> None:
        """Initialize the entity."""
        super().__init__(coordinator)
        self.entity_description = description
        self.location_id = location_id
        self._attr_unique_id = f"{location_id}_{description.key}"
        self._attr_device_info = device_info(coordinator, location_id)

    @property
    def location(self) -> Location:
        """The location, while the entity is available."""
        return self.coordinator.locations[self.location_id]

    @property
    def uploads(self) -> list[UploadStatus]:
        """The uploads to the location that are in progress."""
        return self.coordinator.data.uploads_to(self.location_id)

    @property
    @override
    def available(self) -> bool:
        """Return whether the agent is connected and has the location."""
        return super().available and self.location_id in self.coordinator.locations


@callback
def add_for_each_location[D: EntityDescription](
    hass: HomeAssistant,
    entry: S3BackupAgentConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
    make: Callable[[AgentCoordinator, str, D], Entity],
    descriptions: Sequence[D],
) -> None:
    """Add the entities of each location, now and when locations are added."""
    coordinator = entry.runtime_data
    added: set[str] = set()

    @callback
    def add() -> None:
        # The entities of a removed location went with its device.
        added.intersection_update({*coordinator.locations, *registrations_of(entry)})
        for location_id in locations_of(hass, entry):
            if location_id not in added:
                added.add(location_id)
                async_add_entities(
                    [make(coordinator, location_id, it) for it in descriptions],
                    config_subentry_id=subentry_id_of(entry, location_id),
                )

    add()
    entry.async_on_unload(
        async_dispatcher_connect(hass, SIGNAL_LOCATIONS.format(entry.entry_id), add)
    )
