"""Diagnostics of entries and devices."""

from collections.abc import AsyncIterator
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.s3_backup_agent import (
    async_remove_config_entry_device,
    diagnostics as module,
)
from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.devices import location_of
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_ADDRESS, CONF_TOKEN
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.setup import async_setup_component

from .agent import Agent

TOKEN = "planted token/of more+than=sixteen characters"
SECRETS = {
    "access_key_id": "PLANTEDKEYID0001",
    "secret_access_key": "planted/secret+access=key-0002",
    "session_token": "planted/session+token-0003",
    "encryption_key": "cGxhbnRlZC1lbmNyeXB0aW9uLWtleS0wMDA0LjMyYiE=",
    "proxy": "http://someone:planted-proxy-0005@127.0.0.1:9",
}
# The texts that must not appear.
HIDDEN = [
    TOKEN,
    *(SECRETS[key] for key in SECRETS if key != "proxy"),
    "planted-proxy-0005",
    "someone:",
]


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    """Return an agent with secrets of its own."""
    location = "\n".join(f"{key} = {json.dumps(it)}" for key, it in SECRETS.items())
    configured = (
        "[[locations]]\nid = 'configured'\nname = 'Configured'\nregion = 'none'\n"
        "bucket = 'bucket'\nendpoint = 'https://127.0.0.1:9'\nencryption = 'SSE-C'\n"
    )
    more = configured + location.replace("planted", "PLANTED")
    async with Agent(token=TOKEN, locations={"local": "Local"}, more=more) as agent:
        yield agent


@pytest.fixture
def entry(hass: HomeAssistant, agent: Agent) -> MockConfigEntry:
    """Return an entry with a location that has all secrets."""
    settings = {
        "provider": "other",
        "endpoint": "https://127.0.0.1:9",
        "region": "none",
        "bucket": "bucket",
        "prefix": "home",
        "encryption": "SSE-C",
        **SECRETS,
    }
    entry = MockConfigEntry(
        domain=DOMAIN,
        data={CONF_ADDRESS: agent.address, CONF_TOKEN: TOKEN},
        subentries_data=[
            {
                "data": settings,
                "subentry_type": "location",
                "title": f"Planted {SECRETS['access_key_id']}",
                "unique_id": "planted",
            }
        ],
    )
    entry.add_to_hass(hass)
    return entry


async def download(
    hass: HomeAssistant, hass_client: ClientSessionGenerator, path: str
) -> tuple[dict[str, Any], str]:
    """Return the diagnostics, parsed and as text."""
    assert await async_setup_component(hass, "diagnostics", {})
    await hass.async_block_till_done()
    client = await hass_client()
    response = await client.get(f"/api/diagnostics/config_entry/{path}")
    assert response.status == 200
    text = await response.text()
    data: dict[str, Any] = json.loads(text)["data"]
    return data, text


def assert_clean(text: str) -> None:
    """Assert that no secret is in a text, in any encoding."""
    for secret in HIDDEN:
        for hidden in (secret, secret.replace("planted", "PLANTED")):
            for form in (hidden, json.dumps(hidden)[1:-1], quote(hidden, safe="")):
                assert form not in text


async def test_entry_diagnostics(
    hass: HomeAssistant, entry: MockConfigEntry, hass_client: ClientSessionGenerator
) -> None:
    """Entry diagnostics contain both sides' state."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    connection = entry.runtime_data
    assert set(connection.locations) == {"local", "configured", "planted"}
    for location_id in ("configured", "planted"):
        assert not (await connection.client.check_location(location_id))["ok"]

    data, text = await download(hass, hass_client, entry.entry_id)
    assert_clean(text)
    assert data["entry"]["data"][CONF_TOKEN] == "**REDACTED**"
    assert data["entry"]["data"][CONF_ADDRESS] == connection.client.address
    (subentry,) = data["entry"]["subentries"]
    assert subentry["data"]["bucket"] == "bucket"
    assert subentry["data"]["proxy"] == "http://**REDACTED**@127.0.0.1:9"
    assert data["connection"]["available"]
    locations = {it["id"]: it for it in data["connection"]["locations"]}
    assert locations["planted"]["bucket"] == "bucket"
    has_diagnostics = "diagnostics" in connection.info["capabilities"]
    assert ("configuration" in data["agent"]) == has_diagnostics
    assert data["agent"]["info"]["version"] == connection.info["version"]


async def test_entry_diagnostics_of_older_agent(
    hass: HomeAssistant, entry: MockConfigEntry, hass_client: ClientSessionGenerator
) -> None:
    """An older agent without diagnostics reports its version."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    with patch.object(module, "_CAPABILITY", "something new"):
        data, text = await download(hass, hass_client, entry.entry_id)
    assert_clean(text)
    assert set(data["agent"]) == {"info", "error"}


async def test_entry_diagnostics_without_agent(
    hass: HomeAssistant,
    agent: Agent,
    entry: MockConfigEntry,
    hass_client: ClientSessionGenerator,
) -> None:
    """Without a connection, the error is reported."""
    await agent.stop()
    assert not await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    data, text = await download(hass, hass_client, entry.entry_id)
    assert_clean(text)
    assert data["connection"] is None
    assert data["agent"]["error"]["code"] == "agent_unreachable"


@pytest.mark.parametrize("location_id", ["local", "configured", "planted"])
async def test_device_diagnostics(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    hass_client: ClientSessionGenerator,
    location_id: str,
) -> None:
    """Device diagnostics contain one location's state."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    devices = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    (device,) = (it for it in devices if location_of(it) == location_id)
    path = f"{entry.entry_id}/device/{device.id}"
    data, text = await download(hass, hass_client, path)
    assert_clean(text)
    assert data["location_id"] == data["location"]["id"] == location_id
    assert (data["subentry"] is not None) == (location_id == "planted")
    assert data["uploads"] == []
    if "diagnostics" in entry.runtime_data.info["capabilities"]:
        assert data["agent"]["location"]["id"] == location_id


async def test_device_diagnostics_without_agent(
    hass: HomeAssistant,
    agent: Agent,
    entry: MockConfigEntry,
    hass_client: ClientSessionGenerator,
) -> None:
    """Without a connection, the stored settings and the error are reported, and the device cannot be removed."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    devices = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    (device,) = (it for it in devices if location_of(it) == "planted")
    assert await hass.config_entries.async_unload(entry.entry_id)
    await agent.stop()
    path = f"{entry.entry_id}/device/{device.id}"
    data, text = await download(hass, hass_client, path)
    assert_clean(text)
    assert data["subentry"]["data"]["bucket"] == "bucket"
    assert data["error"]["code"] == "agent_unreachable"
    assert data["location"] is data["agent"] is None
    assert await async_remove_config_entry_device(hass, entry, device) is False


async def test_secrets_are_redacted_by_value(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """Secrets are redacted by key and by value."""
    clean = module._cleaner(entry)
    told = {"said": [f"key {SECRETS['secret_access_key']}!", {"a": (TOKEN,)}], "n": 5}
    assert clean(told) == {
        "said": ["key **REDACTED**!", {"a": ["**REDACTED**"]}],
        "n": 5,
    }
    assert clean({"session_token": None, "token": "other"}) == {
        "session_token": None,
        "token": "**REDACTED**",
    }
    assert clean({"url": "https://who:what@host/a@b"}) == {
        "url": "https://**REDACTED**@host/a@b"
    }


def test_every_secret_setting_is_redacted() -> None:
    """The agent's table of settings names every secret that the entry may hold."""
    table = Path(__file__).parents[2] / "docs/settings.json"
    settings = json.loads(table.read_text())["settings"]
    secret = {it["name"] for it in settings if it.get("is_secret")}
    # A proxy's URL stays readable; its password is redacted by value.
    assert "secret_access_key" in secret
    assert secret - module._SECRETS == {"proxy"}
