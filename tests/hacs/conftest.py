"""The agent, and Home Assistant connected to it."""

from collections.abc import AsyncIterator

from lab.garage import Garage
import pytest
import pytest_asyncio
from pytest_homeassistant_custom_component.common import MockConfigEntry
import pytest_socket

from custom_components.s3_backup_agent.client import AgentClient
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup import BackupAgent
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

from .agent import Agent


@pytest.fixture(autouse=True)
def reachable_agent() -> None:
    """Let the agent be reached, on its socket and on loopback, which the test library forbids."""
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)


@pytest.fixture(autouse=True)
def custom_integration(request: pytest.FixtureRequest) -> None:
    """Let Home Assistant find the integration, in tests that have one."""
    if "hass" in request.fixturenames:
        request.getfixturevalue("enable_custom_integrations")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def garage() -> AsyncIterator[Garage]:
    """Return a running S3 server."""
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    async with Garage() as garage:
        yield garage


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    """Return a running agent with its embedded location."""
    async with Agent() as agent:
        yield agent


@pytest.fixture
async def client(agent: Agent) -> AsyncIterator[AgentClient]:
    """Return a client of the agent."""
    async with AgentClient(agent.address) as client:
        yield client


@pytest.fixture
def entry(hass: HomeAssistant, agent: Agent) -> MockConfigEntry:
    """Return an entry for the agent, not set up yet."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        title="S3 Backup Agent",
        data={CONF_ADDRESS: agent.address},
        unique_id=agent.address,
    )
    entry.add_to_hass(hass)
    return entry


@pytest.fixture
async def backup_agent(hass: HomeAssistant, entry: MockConfigEntry) -> BackupAgent:
    """Return the embedded location as Home Assistant's backup manager knows it."""
    assert await async_setup_component(hass, "backup", {})
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    found: BackupAgent = hass.data[DATA_MANAGER].backup_agents[f"{DOMAIN}.local"]
    return found
