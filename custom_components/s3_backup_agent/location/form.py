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

ADVANCED: Final = "advanced"
NAME: Final = "name"

# The choice that leaves a setting to the agent; shown, but not stored.
_AUTO: Final = "auto"
# The choice that equals an empty field.
_NONE: Final = "none"
# Choices that are proper names, and not keys of a translation.
_LABELS: Final = {"AES256": "SSE-S3 (AES256)", "aws:kms": "SSE-KMS (aws:kms)"}
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
        self._automatic = {
            name: _AUTO
            for name, setting in self._settings.items()
            if setting["default"] == _AUTO
        }

    def schema(self, known: Settings, errors: Collection[str]) -> vol.Schema:
        """Return the schema; stored secrets are optional."""
        main: dict[Any, Any] = {}
        advanced: dict[Any, Any] = {}
        for name, setting in self._settings.items():
            is_stored = name in self._secrets and name in known
            is_required = setting["required"] and not is_stored
            key = vol.Required(name) if is_required else vol.Optional(name)
            fields = advanced if setting["section"] == ADVANCED else main
            fields[key] = _selector(setting)
        main[vol.Required(ADVANCED)] = section(
            vol.Schema(advanced), {"collapsed": ADVANCED not in errors}
        )
        return vol.Schema(main)

    def values(self, settings: Settings, name: str) -> dict[str, Any]:
        """Return the suggested values: settings without secrets."""
        shown = {
            **self._automatic,
            **{key: self._shown(key, text) for key, text in settings.items()},
            NAME: name,
        }
        main: dict[str, Any] = {}
        advanced: dict[str, Any] = {}
        for key, setting in self._settings.items():
            if key in shown and key not in self._secrets:
                fields = advanced if setting["section"] == ADVANCED else main
                fields[key] = shown[key]
        return {**main, ADVANCED: advanced}

    def read(self, user_input: dict[str, Any], known: Settings) -> Settings:
        """Return the entered settings, with stored secrets for empty fields."""
        entered = {**user_input, **user_input.get(ADVANCED, {})}
        texts = {
            key: _text(entered.get(key, "")) for key in self._settings if key != NAME
        }
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
        settings = {
            key: text
            for key, text in texts.items()
            if text and text != self._automatic.get(key)
        }
        return {"provider": self.provider["id"], **settings}

    def field_of(self, key: str, settings: Settings) -> str:
        """Return the field for an error; the frontend shows none inside a section."""
        if (setting := self._settings.get(key)) is None:
            return "base"
        if setting["section"] != ADVANCED:
            return key
        return ADVANCED if key in settings else "base"

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
        return _dropdown(options, is_open=True)
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
    """Return a dropdown, translated unless its choices are proper names."""
    choices = [choice for choice in setting["choices"] if choice != _NONE]
    if _LABELS.keys() & choices:
        return _dropdown(
            [
                SelectOptionDict(value=choice, label=_LABELS.get(choice, choice))
                for choice in choices
            ]
        )
    return SelectSelector(
        SelectSelectorConfig(
            options=choices,
            mode=SelectSelectorMode.DROPDOWN,
            translation_key=setting["name"],
        )
    )


def _dropdown(
    options: list[SelectOptionDict], *, is_open: bool = False
) -> SelectSelector:
    """Return a dropdown; an open one accepts other values."""
    return SelectSelector(
        SelectSelectorConfig(
            options=options, mode=SelectSelectorMode.DROPDOWN, custom_value=is_open
        )
    )


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
