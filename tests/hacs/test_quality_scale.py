"""Quality scale: each rule is done, or exempt with a reason."""

import ast
import re

import pytest

from .agent import REPOSITORY
from .test_hassfest import INTEGRATION, load, modules, nodes

# The rules of hassfest, by tier.
RULES = {
    *("action-setup", "appropriate-polling", "brands", "common-modules"),
    *("config-flow", "config-flow-test-coverage", "dependency-transparency"),
    *("docs-actions", "docs-conditions", "docs-high-level-description"),
    *("docs-installation-instructions", "docs-removal-instructions"),
    *("docs-triggers", "entity-event-setup", "entity-unique-id"),
    *("has-entity-name", "runtime-data", "test-before-configure"),
    *("test-before-setup", "unique-config-entry"),
    *("action-exceptions", "config-entry-unloading"),
    *("docs-configuration-parameters", "docs-installation-parameters"),
    *("entity-unavailable", "integration-owner", "log-when-unavailable"),
    *("parallel-updates", "reauthentication-flow", "test-coverage"),
    *("devices", "diagnostics", "discovery", "discovery-update-info"),
    *("docs-data-update", "docs-examples", "docs-known-limitations"),
    *("docs-supported-devices", "docs-supported-functions"),
    *("docs-troubleshooting", "docs-use-cases", "dynamic-devices"),
    *("entity-category", "entity-device-class", "entity-disabled-by-default"),
    *("entity-translations", "exception-translations", "icon-translations"),
    *("reconfiguration-flow", "repair-issues", "stale-devices"),
    *("async-dependency", "inject-websession", "strict-typing"),
}

# The function of a rule, and its file in hassfest.
FUNCTIONS = {
    "action-setup": ("__init__.py", "async_setup"),
    "config-entry-unloading": ("__init__.py", "async_unload_entry"),
    "config-flow": ("config_flow.py", "async_step_user"),
    "diagnostics": ("diagnostics.py", "async_get_config_entry_diagnostics"),
    "discovery": ("config_flow.py", "async_step_hassio"),
    "reauthentication-flow": ("config_flow.py", "async_step_reauth"),
    "reconfiguration-flow": ("config_flow.py", "async_step_reconfigure"),
    "repair-issues": ("repairs.py", "async_create_fix_flow"),
    "stale-devices": ("__init__.py", "async_remove_config_entry_device"),
}
ENTITY_PLATFORMS = ("binary_sensor.py", "button.py", "sensor.py")


# The passage of the document for a rule.
DOCUMENT = REPOSITORY / "docs" / "guides" / "home-assistant.md"
PASSAGES = {
    "docs-data-update": "How fresh it is",
    "docs-examples": "## Examples",
    "docs-high-level-description": "The integration puts each of an agent's locations",
    "docs-installation-instructions": "(../../README.md)",
    "docs-known-limitations": "## What to know",
    "docs-removal-instructions": "## Remove it",
    "docs-supported-devices": "(../providers.md)",
    "docs-troubleshooting": "(../troubleshooting.md)",
    "docs-use-cases": "Use it to keep backups",
}


def states() -> dict[str, str]:
    """Return the state of each rule."""
    return {
        rule: state if isinstance(state, str) else state["status"]
        for rule, state in load("quality_scale.yaml")["rules"].items()
    }


def test_rules_are_complete() -> None:
    """All rules are listed, and exemptions have a reason."""
    rules = load("quality_scale.yaml")["rules"]
    assert set(rules) == RULES
    assert set(states().values()) <= {"done", "exempt", "todo"}
    for rule, state in rules.items():
        if not isinstance(state, str):
            assert set(state) == {"status", "comment"}, rule
            assert state["comment"].strip(), rule
    assert "exempt" not in {state for state in rules.values() if isinstance(state, str)}


@pytest.mark.parametrize("rule", FUNCTIONS)
def test_done_rule_has_function(rule: str) -> None:
    """A rule that is done has its function."""
    file, name = FUNCTIONS[rule]
    if states()[rule] == "done":
        assert name in {node.name for node in nodes(ast.AsyncFunctionDef, file)}


@pytest.mark.parametrize("rule", PASSAGES)
def test_done_rule_has_passage(rule: str) -> None:
    """A documentation rule has its passage, and linked files exist."""
    passage = PASSAGES[rule]
    assert states()[rule] == "done"
    assert passage in DOCUMENT.read_text()
    if passage.startswith("("):
        assert (DOCUMENT.parent / passage.strip("()")).exists()


def test_document_names_fields_entities_and_actions() -> None:
    """The document explains each field, entity and action under its name in the frontend."""
    texts = load("translations/en.json")
    location = texts["config_subentries"]["location"]["step"]["location"]
    entities = [it["name"] for kind in texts["entity"].values() for it in kind.values()]
    names = {
        "docs-actions": [f"`{INTEGRATION.name}.{name}`" for name in texts["services"]],
        "docs-configuration-parameters": [
            *location["data"].values(),
            *(
                label
                for section in location["sections"].values()
                for label in section["data"].values()
            ),
        ],
        "docs-installation-parameters": texts["config"]["step"]["manual"][
            "data"
        ].values(),
        "docs-supported-functions": entities,
    }
    document = DOCUMENT.read_text().casefold()
    missing = {
        rule: [name for name in named if name.casefold() not in document]
        for rule, named in names.items()
    }
    assert not any(missing.values()), missing
    documented = {rule for rule in RULES if rule.startswith("docs-")}
    exempt = {rule for rule, state in states().items() if state == "exempt"}
    assert documented - exempt == PASSAGES.keys() | names.keys()


def test_platforms_set_parallel_updates() -> None:
    """Each entity platform sets PARALLEL_UPDATES."""
    for name in ENTITY_PLATFORMS:
        if name in modules():
            names = {node.id for node in nodes(ast.Name, name)}
            assert "PARALLEL_UPDATES" in names, name


def test_brand_images_and_typing() -> None:
    """There is an icon, and each function has a return type."""
    assert states()["brands"] == states()["strict-typing"] == "done"
    assert (INTEGRATION / "brand" / "icon.png").exists()
    for function in nodes(ast.FunctionDef):
        assert function.returns is not None, function.name


def test_exceptions_are_translated() -> None:
    """Exceptions for users have a translation key."""
    kinds = {
        *("BackupAgentError", "ConfigEntryAuthFailed", "ConfigEntryError"),
        *("ConfigEntryNotReady", "HomeAssistantError", "ServiceValidationError"),
    }
    raised = [
        call
        for call in nodes(ast.Call)
        if isinstance(call.func, ast.Name) and call.func.id in kinds
    ]
    assert raised
    for call in raised:
        # A literal key, or the unpacked result of translation_of.
        names = {keyword.arg for keyword in call.keywords}
        assert names & {"translation_key", None}, ast.unparse(call)


def raised_name(expression: ast.expr | None) -> str | None:
    """Return the name that hassfest's rule sees of a raised exception; it fails for anything else, such as `raise await …`."""
    while not isinstance(expression, ast.Name | None):
        assert isinstance(expression, ast.Attribute | ast.Call), ast.unparse(expression)
        expression = getattr(expression, "func", getattr(expression, "value", None))
    return expression.id if expression else None


def test_setup_raises() -> None:
    """Rule test-before-setup: hassfest reads each `raise`, and finds those of the setup itself."""
    assert {raised_name(node.exc) for node in nodes(ast.Raise)}
    (setup,) = (
        node
        for node in nodes(ast.AsyncFunctionDef, "__init__.py")
        if node.name == "async_setup_entry"
    )
    raised = {
        raised_name(node.exc) for node in ast.walk(setup) if isinstance(node, ast.Raise)
    }
    assert raised == {"ConfigEntryAuthFailed", "ConfigEntryNotReady"}


def test_functions_name_the_typed_entry() -> None:
    """Rule runtime-data: hassfest wants the entry's own type in functions that Home Assistant calls."""
    files = ("__init__.py", "diagnostics.py", *ENTITY_PLATFORMS)
    typed = [
        ast.unparse(function.args.args[1].annotation or function)
        for file in files
        for function in nodes(ast.AsyncFunctionDef, file)
        if function.name.startswith("async_") and function.name != "async_setup"
        if len(function.args.args) > 1
    ]
    assert len(typed) > len(files)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9]+ConfigEntry", it) for it in typed)
