"""Config subentry flow for a location."""

from typing import TYPE_CHECKING, Any, Final

from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntryState,
    ConfigSubentryFlow,
    SubentryFlowResult,
)
from homeassistant.helpers.selector import (
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)

from ..client import AgentError, Location, Provider, Settings
from ..const import DOMAIN, OTHER
from ..links import agents_configuration
from . import default_name
from .form import NAME, LocationForm
from .outcome import Outcome, markdown_list

if TYPE_CHECKING:
    import probatio as vol

    from ..coordinator import AgentCoordinator, S3BackupAgentConfigEntry
else:
    # Home Assistant 2026.3 has voluptuous; later versions alias it to probatio.
    import voluptuous as vol

CONF_PROVIDER: Final = "provider"


class LocationFlow(ConfigSubentryFlow):
    """Adds or changes a location: asks for its settings, checks them, and offers corrections."""

    def __init__(self) -> None:
        """Initialize the flow."""
        self._coordinator: AgentCoordinator
        self._providers: dict[str, Provider] = {}
        self._form: LocationForm
        self._name = ""
        self._settings: Settings = {}
        # The checked settings' folder, and the id for a location with it.
        self._folder: str | None = None
        self._location_id = ""
        self._corrected: Settings = {}
        self._suggested: Settings = {}
        self._errors: dict[str, str] = {}
        self._details = ""
        self._notes = ""

    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for the provider."""
        if user_input is not None:
            return await self._open_form(self._providers[user_input[CONF_PROVIDER]])
        if abort := await self._get_providers():
            return abort
        options = [
            SelectOptionDict(value=provider["id"], label=provider["name"])
            for provider in self._providers.values()
        ]
        selector = SelectSelector(
            SelectSelectorConfig(
                options=options,
                mode=SelectSelectorMode.DROPDOWN,
                # Translates `other`; the rest are names.
                translation_key=CONF_PROVIDER,
            )
        )
        configured = ", ".join(
            location["name"]
            for location in self._coordinator.locations.values()
            if location["source"] == "configuration"
        )
        page = agents_configuration(self.hass, self._get_entry())
        return self.async_show_form(
            step_id="beside_configured" if configured else "user",
            data_schema=vol.Schema({vol.Required(CONF_PROVIDER): selector}),
            description_placeholders={
                "configured": configured,
                "page": page.replace("homeassistant://", "/"),
            },
        )

    async def async_step_beside_configured(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for the provider, and list the locations of the agent's own configuration."""
        return await self.async_step_user(user_input)

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for the settings of an existing location; its provider and id stay."""
        if abort := await self._get_providers():
            return abort
        subentry = self._get_reconfigure_subentry()
        self._settings = dict(subentry.data)
        if subentry.title != default_name(self._settings):
            self._name = subentry.title
        provider = self._providers.get(self._settings[CONF_PROVIDER])
        if provider is None:
            return self.async_abort(reason="unknown_provider")
        return await self._open_form(provider)

    async def async_step_location(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for the settings, and check them."""
        if user_input is None:
            return self._show()
        self._settings = self._form.read(user_input, self._settings)
        self._name = user_input.get(NAME, "").strip()
        return await self._check()

    async def async_step_corrected(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Offer settings that would work."""
        changes = markdown_list(self._corrected)
        return self.async_show_menu(
            step_id="corrected",
            menu_options=["take", "location"],
            description_placeholders={"changes": changes, "details": self._details},
        )

    async def async_step_take(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Use the offered settings."""
        self._settings |= self._corrected
        return await self._check()

    async def async_step_suggested(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Offer settings that may be meant, beside those that work."""
        return self.async_show_menu(
            step_id="suggested",
            menu_options=["use", "keep", "location"],
            description_placeholders={"details": self._notes},
        )

    async def async_step_use(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Use the suggested settings; an empty one is none."""
        settings = {**self._settings, **self._suggested}
        self._settings = {key: value for key, value in settings.items() if value != ""}
        return await self._check()

    async def async_step_keep(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Keep the entered settings."""
        return self._finish()

    def _connect(self) -> bool:
        """Use the entry's current coordinator; the closed client of an old one fails each call."""
        entry = self._get_entry()
        if is_loaded := entry.state is ConfigEntryState.LOADED:
            self._coordinator = entry.runtime_data
        return is_loaded

    async def _get_providers(self) -> SubentryFlowResult | None:
        """Read the agent's providers; return the flow's abort if that fails."""
        if not self._connect():
            return self.async_abort(reason="entry_not_loaded")
        try:
            providers = await self._coordinator.client.providers()
        except AgentError as err:
            return self._abort(err)
        self._providers = {provider["id"]: provider for provider in providers}
        return None

    async def _open_form(self, provider: Provider) -> SubentryFlowResult:
        """Show the form with the provider's settings."""
        self._connect()
        try:
            settings = await self._coordinator.client.settings(provider["id"])
        except AgentError as err:
            return self._abort(err)
        self._form = LocationForm(provider, settings)
        return self._show()

    def _abort(self, err: AgentError) -> SubentryFlowResult:
        """Abort with the agent's error; an older agent has no table of settings."""
        if err.code == "not_found":
            return self._abort_too_old()
        return self.async_abort(
            reason="cannot_connect", description_placeholders={"details": str(err)}
        )

    def _abort_too_old(self) -> SubentryFlowResult:
        """Abort because the agent is too old for this flow."""
        version = self._coordinator.info["version"]
        return self.async_abort(
            reason="agent_too_old", description_placeholders={"version": version}
        )

    async def _check(self) -> SubentryFlowResult:
        """Check the settings, and store them if they work."""
        self._connect()
        try:
            checked = await self._coordinator.client.check_settings(self._settings)
        except AgentError as err:
            outcome = Outcome.failed(err)
        else:
            outcome = Outcome.of(checked)
            if "location_id" not in checked:
                return self._abort_too_old()
            self._folder = checked["folder"]
            self._location_id = checked["location_id"] or ""
        self._corrected, self._notes = outcome.corrected, outcome.notes
        self._details = "\n".join(filter(None, (outcome.details, outcome.notes)))
        self._errors = {
            self._form.field_of(setting, self._settings): error
            for setting, error in outcome.errors.items()
        }
        self._suggested = outcome.suggested
        if outcome.ok and self._suggested:
            return await self.async_step_suggested()
        if outcome.ok:
            return self._finish()
        if self._corrected:
            return await self.async_step_corrected()
        return self._show()

    def _finish(self) -> SubentryFlowResult:
        """Store the location, unless its folder has a location already."""
        entry, settings = self._get_entry(), self._settings
        is_new = self.source != SOURCE_RECONFIGURE
        own = None if is_new else self._get_reconfigure_subentry()
        if other := self._location_there(own.unique_id if own else None):
            return self.async_abort(
                reason="already_configured",
                description_placeholders={"location": other["name"]},
            )
        title = self._name or default_name(settings)
        if own is not None:
            return self.async_update_and_abort(entry, own, title=title, data=settings)
        # A location that moved to another bucket keeps its first id.
        taken = {other.unique_id for other in entry.subentries.values()}
        found = self._location_id
        ids = (found, *(f"{found}-{number}" for number in range(2, len(taken) + 2)))
        return self.async_create_entry(
            title=title,
            data=settings,
            description="notes" if self._notes else None,
            description_placeholders={"notes": self._notes},
            unique_id=next(unique_id for unique_id in ids if unique_id not in taken),
        )

    def _location_there(self, own_id: str | None) -> Location | None:
        """Return the location that has the folder already, at this agent or another one."""
        entries: list[S3BackupAgentConfigEntry]
        entries = self.hass.config_entries.async_loaded_entries(DOMAIN)
        for entry in entries:
            for location in entry.runtime_data.locations.values():
                is_own = (
                    entry is self._get_entry()
                    and location["id"] == own_id
                    and location["source"] == "registered"
                )
                if location.get("folder") == self._folder and not is_own:
                    return location
        return None

    def _show(self) -> SubentryFlowResult:
        """Show the form with the entered values, without secrets."""
        provider = self._form.provider
        schema = self._form.schema(self._settings, self._errors)
        values = self._form.values(self._settings, self._name)
        return self.async_show_form(
            step_id="location",
            data_schema=self.add_suggested_values_to_schema(schema, values),
            errors=self._errors,
            description_placeholders={
                "details": self._details,
                "provider": "S3" if provider["id"] == OTHER else provider["name"],
                "documentation": provider["docs"],
                "keys": provider["keys"]["url"],
                "endpoint_example": f"`{provider['endpoint_example']}`",
                "part_example": "16 MiB",
                "limit_example": "2 MiB",
                "proxy_example": "`http://proxy.example.com:3128`",
            },
        )
