"""Form of a location: fields, selectors and translations."""

import json
from typing import Any
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.client import AgentClient, AgentError, Provider
from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.errors import FORM_ERRORS, OTHER_ERROR
from custom_components.s3_backup_agent.location.form import (
    IN_SECTION,
    SECTIONS,
    SEE_ABOVE,
    SEVERAL,
    LocationForm,
)
from custom_components.s3_backup_agent.location.outcome import INVALID_SETTING
from homeassistant.data_entry_flow import FlowResultType

from .agent import REPOSITORY
from .location_forms import Fields, LocationForms, form_of, is_required, values_of

TRANSLATIONS = REPOSITORY / "custom_components" / DOMAIN / "translations"


async def test_main_fields_depend_on_provider(
    loaded: MockConfigEntry, forms: LocationForms
) -> None:
    """Outside of the section, a provider has only its own fields."""
    keys = ["bucket", "prefix", "access_key_id", "secret_access_key", "name", *SECTIONS]
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
        assert ("region" in own) is ("region" not in values_of(form)["connection"])
        assert ("endpoint" in own) is ("endpoint" not in values_of(form)["connection"])
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
    form = await form_of(client, "aws")
    names = {"bucket": "auto", "prefix": "auto", "region": "auto"}
    entered = {
        **names,
        "connection": {"addressing": "auto"},
        "storage": {"checksum": "auto", "encryption": "none"},
        "verification": {"verify_mode": "quick", "verify_sample": "1"},
    }
    read = form.read(entered, {})
    assert read == {"provider": "aws", **names, "verify_mode": "quick"}
    shown = form.values(read, "")
    assert shown["connection"]["addressing"] == "auto"
    assert shown["storage"] == {"checksum": "auto", "encryption": "none"}
    assert shown["verification"]["verify_mode"] == "quick"
    assert form.read({"storage": {"checksum": "off"}}, {})["checksum"] == "off"


async def test_providers_are_the_agents(
    loaded: MockConfigEntry, client: AgentClient, forms: LocationForms
) -> None:
    """The providers are the agent's, in its order."""
    schema = (await forms.open(loaded))["data_schema"].schema
    providers: list[Provider] = await client.providers()
    assert schema["provider"].config["options"] == [it["name"] for it in providers]
    assert schema["provider"].config["custom_value"] is True
    # Those that most users have come first, and the rest last.
    assert providers[0]["id"] == "aws"
    assert providers[-1]["id"] == "other"
    # `other` is translated; all languages differ.
    words = {
        json.loads(path.read_text())["selector"]["provider"]["options"]["other"]
        for path in TRANSLATIONS.glob("*.json")
    }
    assert len(words) == len(list(TRANSLATIONS.glob("*.json"))) == 12


@pytest.mark.parametrize("language", ["en", "de"])
async def test_fields_are_translated(language: str, client: AgentClient) -> None:
    """Each field, error and choice has a translation, and no translation is unused."""
    strings = json.loads((TRANSLATIONS / f"{language}.json").read_text())
    location = strings["config_subentries"]["location"]
    names: dict[str, set[str]] = {name: set() for name in ("main", *SECTIONS)}
    for provider in await client.providers():
        schema = (await form_of(client, provider["id"])).schema({}, ())
        names["main"] |= {str(key) for key in schema.schema if key not in SECTIONS}
        choices: dict[str, set[str]] = {}
        for name in SECTIONS:
            inner = schema.schema[name].schema.schema
            names[name] |= {str(key) for key in inner}
            choices |= {
                field.config["translation_key"]: set(values_of_options(field))
                for field in inner.values()
                if field.config.get("translation_key")
            }
        translated = {
            name: set(selector["options"])
            for name, selector in strings["selector"].items()
            if name != "provider"
        }
        assert translated.keys() == choices.keys()
        for name, options in choices.items():
            # Proper names and numbers need no translation.
            rest = options - translated[name]
            assert translated[name] <= options
            assert rest <= {"AES256", "aws:kms", "SSE-C", "1", "3", "10"}, rest
    for step in (location["step"]["location"], location["step"]["change"]):
        for name, keys in names.items():
            words = step if name == "main" else step["sections"][name]
            assert set(words["data"]) == set(words["data_description"]) == keys
    hints = {IN_SECTION, SEE_ABOVE, "unknown_provider"}
    assert set(location["error"]) == FORM_ERRORS | hints | {
        *(OTHER_ERROR, INVALID_SETTING, SEVERAL)
    }
    for key, text in location["error"].items():
        assert ("{details}" in text) is (key not in hints), key


def values_of_options(field: Any) -> list[str]:
    """Return the values of a dropdown."""
    return [option["value"] for option in field.config["options"]]


def setting(name: str, kind: str, **more: Any) -> Any:
    """Return a row of the agent's table of settings."""
    return {
        "name": name,
        "type": kind,
        "section": "main",
        "required": False,
        "default": None,
        "min": None,
        "max": None,
        "unit": None,
        "choices": [],
        "suggestions": [],
        **more,
    }


def test_setting_type_decides_selector() -> None:
    """A new setting of the agent needs no change of the form."""
    provider: Any = {"id": "other"}
    form = LocationForm(
        provider,
        [
            setting("access_key_id", "text"),
            setting("secret_access_key", "secret", required=True),
            setting("encryption", "choice", choices=["none", "AES256"]),
            setting("depth", "integer", min=1, max=16, unit="s"),
            setting("level", "integer"),
            setting("quiet", "boolean"),
            setting("chain", "pem"),
            setting("kind", "choice", choices=["auto", "fast"], default="auto"),
            setting("place", "text", suggestions=[{"value": "a", "label": "A"}]),
        ],
    )
    schema = form.schema({}, ()).schema
    depth, level = schema["depth"].config, schema["level"].config
    assert (depth["min"], depth["max"], depth["unit_of_measurement"]) == (1, 16, "s")
    assert depth["mode"] == level["mode"] == "box"
    assert not {"min", "max", "unit_of_measurement"} & level.keys()
    assert schema["quiet"].selector_type == "boolean"
    assert schema["chain"].config["multiline"] is True
    assert schema["secret_access_key"].config["type"] == "password"
    assert schema["kind"].config["translation_key"] == "kind"
    assert values_of_options(schema["kind"]) == ["auto", "fast"]
    assert schema["place"].config["custom_value"] is True
    assert schema["encryption"].config["options"] == [
        {"value": "none", "label": "none"},
        {"value": "AES256", "label": "SSE-S3 (AES256)"},
    ]

    entered = {"depth": 8.0, "quiet": True, "kind": "auto", "place": " b "}
    stored = form.read(entered, {})
    assert stored == {"provider": "other", "depth": "8", "quiet": "true", "place": "b"}
    shown = form.values(stored, "")
    assert (shown["depth"], shown["quiet"], shown["kind"]) == (8, True, "auto")


async def test_numbers_are_stored_as_text(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """The settings of a location are text, and the agent takes them."""
    speed, connection = {"concurrency": 2}, {"outage_seconds": 30, "idle_seconds": 20}
    numbers = {**speed, **connection}
    form = await forms.begin(loaded)
    inner = form["data_schema"].schema["connection"].schema.schema
    assert {inner[name].config["min"] for name in connection} == {0, 1}
    subentry = await forms.add(
        loaded, {**fields, "speed": speed, "connection": connection}
    )
    for name, number in numbers.items():
        assert subentry.data[name] == str(number)
    result = await loaded.start_subentry_reconfigure_flow(
        forms.hass, subentry.subentry_id
    )
    shown = values_of(result)["speed"] | values_of(result)["connection"]
    assert {name: shown[name] for name in numbers} == numbers


@pytest.mark.parametrize(
    ("code", "reason"),
    [("not_found", "agent_too_old"), ("agent_unreachable", "cannot_connect")],
)
async def test_older_agent_aborts(
    loaded: MockConfigEntry, forms: LocationForms, code: str, reason: str
) -> None:
    """An older agent has no table of settings, and its version is told."""
    first = await forms.open(loaded)
    error = AgentError(code, "There is no such path")
    with patch.object(AgentClient, "settings", side_effect=error):
        result = await forms.submit(first, {"provider": "garage"})
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == reason
    told = {"agent_too_old": loaded.runtime_data.info["version"]}
    (shown,) = result["description_placeholders"].values()
    assert told.get(reason, str(error)) in shown


async def test_agent_without_folders_aborts(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """An older agent does not say which folder the settings lead to."""
    form = await forms.begin(loaded)
    checked = {"ok": True, "steps": [], "corrected": None, "found": None, "notes": []}
    with patch.object(AgentClient, "check_settings", return_value=checked):
        result = await forms.submit(form, fields)
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "agent_too_old"
    version = loaded.runtime_data.info["version"]
    assert result["description_placeholders"] == {"version": version}
