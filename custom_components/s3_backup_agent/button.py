"""Support for S3 Backup Agent buttons."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, override

from homeassistant.components.button import ButtonEntity, ButtonEntityDescription
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant

from .coordinator import AgentCoordinator, S3BackupAgentConfigEntry
from .entity import LocationEntity, add_for_each_location
from .operations import cancel_uploads, refresh, require_working, verify_newest

if TYPE_CHECKING:
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

# A check takes minutes, verifying longer; cancelling must not wait for them.
PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class LocationButtonDescription(ButtonEntityDescription):
    """Describes an S3 Backup Agent button."""

    press: Callable[[AgentCoordinator, str], Awaitable[object]]
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
        key="verify",
        translation_key="verify",
        entity_category=EntityCategory.DIAGNOSTIC,
        press=verify_newest,
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
    """Set up the buttons of each location."""
    add_for_each_location(hass, entry, async_add_entities, LocationButton, BUTTONS)


class LocationButton(LocationEntity, ButtonEntity):
    """Representation of an S3 Backup Agent button."""

    entity_description: LocationButtonDescription

    @property
    @override
    def available(self) -> bool:
        """Return whether the button can be pressed."""
        return super().available and (
            not self.entity_description.needs_upload or bool(self.uploads)
        )

    @override
    async def async_press(self) -> None:
        """Press the button."""
        await self.entity_description.press(self.coordinator, self.location_id)
