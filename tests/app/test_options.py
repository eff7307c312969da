"""Options of the app as users write them in YAML: Supervisor saves them, and the agent understands them or names the option."""

from typing import Any

from lab.app import App
import pytest
import voluptuous as vol

from .supervisor_rules import Options
from .test_config import CONFIG

OPTIONS = Options(CONFIG)
LOCATION = {
    "provider": "garage",
    "endpoint": "http://127.0.0.1:3900",
    "bucket": "backups",
    "access_key_id": "GK0123",
    "secret_access_key": "aSecretAccessKey",
}


def with_location(**changes: Any) -> dict[str, Any]:
    """Return options with one location."""
    return {"locations": [{**LOCATION, **changes}]}


async def problems(chosen: dict[str, Any]) -> tuple[list[str], list[Any]]:
    """Return the options that the agent names, and its locations, once Supervisor has saved these options."""
    async with App(OPTIONS.written(OPTIONS.saved(chosen))) as app:
        found = (await app.get("/v1/info"))["problems"]
        return [it["option"] for it in found], (await app.get("/v1/locations"))[
            "locations"
        ]


@pytest.mark.parametrize(
    "chosen",
    [
        {"locations": []},
        {"log_level": "", "locations": []},
        {"log_level": "debug", "locations": []},
        # Of version 0.1.0.
        {"log": {"level": "debug"}, "locations": []},
        {"log": None, "locations": []},
    ],
)
async def test_options_without_a_location(chosen: dict[str, Any]) -> None:
    """The app waits for a bucket; a section that the schema lacks is dropped."""
    assert await problems(chosen) == ([], [])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        # YAML makes numbers and booleans of them.
        ("prefix", 2024),
        ("prefix", True),
        ("bucket", 20241130),
        ("access_key_id", 1234567890),
        ("name", 7),
        ("id", 2024),
        ("upload_limit", 2000000),
        ("download_limit", 0),
        ("part_size", 8388608),
        ("concurrency", 4),
        ("concurrency", "4"),
        ("outage_seconds", 900),
        ("idle_seconds", 60),
        ("verify_sample", 3),
        ("region", 1),
        # Emptied, in the form or in YAML.
        ("name", ""),
        ("prefix", ""),
        ("region", ""),
        ("account_id", ""),
        ("jurisdiction", ""),
        ("session_token", ""),
        ("addressing", ""),
        ("checksum", ""),
        ("storage_class", ""),
        ("encryption", ""),
        ("encryption_key", ""),
        ("part_size", ""),
        ("concurrency", ""),
        ("upload_limit", ""),
        ("download_limit", ""),
        ("outage_seconds", ""),
        ("idle_seconds", ""),
        ("verify_every", ""),
        ("verify_sample", ""),
        ("verify_mode", ""),
        ("ca_certificate", ""),
        ("certificate_sha256", ""),
        ("proxy", ""),
        ("id", ""),
        ("provider", ""),
    ],
)
async def test_number_or_emptied_option_is_understood(option: str, value: Any) -> None:
    """The location works."""
    named, locations = await problems(with_location(**{option: value}))
    assert named == []
    assert len(locations) == 1
    if option in {"prefix", "bucket", "name", "id"} and value != "":
        assert locations[0][option] == str(value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("concurrency", "eight"),
        ("concurrency", 99),
        ("part_size", 5),
        ("upload_limit", "fast"),
        ("outage_seconds", -1),
        ("verify_every", "weekly"),
    ],
)
async def test_wrong_option_is_named_by_the_agent(option: str, value: Any) -> None:
    """Supervisor saves it; its own refusal would quote all keys."""
    named, _ = await problems(with_location(**{option: value}))
    assert named == [f"locations[0].{option}"]


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"log_level": "info"},
        {"locations": {}},
        {"locations": None},
        {"log_level": "loud", "locations": []},
        with_location(provider="aws3"),
        with_location(bucket=None),
        with_location(secret_access_key=1234567890),
        with_location(prefix="!secret prefix"),
    ],
)
def test_what_supervisor_itself_refuses(chosen: dict[str, Any]) -> None:
    """No schema can prevent it: no list, a wrong choice, no value at all, a number as a secret, a secret of secrets.yaml."""
    with pytest.raises(vol.Invalid):
        OPTIONS.saved(chosen)


def test_unknown_options_are_dropped() -> None:
    """Supervisor logs their names."""
    assert OPTIONS.saved({"x": 1, "locations": [{"y": 2}]}) == {"locations": [{}]}
