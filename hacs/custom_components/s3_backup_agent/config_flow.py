"""Config flow of the S3 Backup Agent integration: where the agent is, and its token."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, override

from homeassistant.config_entries import (
    ConfigEntry,
    ConfigFlow,
    ConfigFlowResult,
    ConfigSubentryFlow,
)
from homeassistant.const import CONF_ADDRESS, CONF_TOKEN
from homeassistant.core import callback
from homeassistant.helpers.selector import (
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)

from .client import (
    UNSUPPORTED_PROTOCOL,
    AgentError,
    InvalidAddressError,
    normalize_address,
)
from .connection import create_client
from .const import DEFAULT_ADDRESS, DOMAIN, SUBENTRY_LOCATION, TITLE
from .location_flow import LocationFlow

if TYPE_CHECKING:
    import probatio as vol
else:
    # What Home Assistant 2026.3 has; later ones answer this import with probatio.
    import voluptuous as vol

_PASSWORD = TextSelector(TextSelectorConfig(type=TextSelectorType.PASSWORD))
_AGENT_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_ADDRESS, default=DEFAULT_ADDRESS): str,
        vol.Optional(CONF_TOKEN): _PASSWORD,
    }
)
_TOKEN_SCHEMA = vol.Schema({vol.Optional(CONF_TOKEN): _PASSWORD})

# Which field an error belongs to, and what it is called in the translations; any other is about the connection.
_FIELD_ERRORS = {
    "unauthorized": (CONF_TOKEN, "invalid_auth"),
    UNSUPPORTED_PROTOCOL: ("base", "unsupported_protocol"),
    "invalid_response": ("base", "not_an_agent"),
}


class S3BackupAgentConfigFlow(ConfigFlow, domain=DOMAIN):
    """Asks where the agent is, and whether it is there."""

    VERSION = 1

    def __init__(self) -> None:
        """Start without a problem."""
        self._details = ""

    @classmethod
    @callback
    @override
    def async_get_supported_subentry_types(
        cls, config_entry: ConfigEntry
    ) -> dict[str, type[ConfigSubentryFlow]]:
        """Return what can be added to an agent."""
        return {SUBENTRY_LOCATION: LocationFlow}

    @override
    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Set up an agent by hand."""
        errors: dict[str, str] = {}
        if user_input is not None:
            data, errors = await self._check(user_input)
            if not errors:
                await self.async_set_unique_id(data[CONF_ADDRESS])
                self._abort_if_unique_id_configured()
                return self.async_create_entry(title=TITLE, data=data)
        return self._show("user", _AGENT_SCHEMA, user_input, errors)

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Change the address or the token of an agent."""
        entry = self._get_reconfigure_entry()
        errors: dict[str, str] = {}
        if user_input is not None:
            data, errors = await self._check(user_input)
            if not errors:
                address = data[CONF_ADDRESS]
                if address != entry.unique_id:
                    await self.async_set_unique_id(address)
                    self._abort_if_unique_id_configured()
                return self.async_update_reload_and_abort(
                    entry, unique_id=address, data=data
                )
        return self._show(
            "reconfigure", _AGENT_SCHEMA, user_input or entry.data, errors
        )

    async def async_step_reauth(
        self, entry_data: Mapping[str, Any]
    ) -> ConfigFlowResult:
        """Begin to ask for another token."""
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for another token."""
        entry = self._get_reauth_entry()
        errors: dict[str, str] = {}
        if user_input is not None:
            address = entry.data[CONF_ADDRESS]
            data, errors = await self._check({CONF_ADDRESS: address, **user_input})
            if not errors:
                return self.async_update_reload_and_abort(entry, data=data)
        return self._show("reauth_confirm", _TOKEN_SCHEMA, user_input, errors)

    async def _check(
        self, user_input: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the data of an entry, and what is wrong with it."""
        self._details = ""
        try:
            address = normalize_address(user_input[CONF_ADDRESS])
        except InvalidAddressError:
            return {}, {CONF_ADDRESS: "invalid_address"}
        data = {CONF_ADDRESS: address}
        if token := user_input.get(CONF_TOKEN, "").strip():
            data[CONF_TOKEN] = token
        try:
            async with create_client(self.hass, address, token or None) as client:
                await client.info()
        except AgentError as err:
            self._details = str(err)
            field, error = _FIELD_ERRORS.get(err.code, ("base", "cannot_connect"))
            return data, {field: error}
        return data, {}

    def _show(
        self,
        step_id: str,
        schema: vol.Schema,
        values: Mapping[str, Any] | None,
        errors: dict[str, str],
    ) -> ConfigFlowResult:
        """Show a form with what was in it, but never a token."""
        shown = {
            key: value for key, value in (values or {}).items() if key != CONF_TOKEN
        }
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(schema, shown),
            errors=errors,
            description_placeholders={"details": self._details},
        )
