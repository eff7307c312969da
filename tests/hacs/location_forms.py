"""The forms that add and change a location."""

from typing import Any

from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.client import AgentClient
from custom_components.s3_backup_agent.location.form import LocationForm
from homeassistant.config_entries import SOURCE_USER, ConfigSubentry
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, section

type Fields = dict[str, Any]


class LocationForms:
    """Fills in the forms."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Initialize with Home Assistant."""
        self.hass = hass

    async def open(self, entry: MockConfigEntry) -> Any:
        """Start to add a location; return the first form."""
        return await self.hass.config_entries.subentries.async_init(
            (entry.entry_id, "location"), context={"source": SOURCE_USER}
        )

    async def submit(self, form: Any, user_input: Fields) -> Any:
        """Fill in a form, or choose from a menu."""
        result = await self.hass.config_entries.subentries.async_configure(
            form["flow_id"], user_input
        )
        await self.hass.async_block_till_done()
        return result

    async def begin(self, entry: MockConfigEntry, provider: str = "garage") -> Any:
        """Start to add a location, up to the form of a provider."""
        first = await self.open(entry)
        assert first["type"] is FlowResultType.FORM
        assert first["step_id"] in ("user", "beside_configured")
        form = await self.submit(first, {"provider": provider})
        assert form["step_id"] == "location"
        assert form["errors"] == {}
        return form

    async def add(self, entry: MockConfigEntry, fields: Fields) -> ConfigSubentry:
        """Add a working location."""
        result = await self.submit(await self.begin(entry), fields)
        assert result["type"] is FlowResultType.CREATE_ENTRY, result
        subentry: ConfigSubentry = list(entry.subentries.values())[-1]
        return subentry


async def form_of(client: AgentClient, provider_id: str) -> LocationForm:
    """Return the form for a provider's locations."""
    (provider,) = (it for it in await client.providers() if it["id"] == provider_id)
    return LocationForm(provider, await client.settings(provider_id))


def values_of(form: Any) -> Fields:
    """Return the suggested values of a form."""

    def values(schema: Any) -> Fields:
        return {
            str(key): values(field.schema)
            if isinstance(field, section)
            else (key.description or {}).get("suggested_value")
            for key, field in schema.schema.items()
        }

    return values(form["data_schema"])


def is_required(form: Any, name: str) -> bool:
    """Return whether a field is required."""
    (key,) = (key for key in form["data_schema"].schema if key == name)
    return type(key).__name__ == "Required"
