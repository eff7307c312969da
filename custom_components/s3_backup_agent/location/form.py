"""Form for the settings of a location, built from the agent's table of settings."""

from collections.abc import Collection
import re
from typing import TYPE_CHECKING, Any, Final

from homeassistant.data_entry_flow import section
from homeassistant.helpers.selector import (
    BooleanSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)

from ..client import Provider, Setting, Settings

if TYPE_CHECKING:
    import probatio as vol
else:
    # Home Assistant 2026.3 has voluptuous; later versions alias it to probatio.
    import voluptuous as vol

# The sections below the fields that every bucket needs.
SECTIONS: Final = ("connection", "speed", "storage", "verification")
NAME: Final = "name"

# Errors that lead to the message at the form's top, and its words for several errors.
SEE_ABOVE: Final = "see_above"
IN_SECTION: Final = "in_section"
SEVERAL: Final = "several_errors"

_MAIN: Final = "main"
# Choices that are proper names, and not keys of a translation.
_LABELS: Final = {
    "AES256": "SSE-S3 (AES256)",
    "aws:kms": "SSE-KMS (aws:kms)",
    "SSE-C": "SSE-C",
}
# Suggestions that are keys of a translation.
_WORDS: Final = frozenset({"all", "7d"})
# The default that equals an empty field; a list that takes other values shows it untranslated.
_OFF: Final = "off"
# The user, then everything up to the host.
_PROXY_PASSWORD: Final = re.compile(r"^((?:\w+://)?[^:@/]*):.*@")

type _Selector = BooleanSelector | NumberSelector | SelectSelector | TextSelector


class LocationForm:
    """Form for the locations of a provider."""

    def __init__(self, provider: Provider, settings: list[Setting]) -> None:
        """Initialize the form with the settings that the provider has."""
        self.provider = provider
        self._settings = {setting["name"]: setting for setting in settings}
        self._secrets = self._names_of("secret")
        self._proxies = self._names_of("proxy")
        # Shown, but not stored.
        self._defaults = {
            name: str(setting["default"])
            for name, setting in self._settings.items()
            if setting["default"] not in (None, _OFF)
        }

    def schema(self, known: Settings, errors: Collection[str]) -> vol.Schema:
        """Return the schema; stored secrets are optional, and a section with an error is open."""
        fields: dict[str, dict[Any, Any]] = {name: {} for name in (_MAIN, *SECTIONS)}
        for name, setting in self._settings.items():
            is_stored = name in self._secrets and name in known
            is_required = setting["required"] and not is_stored
            key = vol.Required(name) if is_required else vol.Optional(name)
            fields[_section_of(setting)][key] = _selector(setting)
        schema = fields.pop(_MAIN)
        for name, inner in fields.items():
            schema[vol.Required(name)] = section(
                vol.Schema(inner), {"collapsed": name not in errors}
            )
        return vol.Schema(schema)

    def values(self, settings: Settings, name: str) -> dict[str, Any]:
        """Return the suggested values: settings and defaults, without secrets."""
        texts = {**self._defaults, **settings, NAME: name}
        fields: dict[str, dict[str, Any]] = {it: {} for it in (_MAIN, *SECTIONS)}
        for key, setting in self._settings.items():
            if key in texts and key not in self._secrets:
                fields[_section_of(setting)][key] = self._shown(key, texts[key])
        return fields.pop(_MAIN) | fields

    def read(self, user_input: dict[str, Any], known: Settings) -> Settings:
        """Return the entered settings, with stored secrets for empty fields."""
        entered = {**user_input}
        for name in SECTIONS:
            entered |= user_input.get(name, {})
        texts = {
            key: _text(entered.get(key, "")) for key in self._settings if key != NAME
        }
        texts |= {key: "" for key in texts if texts[key] == self._defaults.get(key)}
        # A session token belongs to its access key, an encryption key to its kind of encryption.
        stale = {
            "session_token": bool(texts["secret_access_key"])
            or texts["access_key_id"] != known.get("access_key_id", ""),
            "encryption_key": texts["encryption"] != known.get("encryption", ""),
        }
        for key in self._secrets:
            if not texts[key] and not stale.get(key):
                texts[key] = known.get(key, "")
        for key in self._proxies:
            if key in known and texts[key] == _without_password(known[key]):
                texts[key] = known[key]
        settings = {key: text for key, text in texts.items() if text}
        return {"provider": self.provider["id"], **settings}

    def _field_of(self, key: str) -> str:
        """Return the field for an error; the frontend shows one above a section, and none inside."""
        if (setting := self._settings.get(key)) is None:
            return "base"
        name = _section_of(setting)
        return key if name == _MAIN else name

    def errors(self, by_setting: dict[str, str]) -> dict[str, str]:
        """Return the errors of the form; the details are shown once."""
        errors: dict[str, str] = {}
        for key, error in by_setting.items():
            errors.setdefault(self._field_of(key), error)
        if len(errors) < 2 and not errors.keys() & set(SECTIONS):
            return errors
        return {
            "base": next(iter(errors.values())) if len(by_setting) == 1 else SEVERAL,
            **{
                field: IN_SECTION if field in SECTIONS else SEE_ABOVE
                for field in errors
                if field != "base"
            },
        }

    def _shown(self, key: str, text: str) -> str | float | bool:
        """Return a stored value as its field shows it."""
        kind = self._settings[key]["type"] if key in self._settings else "text"
        if kind == "integer":
            return float(text)
        if kind == "boolean":
            return text == "true"
        return _without_password(text) if kind == "proxy" else text

    def _names_of(self, kind: str) -> list[str]:
        """Return the names of the settings of a type."""
        return [
            name for name, setting in self._settings.items() if setting["type"] == kind
        ]


def _section_of(setting: Setting) -> str:
    """Return the section of a setting; an older agent knows another one."""
    name = setting["section"]
    return name if name in (_MAIN, *SECTIONS) else SECTIONS[0]


def _selector(setting: Setting) -> _Selector:
    """Return the selector for a setting's type."""
    match setting["type"]:
        case "boolean":
            return BooleanSelector()
        case "integer":
            return _number(setting)
        case "choice":
            return _choice(setting)
        case "secret":
            return TextSelector(
                TextSelectorConfig(type=TextSelectorType.PASSWORD, autocomplete="off")
            )
    if setting["suggestions"]:
        options = [
            SelectOptionDict(value=it["value"], label=it["label"])
            for it in setting["suggestions"]
        ]
        has_words = any(it["value"] in _WORDS for it in options)
        return _dropdown(options, setting["name"] if has_words else None, is_open=True)
    return TextSelector(TextSelectorConfig(multiline=setting["type"] == "pem"))


def _number(setting: Setting) -> NumberSelector:
    """Return a field for a whole number."""
    config = NumberSelectorConfig(mode=NumberSelectorMode.BOX, step=1)
    if setting["min"] is not None:
        config["min"] = setting["min"]
    if setting["max"] is not None:
        config["max"] = setting["max"]
    if setting["unit"] is not None:
        config["unit_of_measurement"] = setting["unit"]
    return NumberSelector(config)


def _choice(setting: Setting) -> SelectSelector:
    """Return a dropdown, translated except for proper names."""
    options = [
        SelectOptionDict(value=choice, label=_LABELS.get(choice, choice))
        for choice in setting["choices"]
    ]
    return _dropdown(options, setting["name"])


def _dropdown(
    options: list[SelectOptionDict], words: str | None, *, is_open: bool = False
) -> SelectSelector:
    """Return a dropdown with the translations of its words; an open one accepts other values."""
    config = SelectSelectorConfig(
        options=options, mode=SelectSelectorMode.DROPDOWN, custom_value=is_open
    )
    if words:
        config["translation_key"] = words
    return SelectSelector(config)


def _text(value: Any) -> str:
    """Return an entered value as the agent takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value))
    return str(value).strip()


def _without_password(proxy: str) -> str:
    """Return a proxy's URL without its password."""
    return _PROXY_PASSWORD.sub(r"\1@", proxy)
