"""Fixes for what is on the page of repairs."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, override

from homeassistant.components.repairs import ConfirmRepairFlow, RepairsFlow
from homeassistant.config_entries import ConfigEntry, ConfigEntryState
from homeassistant.core import HomeAssistant

from .check import Outcome, listed
from .client import AgentClient, AgentError, Recovery, Settings
from .issues import TARS_WITHOUT_METADATA, WRONG_REGION, shortened
from .locations import kept_here

if TYPE_CHECKING:
    import probatio as vol

    from homeassistant.components.repairs import RepairsFlowResult

    from .connection import AgentConnection
else:
    # What Home Assistant 2026.3 has; later ones answer this import with probatio.
    import voluptuous as vol

_NOTHING: Final = vol.Schema({})


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, str | int | float | None] | None
) -> RepairsFlow:
    """Return the flow that fixes an issue."""
    about = data or {}
    kind, location_id = about.get("kind"), str(about.get("location_id"))
    entry = hass.config_entries.async_get_entry(str(about.get("entry_id")))
    if kind == WRONG_REGION:
        return CorrectRegion(entry, location_id)
    if kind == TARS_WITHOUT_METADATA:
        return AdoptTars(entry, location_id)
    return ConfirmRepairFlow()


class _LocationFix(RepairsFlow, ABC):
    """A fix for a location; the agent that has it must be connected."""

    _connection: AgentConnection

    def __init__(self, entry: ConfigEntry | None, location_id: str) -> None:
        """Remember which location it is."""
        self._entry = entry
        self._location_id = location_id

    async def async_step_init(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """See what can be done, and say it before it is done."""
        if self._entry is None or not self._connect():
            return self.async_abort(reason="entry_not_loaded")
        try:
            return await self._prepare(self._entry)
        except AgentError as err:
            return self._give_up(err)

    @abstractmethod
    async def _prepare(self, entry: ConfigEntry) -> RepairsFlowResult:
        """See what can be done."""

    def _ask(self, **placeholders: str) -> RepairsFlowResult:
        """Ask whether it is to be done."""
        return self.async_show_form(
            step_id="confirm",
            data_schema=_NOTHING,
            description_placeholders={"location": self._name, **placeholders},
        )

    def _give_up(self, err: AgentError) -> RepairsFlowResult:
        """Say why it cannot be done now."""
        return self.async_abort(
            reason="failed", description_placeholders={"details": str(err)}
        )

    def _connect(self) -> bool:
        """Take the connection that the agent has now; one that ends meanwhile says so itself."""
        entry = self._entry
        if entry is None or entry.state is not ConfigEntryState.LOADED:
            return False
        self._connection = entry.runtime_data
        return True

    @property
    def _client(self) -> AgentClient:
        return self._connection.client

    @property
    def _name(self) -> str:
        location = self._connection.locations.get(self._location_id)
        return location["name"] if location else ""


class CorrectRegion(_LocationFix):
    """Takes the region with which a bucket works."""

    # What is to be changed of the settings, whatever else becomes of them meanwhile.
    _corrected: Settings

    @override
    async def _prepare(self, entry: ConfigEntry) -> RepairsFlowResult:
        """Try the location, and show what it works with."""
        subentry = kept_here(entry, self._location_id)
        if subentry is None:
            return self.async_abort(reason="location_removed")
        settings: Settings = {**subentry.data}
        outcome = Outcome.of(await self._client.check_settings(settings))
        if outcome.ok:
            # Somebody was faster.
            return self.async_create_entry(data={})
        if not outcome.corrected:
            return self.async_abort(
                reason="no_correction",
                description_placeholders={"details": outcome.details},
            )
        self._corrected = outcome.corrected
        return self._ask(details=outcome.details, changes=listed(outcome.corrected))

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Take it; it was tried a moment ago."""
        assert self._entry is not None
        subentry = kept_here(self._entry, self._location_id)
        if subentry is None:
            return self.async_abort(reason="location_removed")
        self.hass.config_entries.async_update_subentry(
            self._entry, subentry, data={**subentry.data, **self._corrected}
        )
        return self.async_create_entry(data={})


class AdoptTars(_LocationFix):
    """Makes backups of tars whose metadata is missing."""

    @override
    async def _prepare(self, entry: ConfigEntry) -> RepairsFlowResult:
        """Look into the tars, and show which backups they are."""
        found = await self._client.recover(self._location_id, dry_run=True)
        if not found["recovered"]:
            return self._report(found)
        backups = [f"- {tar['name']} (`{tar['key']}`)" for tar in found["recovered"]]
        return self._ask(backups=shortened(backups), rest=_failures(found))

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Adopt them."""
        if not self._connect():
            return self.async_abort(reason="entry_not_loaded")
        try:
            found = await self._client.recover(self._location_id)
        except AgentError as err:
            return self._give_up(err)
        return self._report(found)

    def _report(self, found: Recovery) -> RepairsFlowResult:
        """End with what could not be adopted, if there is anything."""
        if not found["failed"]:
            return self.async_create_entry(data={})
        placeholders: dict[str, Any] = {
            "count": str(len(found["recovered"])),
            "rest": _failures(found),
        }
        return self.async_abort(
            reason="not_adopted", description_placeholders=placeholders
        )


def _failures(found: Recovery) -> str:
    """Return what cannot be adopted, and why, as a list in Markdown."""
    return shortened([f"- `{tar['key']}`: {tar['detail']}" for tar in found["failed"]])
