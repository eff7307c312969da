"""Adding a location."""

from typing import Any

from lab.garage import Garage
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.client import AgentClient
from custom_components.s3_backup_agent.const import CONF_APP, DOMAIN
from custom_components.s3_backup_agent.location.form import ADVANCED
from custom_components.s3_backup_agent.location.outcome import INVALID_SETTING
from homeassistant.config_entries import SOURCE_REAUTH, ConfigSubentry
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

from .agent import Agent, toml_of
from .home import shown as issues
from .location_forms import Fields, LocationForms, values_of


async def test_bucket_and_key_are_enough(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """The bucket and its key are enough, and are stored without spaces."""
    form = await forms.begin(loaded)
    assert form["description_placeholders"]["provider"] == "Garage"
    result = await forms.submit(form, {**fields, "bucket": f" {fields['bucket']} "})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = loaded.subentries.values()
    assert subentry.title == fields["bucket"]
    assert subentry.subentry_type == "location"
    assert subentry.unique_id is not None
    # As the agent derives it for the same bucket in its own configuration.
    assert subentry.unique_id.startswith("loc-")
    del fields[ADVANCED]
    assert subentry.data == {"provider": "garage", **fields}


async def test_advanced_settings_are_stored(
    hass: HomeAssistant, loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """Advanced settings are stored, and registered with the agent."""
    advanced = {
        "region": "garage",
        "addressing": "path",
        "checksum": "auto",
        "encryption": "SSE-C",
        "encryption_key": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "upload_limit": "2 MiB",
    }
    fields |= {"prefix": "home/cellar", "name": "Cellar", ADVANCED: advanced}
    subentry = await forms.add(loaded, fields)
    assert subentry.title == "Cellar"
    del fields[ADVANCED], fields["name"], advanced["checksum"]
    assert subentry.data == {"provider": "garage", **fields, **advanced}
    location = loaded.runtime_data.locations[subentry.unique_id]
    assert (location["name"], location["prefix"]) == ("Cellar", "home/cellar")


async def test_part_size_is_validated(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """An invalid part size is refused."""
    form = await forms.submit(
        await forms.begin(loaded), {**fields, ADVANCED: {"part_size": "1 MiB"}}
    )
    assert form["errors"] == {ADVANCED: INVALID_SETTING}
    result = await forms.submit(form, {**fields, ADVANCED: {"part_size": "16 MiB"}})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = loaded.subentries.values()
    assert subentry.data["part_size"] == "16 MiB"


async def test_verification_schedule_is_validated(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """An invalid schedule is refused, a valid one is used, and none is the default."""
    verify = {"verify_every": "7d", "verify_sample": "all", "verify_mode": "quick"}
    form = await forms.begin(loaded)
    assert all(values_of(form)[ADVANCED][name] is None for name in verify)
    wrong = {**fields, ADVANCED: {**verify, "verify_every": "weekly"}}
    form = await forms.submit(form, wrong)
    assert form["errors"] == {ADVANCED: INVALID_SETTING}
    assert "verify_every: must be" in form["description_placeholders"]["details"]
    assert values_of(form)[ADVANCED]["verify_mode"] == "quick"
    result = await forms.submit(form, {**fields, ADVANCED: verify})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = loaded.subentries.values()
    assert verify.items() <= subentry.data.items()

    def verification(subentry: ConfigSubentry) -> Any:
        return loaded.runtime_data.locations[subentry.unique_id]["verification"]

    assert verification(subentry)["next_at"]
    form = await forms.submit(await forms.begin(loaded), {**fields, "prefix": "never"})
    assert form["type"] is FlowResultType.CREATE_ENTRY
    assert verification(list(loaded.subentries.values())[-1]) is None


async def test_folder_is_added_once(
    hass: HomeAssistant,
    *,
    loaded: MockConfigEntry,
    fields: Fields,
    forms: LocationForms,
) -> None:
    """A folder is added once; removed and added again, it keeps its id."""
    first = await forms.add(loaded, fields)
    same = {**fields, "endpoint": f"{fields['endpoint']}/", "prefix": "/"}
    result = await forms.submit(await forms.begin(loaded), same)
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "already_configured"
    assert result["description_placeholders"] == {"location": fields["bucket"]}
    second = await forms.add(loaded, {**fields, "prefix": "attic"})
    assert second.title == f"{fields['bucket']}/attic"
    assert second.unique_id != first.unique_id

    assert hass.config_entries.async_remove_subentry(loaded, first.subentry_id)
    again = await forms.add(loaded, fields)
    assert again.unique_id == first.unique_id
    assert again.subentry_id != first.subentry_id


async def test_configured_folder_aborts(
    hass: HomeAssistant, fields: Fields, forms: LocationForms
) -> None:
    """A folder of the agent's own configuration aborts the flow."""
    settings = {key: text for key, text in fields.items() if key != ADVANCED}
    async with Agent(more=toml_of(settings)) as agent:
        entry = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: agent.address})
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        form = await forms.begin(entry)
        result = await forms.submit(form, fields)
        assert result["type"] is FlowResultType.ABORT
        assert result["reason"] == "already_configured"
        assert result["description_placeholders"] == {"location": fields["bucket"]}
        assert await hass.config_entries.async_unload(entry.entry_id)


async def test_folder_of_another_agent_aborts(
    hass: HomeAssistant,
    *,
    loaded: MockConfigEntry,
    fields: Fields,
    forms: LocationForms,
) -> None:
    """A folder that another agent has aborts the flow."""
    await forms.add(loaded, {**fields, "name": "The cellar"})
    async with Agent() as other:
        entry = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: other.address})
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        result = await forms.submit(await forms.begin(entry), fields)
        assert result["reason"] == "already_configured"
        assert result["description_placeholders"] == {"location": "The cellar"}
        assert await hass.config_entries.async_unload(entry.entry_id)


async def test_bucket_has_one_id_in_options_and_form(
    hass: HomeAssistant, *, garage: Garage, fields: Fields, forms: LocationForms
) -> None:
    """A bucket that moves between the agent's options and the form keeps its id."""
    settings = {key: text for key, text in fields.items() if key != ADVANCED}
    configured = toml_of({**settings, "provider": "garage", "region": garage.region})
    async with Agent(more=configured) as elsewhere:
        async with AgentClient(elsewhere.address) as client:
            (location,) = await client.locations()
        assert location["source"] == "configuration"
    async with Agent() as agent:
        entry = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: agent.address})
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        subentry = await forms.add(entry, fields)
        assert subentry.unique_id == location["id"]

        # The options have it, too: it is one location.
        await agent.stop()
        agent.more = configured
        await agent.start()
        assert await hass.config_entries.async_reload(entry.entry_id)
        (shown,) = entry.runtime_data.locations.values()
        assert (shown["id"], shown["source"]) == (location["id"], "configuration")
        assert entry.runtime_data.refused == {}
        # Its key is that of the options.
        error = {"code": "storage_auth", "detail": "Rejected", "hint": "", "since": ""}
        rejected = {
            **shown,
            "status": "error",
            "error": {**error, "provider_code": None},
        }
        event: Any = {"type": "location", "location": rejected}
        entry.runtime_data.handle_event(event)
        assert "credentials" in issues(hass)
        assert not any(entry.async_get_active_flows(hass, {SOURCE_REAUTH}))
        assert await hass.config_entries.async_unload(entry.entry_id)


async def test_configured_locations_are_listed(
    hass: HomeAssistant, forms: LocationForms
) -> None:
    """The agent's own locations are listed, with the page to change them."""
    async with Agent(locations={"here": "Here", "there": "There"}) as agent:
        entry = MockConfigEntry(
            domain=DOMAIN, data={CONF_ADDRESS: agent.address, CONF_APP: "local_agent"}
        )
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        first = await forms.open(entry)
        assert first["step_id"] == "beside_configured"
        placeholders = first["description_placeholders"]
        assert placeholders == {
            "configured": "Here, There",
            "page": "/config/app/local_agent/config",
        }
        form = await forms.submit(first, {"provider": "garage"})
        assert form["step_id"] == "location"
        assert await hass.config_entries.async_unload(entry.entry_id)
