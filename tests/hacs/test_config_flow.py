"""The config flow, with the real agent at the other end."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from lab.process import free_port
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.client import AgentClient, AgentError
from custom_components.s3_backup_agent.const import CONF_AGENT_ID, CONF_APP, DOMAIN
from homeassistant.config_entries import (
    SOURCE_REAUTH,
    SOURCE_RECONFIGURE,
    SOURCE_USER,
    ConfigEntry,
    ConfigEntryState,
)
from homeassistant.const import CONF_ADDRESS, CONF_TOKEN, CONF_VERIFY_SSL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

from .agent import TOKEN, Agent
from .impostor import http, impostor


@pytest.fixture
async def guarded() -> AsyncIterator[Agent]:
    """Return an agent that wants a token, also reached over TCP."""
    async with Agent(token=TOKEN, tcp_port=free_port()) as agent:
        yield agent


@pytest.fixture
def older() -> Iterator[None]:
    """Let the agent be one that has no id of its own yet."""
    info = AgentClient.info

    async def without_id(client: AgentClient) -> Any:
        answer = await info(client)
        answer.pop("agent_id", None)
        return answer

    with patch.object(AgentClient, "info", without_id):
        yield


async def reconfigure(hass: HomeAssistant, entry: ConfigEntry) -> Any:
    """Begin to change the connection."""
    return await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    )


async def start(hass: HomeAssistant) -> str:
    """Begin the flow by hand; return its id."""
    flow = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )
    assert flow["type"] is FlowResultType.FORM
    assert flow["step_id"] == "manual"
    assert flow["errors"] == {}
    flow_id: str = flow["flow_id"]
    return flow_id


async def submit(hass: HomeAssistant, flow_id: str, **fields: Any) -> Any:
    """Fill in the form."""
    return await hass.config_entries.flow.async_configure(flow_id, fields)


async def test_connects_to_a_socket(hass: HomeAssistant, agent: Agent) -> None:
    """The socket's path alone is enough, however it is written."""
    flow_id = await start(hass)
    result = await submit(hass, flow_id, address=f" {agent.socket} ")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == "S3 Backup Agent"
    agent_id = result["result"].runtime_data.info["agent_id"]
    assert result["data"] == {CONF_ADDRESS: agent.address, CONF_AGENT_ID: agent_id}
    assert result["result"].unique_id == agent_id
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
    assert result["data"] == {
        CONF_ADDRESS: url,
        CONF_TOKEN: TOKEN,
        CONF_AGENT_ID: result["result"].unique_id,
    }


async def test_says_to_wait_after_many_wrong_tokens(
    hass: HomeAssistant, guarded: Agent
) -> None:
    """The next one is not even looked at, which is another thing than an agent that is away; it is tried again."""
    url = f"http://127.0.0.1:{guarded.tcp_port}"
    async with AgentClient(url, "wrong") as client:
        for _ in range(20):
            with pytest.raises(AgentError, match="The token is wrong"):
                await client.info()
    result = await submit(hass, await start(hass), address=url, token=TOKEN)
    assert result["errors"] == {CONF_TOKEN: "too_many_attempts"}
    details = result["description_placeholders"]["details"]
    assert details.startswith("There were too many calls without the right token.")

    data = {CONF_ADDRESS: url, CONF_TOKEN: TOKEN}
    entry = MockConfigEntry(domain=DOMAIN, data=data)
    entry.add_to_hass(hass)
    assert not await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == "too_many_attempts"
    assert await hass.config_entries.async_unload(entry.entry_id)


@pytest.fixture
def own_certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Return the files of a certificate that signed itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "agent")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


async def test_connects_to_a_certificate_of_its_own(
    hass: HomeAssistant, own_certificate: tuple[Path, Path]
) -> None:
    """Only who says so has a certificate accepted that nobody vouches for; that stays, and can be taken back."""
    port = free_port()
    async with Agent(token=TOKEN, tcp_port=port, tls=own_certificate) as agent:
        fields: dict[str, Any] = {
            CONF_ADDRESS: f"https://127.0.0.1:{port}",
            CONF_TOKEN: TOKEN,
        }
        flow_id = await start(hass)
        result = await submit(hass, flow_id, **fields)
        assert result["errors"] == {"base": "cannot_connect"}
        assert "self-signed" in result["description_placeholders"]["details"]
        result = await submit(hass, flow_id, **fields, verify_ssl=False)
        assert result["type"] is FlowResultType.CREATE_ENTRY
        entry = result["result"]
        assert entry.state is ConfigEntryState.LOADED
        assert entry.data[CONF_VERIFY_SSL] is False
        assert entry.runtime_data.locations.keys() == {"local"}

        result = await reconfigure(hass, entry)
        (key,) = (key for key in result["data_schema"].schema if key == CONF_VERIFY_SSL)
        assert key.description == {"suggested_value": False}
        result = await submit(hass, result["flow_id"], **fields, verify_ssl=True)
        assert result["errors"] == {"base": "cannot_connect"}
        hass.config_entries.flow.async_abort(result["flow_id"])

        # Another token changes nothing about it.
        await agent.stop()
        agent.token = fields[CONF_TOKEN] = TOKEN[::-1]
        await agent.start()
        await hass.config_entries.async_reload(entry.entry_id)
        (flow,) = entry.async_get_active_flows(hass, {SOURCE_REAUTH})
        result = await submit(hass, flow["flow_id"], token=agent.token)
        assert result["reason"] == "reauth_successful"
        await hass.async_block_till_done()
        assert entry.state is ConfigEntryState.LOADED
        assert entry.data[CONF_VERIFY_SSL] is False
        assert await hass.config_entries.async_unload(entry.entry_id)


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

    async with impostor(tmp_path, http("200 OK", "<html>")) as other:
        result = await submit(hass, flow_id, address=other.address)
    assert result["errors"] == {"base": "not_an_agent"}

    with patch("custom_components.s3_backup_agent.client.agent.PROTOCOL", 2):
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


async def test_knows_the_agent_by_another_address(
    hass: HomeAssistant, guarded: Agent
) -> None:
    """The same agent is no second one; when the old address does not answer, the new one is used."""
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


async def test_verifies_certificates_at_another_address(
    hass: HomeAssistant, guarded: Agent
) -> None:
    """A certificate that was not to be verified was that of the address before."""
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
async def test_older_agent_is_known_by_its_address(
    hass: HomeAssistant, agent: Agent
) -> None:
    """An agent without an id of its own works as before, and is known by its id once it has one."""
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


async def test_entry_from_before_gets_the_agents_id(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """An entry that is named by its address is named by its agent after it was set up."""
    assert entry.unique_id == agent.address
    assert await hass.config_entries.async_setup(entry.entry_id)
    agent_id = entry.runtime_data.info["agent_id"]
    assert entry.unique_id == entry.data[CONF_AGENT_ID] == agent_id
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert entry.unique_id == agent_id


async def test_two_entries_from_before_keep_their_names(
    hass: HomeAssistant, guarded: Agent
) -> None:
    """Two entries for one agent were possible; both go on."""
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


async def test_reconfigures(hass: HomeAssistant, guarded: Agent) -> None:
    """The agent may be reached in another way, and get a token."""
    guarded_url = f"http://127.0.0.1:{guarded.tcp_port}"
    result = await submit(hass, await start(hass), address=guarded_url, token=TOKEN)
    entry = result["result"]
    unique_id = entry.unique_id
    flow = await reconfigure(hass, entry)
    assert flow["step_id"] == "reconfigure"
    result = await submit(hass, flow["flow_id"], address=guarded.address)
    assert result["errors"] == {CONF_TOKEN: "invalid_auth"}
    result = await submit(hass, flow["flow_id"], address=guarded.address, token=TOKEN)
    assert result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()
    assert entry.data[CONF_ADDRESS] == guarded.address
    assert entry.unique_id == unique_id
    assert entry.state is ConfigEntryState.LOADED

    # The same address again is no conflict with itself.
    flow = await reconfigure(hass, entry)
    result = await submit(hass, flow["flow_id"], address=guarded.address, token=TOKEN)
    assert result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()


async def test_reconfigured_app_stays_the_app(
    hass: HomeAssistant, guarded: Agent
) -> None:
    """An app that is reached in another way is still this app."""
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


async def test_asks_before_another_agent_takes_over(
    hass: HomeAssistant, agent: Agent, guarded: Agent, entry: MockConfigEntry
) -> None:
    """An agent that was set up anew may take over, after a question."""
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


async def test_does_not_reconfigure_to_another_entrys_agent(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """One entry for one agent, also afterwards."""
    other = MockConfigEntry(
        domain=DOMAIN, data={CONF_ADDRESS: "unix:///x"}, unique_id="unix:///x"
    )
    other.add_to_hass(hass)
    flow = await reconfigure(hass, other)
    result = await submit(hass, flow["flow_id"], address=agent.address)
    assert result["reason"] == "already_configured"


async def test_asks_for_another_token(hass: HomeAssistant, guarded: Agent) -> None:
    """A changed token is entered and used."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        data={
            CONF_ADDRESS: guarded.address,
            CONF_TOKEN: "old",
            CONF_APP: "local_x",
        },
        unique_id="local_x",
    )
    entry.add_to_hass(hass)
    flow = await entry.start_reauth_flow(hass)
    assert flow["step_id"] == "reauth_confirm"
    result = await submit(hass, flow["flow_id"], token="wrong")
    assert result["errors"] == {CONF_TOKEN: "invalid_auth"}
    result = await submit(hass, flow["flow_id"], token=TOKEN)
    assert result["reason"] == "reauth_successful"
    await hass.async_block_till_done()
    assert entry.data[CONF_TOKEN] == TOKEN
    assert entry.data[CONF_APP] == "local_x"
    assert entry.unique_id == "local_x"
    assert entry.state is ConfigEntryState.LOADED
