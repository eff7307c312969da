"""What hassfest and HACS ask of a custom integration."""

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

HACS = REPOSITORY / "hacs"
INTEGRATION = HACS / "custom_components" / "s3_backup_agent"
LANGUAGES = sorted(path.stem for path in INTEGRATION.glob("translations/*.json"))

# Integrations that Home Assistant always has, whose use needs not be declared.
ALWAYS_THERE = {"backup", "homeassistant", "websocket_api"}
PLATFORMS = {"binary_sensor", "button", "event", "sensor", "switch", "update"}


def load(name: str) -> dict[str, Any]:
    """Return the content of a file of the integration, or nothing when it has none of that name."""
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
    """Return the integration's code by the path of the file."""
    return {
        str(path.relative_to(INTEGRATION)): ast.parse(path.read_text())
        for path in INTEGRATION.rglob("*.py")
    }


def nodes[Node: ast.AST](kind: type[Node], name: str | None = None) -> Iterator[Node]:
    """Yield all nodes of a kind, of one file or of all."""
    trees = modules()
    for tree in trees.values() if name is None else [trees[name]]:
        for node in ast.walk(tree):
            if isinstance(node, kind):
                yield node


def literals() -> set[str]:
    """Return all texts in the integration's code, and what its functions are called."""
    found = {node.value for node in nodes(ast.Constant) if isinstance(node.value, str)}
    found |= set(re.findall(r"\w+", (INTEGRATION / "services.yaml").read_text()))
    found |= {node.name for node in nodes(ast.AsyncFunctionDef)}
    return found | {node.name for node in nodes(ast.FunctionDef)}


def test_manifest() -> None:
    """The manifest has what hassfest and HACS want, in their order."""
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
    """The tier is claimed when no rule is left to do."""
    rules = load("quality_scale.yaml")["rules"].values()
    is_whole = "todo" not in rules
    assert load("manifest.json").get("quality_scale") == (
        "platinum" if is_whole else None
    )


def test_hacs() -> None:
    """HACS finds one integration, and knows for which Home Assistant it is."""
    assert set(json.loads((HACS / "hacs.json").read_text())) == {
        "homeassistant",
        "name",
    }
    (folder,) = (HACS / "custom_components").iterdir()
    assert folder == INTEGRATION
    assert (INTEGRATION / "brand" / "icon.png").exists()
    assert not (INTEGRATION / "strings.json").exists()


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations(language: str) -> None:
    """The texts are where Home Assistant looks for them, and can be shown."""
    TRANSLATIONS(load(f"translations/{language}.json"))


def test_icons_and_actions() -> None:
    """Each action can be understood without its code."""
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
    """Each entity that has an icon has a name, and no icon is for none."""
    entities = load("translations/en.json").get("entity", {})
    for platform, icons in load("icons.json").get("entity", {}).items():
        assert icons.keys() <= entities[platform].keys()
        for name, states in icons.items():
            known = entities[platform][name].get("state", {})
            # A state that every entity may have needs no name.
            assert states.get("state", {}).keys() <= {*known, "unknown"}


def test_no_text_is_left_over() -> None:
    """What has a text is named in the code."""
    texts = load("translations/en.json")
    actions = (INTEGRATION / "services.yaml").read_text()
    used = {*literals(), *re.findall(r"translation_key: (\w+)", actions)}
    keys = {*texts.get("exceptions", {}), *texts.get("selector", {})}
    # Another text is for a location that the agent has by itself.
    keys |= {key.removesuffix("_configured") for key in texts.get("issues", {})}
    keys |= {name for names in texts.get("entity", {}).values() for name in names}
    flows = [texts["config"], *texts["config_subentries"].values()]
    for flow in flows:
        keys |= {*flow.get("error", {}), *flow.get("abort", {})}
        keys |= {f"async_step_{step}" for step in flow["step"]}
    # Home Assistant's own flows end with these.
    keys -= {"already_configured", "reauth_successful", "reconfigure_successful"}
    assert keys - used == set()


def test_each_key_has_a_text() -> None:
    """What the code names as a text is one."""
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
    """What is used of Home Assistant's integrations is declared."""
    manifest = load("manifest.json")
    declared = {*manifest["dependencies"], *manifest.get("after_dependencies", ())}
    used = set()
    for name in modules():
        for node in nodes(ast.ImportFrom, name):
            parts = (node.module or "").split(".")
            if parts[:2] == ["homeassistant", "components"]:
                found = parts[2:3] or [alias.name for alias in node.names]
                # A platform is loaded by the integration that it is for.
                used |= {part for part in found if f"{part}.py" != Path(name).name}
    assert used <= declared | ALWAYS_THERE | PLATFORMS
    assert "backup" in declared


def test_set_up_in_the_interface_alone() -> None:
    """An integration that registers actions at its start says that it has no settings in YAML."""
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
def test_finds_what_is_wrong(schema: vol.Schema, content: dict[str, Any]) -> None:
    """What hassfest refuses is refused here."""
    with pytest.raises(vol.Invalid):
        schema(content)
