"""The buttons of a location."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, override

from homeassistant.components.button import ButtonEntity, ButtonEntityDescription
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant

from .connection import AgentConnection
from .entity import LocationEntity, add_for_each_location
from .operations import cancel_uploads, refresh, require_working

if TYPE_CHECKING:
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

    from . import S3BackupAgentConfigEntry

# A check takes minutes, and is no reason to wait for whoever wants to cancel.
PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class LocationButtonDescription(ButtonEntityDescription):
    """A button, and what it does with a location."""

    press: Callable[[AgentConnection, str], Awaitable[object]]
    needs_upload: bool = False


BUTTONS: Final = (
    LocationButtonDescription(
        key="check",
        translation_key="check",
        entity_category=EntityCategory.DIAGNOSTIC,
        press=require_working,
    ),
    LocationButtonDescription(
        key="refresh",
        translation_key="refresh",
        entity_category=EntityCategory.DIAGNOSTIC,
        press=refresh,
    ),
    LocationButtonDescription(
        key="cancel_upload",
        translation_key="cancel_upload",
        press=cancel_uploads,
        needs_upload=True,
    ),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: S3BackupAgentConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the buttons of each location."""
    add_for_each_location(hass, entry, async_add_entities, LocationButton, BUTTONS)


class LocationButton(LocationEntity, ButtonEntity):
    """A button of a location."""

    entity_description: LocationButtonDescription

    @property
    @override
    def available(self) -> bool:
        """Whether there is something to do for it."""
        return super().available and (
            not self.entity_description.needs_upload or bool(self.uploads)
        )

    @override
    async def async_press(self) -> None:
        """Do it."""
        await self.entity_description.press(self.connection, self.location_id)
