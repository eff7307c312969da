"""Checks of hassfest and HACS for custom integrations."""

import ast
from collections.abc import Iterator
from functools import cache
import json
from pathlib import Path
import re
from typing import TYPE_CHECKING, Any

from awesomeversion import AwesomeVersion, AwesomeVersionStrategy
import pytest
import yaml

from .agent import REPOSITORY
from .hassfest import ICONS, SERVICES, TRANSLATIONS

if TYPE_CHECKING:
    import probatio as vol
else:
    import voluptuous as vol

INTEGRATION = REPOSITORY / "custom_components" / "s3_backup_agent"
LANGUAGES = sorted(path.stem for path in INTEGRATION.glob("translations/*.json"))

# Keys of sentences that location and error codes complete.
SENTENCE = re.compile("(hint|problem|note|finding|refusal|effect|provider)_")

# Integrations that are always loaded need no declaration.
ALWAYS_THERE = {"backup", "homeassistant", "websocket_api"}
PLATFORMS = {"binary_sensor", "button", "event", "sensor", "switch", "update"}


def load(name: str) -> dict[str, Any]:
    """Return the content of a file of the integration, empty if it does not exist."""
    path = INTEGRATION / name
    if not path.exists():
        return {}
    content: dict[str, Any] = (
        yaml.safe_load(path.read_text())
        if path.suffix == ".yaml"
        else json.loads(path.read_text())
    )
    return content


@cache
def modules() -> dict[str, ast.Module]:
    """Return the integration's parsed code, by file."""
    return {
        str(path.relative_to(INTEGRATION)): ast.parse(path.read_text())
        for path in INTEGRATION.rglob("*.py")
    }


def nodes[Node: ast.AST](kind: type[Node], name: str | None = None) -> Iterator[Node]:
    """Yield the nodes of a kind, of one file or of all."""
    trees = modules()
    for tree in trees.values() if name is None else [trees[name]]:
        for node in ast.walk(tree):
            if isinstance(node, kind):
                yield node


def literals() -> set[str]:
    """Return the strings and the function names in the integration's code."""
    found = {node.value for node in nodes(ast.Constant) if isinstance(node.value, str)}
    found |= set(re.findall(r"\w+", (INTEGRATION / "services.yaml").read_text()))
    found |= {node.name for node in nodes(ast.AsyncFunctionDef)}
    return found | {node.name for node in nodes(ast.FunctionDef)}


def test_manifest() -> None:
    """The manifest has the required keys in their order."""
    manifest = load("manifest.json")
    assert set(manifest) >= {
        *("codeowners", "documentation", "domain", "iot_class", "issue_tracker"),
        *("name", "version"),
    }
    assert list(manifest) == sorted(
        manifest, key=lambda key: {"domain": " ", "name": "!"}.get(key, key)
    )
    assert manifest["domain"] == INTEGRATION.name
    assert manifest["integration_type"] in {"device", "hub", "service"}
    assert manifest["iot_class"] == "local_push"
    assert manifest["documentation"].startswith("https://")
    assert "www.home-assistant.io" not in manifest["documentation"]
    assert manifest["codeowners"]
    assert all(owner.startswith("@") for owner in manifest["codeowners"])
    assert manifest["requirements"] == []
    AwesomeVersion(manifest["version"], ensure_strategy=[AwesomeVersionStrategy.SEMVER])


def test_quality_scale() -> None:
    """The manifest claims platinum only without a rule to do."""
    rules = load("quality_scale.yaml")["rules"].values()
    is_whole = "todo" not in rules
    assert load("manifest.json").get("quality_scale") == (
        "platinum" if is_whole else None
    )


def test_hacs() -> None:
    """HACS finds one integration and its oldest Home Assistant version."""
    assert set(json.loads((REPOSITORY / "hacs.json").read_text())) == {
        "hide_default_branch",
        "homeassistant",
        "name",
    }
    (folder,) = (REPOSITORY / "custom_components").iterdir()
    assert folder == INTEGRATION
    assert (INTEGRATION / "brand" / "icon.png").exists()
    assert not (INTEGRATION / "strings.json").exists()


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations(language: str) -> None:
    """The translations have hassfest's schema."""
    TRANSLATIONS(load(f"translations/{language}.json"))


def test_icons_and_actions() -> None:
    """Each action has an icon, a name and described fields."""
    icons, services = load("icons.json"), load("services.yaml")
    texts = load("translations/en.json")
    ICONS(icons)
    SERVICES(services)
    assert services.keys() == icons.get("services", {}).keys()
    assert services.keys() == texts.get("services", {}).keys()
    for name, service in services.items():
        fields = (service or {}).get("fields", {})
        assert fields.keys() == texts["services"][name].get("fields", {}).keys()
        for field in fields.values():
            options = field.get("selector", {}).get("select") or {}
            if translation := options.get("translation_key"):
                assert set(options["options"]) == set(
                    texts["selector"][translation]["options"]
                )


def test_entities_have_names_and_icons() -> None:
    """Each entity icon belongs to a named entity."""
    entities = load("translations/en.json").get("entity", {})
    for platform, icons in load("icons.json").get("entity", {}).items():
        assert icons.keys() <= entities[platform].keys()
        for name, states in icons.items():
            known = entities[platform][name].get("state", {})
            # Common states are translated by Home Assistant.
            assert states.get("state", {}).keys() <= {*known, "on", "unknown"}


def test_translations_are_used() -> None:
    """Each translation is used in the code."""
    texts = load("translations/en.json")
    actions = (INTEGRATION / "services.yaml").read_text()
    used = {*literals(), *re.findall(r"translation_key: (\w+)", actions)}
    keys = {*texts.get("exceptions", {}), *texts.get("selector", {})}
    # The agent's codes name these; scripts/translations.py has the check.
    keys = {key for key in keys if not SENTENCE.match(key)}
    # The variant for a location of the agent's own configuration.
    keys |= {key.removesuffix("_configured") for key in texts.get("issues", {})}
    keys |= {name for names in texts.get("entity", {}).values() for name in names}
    flows = [texts["config"], *texts["config_subentries"].values()]
    for flow in flows:
        keys |= {*flow.get("error", {}), *flow.get("abort", {})}
        keys |= {f"async_step_{step}" for step in flow["step"]}
    # The agent's table of settings names them; test_location_form has the check.
    location = texts["config_subentries"]["location"]["step"]["location"]
    for section in location["sections"].values():
        keys -= section["data"].keys()
    # Used by Home Assistant's own flows.
    keys -= {"already_configured", "reauth_successful", "reconfigure_successful"}
    assert keys - used == set()


def test_translation_keys_exist() -> None:
    """Each translation key in the code exists."""
    texts = load("translations/en.json")
    known = {*texts.get("exceptions", {}), *texts.get("issues", {})}
    known |= {*texts.get("selector", {}), *texts.get("device", {})}
    known |= {name for names in texts.get("entity", {}).values() for name in names}
    named = {
        node.value.value
        for node in nodes(ast.keyword)
        if node.arg == "translation_key"
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }
    assert named - known == set()


def test_dependencies() -> None:
    """Imported integrations are declared."""
    manifest = load("manifest.json")
    declared = {*manifest["dependencies"], *manifest.get("after_dependencies", ())}
    used = set()
    for name in modules():
        for node in nodes(ast.ImportFrom, name):
            parts = (node.module or "").split(".")
            if parts[:2] == ["homeassistant", "components"]:
                found = parts[2:3] or [alias.name for alias in node.names]
                # A platform's integration loads it.
                used |= {part for part in found if f"{part}.py" != Path(name).name}
    assert used <= declared | ALWAYS_THERE | PLATFORMS
    assert "backup" in declared


def test_config_schema_is_set() -> None:
    """An integration with async_setup sets CONFIG_SCHEMA."""
    functions = {node.name for node in nodes(ast.AsyncFunctionDef, "__init__.py")}
    if "async_setup" in functions:
        names = {node.id for node in nodes(ast.Name, "__init__.py")}
        assert "CONFIG_SCHEMA" in names


@pytest.mark.parametrize(
    ("schema", "content"),
    [
        (TRANSLATIONS, {"title": "<b>S3</b>"}),
        (TRANSLATIONS, {"title": "S3 "}),
        (TRANSLATIONS, {"config": {"step": {"user": {"title": "'{details}'"}}}}),
        (TRANSLATIONS, {"config": {"step": {"user": {"title": "{5}"}}}}),
        (TRANSLATIONS, {"config": {"step": {"user": {"titel": "S3"}}}}),
        (TRANSLATIONS, {"config": {"step": {"a": {"data_description": {"b": "c"}}}}}),
        (TRANSLATIONS, {"config": {"error": {"a": "b"}}}),
        (TRANSLATIONS, {"exceptions": {"a": {"message": "See https://example.org"}}}),
        (TRANSLATIONS, {"exceptions": {"a": {"message": "[%key:b%]"}}}),
        (TRANSLATIONS, {"issues": {"a": {"title": "b"}}}),
        (TRANSLATIONS, {"selector": {"a": {"options": {"B_": "c"}}}}),
        (TRANSLATIONS, {"entity": {"sensor": {"a": {"state": {"b": "{c}"}}}}}),
        (ICONS, {"services": {"a": "mdi:check"}}),
        (ICONS, {"services": {"a": {"service": "check"}}}),
        (
            ICONS,
            {
                "entity": {
                    "sensor": {"a": {"default": "mdi:a", "state": {"b": "mdi:a"}}}
                }
            },
        ),
        (SERVICES, {"a": {"fields": {"b": {"selector": {"no_such": {}}}}}}),
        (SERVICES, {"a": {"description": "In the translations"}}),
    ],
)
def test_invalid_content_is_refused(
    schema: vol.Schema, content: dict[str, Any]
) -> None:
    """The schemas refuse what hassfest refuses."""
    with pytest.raises(vol.Invalid):
        schema(content)
