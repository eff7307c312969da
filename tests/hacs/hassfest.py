"""Schemas of Home Assistant's hassfest, which no package contains."""

from collections.abc import Callable
import re
import string
from typing import TYPE_CHECKING, Any

from homeassistant.helpers import config_validation as cv, selector

if TYPE_CHECKING:
    import probatio as vol
else:
    import voluptuous as vol

_KEY = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
_URL = re.compile(
    r"((ftps?|scp|https?|mqtts?|socket|socks5)://|www\.)[a-z0-9]+([-.][a-z0-9]+)*\.[a-z]{2,5}",
    re.IGNORECASE,
)


def key(value: str) -> str:
    """Validate a translation key."""
    if not _KEY.fullmatch(value):
        raise vol.Invalid(f"{value!r} is no key of a translation")
    return value


def text(value: Any) -> str:
    """Validate a translatable text."""
    words: str = cv.string_with_no_html(value)
    if words != words.strip():
        raise vol.Invalid("space at an end")
    if re.search(r"'{\w+}'", words):
        raise vol.Invalid("a placeholder in single quotes")
    if "[%" in words or "%]" in words:
        raise vol.Invalid("a reference to another text")
    if _URL.search(words):
        raise vol.Invalid("a URL; use a placeholder")
    for _, name, _, _ in string.Formatter().parse(words):
        if name is not None and not name.isidentifier():
            raise vol.Invalid(f"{name!r} is no placeholder")
    return words


def fixed_text(value: Any) -> str:
    """Validate a text without placeholders."""
    words = text(value)
    if any(name for _, name, _, _ in string.Formatter().parse(words)):
        raise vol.Invalid("a placeholder where none is filled in")
    return words


def _map(value: Any, name: Callable[[str], str] = key) -> Any:
    return cv.schema_with_slug_keys(value, slug_validator=name)


def _described_data(step: dict[str, Any]) -> dict[str, Any]:
    """Validate that each description belongs to a field."""
    if extra := step.get("data_description", {}).keys() - step.get("data", {}).keys():
        raise vol.Invalid(f"descriptions of no field: {sorted(extra)}")
    return step


_FIELDS = {
    vol.Optional("data"): {str: text},
    vol.Optional("data_description"): {str: text},
    vol.Optional("description"): text,
}
_STEP = vol.All(
    {
        **_FIELDS,
        vol.Optional("title"): text,
        vol.Optional("menu_options"): {str: text},
        vol.Optional("menu_option_descriptions"): {str: text},
        vol.Optional("submit"): text,
        vol.Optional("sections"): {
            str: vol.All({**_FIELDS, vol.Optional("name"): text}, _described_data)
        },
    },
    _described_data,
)
_FLOW = {
    vol.Optional("flow_title"): text,
    vol.Required("step"): {str: _STEP},
    vol.Optional("error"): {str: text},
    vol.Optional("abort"): {str: text},
    vol.Optional("progress"): {str: text},
    vol.Optional("create_entry"): {str: text},
}
_SUBENTRY_FLOW = {
    **_FLOW,
    vol.Required("entry_type"): text,
    vol.Required("initiate_flow"): {vol.Required("user"): text, str: text},
}
_ISSUE = vol.All(
    cv.has_at_least_one_key("description", "fix_flow"),
    {
        vol.Required("title"): text,
        vol.Exclusive("description", "fixable"): text,
        vol.Exclusive("fix_flow", "fixable"): _FLOW,
    },
)
_NAMED = {vol.Required("name"): text, vol.Required("description"): text}
_STATES = {
    vol.Optional("name"): text,
    vol.Optional("state"): _map(fixed_text),
}
_ENTITY = {
    **_STATES,
    vol.Optional("state_attributes"): _map(_STATES),
    vol.Optional("unit_of_measurement"): fixed_text,
}

TRANSLATIONS = vol.Schema(
    {
        vol.Optional("title"): text,
        vol.Optional("config"): _FLOW,
        vol.Optional("config_subentries"): _map(_SUBENTRY_FLOW, cv.slug),
        vol.Optional("options"): _FLOW,
        vol.Optional("selector"): _map({vol.Optional("options"): _map(text)}, cv.slug),
        vol.Optional("system_health"): {vol.Optional("info"): _map(text)},
        vol.Optional("issues"): {str: _ISSUE},
        vol.Optional("device"): _map({vol.Optional("name"): text}),
        vol.Optional("entity"): _map(_map(_ENTITY), cv.slug),
        vol.Optional("exceptions"): _map({vol.Optional("message"): text}, cv.slug),
        vol.Optional("services"): _map(
            {
                **_NAMED,
                vol.Optional("fields"): _map({**_NAMED, vol.Optional("example"): text}),
                vol.Optional("sections"): _map(
                    {vol.Required("name"): text, vol.Optional("description"): text}
                ),
            }
        ),
        vol.Optional("common"): {cv.slug: text},
    }
)


def icon(value: Any) -> str:
    """Validate an icon."""
    if not re.fullmatch(r"mdi:[a-z0-9-]+", str(value)):
        raise vol.Invalid(f"{value!r} is no icon")
    return str(value)


def _differing(value: dict[str, Any]) -> dict[str, Any]:
    """Validate that state icons differ from the default."""
    if value.get("default") in value.get("state", {}).values():
        raise vol.Invalid("the icon of a state is the default one")
    return value


_ICONS = vol.All(
    {vol.Optional("default"): icon, vol.Optional("state"): _map(icon)}, _differing
)

ICONS = vol.Schema(
    {
        vol.Optional("entity"): _map(_map(_ICONS), cv.slug),
        vol.Optional("services"): _map(
            {
                vol.Required("service"): icon,
                vol.Optional("sections"): {str: icon},
            }
        ),
    }
)

_FIELD = {
    vol.Optional("example"): object,
    vol.Optional("default"): object,
    vol.Optional("required"): bool,
    vol.Optional("advanced"): bool,
    vol.Optional("selector"): selector.validate_selector,
}
_SECTION = {vol.Optional("collapsed"): bool, vol.Required("fields"): {str: _FIELD}}

SERVICES = vol.Schema(
    {
        cv.slug: vol.Any(
            None,
            {
                vol.Optional("target"): vol.Any(
                    selector.TargetSelector.CONFIG_SCHEMA, None
                ),
                vol.Optional("fields"): {str: vol.Any(_FIELD, _SECTION)},
            },
        )
    }
)
