"""Another key for a location that is kept in Home Assistant, asked for when the provider no longer accepts the old one.

Home Assistant has no such question for subentries. It is one of their entry's, which names the location in its title.
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

from .check import Outcome
from .client import AgentError, Settings
from .connection import create_client
from .locations import kept_here

if TYPE_CHECKING:
    import probatio as vol
else:
    # What Home Assistant 2026.3 has; later ones answer this import with probatio.
    import voluptuous as vol

# The codes that another key may help with.
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
def ask_for_key(
    hass: HomeAssistant, entry: ConfigEntry, subentry: ConfigSubentry
) -> None:
    """Ask for another key of a location, unless something is being asked already."""
    name = f"{entry.title}: {subentry.title}"
    names = {"name": name, _LOCATION_ID: subentry.unique_id or ""}
    entry.async_start_reauth(hass, {"title_placeholders": names})


@callback
def questions(hass: HomeAssistant, entry: ConfigEntry) -> dict[str, str]:
    """Return the flows that ask for a location's key, by the location."""
    return {
        location_id: flow["flow_id"]
        for flow in entry.async_get_active_flows(hass, {SOURCE_REAUTH})
        if (location_id := _location_of(flow["context"]))
    }


@callback
def end_questions(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Ask for no location's key any more: while something is asked, Home Assistant asks nothing else of an entry."""
    for flow_id in questions(hass, entry).values():
        hass.config_entries.flow.async_abort(flow_id)


@callback
def ask_for_token(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Ask for the agent's token, which matters more than the key of a location."""
    end_questions(hass, entry)
    entry.async_start_reauth(hass)


class LocationReauth(ConfigFlow):
    """The part of the config flow that asks for a location's key."""

    async def async_step_reauth_location(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a key, try it, and keep it with the location's other settings."""
        entry = self._get_reauth_entry()
        subentry = kept_here(entry, _location_of(self.context))
        if subentry is None:
            return self.async_abort(reason="location_removed")
        known: Settings = {**subentry.data}
        outcome = Outcome(ok=True)
        if user_input is not None:
            settings = _with_key(known, user_input)
            outcome = await self._try(entry, settings)
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
                "details": outcome.details,
            },
        )

    @property
    def is_about_a_location(self) -> bool:
        """Whether a location's key is asked for, and not the agent's token."""
        return bool(_location_of(self.context))

    async def _try(self, entry: ConfigEntry, settings: Settings) -> Outcome:
        """Try settings; the entry need not be loaded."""
        try:
            async with create_client(self.hass, entry.data) as client:
                return Outcome.of(await client.check_settings(settings))
        except AgentError as err:
            return Outcome.failed(err)


def _location_of(context: Any) -> str:
    """Return the location that a flow is about; nothing when it is about the agent."""
    location_id: str = context.get("title_placeholders", {}).get(_LOCATION_ID, "")
    return location_id


def _with_key(known: Settings, user_input: dict[str, Any]) -> Settings:
    """Return settings with another key, and without a token that belongs to the old one."""
    others = {key: text for key, text in known.items() if key != "session_token"}
    entered = {key: str(text).strip() for key, text in user_input.items()}
    return others | {key: text for key, text in entered.items() if text}
