"""Config flow for the S3 Backup Agent integration."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, override

from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.config_entries import (
    SOURCE_USER,
    ConfigEntry,
    ConfigEntryState,
    ConfigFlowResult,
    ConfigSubentryFlow,
    FlowType,
)
from homeassistant.const import CONF_ADDRESS, CONF_TOKEN, CONF_VERIFY_SSL
from homeassistant.core import callback
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers.selector import (
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
from homeassistant.helpers.service_info.hassio import HassioServiceInfo
from homeassistant.helpers.translation import async_load_integrations
from homeassistant.util.hass_dict import HassKey

from .client import (
    UNSUPPORTED_PROTOCOL,
    AgentError,
    InvalidAddressError,
    Location,
    normalize_address,
)
from .const import (
    CONF_AGENT_ID,
    CONF_APP,
    DEFAULT_ADDRESS,
    DOMAIN,
    SUBENTRY_LOCATION,
    TITLE,
)
from .coordinator import create_client
from .discovery import FoundAgent, announced, find_agents
from .identity import entry_of, known_data, unique_id_of
from .links import BACKUP_OVERVIEW, BACKUP_SETTINGS, OWN_PAGE
from .location.flow import LocationFlow
from .location.reauth import LocationReauth
from .texts import details_of, plain

if TYPE_CHECKING:
    import probatio as vol

    from .coordinator import S3BackupAgentConfigEntry
else:
    # Home Assistant 2026.3 has voluptuous; later versions alias it to probatio.
    import voluptuous as vol

_PASSWORD = TextSelector(TextSelectorConfig(type=TextSelectorType.PASSWORD))
_AGENT_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_ADDRESS, default=DEFAULT_ADDRESS): str,
        vol.Optional(CONF_TOKEN): _PASSWORD,
        vol.Optional(CONF_VERIFY_SSL, default=True): bool,
    }
)
_TOKEN_SCHEMA = vol.Schema({vol.Optional(CONF_TOKEN): _PASSWORD})
_NOTHING = vol.Schema({})
# The page with the button *Add a bucket*.
_PAGE = OWN_PAGE.replace("homeassistant://", "/")

# The newest discovery message of each app, by slug.
_DATA_ANNOUNCED: HassKey[dict[str, FoundAgent]] = HassKey(f"{DOMAIN}.announced")

# The field and the translation key of an error; any other is `cannot_connect`.
_FIELD_ERRORS = {
    "unauthorized": (CONF_TOKEN, "invalid_auth"),
    "too_many_attempts": (CONF_TOKEN, "too_many_attempts"),
    UNSUPPORTED_PROTOCOL: ("base", "unsupported_protocol"),
    "invalid_response": ("base", "not_an_agent"),
}


def _has_bucket(locations: Iterable[Location]) -> bool:
    """Return whether there is a location besides the directory of an agent without one."""
    return any(it["source"] != "embedded" for it in locations)


class S3BackupAgentConfigFlow(LocationReauth, domain=DOMAIN):
    """Handle a config flow for S3 Backup Agent."""

    VERSION = 1

    def __init__(self) -> None:
        """Initialize the flow."""
        self._details = ""
        self._found: FoundAgent
        # The data of discovered agents, by address, for values that the form does not have.
        self._known: dict[str, Mapping[str, Any]] = {}
        self._moved: dict[str, Any] = {}

    @classmethod
    @callback
    @override
    def async_get_supported_subentry_types(
        cls, config_entry: ConfigEntry
    ) -> dict[str, type[ConfigSubentryFlow]]:
        """Return the supported subentry types."""
        return {SUBENTRY_LOCATION: LocationFlow}

    @override
    async def async_step_hassio(
        self, discovery_info: HassioServiceInfo
    ) -> ConfigFlowResult:
        """Handle discovery by Supervisor; a reinstalled app may have another address or token."""
        slug = discovery_info.slug
        found = announced(discovery_info.config, slug, discovery_info.name)
        if found is None:
            return self.async_abort(reason="invalid_discovery")
        # Before it aborts: an open flow for the app continues with the newest message.
        self.hass.data.setdefault(_DATA_ANNOUNCED, {})[slug] = found
        await self.async_set_unique_id(slug)
        if entry := entry_of(self.hass, found.data):
            return self._follow(entry, found.data)
        self._abort_if_unique_id_configured()
        data, errors = await self._check(found.data)
        if not errors and (entry := entry_of(self.hass, data)):
            return self._follow(entry, data)
        self._found = found
        self.context["title_placeholders"] = {"name": found.name}
        return await self.async_step_hassio_confirm()

    async def async_step_hassio_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for confirmation to use the app."""
        errors: dict[str, str] = {}
        if user_input is not None:
            slug = str(self._found.app)
            self._found = self.hass.data[_DATA_ANNOUNCED].get(slug, self._found)
            data, errors = await self._check(self._found.data)
            if not errors:
                return await self._finish(data, self._found.name)
            # The form has no field for the token.
            errors = {"base": next(iter(errors.values()))}
        self._set_confirm_only()
        return self._show(
            "hassio_confirm", _NOTHING, {"name": self._found.name}, errors
        )

    @override
    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Offer a discovered agent, or ask for the address."""
        problem: tuple[dict[str, Any], dict[str, str], str] | None = None
        for found in await find_agents(self.hass):
            if entry_of(self.hass, found.data):
                continue
            self._known[found.address] = found.data
            data, errors = await self._check(found.data)
            if errors:
                problem = problem or (data, errors, self._details)
            elif not entry_of(self.hass, data):
                self._found = found
                return self.async_show_menu(
                    step_id="user",
                    menu_options=["found", "manual"],
                    description_placeholders={"address": found.address},
                )
        suggested, errors, self._details = problem or ({}, {}, "")
        return self._show("manual", _AGENT_SCHEMA, suggested, errors)

    async def async_step_found(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Use the discovered agent."""
        data, errors = await self._check(self._found.data)
        if errors:
            return self._show("manual", _AGENT_SCHEMA, data, errors)
        return await self._finish(data, self._found.name)

    async def async_step_manual(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the address and the token."""
        errors: dict[str, str] = {}
        if user_input is not None:
            data, errors = await self._check(user_input)
            if not errors:
                return await self._finish(data, TITLE)
        return self._show("manual", _AGENT_SCHEMA, user_input, errors)

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for another address or token."""
        entry = self._get_reconfigure_entry()
        errors: dict[str, str] = {}
        if user_input is not None:
            data, errors = await self._check(user_input)
            if not errors:
                return await self._move(entry, data)
        return self._show(
            "reconfigure", _AGENT_SCHEMA, user_input or entry.data, errors
        )

    async def async_step_another_agent(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for confirmation to replace the entry's agent by another one."""
        if user_input is None:
            return self._show("another_agent", _NOTHING, self._moved, {})
        return self._store(self._get_reconfigure_entry(), self._moved)

    async def async_step_reauth(
        self, entry_data: Mapping[str, Any]
    ) -> ConfigFlowResult:
        """Start to ask for the token, or for the key of a location."""
        if self.is_about_location:
            return await self.async_step_reauth_location()
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the token."""
        entry = self._get_reauth_entry()
        errors: dict[str, str] = {}
        if user_input is not None:
            others = {it: entry.data[it] for it in entry.data if it != CONF_TOKEN}
            data, errors = await self._check(others | user_input)
            if not errors:
                return self.async_update_reload_and_abort(entry, data=data)
        return self._show("reauth_confirm", _TOKEN_SCHEMA, user_input, errors)

    async def _check(
        self, user_input: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the entry data, and the errors of a connection with it."""
        self._details = ""
        try:
            address = normalize_address(user_input[CONF_ADDRESS])
        except InvalidAddressError:
            return {}, {CONF_ADDRESS: "invalid_address"}
        known = self._known.get(address, {})
        data: dict[str, Any] = {CONF_ADDRESS: address}
        token = user_input.get(CONF_TOKEN, "").strip()
        if token := token or known.get(CONF_TOKEN):
            data[CONF_TOKEN] = token
        if app := user_input.get(CONF_APP) or known.get(CONF_APP):
            data[CONF_APP] = app
        if not user_input.get(CONF_VERIFY_SSL, True):
            data[CONF_VERIFY_SSL] = False
        try:
            async with create_client(self.hass, data) as client:
                info = await client.info()
        except AgentError as err:
            # Before the first set-up, no translations are loaded.
            await async_load_integrations(self.hass, {DOMAIN})
            self._details = plain(details_of(self.hass, err))
            field, error = _FIELD_ERRORS.get(err.code, ("base", "cannot_connect"))
            return data, {field: error}
        return known_data(data, info), {}

    async def _finish(self, data: dict[str, Any], title: str) -> ConfigFlowResult:
        """Create an entry, or update the agent's existing one."""
        if entry := entry_of(self.hass, data):
            _, errors = await self._check(entry.data)
            if errors:
                return self._follow(entry, data, "address_updated")
            return self.async_abort(
                reason="already_configured",
                description_placeholders={"address": entry.data[CONF_ADDRESS]},
            )
        # Aborts the discovery flow of the same app.
        await self.async_set_unique_id(unique_id_of(data), raise_on_progress=False)
        self._abort_if_unique_id_configured()
        if await self._finds_bucket(data):
            backups = self.hass.data[DATA_MANAGER].config.data
            return self.async_create_entry(
                title=title,
                data=data,
                description="with_bucket",
                description_placeholders={
                    "backups": BACKUP_SETTINGS
                    if backups.automatic_backups_configured
                    else BACKUP_OVERVIEW
                },
            )
        return self.async_create_entry(
            title=title, data=data, description_placeholders={"page": _PAGE}
        )

    async def _finds_bucket(self, data: Mapping[str, Any]) -> bool:
        """Return whether the agent has a bucket already; Home Assistant 2026.3 loads the entry only later."""
        try:
            async with create_client(self.hass, data) as client:
                return _has_bucket(await client.locations())
        except AgentError:
            return False

    @override
    async def async_on_create_entry(self, result: ConfigFlowResult) -> ConfigFlowResult:
        """Go on with a bucket, unless the agent has one already; Home Assistant 2026.3 does not call this."""
        entry: S3BackupAgentConfigEntry = result["result"]
        if entry.state is not ConfigEntryState.LOADED or _has_bucket(
            entry.runtime_data.locations.values()
        ):
            return result
        flow = await self.hass.config_entries.subentries.async_init(
            (entry.entry_id, SUBENTRY_LOCATION),
            context={"source": SOURCE_USER},
        )
        if flow["type"] is FlowResultType.FORM:
            result["next_flow"] = (FlowType.CONFIG_SUBENTRIES_FLOW, flow["flow_id"])
        return result

    def _follow(
        self,
        entry: ConfigEntry,
        data: dict[str, Any],
        reason: str = "already_configured",
    ) -> ConfigFlowResult:
        """Update an entry to its agent's new address, without data of the old one."""
        known = {
            key: value
            for key, value in entry.data.items()
            if key not in (CONF_TOKEN, CONF_VERIFY_SSL)
        } | data
        result = self.async_update_reload_and_abort(
            entry,
            unique_id=unique_id_of(known),
            data=known,
            reason=reason,
            # The agent is available now.
            reload_even_if_entry_is_unchanged=entry.state
            in (ConfigEntryState.SETUP_RETRY, ConfigEntryState.SETUP_ERROR),
        )
        result["description_placeholders"] = {"address": known[CONF_ADDRESS]}
        return result

    async def _move(self, entry: ConfigEntry, data: dict[str, Any]) -> ConfigFlowResult:
        """Store another address; ask for confirmation if another agent answers there."""
        if other := entry_of(self.hass, data, other_than=entry.entry_id):
            return self.async_abort(
                reason="already_configured",
                description_placeholders={"address": other.data[CONF_ADDRESS]},
            )
        before, now = entry.data.get(CONF_AGENT_ID), data.get(CONF_AGENT_ID)
        if before and now and before != now:
            self._moved = data
            return await self.async_step_another_agent()
        if app := entry.data.get(CONF_APP):
            data = {**data, CONF_APP: app}
        return self._store(entry, data)

    def _store(self, entry: ConfigEntry, data: dict[str, Any]) -> ConfigFlowResult:
        """Store the changed data of an entry."""
        return self.async_update_reload_and_abort(
            entry, unique_id=unique_id_of(data), data=data
        )

    def _show(
        self,
        step_id: str,
        schema: vol.Schema,
        values: Mapping[str, Any] | None,
        errors: dict[str, str],
    ) -> ConfigFlowResult:
        """Show a form with the entered values, without a token."""
        shown = {
            key: value for key, value in (values or {}).items() if key != CONF_TOKEN
        }
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(schema, shown),
            errors=errors,
            description_placeholders={
                "details": self._details,
                "address": shown.get(CONF_ADDRESS, ""),
                "name": shown.get("name", TITLE),
            },
        )
