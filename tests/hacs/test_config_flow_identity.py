"""Config flow: one entry for one agent."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from lab.process import free_port
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.client import AgentClient
from custom_components.s3_backup_agent.const import CONF_AGENT_ID, CONF_APP, DOMAIN
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_ADDRESS, CONF_TOKEN, CONF_VERIFY_SSL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

from .agent import TOKEN, Agent
from .config_forms import reconfigure, start, submit


@pytest.fixture
def older() -> Iterator[None]:
    """Make the agent one without an id of its own."""
    info = AgentClient.info

    async def without_id(client: AgentClient) -> Any:
        answer = await info(client)
        answer.pop("agent_id", None)
        return answer

    with patch.object(AgentClient, "info", without_id):
        yield


async def test_second_entry_for_address_aborts(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """An address has one entry."""
    flow_id = await start(hass)
    result = await submit(hass, flow_id, address=str(agent.socket))
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "already_configured"


async def test_second_entry_for_agent_aborts(
    hass: HomeAssistant, guarded: Agent
) -> None:
    """An agent has one entry, whose broken address is replaced by a working one."""
    url = f"http://127.0.0.1:{guarded.tcp_port}"
    result = await submit(hass, await start(hass), address=url, token=TOKEN)
    entry = result["result"]
    result = await submit(hass, await start(hass), address=guarded.address, token=TOKEN)
    assert result["reason"] == "already_configured"
    assert result["description_placeholders"] == {"address": url}
    assert entry.data[CONF_ADDRESS] == url

    await guarded.stop()
    guarded.tcp_port = None
    await guarded.start()
    result = await submit(hass, await start(hass), address=guarded.address, token=TOKEN)
    assert result["reason"] == "address_updated"
    assert result["description_placeholders"] == {"address": guarded.address}
    await hass.async_block_till_done()
    assert entry.data[CONF_ADDRESS] == guarded.address
    assert entry.state is ConfigEntryState.LOADED
    assert hass.config_entries.async_entries(DOMAIN) == [entry]


async def test_new_address_verifies_certificate(
    hass: HomeAssistant, guarded: Agent
) -> None:
    """verify_ssl off does not apply to another address."""
    url = f"http://127.0.0.1:{guarded.tcp_port}"
    fields: dict[str, Any] = {CONF_TOKEN: TOKEN, CONF_VERIFY_SSL: False}
    result = await submit(hass, await start(hass), address=url, **fields)
    entry = result["result"]
    assert entry.data[CONF_VERIFY_SSL] is False

    await guarded.stop()
    guarded.tcp_port = free_port()
    await guarded.start()
    url = f"http://127.0.0.1:{guarded.tcp_port}"
    fields[CONF_VERIFY_SSL] = True
    result = await submit(hass, await start(hass), address=url, **fields)
    assert result["reason"] == "address_updated"
    await hass.async_block_till_done()
    assert entry.data[CONF_ADDRESS] == url
    assert CONF_VERIFY_SSL not in entry.data
    assert entry.state is ConfigEntryState.LOADED


@pytest.mark.usefixtures("older")
async def test_older_agent_uses_address_as_unique_id(
    hass: HomeAssistant, agent: Agent
) -> None:
    """An agent without an id is identified by its address."""
    result = await submit(hass, await start(hass), address=agent.address)
    entry = result["result"]
    assert entry.unique_id == agent.address
    assert entry.data == {CONF_ADDRESS: agent.address}
    assert await hass.config_entries.async_unload(entry.entry_id)

    flow = await reconfigure(hass, entry)
    result = await submit(hass, flow["flow_id"], address=agent.address)
    assert result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.LOADED


async def test_address_unique_id_is_migrated(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """The setup replaces an address as unique id by the agent's id."""
    assert entry.unique_id == agent.address
    assert await hass.config_entries.async_setup(entry.entry_id)
    agent_id = entry.runtime_data.info["agent_id"]
    assert entry.unique_id == entry.data[CONF_AGENT_ID] == agent_id
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert entry.unique_id == agent_id


async def test_two_entries_of_one_agent_keep_working(
    hass: HomeAssistant, guarded: Agent
) -> None:
    """Of two older entries for one agent, the second keeps its unique id."""
    entries = [
        MockConfigEntry(
            domain=DOMAIN,
            data={CONF_ADDRESS: address, CONF_TOKEN: TOKEN},
            unique_id=address,
        )
        for address in (guarded.address, f"http://127.0.0.1:{guarded.tcp_port}")
    ]
    for entry in entries:
        entry.add_to_hass(hass)
    assert await hass.config_entries.async_setup(entries[0].entry_id)
    await hass.async_block_till_done()
    assert [entry.state for entry in entries] == [ConfigEntryState.LOADED] * 2
    first, second = entries
    assert first.unique_id == first.data[CONF_AGENT_ID] == second.data[CONF_AGENT_ID]
    assert second.unique_id == second.data[CONF_ADDRESS]


async def test_reconfigure_keeps_app(hass: HomeAssistant, guarded: Agent) -> None:
    """An app's entry stays the app's."""
    data = {CONF_ADDRESS: guarded.address, CONF_TOKEN: TOKEN, CONF_APP: "local_x"}
    entry = MockConfigEntry(domain=DOMAIN, data=data, unique_id="local_x")
    entry.add_to_hass(hass)
    assert await hass.config_entries.async_setup(entry.entry_id)
    flow = await reconfigure(hass, entry)
    url = f"http://127.0.0.1:{guarded.tcp_port}"
    result = await submit(hass, flow["flow_id"], address=url, token=TOKEN)
    assert result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()
    assert (entry.unique_id, entry.data[CONF_APP]) == ("local_x", "local_x")
    assert entry.data[CONF_ADDRESS] == url


async def test_reconfigure_confirms_another_agent(
    hass: HomeAssistant, agent: Agent, guarded: Agent, entry: MockConfigEntry
) -> None:
    """Another agent at the new address needs a confirmation."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    before = entry.unique_id
    flow = await reconfigure(hass, entry)
    result = await submit(hass, flow["flow_id"], address=guarded.address, token=TOKEN)
    assert result["step_id"] == "another_agent"
    assert entry.data[CONF_ADDRESS] == agent.address
    result = await submit(hass, flow["flow_id"])
    assert result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()
    assert entry.data[CONF_ADDRESS] == guarded.address
    assert entry.unique_id == entry.data[CONF_AGENT_ID] != before
    assert entry.state is ConfigEntryState.LOADED


async def test_reconfigure_to_configured_agent_aborts(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """The agent of another entry aborts the flow."""
    other = MockConfigEntry(
        domain=DOMAIN, data={CONF_ADDRESS: "unix:///x"}, unique_id="unix:///x"
    )
    other.add_to_hass(hass)
    flow = await reconfigure(hass, other)
    result = await submit(hass, flow["flow_id"], address=agent.address)
    assert result["reason"] == "already_configured"
