"""Reauth flow for the access key of a location that is stored in Home Assistant.

Home Assistant has no reauth for subentries, so the entry's flow names the location in its title.
"""

from typing import TYPE_CHECKING, Any, Final

from homeassistant.config_entries import (
    SOURCE_REAUTH,
    ConfigEntry,
    ConfigFlow,
    ConfigFlowResult,
    ConfigSubentry,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.selector import (
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)

from ..client import AgentError, Settings
from ..coordinator import create_client
from ..texts import plain
from . import subentry_of
from .outcome import Outcome

if TYPE_CHECKING:
    import probatio as vol
else:
    # Home Assistant 2026.3 has voluptuous; later versions alias it to probatio.
    import voluptuous as vol

# The error codes that another key may solve.
KEY_ERRORS: Final = frozenset({"storage_auth", "storage_forbidden"})

_LOCATION_ID: Final = "location_id"
_STEP: Final = "reauth_location"
_PASSWORD: Final = TextSelector(
    TextSelectorConfig(type=TextSelectorType.PASSWORD, autocomplete="off")
)
_KEY: Final = {
    vol.Required("access_key_id"): TextSelector(),
    vol.Required("secret_access_key"): _PASSWORD,
}
_TOKEN: Final = {vol.Optional("session_token"): _PASSWORD}


@callback
def start_key_reauth(
    hass: HomeAssistant, entry: ConfigEntry, subentry: ConfigSubentry
) -> None:
    """Ask for another key of a location, unless a reauth flow is open already."""
    name = f"{entry.title}: {subentry.title}"
    names = {"name": name, _LOCATION_ID: subentry.unique_id or ""}
    entry.async_start_reauth(hass, {"title_placeholders": names})


@callback
def start_token_reauth(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Ask for the agent's token, instead of any location's key."""
    abort_flows(hass, entry)
    entry.async_start_reauth(hass)


@callback
def key_flows(hass: HomeAssistant, entry: ConfigEntry) -> dict[str, str]:
    """Return the flows that ask for a location's key, by location id."""
    return {
        location_id: flow["flow_id"]
        for flow in entry.async_get_active_flows(hass, {SOURCE_REAUTH})
        if (location_id := _location_of(flow["context"]))
    }


@callback
def abort_flows(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Abort the flows that ask for keys: an entry has one reauth flow at a time."""
    for flow_id in key_flows(hass, entry).values():
        hass.config_entries.flow.async_abort(flow_id)


class LocationReauth(ConfigFlow):
    """The steps of the config flow that ask for a location's key."""

    async def async_step_reauth_location(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a key, check it, and store it."""
        entry = self._get_reauth_entry()
        subentry = subentry_of(entry, _location_of(self.context))
        if subentry is None:
            return self.async_abort(reason="location_removed")
        known: Settings = {**subentry.data}
        outcome = Outcome(ok=True)
        if user_input is not None:
            settings = _with_key(known, user_input)
            outcome = await self._check_location(entry, settings)
            if outcome.ok:
                self.hass.config_entries.async_update_subentry(
                    entry, subentry, data=settings
                )
                return self.async_abort(reason="reauth_location_successful")
        schema = vol.Schema(_KEY | (_TOKEN if "session_token" in known else {}))
        values = {"access_key_id": (user_input or known).get("access_key_id")}
        return self.async_show_form(
            step_id=_STEP,
            data_schema=self.add_suggested_values_to_schema(schema, values),
            errors={
                setting if setting in schema.schema else "base": error
                for setting, error in outcome.errors.items()
            },
            description_placeholders={
                "location": subentry.title,
                "bucket": known["bucket"],
                "details": plain(outcome.details),
            },
        )

    @property
    def is_about_location(self) -> bool:
        """Return whether the flow asks for a location's key, not for the agent's token."""
        return bool(_location_of(self.context))

    async def _check_location(self, entry: ConfigEntry, settings: Settings) -> Outcome:
        """Check settings; the entry may be unloaded."""
        try:
            async with create_client(self.hass, entry.data) as client:
                return Outcome.of(self.hass, await client.check_settings(settings))
        except AgentError as err:
            return Outcome.failed(self.hass, err)


def _location_of(context: Any) -> str:
    """Return the location id of a flow, empty for a flow about the agent."""
    location_id: str = context.get("title_placeholders", {}).get(_LOCATION_ID, "")
    return location_id


def _with_key(known: Settings, user_input: dict[str, Any]) -> Settings:
    """Return settings with another key; the old key's session token is dropped."""
    others = {key: text for key, text in known.items() if key != "session_token"}
    entered = {key: str(text).strip() for key, text in user_input.items()}
    return others | {key: text for key, text in entered.items() if text}
