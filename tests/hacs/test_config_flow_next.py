"""The way from a connected agent to its first bucket."""

from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.location.form import SECTIONS
from homeassistant import config_entries
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

from .agent import Agent, toml_of
from .config_forms import start, submit
from .home import Settings
from .location_forms import Fields, LocationForms

# Home Assistant 2026.3 goes on with config flows only.
GOES_ON = hasattr(config_entries.FlowType, "CONFIG_SUBENTRIES_FLOW")


async def test_connecting_goes_on_with_a_bucket(
    hass: HomeAssistant, fields: Fields, forms: LocationForms
) -> None:
    """After an agent without a bucket is connected, the form for one follows, and then a link to the schedule."""
    async with Agent(is_embedded=True) as agent:
        result = await submit(hass, await start(hass), address=agent.address)
        assert result["type"] is FlowResultType.CREATE_ENTRY
        page = "/config/integrations/integration/s3_backup_agent"
        assert result["description_placeholders"] == {"page": page}
        entry: MockConfigEntry = result["result"]
        if not GOES_ON:
            assert "next_flow" not in result
            first = await forms.open(entry)
        else:
            kind, flow_id = result["next_flow"]
            assert kind == "config_subentries_flow"
            first = hass.config_entries.subentries.async_get(flow_id)
            assert first["step_id"] == "user"
        form = await forms.submit(first, {"provider": "garage"})
        done = await forms.submit(form, fields)
        assert done["type"] is FlowResultType.CREATE_ENTRY
        # Without Home Assistant's own setup, backups would have no key; and that setup ignores the location.
        assert done["description"] == "first"
        assert done["description_placeholders"] == {
            "notes": "",
            "overview": "/config/backup/overview",
            "backups": "/config/backup/settings",
        }
        assert await hass.config_entries.async_unload(entry.entry_id)


async def test_configured_backups_need_only_the_location(
    hass: HomeAssistant, loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """Where automatic backups are set up, only the location is to be turned on."""
    hass.data[DATA_MANAGER].config.update(automatic_backups_configured=True)
    done = await forms.submit(await forms.begin(loaded), fields)
    assert done["type"] is FlowResultType.CREATE_ENTRY
    assert done["description"] == "default"


async def test_agent_with_buckets_needs_no_other(
    hass: HomeAssistant, settings: Settings
) -> None:
    """An agent that has a bucket already asks for none."""
    async with Agent(more=toml_of(settings)) as agent:
        result = await submit(hass, await start(hass), address=agent.address)
        assert result["type"] is FlowResultType.CREATE_ENTRY
        # Its schedule comes next: here Home Assistant has none yet.
        assert result["description"] == "with_bucket"
        overview = "/config/backup/overview"
        assert result["description_placeholders"] == {"backups": overview}
        assert "next_flow" not in result
        assert not hass.config_entries.subentries.async_progress()
        assert await hass.config_entries.async_unload(result["result"].entry_id)


async def test_sections_are_the_agents(
    loaded: MockConfigEntry, forms: LocationForms
) -> None:
    """The form has the sections that the agent names, with all their fields."""
    form = await forms.begin(loaded)
    settings = await loaded.runtime_data.client.settings("garage")
    for name in SECTIONS:
        inner = form["data_schema"].schema[name].schema.schema
        own = [it["name"] for it in settings if it["section"] == name]
        assert list(inner) == own
        assert own
    assert loaded.domain == DOMAIN
