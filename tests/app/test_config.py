"""The app as Supervisor reads it: configuration, options, translations, repository."""

import json
from pathlib import Path
import re
import struct
import tomllib
from typing import Any

from lab.agent import REPOSITORY
from lab.app import App
from lab.image import CERTIFICATES
import pytest
import voluptuous as vol
import yaml

from .supervisor_rules import (
    APP,
    ELEMENT,
    REPOSITORY as REPOSITORY_RULES,
    TRANSLATIONS,
    Options,
    found,
    security_rating,
)

ADDON = REPOSITORY / "addon"
CONFIG: dict[str, Any] = yaml.safe_load((ADDON / "config.yaml").read_text())
LOCATION: dict[str, str] = CONFIG["schema"]["locations"][0]
DOCS = (ADDON / "DOCS.md").read_text()
CARGO = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())
INTEGRATION = REPOSITORY / "custom_components" / "s3_backup_agent"
MANIFEST = json.loads((INTEGRATION / "manifest.json").read_text())
SETTINGS: dict[str, Any] = json.loads(
    (REPOSITORY / "docs" / "settings.json").read_text()
)
PROVIDERS: list[dict[str, Any]] = tomllib.loads(
    (REPOSITORY / "src" / "provider" / "table.toml").read_text()
)["provider"]
LANGUAGES = sorted(path.stem for path in (REPOSITORY / "translations").glob("*.yaml"))

# Settings of the agent that the app's page omits, with reasons.
LEFT_OUT = {
    "state_dir": "Supervisor gives the app /data",
    "log.level": "log_level, which needs no section",
    "log.format": "Home Assistant shows the app's log as it is, for people to read",
    "listen.socket": "the folder that Home Assistant has, too",
    "listen.socket_mode": "Home Assistant runs as the same user",
    "listen.socket_group": "Home Assistant runs as the same user",
    "listen.tcp": "no port is open to other hosts",
    "listen.tls_cert": "belongs to listen.tcp",
    "listen.tls_key": "belongs to listen.tcp",
    "listen.tcp_without_tls": "belongs to listen.tcp",
    "listen.page": "where Supervisor looks for it",
    "listen.page_from": "Supervisor, which has asked for a login",
    "listen.token": "a random one, which Home Assistant is told",
    "listen.token_file": "in /data",
    "locations.credentials": "the environment of an app has no keys",
}


def choices(kind: str) -> list[str]:
    """Return the choices of an option."""
    match = ELEMENT.fullmatch(kind)
    assert match is not None
    return match["list"].split("|")


def test_supervisor_accepts_the_app() -> None:
    """Every key is known and has a valid value."""
    APP(CONFIG)
    assert CONFIG["slug"] == MANIFEST["domain"]
    # The only service that Supervisor forwards: the integration listens to it.
    assert CONFIG["discovery"] == [MANIFEST["domain"]]
    oldest = json.loads((REPOSITORY / "hacs.json").read_text())
    assert CONFIG["homeassistant"] == oldest["homeassistant"]


def test_app_is_up_before_home_assistant_and_during_backups() -> None:
    """Home Assistant lists soon after its start; an upload may run while the next backup is created."""
    assert (CONFIG["startup"], CONFIG["boot"]) == ("services", "auto")
    assert (CONFIG["backup"], CONFIG["init"]) == ("hot", False)
    assert CONFIG["map"] == ["share:rw"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("startup", "before"),
        ("image", "ghcr.io/s3-backup-agent/s3-backup-agent:0.1.0"),
        ("image", "ghcr.io/S3/agent"),
        ("arch", ["armv7"]),
        ("map", ["addons:rw"]),
        ("schema", {"locations": [["str"]]}),
        ("schema", {"locations": [{"endpoint": {"url": "str"}}]}),
        ("schema", {"level": "lists(a|b)"}),
        ("advanced", True),
    ],
)
def test_invalid_configurations_are_rejected(key: str, value: Any) -> None:
    """The validators used by these tests reject invalid configurations."""
    with pytest.raises(vol.Invalid):
        APP({**CONFIG, key: value})


def test_security_rating_is_the_maximum() -> None:
    """Eight of eight, with the profile beside the configuration."""
    assert security_rating(CONFIG, has_profile=(ADDON / "apparmor.txt").exists()) == 8
    for key in ("host_network", "host_pid", "full_access", "docker_api"):
        assert security_rating({**CONFIG, key: True}, has_profile=True) < 8
    assert security_rating(CONFIG, has_profile=False) < 8
    assert not CONFIG.keys() & {
        "ports",
        "privileged",
        "hassio_api",
        "homeassistant_api",
    }


def test_version_and_image_match_the_agent() -> None:
    """Supervisor pulls the image with the version as its tag."""
    package = CARGO["package"]
    assert CONFIG["version"] == package["version"] == MANIFEST["version"]
    assert CONFIG["description"] == package["description"]
    assert CONFIG["url"] == MANIFEST["documentation"]
    owner = CONFIG["url"].removeprefix("https://github.com/").partition("/")[0]
    assert CONFIG["image"] == f"ghcr.io/{owner}/{package['name']}"
    changes = (ADDON / "CHANGELOG.md").read_text()
    assert f"\n## {CONFIG['version']}\n" in changes


def test_supervisor_and_the_agent_agree_on_the_page() -> None:
    """Ingress and watchdog use the agent's port."""
    port = SETTINGS["page_port"]
    assert CONFIG["ingress_port"] == port
    assert CONFIG["watchdog"].endswith(f":{port}")


def test_repository_has_one_app() -> None:
    """Supervisor reads every file with this name as an app, and the first one as the repository."""
    ignored = {"target", *(REPOSITORY / ".gitignore").read_text().split()}
    for name, only in (
        ("config", "addon/config.yaml"),
        ("repository", "repository.yaml"),
    ):
        paths = (path.relative_to(REPOSITORY) for path in found(REPOSITORY, name))
        ours = [str(path) for path in paths if f"{path.parts[0]}/" not in ignored]
        assert ours == [only]
    REPOSITORY_RULES(yaml.safe_load((REPOSITORY / "repository.yaml").read_text()))


def test_images_have_the_documented_sizes() -> None:
    """A square icon, a wide logo: "Presenting your app" in the developer documentation."""
    for name, size in (("icon.png", (128, 128)), ("logo.png", (250, 100))):
        head = (ADDON / name).read_bytes()[:24]
        assert struct.unpack(">II", head[16:]) == size


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_option_has_a_name_and_a_description(language: str) -> None:
    """In each language, at the place where Home Assistant's form looks for it."""
    texts = yaml.safe_load((ADDON / "translations" / f"{language}.yaml").read_text())
    TRANSLATIONS(texts)
    assert texts.keys() == {"configuration"}
    same_keys(texts["configuration"], CONFIG["schema"])


def same_keys(texts: dict[str, Any], schema: dict[str, Any]) -> None:
    """Assert that the texts belong to these options, in the same order."""
    assert list(texts) == list(schema)
    for key, kind in schema.items():
        assert texts[key]["description"].strip()
        inner = kind[0] if isinstance(kind, list) else kind
        if isinstance(inner, dict):
            same_keys(texts[key]["fields"], inner)
        else:
            assert "fields" not in texts[key]


def test_options_have_a_translation_in_each_language() -> None:
    """The app has the integration's languages."""
    assert len(LANGUAGES) == 12
    assert {path.stem for path in (ADDON / "translations").iterdir()} == {*LANGUAGES}


def test_providers_match_the_table() -> None:
    """In the table's order, which starts with the most useful ones."""
    assert choices(LOCATION["provider"]) == [*(row["id"] for row in PROVIDERS), ""]


def test_fields_of_the_providers_are_options() -> None:
    """With their choices."""
    for field in (field for row in PROVIDERS for field in row.get("fields", ())):
        kind = LOCATION[field["id"]]
        if field.get("choices"):
            assert choices(kind) == [*field["choices"], ""]
        else:
            assert kind == "match(.*)?"


def test_every_setting_is_an_option_or_excluded_with_a_reason() -> None:
    """No setting is missing, and none is unknown to the agent."""
    options = {f"locations.{key}" for key in LOCATION}
    options |= CONFIG["schema"].keys() - {"locations"}
    assert not options & LEFT_OUT.keys()
    assert settings() == options | LEFT_OUT.keys()


def settings() -> set[str]:
    """Return all settings of the agent."""
    return {
        f"{row['section']}.{row['name']}".removeprefix(".")
        for row in SETTINGS["settings"]
    }


def test_supervisor_leaves_validation_to_the_agent() -> None:
    """Supervisor's message about a wrong value contains all secrets, so the agent validates instead where possible."""
    kinds = [*LOCATION.values(), CONFIG["schema"]["log_level"]]
    assert all(kind.endswith("?") for kind in kinds)
    free = {kind for kind in kinds if not kind.startswith("list(")}
    assert free == {"match(.*)?", "password?"}
    secrets = {key for key, kind in LOCATION.items() if kind == "password?"}
    assert secrets == {"secret_access_key", "session_token", "encryption_key", "proxy"}


async def test_app_starts_with_default_options() -> None:
    """With default options, it runs and waits for a location."""
    written = Options(CONFIG).written({})
    assert written == {"log_level": "info", "locations": []}
    async with App(written) as app:
        assert (await app.get("/v1/info"))["problems"] == []
        assert (await app.get("/v1/locations"))["locations"] == []


def location_at(row: dict[str, Any]) -> dict[str, Any]:
    """Return a location as a user of this provider would enter it."""
    example = {
        field["id"]: field["example"]
        for field in row.get("fields", ())
        if not field.get("optional")
    }
    return {
        "name": row["name"],
        "provider": row["id"],
        "bucket": "my-bucket",
        "prefix": f"at/{row['id']}",
        "access_key_id": "AKIAIOSFODNN7EXAMPLE",
        "secret_access_key": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
        **example,
        **row["example"].get("settings", {}),
    }


async def test_form_of_each_provider_is_understood() -> None:
    """The agent accepts Supervisor's output of a form for each provider."""
    chosen = {"locations": [location_at(row) for row in PROVIDERS]}
    written = Options(CONFIG).written(chosen)
    assert written["locations"] == chosen["locations"]
    async with App(written) as app:
        assert (await app.get("/v1/info"))["problems"] == []
        locations = (await app.get("/v1/locations"))["locations"]
    assert [it["name"] for it in locations] == [row["name"] for row in PROVIDERS]
    for row, location in zip(PROVIDERS, locations, strict=True):
        assert location["provider"] == row["id"]
        assert location["endpoint"].rstrip("/") == row["example"]["endpoint"]
        assert location["region"] == row["example"]["region"]


async def test_every_option_is_understood() -> None:
    """With each choice of each option, from a form and from YAML."""
    key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    other = next(row for row in PROVIDERS if row["id"] == "other")
    # The form has one line for it.
    end = "-----END CERTIFICATE-----"
    pem = Path(CERTIFICATES).read_text().partition(end)[0] + end
    values: dict[str, list[Any]] = {
        "upload_limit": ["2 MiB", "0", ""],
        "download_limit": ["512 KiB/s"],
        "storage_class": ["STANDARD"],
        "encryption_key": [key],
        "session_token": ["token"],
        "part_size": ["16 MiB", "8388608"],
        "concurrency": [1, "16"],
        "outage_seconds": [60, "900"],
        "idle_seconds": [1, "3600"],
        "verify_every": ["7d", "12h", "off", ""],
        "verify_sample": ["3", "all"],
        "ca_certificate": [pem, pem.replace("\n", " "), pem.replace("\n", "")],
        "proxy": [
            "http://ada:secret@proxy.example.com:3128",
            "socks5h://proxy.example.com",
            "environment",
        ],
        "id": ["cellar"],
        "region": [""],
    }
    for option, kind in LOCATION.items():
        if kind.startswith("list(") and option not in {"provider", "jurisdiction"}:
            values[option] = choices(kind)
    locations = []
    for option, some in values.items():
        for number, value in enumerate(some):
            location = {**location_at(other), "prefix": f"{option}/{number}"}
            if option == "encryption_key" or value == "SSE-C":
                location |= {"encryption": "SSE-C", "encryption_key": key}
            locations.append({**location, option: value})
    written = Options(CONFIG).written({"locations": locations})
    async with App(written) as app:
        assert (await app.get("/v1/info"))["problems"] == []
        found = (await app.get("/v1/locations"))["locations"]
    assert [it["prefix"] for it in found] == [it["prefix"] for it in locations]


def test_documentation_has_each_option() -> None:
    """The Documentation tab explains what each bucket needs, and the documents that it names the rest."""
    explained = set(re.findall(r"^\| `([\w.]+)` \|", DOCS, re.MULTILINE))
    needed = {"provider", "bucket", "access_key_id", "secret_access_key"}
    assert {"log_level", "locations", *needed} <= explained
    assert explained <= {"log_level", "locations", *LOCATION}
    documents = [
        REPOSITORY / "docs" / name for name in ("configuration.md", "providers.md")
    ]
    assert all(f"/docs/{document.name})" in DOCS for document in documents)
    reference = "".join(document.read_text() for document in documents)
    rows = set(re.findall(r"^(?:\||-) `(\w+)`", reference, re.MULTILINE))
    assert LOCATION.keys() <= rows


async def test_example_of_the_documentation_works() -> None:
    """Users paste the example."""
    (example,) = re.findall(r"```yaml\n(.+?)```", DOCS, re.DOTALL)
    async with App(Options(CONFIG).written(yaml.safe_load(example))) as app:
        assert (await app.get("/v1/info"))["problems"] == []
        (location,) = (await app.get("/v1/locations"))["locations"]
        assert location["name"] == "Cellar"


@pytest.mark.parametrize("level", choices(CONFIG["schema"]["log_level"])[:-1])
async def test_log_levels_exist_in_the_agent(level: str) -> None:
    """Each level exists in the agent."""
    async with App(Options(CONFIG).written({"log_level": level})) as app:
        assert (await app.get("/v1/info"))["problems"] == []
        assert (await app.get("/v1/diagnostics"))["log"]["level"] == level
