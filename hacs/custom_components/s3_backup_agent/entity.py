"""What the entities of a location have in common, and the device that they are on."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, override

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.helpers.entity import Entity, EntityDescription

from .client import Location, UploadStatus
from .connection import AgentConnection
from .const import SIGNAL_LOCATIONS
from .devices import device_info, locations_of
from .locations import registrations_of, subentry_of

if TYPE_CHECKING:
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

    from . import S3BackupAgentConfigEntry


class LocationEntity(Entity):
    """Something about a location, pushed by the agent."""

    _attr_has_entity_name = True
    _attr_should_poll = False

    def __init__(
        self,
        connection: AgentConnection,
        location_id: str,
        description: EntityDescription,
    ) -> None:
        """Belong to a location of the agent at the other end of a connection."""
        self.entity_description = description
        self.connection = connection
        self.location_id = location_id
        self._attr_unique_id = f"{location_id}_{description.key}"
        self._attr_device_info = device_info(connection, location_id)

    @property
    def location(self) -> Location:
        """The location as it stands, while it is available."""
        return self.connection.locations[self.location_id]

    @property
    def uploads(self) -> list[UploadStatus]:
        """The uploads to it that are under way."""
        return self.connection.state.uploads_to(self.location_id)

    @property
    @override
    def available(self) -> bool:
        """Whether the agent is there, and has the location."""
        state = self.connection.state
        return state.available and self.location_id in state.locations

    @override
    async def async_added_to_hass(self) -> None:
        """Follow the location."""
        self.async_on_remove(
            self.connection.state.listen(self.location_id, self.async_write_ha_state)
        )


@callback
def add_for_each_location[D: EntityDescription](
    hass: HomeAssistant,
    entry: S3BackupAgentConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
    make: Callable[[AgentConnection, str, D], Entity],
    descriptions: Sequence[D],
) -> None:
    """Add the entities of each location, also of those that come later."""
    connection = entry.runtime_data
    added: set[str] = set()

    @callback
    def add() -> None:
        # What is gone took its device along.
        added.intersection_update({*connection.locations, *registrations_of(entry)})
        for location_id in locations_of(hass, entry):
            if location_id not in added:
                added.add(location_id)
                async_add_entities(
                    [make(connection, location_id, it) for it in descriptions],
                    config_subentry_id=subentry_of(entry, location_id),
                )

    add()
    entry.async_on_unload(
        async_dispatcher_connect(hass, SIGNAL_LOCATIONS.format(entry.entry_id), add)
    )
