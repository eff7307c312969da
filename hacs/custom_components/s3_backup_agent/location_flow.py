"""Config subentry flow for a location: its provider, its settings, and whether they work."""

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

from .check import Outcome, listed
from .client import AgentError, Provider, Settings
from .const import OTHER
from .links import agents_configuration
from .location_form import NAME, LocationForm
from .locations import default_name, place, place_of

if TYPE_CHECKING:
    import probatio as vol

    from .connection import AgentConnection
else:
    # What Home Assistant 2026.3 has; later ones answer this import with probatio.
    import voluptuous as vol

CONF_PROVIDER: Final = "provider"


class LocationFlow(ConfigSubentryFlow):
    """Asks for a location, tries it, and offers what would work instead."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self._connection: AgentConnection
        self._providers: dict[str, Provider] = {}
        self._form: LocationForm
        self._name = ""
        self._settings: Settings = {}
        self._corrected: Settings = {}
        self._errors: dict[str, str] = {}
        self._details = ""
        self._notes = ""

    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for the provider."""
        if user_input is not None:
            self._form = LocationForm(self._providers[user_input[CONF_PROVIDER]])
            return self._show()
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
                # Of the one that is no name; the others are called the same everywhere.
                translation_key=CONF_PROVIDER,
            )
        )
        configured = ", ".join(
            location["name"]
            for location in self._connection.locations.values()
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
        """Ask for the provider, where the agent's own configuration has locations, too."""
        return await self.async_step_user(user_input)

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Change the settings of a location; its provider and its id stay."""
        if abort := await self._get_providers():
            return abort
        subentry = self._get_reconfigure_subentry()
        self._settings = dict(subentry.data)
        if subentry.title != default_name(self._settings):
            self._name = subentry.title
        provider = self._providers.get(self._settings[CONF_PROVIDER])
        if provider is None:
            return self.async_abort(reason="unknown_provider")
        self._form = LocationForm(provider)
        return self._show()

    async def async_step_location(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for the settings, and try them."""
        if user_input is None:
            return self._show()
        self._settings = self._form.read(user_input, self._settings)
        self._name = user_input.get(NAME, "").strip()
        return await self._try()

    async def async_step_corrected(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Offer what would work."""
        changes = listed(self._corrected)
        return self.async_show_menu(
            step_id="corrected",
            menu_options=["take", "location"],
            description_placeholders={"changes": changes, "details": self._details},
        )

    async def async_step_take(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Take what was offered."""
        self._settings |= self._corrected
        return await self._try()

    def _connect(self) -> bool:
        """Take the connection that the agent has now; without any, the one from before says so when it is used."""
        entry = self._get_entry()
        if is_loaded := entry.state is ConfigEntryState.LOADED:
            self._connection = entry.runtime_data
        return is_loaded

    async def _get_providers(self) -> SubentryFlowResult | None:
        """Ask the agent what it knows; return the end of the flow when it cannot be asked."""
        if not self._connect():
            return self.async_abort(reason="entry_not_loaded")
        try:
            providers = await self._connection.client.providers()
        except AgentError as err:
            return self.async_abort(
                reason="cannot_connect",
                description_placeholders={"details": str(err)},
            )
        self._providers = {provider["id"]: provider for provider in providers}
        return None

    async def _try(self) -> SubentryFlowResult:
        """Try the settings; keep them when they work."""
        self._connect()
        try:
            checked = await self._connection.client.check_settings(self._settings)
        except AgentError as err:
            outcome = Outcome.failed(err)
        else:
            outcome = Outcome.of(checked)
        self._corrected, self._notes = outcome.corrected, outcome.notes
        self._details = "\n".join(filter(None, (outcome.details, outcome.notes)))
        self._errors = {
            self._form.field_of(setting, self._settings): error
            for setting, error in outcome.errors.items()
        }
        if outcome.ok:
            return self._finish()
        if self._corrected:
            return await self.async_step_corrected()
        return self._show()

    def _finish(self) -> SubentryFlowResult:
        """Keep the location, unless it is there already."""
        entry, settings = self._get_entry(), self._settings
        is_new = self.source != SOURCE_RECONFIGURE
        own = None if is_new else self._get_reconfigure_subentry()
        others = [
            subentry for subentry in entry.subentries.values() if subentry is not own
        ]
        found = place_of(self._form.provider, settings)
        if found in {
            place_of(self._providers.get(other.data[CONF_PROVIDER]), {**other.data})
            for other in others
        } | {
            place(location["endpoint"], location["bucket"], location["prefix"])
            for location in self._connection.locations.values()
            if location["source"] == "configuration"
        }:
            return self.async_abort(reason="already_configured")
        title = self._name or default_name(settings)
        if own is not None:
            return self.async_update_and_abort(entry, own, title=title, data=settings)
        # A location that was moved to another bucket keeps the id of its first one.
        taken = {other.unique_id for other in others}
        ids = (found, *(f"{found}-{number}" for number in range(2, len(taken) + 2)))
        return self.async_create_entry(
            title=title,
            data=settings,
            description="notes" if self._notes else None,
            description_placeholders={"notes": self._notes},
            unique_id=next(unique_id for unique_id in ids if unique_id not in taken),
        )

    def _show(self) -> SubentryFlowResult:
        """Show the form with what was in it, but never a secret."""
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
