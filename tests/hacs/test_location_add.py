"""Adding a location."""

from typing import Any

from lab.garage import Garage
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.client import AgentClient
from custom_components.s3_backup_agent.const import CONF_APP, DOMAIN
from custom_components.s3_backup_agent.location import free_id, is_public
from custom_components.s3_backup_agent.location.form import IN_SECTION, SECTIONS
from custom_components.s3_backup_agent.location.outcome import INVALID_SETTING
from homeassistant.config_entries import SOURCE_REAUTH, ConfigSubentry
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

from .agent import Agent, toml_of
from .home import agents_of, shown as issues
from .location_forms import Fields, LocationForms, values_of
from .proxy import forward_proxy


def main_of(fields: Fields) -> Fields:
    """Return the fields outside of sections."""
    return {key: text for key, text in fields.items() if key not in SECTIONS}


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
    assert subentry.data == {"provider": "garage", **main_of(fields)}


async def test_advanced_settings_are_stored(
    hass: HomeAssistant, loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """Advanced settings are stored, and registered with the agent."""
    more: Fields = {
        "connection": {"region": "garage", "addressing": "path", "outage_seconds": 900},
        "storage": {
            "checksum": "auto",
            "encryption": "SSE-C",
            "encryption_key": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        },
        "speed": {"upload_limit": "2 MiB", "part_size": "8 MiB"},
    }
    fields |= {"prefix": "home/cellar", "name": "Cellar", **more}
    subentry = await forms.add(loaded, fields)
    assert subentry.title == "Cellar"
    del fields["name"], more["storage"]["checksum"]
    del more["connection"]["outage_seconds"], more["speed"]["part_size"]
    inner = {key: it for section in more.values() for key, it in section.items()}
    assert subentry.data == {"provider": "garage", **main_of(fields), **inner}
    location = loaded.runtime_data.locations[subentry.unique_id]
    assert (location["name"], location["prefix"]) == ("Cellar", "home/cellar")


async def test_part_size_is_validated(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """An invalid part size is refused."""
    form = await forms.submit(
        await forms.begin(loaded), {**fields, "speed": {"part_size": "1 MiB"}}
    )
    assert form["errors"] == {"base": INVALID_SETTING, "speed": IN_SECTION}
    details = form["description_placeholders"]["details"]
    assert "Part size: Enter a size such as 16 MiB" in details
    assert "5 MiB – 512 MiB" in details
    result = await forms.submit(form, {**fields, "speed": {"part_size": "16 MiB"}})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = loaded.subentries.values()
    assert subentry.data["part_size"] == "16 MiB"


async def test_verification_schedule_is_validated(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """An invalid schedule is refused, a valid one is used, and none is the default."""
    verify = {"verify_every": "7d", "verify_sample": "all", "verify_mode": "quick"}
    form = await forms.begin(loaded)
    defaults = {"verify_every": None, "verify_sample": "1", "verify_mode": "full"}
    assert values_of(form)["verification"] == defaults
    wrong = {**fields, "verification": {**verify, "verify_every": "weekly"}}
    form = await forms.submit(form, wrong)
    assert form["errors"] == {"base": INVALID_SETTING, "verification": IN_SECTION}
    assert "Verify every: " in form["description_placeholders"]["details"]
    assert values_of(form)["verification"]["verify_mode"] == "quick"
    result = await forms.submit(form, {**fields, "verification": verify})
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
    settings = main_of(fields)
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


@pytest.mark.parametrize("host", ["s3.example.com", "127.0.0.1", "nas.local"])
async def test_folder_of_another_agent(
    hass: HomeAssistant,
    *,
    garage: Garage,
    loaded: MockConfigEntry,
    fields: Fields,
    forms: LocationForms,
    host: str,
) -> None:
    """Another agent's folder aborts the flow, unless the address may be of another server there."""
    # The server of tests has no name: the agents reach it through a proxy that knows one.
    async with forward_proxy(garage.endpoint) as proxy:
        fields |= {"endpoint": f"http://{host}", "connection": {"proxy": proxy}}
        first = await forms.add(loaded, {**fields, "name": "The cellar"})
        async with Agent() as other:
            entry = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: other.address})
            entry.add_to_hass(hass)
            assert await hass.config_entries.async_setup(entry.entry_id)
            result = await forms.submit(await forms.begin(entry), fields)
            if host == "s3.example.com":
                assert result["reason"] == "already_configured"
                there = {"location": "The cellar"}
                assert result["description_placeholders"] == there
            else:
                assert result["type"] is FlowResultType.CREATE_ENTRY, result
                (second,) = entry.subentries.values()
                assert second.unique_id == f"{first.unique_id}-2"
                names = agents_of(hass)
                assert {f"{DOMAIN}.{it.unique_id}" for it in (first, second)} < {*names}
            assert await hass.config_entries.async_unload(entry.entry_id)


def test_public_endpoints_are_told_from_private_ones() -> None:
    """Only a public address is the same server for each agent."""
    for endpoint in (
        "https://s3.eu-central-1.amazonaws.com",
        "https://s3.example.com.:9000",
        "https://8.8.8.8",
        "https://[2606:4700::1111]:9000",
    ):
        assert is_public(endpoint), endpoint
    for endpoint in (
        "http://127.0.0.1:3900",
        "http://[::1]:3900",
        "http://[fd00::7]",
        "http://192.168.1.5:9000",
        "http://100.64.0.7",
        "http://nas:9000",
        "http://NAS.local",
        "http://minio.fritz.box",
        "http://s3.home.arpa",
        "http://localhost",
    ):
        assert not is_public(endpoint), endpoint
    assert not is_public(None)


async def test_id_with_its_number_stays_within_the_limit(hass: HomeAssistant) -> None:
    """A taken id gets a number, and no more characters than the agent allows."""
    wanted = "a" * 64
    MockConfigEntry(
        domain=DOMAIN,
        subentries_data=[
            {"data": {}, "subentry_type": "location", "title": "", "unique_id": it}
            for it in (wanted, f"{'a' * 62}-2", "b")
        ],
    ).add_to_hass(hass)
    assert free_id(hass, wanted) == f"{'a' * 62}-3"
    assert free_id(hass, "b") == "b-2"
    assert free_id(hass, "c") == "c"


async def test_bucket_has_one_id_in_options_and_form(
    hass: HomeAssistant, *, garage: Garage, fields: Fields, forms: LocationForms
) -> None:
    """A bucket that moves between the agent's options and the form keeps its id."""
    settings = main_of(fields)
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
        assert placeholders["configured"] == "Here, There"
        assert placeholders["page"] == "/config/app/local_agent/config"
        form = await forms.submit(first, {"provider": "garage"})
        assert form["step_id"] == "location"
        assert await hass.config_entries.async_unload(entry.entry_id)
