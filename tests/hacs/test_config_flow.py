"""Config flow: add, reconfigure and reauthenticate an agent."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
import os
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
from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntryState
from homeassistant.const import CONF_ADDRESS, CONF_TOKEN, CONF_VERIFY_SSL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

from .agent import TOKEN, Agent
from .config_forms import reconfigure, start, submit
from .impostor import http, impostor


async def test_user_flow_over_socket(hass: HomeAssistant, agent: Agent) -> None:
    """A socket's path is enough."""
    flow_id = await start(hass)
    result = await submit(hass, flow_id, address=f" {agent.socket} ")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == "S3 Backup Agent"
    agent_id = result["result"].runtime_data.info["agent_id"]
    assert result["data"] == {CONF_ADDRESS: agent.address, CONF_AGENT_ID: agent_id}
    assert result["result"].unique_id == agent_id
    assert result["result"].state is ConfigEntryState.LOADED


async def test_user_flow_over_tcp(hass: HomeAssistant, guarded: Agent) -> None:
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


async def test_too_many_wrong_tokens_are_throttled(
    hass: HomeAssistant, guarded: Agent
) -> None:
    """After many wrong tokens the form says to wait, and the setup is retried."""
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
    """Return the files of a self-signed certificate and its key."""
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


async def test_self_signed_certificate_needs_option(
    hass: HomeAssistant, own_certificate: tuple[Path, Path]
) -> None:
    """A self-signed certificate needs verify_ssl off, which outlasts another token and can be undone."""
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

        # Another token keeps verify_ssl.
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


@contextmanager
def as_other_user() -> Iterator[None]:
    """Lose the permission to open files of this user."""
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        os.setegid(65534)
        os.seteuid(65534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(user)
            os.setegid(group)


async def test_denied_socket_names_user_and_group(
    hass: HomeAssistant, agent: Agent
) -> None:
    """A socket that Home Assistant may not open says which mode and group to set."""
    agent.socket.chmod(0)
    flow_id = await start(hass)
    with as_other_user():
        result = await submit(hass, flow_id, address=agent.address)
        expected = (
            f"runs as user {os.geteuid()} with group {os.getegid()}",
            'socket_mode = "0660"',
            f'socket_group = "{os.getegid()}"',
        )
    assert result["errors"] == {"base": "cannot_connect"}
    details = result["description_placeholders"]["details"]
    assert "Permission denied" in details
    for words in expected:
        assert words in details


async def test_user_flow_shows_errors(
    hass: HomeAssistant, agent: Agent, tmp_path: Path
) -> None:
    """Each error has its own message, and the form can be submitted again."""
    flow_id = await start(hass)

    result = await submit(hass, flow_id, address="agent.local")
    assert result["errors"] == {CONF_ADDRESS: "invalid_address"}

    result = await submit(hass, flow_id, address="/nowhere.sock", token="secret")
    assert result["errors"] == {"base": "cannot_connect"}
    assert "/nowhere.sock" in result["description_placeholders"]["details"]
    # The entered values are kept, except the token.
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


async def test_reconfigure_changes_address(hass: HomeAssistant, guarded: Agent) -> None:
    """The address and the token can be changed."""
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

    # The same address does not conflict with itself.
    flow = await reconfigure(hass, entry)
    result = await submit(hass, flow["flow_id"], address=guarded.address, token=TOKEN)
    assert result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()


async def test_reauth_changes_token(hass: HomeAssistant, guarded: Agent) -> None:
    """The reauth flow stores a working token."""
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
