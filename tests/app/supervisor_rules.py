"""What Home Assistant's Supervisor asks of an app and of a repository, said again: it is in no package.

Read in home-assistant/supervisor of August 2026: `apps/validate.py`, `apps/options.py`, `apps/utils.py`, `apps/const.py`,
`store/data.py`, `store/validate.py`, `utils/common.py`, `validate.py`. Keys that this app has no use for are left out: a new
one has to be looked up there. Where Supervisor accepts what it calls deprecated, this does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re
from typing import Any

import voluptuous as vol

# store/data.py, utils/common.py: an app is wherever such a file is.
SUFFIXES = {".json", ".yaml", ".yml"}

# apps/options.py, RE_SCHEMA_ELEMENT.
ELEMENT = re.compile(
    r"(?:bool|email|url|port"
    r"|device(?:\(subsystem=[a-z]+\))?"
    r"|(?:str|password)(?:\(\d*,\d*\))?"
    r"|int(?:\(-?\d*,-?\d*\))?"
    r"|float(?:\(-?\d*\.?\d*,-?\d*\.?\d*\))?"
    r"|match\(.*\)"
    r"|list\((?P<list>.+)\)"
    r")\??"
)


def full_match(pattern: str) -> Any:
    """Return a validator of texts that match completely."""

    def validate(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise vol.Invalid(f"{value!r} is not like {pattern}")
        return value

    return validate


element = full_match(ELEMENT.pattern)
version = full_match(r"\d+\.\d+\.\d+")
url = vol.Url()

# A list holds no list; options are nested twice at most: "Options / Schema" in the developer documentation.
_INNER = {str: element}
SCHEMA = vol.Schema({str: vol.Any(element, [vol.Any(element, _INNER)], _INNER)})

APP = vol.Schema(
    {
        vol.Required("name"): str,
        vol.Required("version"): version,
        vol.Required("slug"): full_match(r"[-_.A-Za-z0-9]+"),
        vol.Required("description"): str,
        vol.Required("arch"): vol.All([vol.In(["aarch64", "amd64"])], vol.Unique()),
        vol.Required("url"): url,
        # A registry, names in lower case, and no tag: that is the version.
        vol.Required("image"): full_match(r"[a-z0-9.-]+(/[a-z0-9{][a-z0-9.\-_{}]*)+"),
        vol.Required("stage"): vol.In(["stable", "experimental", "deprecated"]),
        vol.Required("homeassistant"): version,
        vol.Required("startup"): vol.In(
            ["initialize", "system", "services", "application", "once"]
        ),
        vol.Required("boot"): vol.In(["auto", "manual", "manual_only"]),
        vol.Required("init"): bool,
        vol.Required("backup"): vol.In(["hot", "cold"]),
        vol.Required("watchdog"): full_match(
            r"(?:https?|\[PROTO:\w+\]|tcp)://\[HOST\]:(\[PORT:\d+\]|\d+).*"
        ),
        vol.Required("ingress"): bool,
        vol.Required("ingress_port"): vol.All(int, vol.Range(min=0, max=65535)),
        vol.Required("ingress_stream"): bool,
        vol.Required("panel_icon"): full_match(r"mdi:[a-z0-9-]+"),
        vol.Required("panel_title"): str,
        vol.Required("panel_admin"): bool,
        vol.Required("discovery"): [str],
        vol.Required("map"): [
            full_match(
                r"(data|ssl|local_apps|backup|share|media|homeassistant_config"
                r"|all_app_configs|app_config)(:(rw|ro))?"
            )
        ],
        vol.Required("apparmor"): bool,
        vol.Required("hassio_role"): vol.In(
            ["default", "homeassistant", "backup", "manager", "admin"]
        ),
        vol.Required("options"): dict,
        vol.Required("schema"): SCHEMA,
    }
)

REPOSITORY = vol.Schema(
    {
        vol.Required("name"): str,
        vol.Required("url"): url,
        vol.Required("maintainer"): str,
    }
)

_TRANSLATION = vol.Schema(
    {
        vol.Required("name"): str,
        vol.Optional("description"): str,
        vol.Optional("fields"): {str: vol.Self},
    }
)
TRANSLATIONS = vol.Schema(
    {
        vol.Optional("configuration"): {str: _TRANSLATION},
        vol.Optional("network"): {str: str},
    }
)


class Options:
    """The options of an app, as Supervisor validates and writes them: `AppOptions`."""

    def __init__(self, app: dict[str, Any]) -> None:
        """Take the schema and the defaults."""
        self._schema = app["schema"]
        self._defaults = app["options"]

    def saved(self, chosen: dict[str, Any]) -> dict[str, Any]:
        """Return what is kept of options from the app's page, without the defaults; raises vol.Invalid."""
        return self._table(self._schema, chosen, "root")

    def written(self, saved: dict[str, Any]) -> dict[str, Any]:
        """Return the content of /data/options.json at the start of the app; raises vol.Invalid."""
        return self._table(self._schema, _merged(self._defaults, saved), "root")

    def _element(self, kind: Any, value: Any, key: str) -> Any:
        if isinstance(kind, list):
            if not isinstance(value, list):
                raise vol.Invalid(f"{key} is no list")
            return [self._element(kind[0], item, key) for item in value]
        if isinstance(kind, dict):
            return self._table(kind, value, key)
        return self._single(kind, value, key)

    def _table(self, kinds: dict[str, Any], value: Any, key: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise vol.Invalid(f"{key} is no section")
        # Supervisor drops options without a schema.
        written = {
            name: self._element(kinds[name], item, name)
            for name, item in value.items()
            if name in kinds
        }
        for name in kinds.keys() - written.keys():
            kind = kinds[name]
            first = kind[0] if isinstance(kind, list) else kind
            if not (isinstance(first, str) and first.endswith("?")):
                raise vol.Invalid(f"{name} is missing in {key}")
        return written

    @staticmethod
    def _single(kind: str, value: Any, key: str) -> Any:
        if value is None:
            raise vol.Invalid(f"{key} is missing")
        if str(value).startswith("!secret "):
            raise vol.Invalid(f"{key} is a secret that secrets.yaml does not have")
        name, _, arguments = kind.removesuffix("?").partition("(")
        if name in {"str", "password"}:
            return vol.Schema(str)(value)
        if name == "match":
            return vol.Match(arguments.removesuffix(")"))(str(value))
        if name == "list":
            return vol.In(arguments.removesuffix(")").split("|"))(str(value))
        raise vol.Invalid(f"what does Supervisor do with {kind}?")


def _merged(defaults: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """Return merged sections; any other chosen value replaces the default."""
    merged = {**defaults, **chosen}
    for key, default in defaults.items():
        if isinstance(default, dict) and isinstance(chosen.get(key), dict):
            merged[key] = _merged(default, chosen[key])
    return merged


def security_rating(app: dict[str, Any], *, has_profile: bool) -> int:
    """Return Supervisor's security rating of an app, from 1 to 8: `rating_security`, without signatures."""
    rating = 5
    if not app.get("apparmor", True):
        rating -= 1
    elif has_profile:
        rating += 1
    if app.get("ingress"):
        rating += 2
    elif app.get("auth_api"):
        rating += 1
    dangerous = {
        *("BPF", "CHECKPOINT_RESTORE", "DAC_READ_SEARCH", "NET_ADMIN", "NET_RAW"),
        *("PERFMON", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO"),
    }
    privileged = set(app.get("privileged", ()))
    if privileged & dangerous or app.get("kernel_modules"):
        rating -= 1
    rating -= {"manager": 1, "admin": 2}.get(app.get("hassio_role", "default"), 0)
    if app.get("host_network"):
        rating -= 1
    if app.get("host_pid"):
        rating -= 2
    if app.get("host_uts") and "SYS_ADMIN" in privileged:
        rating -= 1
    if app.get("docker_api") or app.get("full_access"):
        rating = 1
    return max(min(8, rating), 1)


def found(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files that Supervisor reads as this one, in any folder."""
    for path in folder.glob(f"**/{name}.*"):
        parts = path.relative_to(folder).parts
        if path.suffix in SUFFIXES and not any(
            part.startswith(".") or part == "rootfs" for part in parts
        ):
            yield path
