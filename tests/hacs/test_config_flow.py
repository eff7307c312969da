"""The config flow, with the real agent at the other end."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.config_entries import SOURCE_USER, ConfigEntryState
from homeassistant.const import CONF_ADDRESS, CONF_TOKEN
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

from .agent import Agent, free_port
from .test_client import http, something_else

TOKEN = "a token of more than sixteen characters"


@pytest.fixture
async def guarded() -> AsyncIterator[Agent]:
    """Return an agent that wants a token, also reached over TCP."""
    async with Agent(token=TOKEN, tcp_port=free_port()) as agent:
        yield agent


async def start(hass: HomeAssistant) -> str:
    """Begin the flow by hand; return its id."""
    flow = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )
    assert flow["type"] is FlowResultType.FORM
    assert flow["step_id"] == "user"
    assert flow["errors"] == {}
    flow_id: str = flow["flow_id"]
    return flow_id


async def submit(hass: HomeAssistant, flow_id: str, **fields: str) -> Any:
    """Fill in the form."""
    return await hass.config_entries.flow.async_configure(flow_id, fields)


async def test_connects_to_a_socket(hass: HomeAssistant, agent: Agent) -> None:
    """The socket's path alone is enough, however it is written."""
    flow_id = await start(hass)
    result = await submit(hass, flow_id, address=f" {agent.socket} ")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == "S3 Backup Agent"
    assert result["data"] == {CONF_ADDRESS: agent.address}
    assert result["result"].unique_id == agent.address
    assert result["result"].state is ConfigEntryState.LOADED


async def test_connects_over_tcp(hass: HomeAssistant, guarded: Agent) -> None:
    """A URL needs the token."""
    url = f"http://127.0.0.1:{guarded.tcp_port}"
    flow_id = await start(hass)
    result = await submit(hass, flow_id, address=f"{url}/")
    assert result["errors"] == {CONF_TOKEN: "invalid_auth"}
    result = await submit(hass, flow_id, address=url, token="wrong")
    assert result["errors"] == {CONF_TOKEN: "invalid_auth"}
    result = await submit(hass, flow_id, address=url, token=f" {TOKEN}\n")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"] == {CONF_ADDRESS: url, CONF_TOKEN: TOKEN}


async def test_shows_what_is_wrong(
    hass: HomeAssistant, agent: Agent, tmp_path: Path
) -> None:
    """Each mistake has its own message, and the next try may succeed."""
    flow_id = await start(hass)

    result = await submit(hass, flow_id, address="agent.local")
    assert result["errors"] == {CONF_ADDRESS: "invalid_address"}

    result = await submit(hass, flow_id, address="/nowhere.sock", token="secret")
    assert result["errors"] == {"base": "cannot_connect"}
    assert "/nowhere.sock" in result["description_placeholders"]["details"]
    # What was typed is still there, but for the token.
    suggested = {
        str(key): key.description.get("suggested_value")
        for key in result["data_schema"].schema
        if key.description
    }
    assert suggested[CONF_ADDRESS] == "/nowhere.sock"
    assert not suggested.get(CONF_TOKEN)

    async with something_else(tmp_path, http("200 OK", "<html>")) as other:
        result = await submit(hass, flow_id, address=other.address)
    assert result["errors"] == {"base": "not_an_agent"}

    with patch("custom_components.s3_backup_agent.client.PROTOCOL", 2):
        result = await submit(hass, flow_id, address=agent.address)
    assert result["errors"] == {"base": "unsupported_protocol"}

    result = await submit(hass, flow_id, address=agent.address)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_connects_to_an_agent_once(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """One entry for one agent."""
    flow_id = await start(hass)
    result = await submit(hass, flow_id, address=str(agent.socket))
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "already_configured"


async def test_reconfigures(
    hass: HomeAssistant, agent: Agent, guarded: Agent, entry: MockConfigEntry
) -> None:
    """The agent may move, and get a token."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    flow = await entry.start_reconfigure_flow(hass)
    assert flow["step_id"] == "reconfigure"
    result = await submit(hass, flow["flow_id"], address=guarded.address)
    assert result["errors"] == {CONF_TOKEN: "invalid_auth"}
    result = await submit(hass, flow["flow_id"], address=guarded.address, token=TOKEN)
    assert result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()
    assert entry.data == {CONF_ADDRESS: guarded.address, CONF_TOKEN: TOKEN}
    assert entry.unique_id == guarded.address
    assert entry.state is ConfigEntryState.LOADED

    # The same address again is no conflict with itself.
    flow = await entry.start_reconfigure_flow(hass)
    result = await submit(hass, flow["flow_id"], address=guarded.address, token=TOKEN)
    assert result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()


async def test_does_not_reconfigure_to_another_entrys_agent(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """One entry for one agent, also afterwards."""
    other = MockConfigEntry(
        domain=DOMAIN, data={CONF_ADDRESS: "unix:///x"}, unique_id="unix:///x"
    )
    other.add_to_hass(hass)
    flow = await other.start_reconfigure_flow(hass)
    result = await submit(hass, flow["flow_id"], address=agent.address)
    assert result["reason"] == "already_configured"


async def test_asks_for_another_token(hass: HomeAssistant, guarded: Agent) -> None:
    """A changed token is entered and used."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        data={CONF_ADDRESS: guarded.address, CONF_TOKEN: "old"},
        unique_id=guarded.address,
    )
    entry.add_to_hass(hass)
    flow = await entry.start_reauth_flow(hass)
    assert flow["step_id"] == "reauth_confirm"
    result = await submit(hass, flow["flow_id"], token="wrong")
    assert result["errors"] == {CONF_TOKEN: "invalid_auth"}
    result = await submit(hass, flow["flow_id"], token=TOKEN)
    assert result["reason"] == "reauth_successful"
    await hass.async_block_till_done()
    assert entry.data == {CONF_ADDRESS: guarded.address, CONF_TOKEN: TOKEN}
    assert entry.state is ConfigEntryState.LOADED
