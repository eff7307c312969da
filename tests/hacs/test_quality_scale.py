"""The quality scale: every rule is met, or says why it does not apply."""

import ast

import pytest

from .agent import REPOSITORY
from .test_hassfest import INTEGRATION, load, modules, nodes

# As hassfest has them; those of a tier need those of the tiers before.
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

# The function that a rule is about, and the file that hassfest looks for it in.
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
ENTITY_PLATFORMS = ("button.py", "sensor.py")


# Where the document has what a rule asks for; what it names of the integration is looked for by itself, below.
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
    "docs-use-cases": "People use it to",
}


def states() -> dict[str, str]:
    """Return whether each rule is done, exempt or still to do."""
    return {
        rule: state if isinstance(state, str) else state["status"]
        for rule, state in load("quality_scale.yaml")["rules"].items()
    }


def test_every_rule_is_met() -> None:
    """Each rule is there, and what does not apply has its reason."""
    rules = load("quality_scale.yaml")["rules"]
    assert set(rules) == RULES
    assert set(states().values()) <= {"done", "exempt", "todo"}
    for rule, state in rules.items():
        if not isinstance(state, str):
            assert set(state) == {"status", "comment"}, rule
            assert state["comment"].strip(), rule
    assert "exempt" not in {state for state in rules.values() if isinstance(state, str)}


@pytest.mark.parametrize("rule", FUNCTIONS)
def test_what_is_done_is_there(rule: str) -> None:
    """A rule about a function is done when there is one."""
    file, name = FUNCTIONS[rule]
    if states()[rule] == "done":
        assert name in {node.name for node in nodes(ast.AsyncFunctionDef, file)}


@pytest.mark.parametrize("rule", PASSAGES)
def test_what_is_documented_is_there(rule: str) -> None:
    """The document has a passage for each rule about it, and what that refers to exists."""
    passage = PASSAGES[rule]
    assert states()[rule] == "done"
    assert passage in DOCUMENT.read_text()
    if passage.startswith("("):
        assert (DOCUMENT.parent / passage.strip("()")).exists()


def test_the_document_names_everything() -> None:
    """Each field, entity and action is explained, under the name that it has on the screen."""
    texts = load("translations/en.json")
    location = texts["config_subentries"]["location"]["step"]["location"]
    entities = [it["name"] for kind in texts["entity"].values() for it in kind.values()]
    names = {
        "docs-actions": [f"`{INTEGRATION.name}.{name}`" for name in texts["services"]],
        "docs-configuration-parameters": [
            *location["data"].values(),
            *location["sections"]["advanced"]["data"].values(),
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


def test_platforms_say_how_many_updates_run_at_once() -> None:
    """Each platform of entities has its PARALLEL_UPDATES."""
    for name in ENTITY_PLATFORMS:
        if name in modules():
            names = {node.id for node in nodes(ast.Name, name)}
            assert "PARALLEL_UPDATES" in names, name


def test_brand_images_and_typing() -> None:
    """There is an icon, and no code without types."""
    assert states()["brands"] == states()["strict-typing"] == "done"
    assert (INTEGRATION / "brand" / "icon.png").exists()
    for function in nodes(ast.FunctionDef):
        assert function.returns is not None, function.name


def test_exceptions_are_translated() -> None:
    """What people get to read comes from the translations."""
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
        # Either named here, or all of a translation that was made elsewhere.
        names = {keyword.arg for keyword in call.keywords}
        assert names & {"translation_key", None}, ast.unparse(call)
