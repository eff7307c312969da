"""Config subentry flow for a location."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntryState,
    ConfigSubentryFlow,
    SubentryFlowResult,
)
from homeassistant.helpers.selector import (
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)

from ..client import AgentError, Location, Provider, Settings
from ..const import DOMAIN, OTHER
from ..links import BACKUP_OVERVIEW, BACKUP_SETTINGS, agents_configuration
from ..texts import details_of, labelled, other_provider, plain, provider_help
from . import default_name, free_id, is_public
from .form import NAME, LocationForm
from .outcome import Outcome

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
        self._outcome = Outcome(ok=False)

    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for the provider, or for the URL of the bucket, which tells it."""
        if not self._providers and (abort := await self._get_providers()):
            return abort
        errors: dict[str, str] = {}
        if user_input is not None:
            entered = user_input.get(CONF_PROVIDER, "").strip()
            if provider := await self._provider_of(entered):
                return await self._open_form(provider)
            errors = {CONF_PROVIDER: "unknown_provider"}
        selector = SelectSelector(
            SelectSelectorConfig(
                # The frontend shows the value itself, and searches, only in lists that take other values, too.
                options=[self._label(it) for it in self._providers.values()],
                mode=SelectSelectorMode.DROPDOWN,
                custom_value=True,
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
            # The frontend preselects the first value of a required list.
            data_schema=vol.Schema({vol.Optional(CONF_PROVIDER): selector}),
            errors=errors,
            description_placeholders={
                "configured": configured,
                "page": page.replace("homeassistant://", "/"),
                "url_example": "`https://my-bucket.s3.eu-central-1.amazonaws.com`",
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
        """Ask for the settings of a new location, and check them."""
        if user_input is None:
            return self._show()
        self._settings = self._form.read(user_input, self._settings)
        self._name = user_input.get(NAME, "").strip()
        return await self._check()

    async def async_step_change(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for the settings of an existing location, and check them."""
        return await self.async_step_location(user_input)

    async def async_step_corrected(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Offer settings that work."""
        return self._offer("corrected")

    async def async_step_unencrypted(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Warn of a server that answers without TLS only."""
        return self._offer("unencrypted")

    async def async_step_take(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Use the offered settings."""
        self._settings |= self._outcome.corrected
        return await self._check()

    async def async_step_suggested(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Offer settings that may be meant, beside those that work."""
        return self.async_show_menu(
            step_id="suggested",
            menu_options=["use", "keep", self._form_step],
            description_placeholders={"details": self._outcome.notes},
        )

    async def async_step_use(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Use the suggested settings; an empty one is none."""
        settings = {**self._settings, **self._outcome.suggested}
        self._settings = {key: value for key, value in settings.items() if value != ""}
        return await self._check()

    async def async_step_keep(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Keep the entered settings."""
        return self._finish()

    @property
    def _form_step(self) -> str:
        """The step with the form: its words differ for an existing location."""
        return "change" if self.source == SOURCE_RECONFIGURE else "location"

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

    async def _provider_of(self, entered: str) -> Provider | None:
        """Return the chosen provider, or the one of a URL, which also fills in the form."""
        by_name = {self._label(it).casefold(): it for it in self._providers.values()}
        if known := self._providers.get(entered) or by_name.get(entered.casefold()):
            return known
        if "." not in entered and "/" not in entered:
            return None
        self._connect()
        understood: Settings = {}
        # Without the agent, the form says what is wrong.
        with suppress(AgentError):
            checked = await self._coordinator.client.check_settings({"bucket": entered})
            understood = checked["corrected"] or {}
        self._settings = understood or {"endpoint": entered}
        provider_id = self._settings.pop(CONF_PROVIDER, OTHER)
        return self._providers.get(provider_id, self._providers[OTHER])

    def _label(self, provider: Provider) -> str:
        """Return the name of a provider; the one without a preset has a translated one."""
        if provider["id"] != OTHER:
            return provider["name"]
        return other_provider(self.hass) or provider["name"]

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
            reason="cannot_connect",
            description_placeholders={"details": details_of(self.hass, err)},
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
            self._outcome = Outcome.failed(self.hass, err)
        else:
            self._outcome = Outcome.of(self.hass, checked)
            if "location_id" not in checked:
                return self._abort_too_old()
            self._folder = checked["folder"]
            self._location_id = checked["location_id"] or ""
        outcome = self._outcome
        if outcome.ok and outcome.suggested:
            return await self.async_step_suggested()
        if outcome.ok:
            return self._finish()
        if outcome.is_proven:
            loses_tls = outcome.loses_tls(self._settings)
            return self._offer("unencrypted" if loses_tls else "corrected")
        # What the agent understood of invalid settings.
        self._settings |= outcome.corrected
        return self._show()

    def _offer(self, step_id: str) -> SubentryFlowResult:
        """Offer the corrected settings."""
        return self.async_show_menu(
            step_id=step_id,
            menu_options=["take", self._form_step],
            description_placeholders={
                "changes": labelled(self.hass, self._outcome.corrected),
                "details": self._outcome.details,
            },
        )

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
        notes = {"notes": self._outcome.notes}
        if own is not None:
            done = self.async_update_and_abort(entry, own, title=title, data=settings)
            if not self._outcome.notes:
                return done
            return self.async_abort(
                reason="reconfigured_with_notes", description_placeholders=notes
            )
        links = {"backups": BACKUP_SETTINGS, "overview": BACKUP_OVERVIEW}
        return self.async_create_entry(
            title=title,
            data=settings,
            description=self._next_step(),
            description_placeholders=notes | links,
            unique_id=free_id(self.hass, self._location_id),
        )

    def _next_step(self) -> str:
        """Return the key of the text about what comes next: new systems set up backups first, which creates their key."""
        has_notes = bool(self._outcome.notes)
        if self.hass.data[DATA_MANAGER].config.data.automatic_backups_configured:
            return "notes" if has_notes else "default"
        return "first_notes" if has_notes else "first"

    def _location_there(self, own_id: str | None) -> Location | None:
        """Return the location that has the folder already, at this agent or another one."""
        entries: list[S3BackupAgentConfigEntry]
        entries = self.hass.config_entries.async_loaded_entries(DOMAIN)
        for entry in entries:
            is_own_agent = entry is self._get_entry()
            for location in entry.runtime_data.locations.values():
                if location.get("folder") != self._folder:
                    continue
                if not is_own_agent and not is_public(location["endpoint"]):
                    # The same address leads to another server from another machine.
                    continue
                is_own = location["id"] == own_id and location["source"] == "registered"
                if not (is_own_agent and is_own):
                    return location
        return None

    def _show(self) -> SubentryFlowResult:
        """Show the form with the entered values, without secrets."""
        provider = self._form.provider
        errors = self._form.errors(self._outcome.errors)
        schema = self._form.schema(self._settings, errors)
        values = self._form.values(self._settings, self._name)
        outcome = self._outcome
        is_new = self.source != SOURCE_RECONFIGURE
        return self.async_show_form(
            step_id=self._form_step,
            data_schema=self.add_suggested_values_to_schema(schema, values),
            errors=errors,
            description_placeholders={
                "details": plain(
                    "\n\n".join(filter(None, (outcome.details, outcome.notes)))
                ),
                "provider": "S3" if provider["id"] == OTHER else provider["name"],
                "location": "" if is_new else self._get_reconfigure_subentry().title,
                "help": (provider_help(self.hass, provider["id"]) or _help(provider))
                + _policy_of(provider),
                "documentation": provider["docs"],
                "keys": provider["keys"]["url"],
                "endpoint_example": f"`{provider['endpoint_example']}`",
                "part_example": "16 MiB",
                "limit_example": "2 MB/s",
                "proxy_example": "`http://proxy.example.com:3128`",
            },
        )


def _help(provider: Provider) -> str:
    """Return how to set up a provider: the key, its permissions, and quirks."""
    rights = provider.get("permissions", {}).get("help", "")
    lines = (provider["keys"]["help"], rights, *provider.get("quirks", ()))
    return "\n".join(f"- {line}" for line in lines if line)


def _policy_of(provider: Provider) -> str:
    """Return the policy to attach to a provider's key, as a block of code."""
    policy = provider.get("permissions", {}).get("policy")
    return f"\n\n```json\n{policy.strip()}\n```" if policy else ""
