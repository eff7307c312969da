"""Form for the settings of a location: its provider's fields, and a section for the rest."""

from collections.abc import Collection
import re
from typing import TYPE_CHECKING, Any, Final

from homeassistant.data_entry_flow import section
from homeassistant.helpers.selector import (
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)

from ..client import Provider, ProviderField, Settings

if TYPE_CHECKING:
    import probatio as vol
else:
    # Home Assistant 2026.3 has voluptuous; later versions alias it to probatio.
    import voluptuous as vol

ADVANCED: Final = "advanced"
NAME: Final = "name"

# Never sent to the browser; an empty field keeps the stored value.
SECRETS: Final = frozenset({"secret_access_key", "session_token", "encryption_key"})

_AUTO: Final = "auto"
# The value for "detected by the agent", which is not stored.
_AUTOMATIC: Final = {"addressing": _AUTO, "checksum": _AUTO}
_TEXT: Final = TextSelector()
_LINES: Final = TextSelector(TextSelectorConfig(multiline=True))
_PASSWORD: Final = TextSelector(
    TextSelectorConfig(type=TextSelectorType.PASSWORD, autocomplete="off")
)
# The user, then everything up to the host.
_PASSWORD_OF_PROXY: Final = re.compile(r"^((?:\w+://)?[^:@/]*):.*@")

type _Selector = TextSelector | SelectSelector


class LocationForm:
    """Form for the locations of a provider."""

    def __init__(self, provider: Provider) -> None:
        """Choose the fields."""
        self.provider = provider
        form = provider["endpoint"] or ""
        endpoint: dict[str, _Selector] = {"endpoint": _TEXT}
        region = {"region": _region(provider)}
        has_region = "{region}" in form or bool(provider["regions"])
        self._main: dict[str, _Selector] = {
            **{field["id"]: _own(field) for field in provider["fields"]},
            **({} if form else endpoint),
            **(region if has_region else {}),
            "bucket": _TEXT,
            "prefix": _TEXT,
            "access_key_id": _TEXT,
            "secret_access_key": _PASSWORD,
        }
        self._advanced: dict[str, _Selector] = {
            **(endpoint if form else {}),
            **({} if has_region else region),
            "session_token": _PASSWORD,
            "addressing": _words("addressing", _AUTO, "path", "virtual"),
            "checksum": _words(
                "checksum", _AUTO, "sha256", "crc64nvme", "crc32c", "off"
            ),
            "storage_class": _suggestions(provider["storage_classes"]),
            "encryption": _choice(
                SelectOptionDict(value="AES256", label="SSE-S3 (AES256)"),
                SelectOptionDict(value="aws:kms", label="SSE-KMS (aws:kms)"),
                SelectOptionDict(value="SSE-C", label="SSE-C"),
            ),
            "encryption_key": _PASSWORD,
            "part_size": _TEXT,
            "upload_limit": _TEXT,
            "download_limit": _TEXT,
            "verify_every": _TEXT,
            "verify_sample": _TEXT,
            "verify_mode": _words("verify_mode", "quick", "full"),
            "ca_certificate": _LINES,
            "proxy": _TEXT,
        }
        self._required = {
            *(field["id"] for field in provider["fields"] if not field["optional"]),
            *(() if form else ("endpoint",)),
            *(("region",) if provider["region_required"] else ()),
            *("bucket", "access_key_id", "secret_access_key"),
        }

    def schema(self, known: Settings, errors: Collection[str]) -> vol.Schema:
        """Return the schema; stored secrets are optional."""
        fields: dict[Any, Any] = {}
        for key, selector in self._main.items():
            is_kept = key in SECRETS and key in known
            is_required = key in self._required and not is_kept
            fields[vol.Required(key) if is_required else vol.Optional(key)] = selector
        fields[vol.Optional(NAME)] = _TEXT
        advanced = vol.Schema(
            {vol.Optional(key): field for key, field in self._advanced.items()}
        )
        fields[vol.Required(ADVANCED)] = section(
            advanced, {"collapsed": ADVANCED not in errors}
        )
        return vol.Schema(fields)

    def values(self, settings: Settings, name: str) -> dict[str, Any]:
        """Return the suggested values: settings without secrets."""
        shown = {key: text for key, text in settings.items() if key not in SECRETS}
        if "proxy" in shown:
            shown["proxy"] = _without_password(shown["proxy"])
        given = {key: shown[key] for key in self._advanced if key in shown}
        main = {key: shown[key] for key in self._main if key in shown}
        return {**main, NAME: name, ADVANCED: {**_AUTOMATIC, **given}}

    def read(self, user_input: dict[str, Any], known: Settings) -> Settings:
        """Return the entered settings, with stored secrets for empty fields."""
        entered = {**user_input, **user_input.get(ADVANCED, {})}
        texts = {
            key: str(entered.get(key, "")).strip()
            for key in (*self._main, *self._advanced)
        }
        # A session token belongs to its access key, an encryption key to its kind of encryption.
        stale = {
            "session_token": bool(texts["secret_access_key"])
            or texts["access_key_id"] != known.get("access_key_id", ""),
            "encryption_key": texts["encryption"] != known.get("encryption", ""),
        }
        for key in SECRETS:
            if not texts[key] and not stale.get(key):
                texts[key] = known.get(key, "")
        if (proxy := known.get("proxy")) and texts["proxy"] == _without_password(proxy):
            texts["proxy"] = proxy
        settings = {
            key: text
            for key, text in texts.items()
            if text and text != _AUTOMATIC.get(key)
        }
        return {"provider": self.provider["id"], **settings}

    def field_of(self, key: str, settings: Settings) -> str:
        """Return the field for an error; the frontend shows none inside a section."""
        if key in self._main:
            return key
        return ADVANCED if key in self._advanced and key in settings else "base"


def _own(field: ProviderField) -> _Selector:
    """Return the selector of a provider's own field."""
    return _suggestions(field["choices"])


def _region(provider: Provider) -> _Selector:
    """Return the selector of the region, which accepts unlisted ones."""
    return _choice(
        *(
            SelectOptionDict(
                value=region["id"], label=f"{region['name']} ({region['id']})"
            )
            for region in provider["regions"]
        ),
        is_open=True,
    )


def _suggestions(words: list[str]) -> _Selector:
    """Return a selector that suggests values and accepts others."""
    return _choice(
        *(SelectOptionDict(value=word, label=word) for word in words), is_open=True
    )


def _choice(*options: SelectOptionDict, is_open: bool = False) -> _Selector:
    """Return a dropdown, or a text field without options."""
    if not options:
        return _TEXT
    return SelectSelector(
        SelectSelectorConfig(
            options=list(options),
            mode=SelectSelectorMode.DROPDOWN,
            custom_value=is_open,
        )
    )


def _words(translation_key: str, *words: str) -> _Selector:
    """Return a dropdown with translated options."""
    return SelectSelector(
        SelectSelectorConfig(
            options=list(words),
            mode=SelectSelectorMode.DROPDOWN,
            translation_key=translation_key,
        )
    )


def _without_password(proxy: str) -> str:
    """Return a proxy's URL without its password."""
    return _PASSWORD_OF_PROXY.sub(r"\1@", proxy)
