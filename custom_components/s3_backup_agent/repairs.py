"""Repairs flows for the S3 Backup Agent integration."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, override

from homeassistant.components.repairs import ConfirmRepairFlow, RepairsFlow
from homeassistant.config_entries import ConfigEntry, ConfigEntryState
from homeassistant.core import HomeAssistant

from .client import AgentClient, AgentError, Recovery, Settings
from .issues import SCHEDULE_MOVED, TARS_WITHOUT_METADATA, WRONG_REGION, shortened
from .issues.gone import Gone, find_gone, replace
from .location import subentry_of
from .location.outcome import Outcome
from .texts import details_of, labelled, refusal_text

if TYPE_CHECKING:
    import probatio as vol

    from homeassistant.components.repairs import RepairsFlowResult

    from .coordinator import AgentCoordinator
else:
    # Home Assistant 2026.3 has voluptuous; later versions alias it to probatio.
    import voluptuous as vol

_NOTHING: Final = vol.Schema({})


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, str | int | float | None] | None
) -> RepairsFlow:
    """Create the fix flow of an issue."""
    about = data or {}
    kind, location_id = about.get("kind"), str(about.get("location_id"))
    entry = hass.config_entries.async_get_entry(str(about.get("entry_id")))
    if kind == WRONG_REGION:
        return CorrectRegion(entry, location_id)
    if kind == TARS_WITHOUT_METADATA:
        return AdoptTars(entry, location_id)
    if kind == SCHEDULE_MOVED:
        return ReplaceScheduled(location_id)
    return ConfirmRepairFlow()


class _LocationFix(RepairsFlow, ABC):
    """Fix flow for an issue of a location; needs a loaded entry."""

    _coordinator: AgentCoordinator

    def __init__(self, entry: ConfigEntry | None, location_id: str) -> None:
        """Initialize the flow."""
        self._entry = entry
        self._location_id = location_id

    async def async_step_init(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Prepare the fix, and ask for confirmation."""
        if self._entry is None or not self._connect():
            return self.async_abort(reason="entry_not_loaded")
        try:
            return await self._prepare(self._entry)
        except AgentError as err:
            return self._abort(err)

    @abstractmethod
    async def _prepare(self, entry: ConfigEntry) -> RepairsFlowResult:
        """Prepare the fix."""

    def _ask(self, **placeholders: str) -> RepairsFlowResult:
        """Ask for confirmation."""
        return self.async_show_form(
            step_id="confirm",
            data_schema=_NOTHING,
            description_placeholders={"location": self._name, **placeholders},
        )

    def _abort(self, err: AgentError) -> RepairsFlowResult:
        """Abort with the agent's error."""
        return self.async_abort(
            reason="failed",
            description_placeholders={"details": details_of(self.hass, err)},
        )

    def _connect(self) -> bool:
        """Use the entry's current coordinator; the closed client of an old one fails each call."""
        entry = self._entry
        if entry is None or entry.state is not ConfigEntryState.LOADED:
            return False
        self._coordinator = entry.runtime_data
        return True

    @property
    def _client(self) -> AgentClient:
        return self._coordinator.client

    @property
    def _name(self) -> str:
        location = self._coordinator.locations.get(self._location_id)
        return location["name"] if location else ""


class CorrectRegion(_LocationFix):
    """Corrects the region of a location."""

    # The settings to change; others may change meanwhile.
    _corrected: Settings

    @override
    async def _prepare(self, entry: ConfigEntry) -> RepairsFlowResult:
        """Check the location, and show the correction."""
        subentry = subentry_of(entry, self._location_id)
        if subentry is None:
            return self.async_abort(reason="location_removed")
        settings: Settings = {**subentry.data}
        checked = await self._client.check_settings(settings)
        outcome = Outcome.of(self.hass, checked)
        if outcome.ok:
            # The region was corrected elsewhere.
            return self.async_create_entry(data={})
        # Only the form offers an endpoint without TLS, with a warning.
        if not outcome.is_proven or outcome.loses_tls(settings):
            return self.async_abort(
                reason="no_correction",
                description_placeholders={"details": outcome.details},
            )
        self._corrected = outcome.corrected
        return self._ask(
            details=outcome.details, changes=labelled(self.hass, outcome.corrected)
        )

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Store the correction, which the agent has just checked."""
        assert self._entry is not None
        subentry = subentry_of(self._entry, self._location_id)
        if subentry is None:
            return self.async_abort(reason="location_removed")
        self.hass.config_entries.async_update_subentry(
            self._entry, subentry, data={**subentry.data, **self._corrected}
        )
        return self.async_create_entry(data={})


class AdoptTars(_LocationFix):
    """Adopts tars without metadata as backups."""

    @override
    async def _prepare(self, entry: ConfigEntry) -> RepairsFlowResult:
        """Read the tars, and show their backups."""
        found = await self._client.recover(self._location_id, dry_run=True)
        if not found["recovered"]:
            return self._report(found)
        backups = [f"- {tar['name']} (`{tar['key']}`)" for tar in found["recovered"]]
        return self._ask(backups=shortened(backups), rest=self._failures(found))

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Adopt the tars."""
        if not self._connect():
            return self.async_abort(reason="entry_not_loaded")
        try:
            found = await self._client.recover(self._location_id)
        except AgentError as err:
            return self._abort(err)
        return self._report(found)

    def _report(self, found: Recovery) -> RepairsFlowResult:
        """Finish; abort with the tars that could not be adopted."""
        if not found["failed"]:
            return self.async_create_entry(data={})
        placeholders: dict[str, Any] = {
            "count": str(len(found["recovered"])),
            "rest": self._failures(found),
        }
        return self.async_abort(
            reason="not_adopted", description_placeholders=placeholders
        )

    def _failures(self, found: Recovery) -> str:
        """Return the tars that cannot be adopted as a Markdown list."""
        return shortened(
            [
                f"- `{tar['key']}`: {refusal_text(self.hass, tar)}"
                for tar in found["failed"]
            ]
        )


class ReplaceScheduled(RepairsFlow):
    """Replaces a location that is gone in the settings of automatic backups."""

    def __init__(self, gone_id: str) -> None:
        """Initialize the flow."""
        self._gone_id = gone_id

    async def async_step_init(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Show the replacement, and ask for confirmation."""
        if not isinstance(found := self._find(), Gone):
            return found
        assert found.replacement is not None
        return self.async_show_form(
            step_id="confirm",
            data_schema=_NOTHING,
            description_placeholders={
                "gone": self._gone_id,
                "location": found.replacement["name"],
                "folder": found.replacement.get("folder", ""),
            },
        )

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Replace the location."""
        if isinstance(found := self._find(), Gone):
            replace(self.hass, found)
            return self.async_create_entry(data={})
        return found

    def _find(self) -> Gone | RepairsFlowResult:
        """Return the location with its replacement, or the flow's result if there is nothing to replace."""
        if (gone := find_gone(self.hass)) is None:
            return self.async_abort(reason="agents_away")
        found = next((it for it in gone if it.location_id == self._gone_id), None)
        if found is None:
            # The schedule was changed elsewhere.
            return self.async_create_entry(data={})
        if found.replacement is None:
            return self.async_abort(reason="no_replacement")
        return found
