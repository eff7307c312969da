"""Form of a location: fields, selectors and translations."""

import json

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.client import AgentClient, Provider
from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.errors import FORM_ERRORS, OTHER_ERROR
from custom_components.s3_backup_agent.location.form import ADVANCED, LocationForm
from custom_components.s3_backup_agent.location.outcome import INVALID_SETTING

from .agent import REPOSITORY
from .location_forms import LocationForms, is_required, values_of

TRANSLATIONS = REPOSITORY / "hacs" / "custom_components" / DOMAIN / "translations"


async def test_main_fields_depend_on_provider(
    loaded: MockConfigEntry, forms: LocationForms
) -> None:
    """Outside of the section, a provider has only its own fields."""
    keys = ["bucket", "prefix", "access_key_id", "secret_access_key", "name", ADVANCED]
    for provider, own, required in (
        ("aws", ["region"], False),
        ("cloudflare_r2", ["account_id", "jurisdiction"], True),
        ("backblaze_b2", ["region"], True),
        ("other", ["endpoint"], True),
    ):
        form = await forms.begin(loaded, provider)
        assert list(values_of(form)) == own + keys
        assert is_required(form, own[0]) is required
        assert is_required(form, "secret_access_key")
        assert ("region" in own) is ("region" not in values_of(form)[ADVANCED])
        assert ("endpoint" in own) is ("endpoint" not in values_of(form)[ADVANCED])
    form = await forms.begin(loaded, "hetzner")
    region = form["data_schema"].schema["region"].config
    assert region["custom_value"] is True
    assert {"value": "fsn1", "label": "Falkenstein (fsn1)"} in region["options"]
    form = await forms.begin(loaded, "cloudflare_r2")
    jurisdiction = form["data_schema"].schema["jurisdiction"].config
    assert [option["value"] for option in jurisdiction["options"]] == [
        *("eu", "us", "fedramp")
    ]


async def test_auto_is_not_stored(client: AgentClient) -> None:
    """`auto` is not stored where it is the default; elsewhere it is a value."""
    form = LocationForm((await client.providers())[0])
    names = {"bucket": "auto", "prefix": "auto", "region": "auto"}
    choices = {"addressing": "auto", "checksum": "auto", "verify_mode": "quick"}
    read = form.read({**names, ADVANCED: choices}, {})
    assert read == {"provider": "aws", **names, "verify_mode": "quick"}
    assert form.values(read, "")[ADVANCED] == choices
    assert form.read({ADVANCED: {"checksum": "off"}}, {})["checksum"] == "off"


async def test_providers_are_the_agents(
    loaded: MockConfigEntry, client: AgentClient, forms: LocationForms
) -> None:
    """The providers are the agent's, in its order."""
    schema = (await forms.open(loaded))["data_schema"].schema
    providers: list[Provider] = await client.providers()
    assert schema["provider"].config["options"] == [
        {"value": provider["id"], "label": provider["name"]} for provider in providers
    ]
    assert providers[0]["id"] == "aws"
    # `other` is translated; all languages differ.
    key = schema["provider"].config["translation_key"]
    words = {
        json.loads(path.read_text())["selector"][key]["options"]["other"]
        for path in TRANSLATIONS.glob("*.json")
    }
    assert len(words) == len(list(TRANSLATIONS.glob("*.json"))) == 12


@pytest.mark.parametrize("language", ["en", "de"])
async def test_fields_are_translated(language: str, client: AgentClient) -> None:
    """Each field, error and choice has a translation, and no translation is unused."""
    strings = json.loads((TRANSLATIONS / f"{language}.json").read_text())
    location = strings["config_subentries"]["location"]
    step = location["step"]["location"]
    main: set[str] = set()
    advanced: set[str] = set()
    for provider in await client.providers():
        schema = LocationForm(provider).schema({}, ())
        main |= {str(key) for key in schema.schema if key != ADVANCED}
        inner = schema.schema[ADVANCED].schema.schema
        advanced |= {str(key) for key in inner}
        for name in ("addressing", "checksum", "verify_mode"):
            options = strings["selector"][name]["options"]
            assert inner[name].config["options"] == list(options)
    assert set(step["data"]) == set(step["data_description"]) == main
    section_strings = step["sections"][ADVANCED]
    assert set(section_strings["data"]) == advanced
    assert set(section_strings["data_description"]) == advanced
    assert set(location["error"]) == FORM_ERRORS | {OTHER_ERROR, INVALID_SETTING}
    assert all("{details}" in text for text in location["error"].values())
