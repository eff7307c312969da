"""Secrets of a location."""

from http import HTTPStatus
import json
import logging
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import (
    ClientSessionGenerator,
    WebSocketGenerator,
)

from custom_components.s3_backup_agent.client import AgentClient
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

from .location_forms import Fields, form_of


async def test_session_token_is_dropped_with_key(client: AgentClient) -> None:
    """A session token is stored as long as its key."""
    form = await form_of(client, "garage")
    known = {
        "access_key_id": "GK1",
        "secret_access_key": "secret",
        "session_token": "token",
    }
    assert "token" not in str(form.values(known, ""))
    same = {"access_key_id": "GK1"}
    assert form.read(same, known)["session_token"] == "token"
    assert "session_token" not in form.read({**same, "access_key_id": "GK2"}, known)
    assert "session_token" not in form.read({**same, "secret_access_key": "x"}, known)


async def test_secrets_are_neither_sent_nor_logged(
    hass: HomeAssistant,
    *,
    loaded: MockConfigEntry,
    fields: Fields,
    hass_client: ClientSessionGenerator,
    hass_ws_client: WebSocketGenerator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No secret reaches the frontend or the log."""
    assert await async_setup_component(hass, "config", {})
    caplog.set_level(logging.DEBUG)
    hidden = {
        "secret_access_key": fields.pop("secret_access_key"),
        "encryption_key": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    }
    http = await hass_client()
    url = "/api/config/config_entries/subentries/flow"
    seen: list[str] = []

    async def post(path: str, body: Fields) -> Any:
        answer = await http.post(f"{url}{path}", json=body)
        text = await answer.text()
        assert answer.status == HTTPStatus.OK, text
        seen.append(text)
        return json.loads(text)

    async def fill(**changes: Any) -> Any:
        storage = {
            "encryption": "SSE-C",
            "encryption_key": hidden["encryption_key"],
        }
        secret = {"secret_access_key": hidden["secret_access_key"]}
        return {**fields, **secret, "storage": storage, **changes}

    handler = [loaded.entry_id, "location"]
    flow = await post("", {"handler": handler})
    path = f"/{flow['flow_id']}"
    await post(path, {"provider": "other"})
    form = await post(path, await fill(bucket="nowhere"))
    assert form["errors"] == {"bucket": "bucket_not_found"}
    more: Fields = {
        "connection": {"region": "eu-west-1"},
        "storage": {"encryption": "SSE-C"},
    }
    menu = await post(path, await fill(secret_access_key="", **more))
    assert menu["type"] == "menu"
    result = await post(path, {"next_step_id": "take"})
    assert result["type"] == "create_entry"
    await hass.async_block_till_done()
    (subentry,) = loaded.subentries.values()
    assert hidden.items() <= subentry.data.items()

    again = {"handler": handler, "subentry_id": subentry.subentry_id}
    form = await post("", again)
    assert form["step_id"] == "change"
    socket = await hass_ws_client()
    for message in (
        {"type": "config_entries/subentries/list", "entry_id": loaded.entry_id},
        {"type": "config_entries/get"},
        {"type": "backup/agents/info"},
    ):
        await socket.send_json_auto_id(message)
        answer = await socket.receive_json()
        assert answer["success"]
        seen.append(json.dumps(answer))
    for secret in hidden.values():
        assert secret not in "".join(seen)
        assert secret not in caplog.text
