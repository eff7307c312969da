"""The agent, and Home Assistant connected to it."""

from collections.abc import AsyncIterator, Iterator
import secrets
from typing import Any
from unittest.mock import AsyncMock, patch

from lab.garage import Garage
import pytest
import pytest_asyncio
from pytest_homeassistant_custom_component.common import MockConfigEntry
import pytest_socket

from custom_components.s3_backup_agent import (
    coordinator as coordinator_module,
    upload as upload_module,
)
from custom_components.s3_backup_agent.client import AgentClient
from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.location.form import ADVANCED
from homeassistant.components.backup import AgentBackup, BackupAgent
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util

from .agent import LOCATION, Agent
from .backups import make_backup
from .home import MakeEntry, Settings, Tell, settings_of, until
from .location_forms import Fields, LocationForms


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
async def loaded(hass: HomeAssistant, entry: MockConfigEntry) -> MockConfigEntry:
    """Return the entry of the agent, set up."""
    assert await async_setup_component(hass, "backup", {})
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entry


@pytest.fixture
def backup_agent(hass: HomeAssistant, loaded: MockConfigEntry) -> BackupAgent:
    """Return the embedded location as Home Assistant's backup manager knows it."""
    found: BackupAgent = hass.data[DATA_MANAGER].backup_agents[f"{DOMAIN}.{LOCATION}"]
    return found


@pytest.fixture
async def make_entry(hass: HomeAssistant, agent: Agent) -> MakeEntry:
    """Return what makes an entry for the agent, with locations of these settings by their ids."""
    assert await async_setup_component(hass, "backup", {})

    def make_entry(**locations: Settings) -> MockConfigEntry:
        entry = MockConfigEntry(
            domain=DOMAIN,
            title="S3 Backup Agent",
            data={CONF_ADDRESS: agent.address},
            subentries_data=[
                {
                    "data": settings,
                    "subentry_type": "location",
                    "title": f"The {location_id}",
                    "unique_id": location_id,
                }
                for location_id, settings in locations.items()
            ],
        )
        entry.add_to_hass(hass)
        return entry

    return make_entry


@pytest.fixture
async def bucket(garage: Garage) -> str:
    """Return the name of a new bucket."""
    return await garage.create_bucket(f"bucket-{secrets.token_hex(4)}")


@pytest.fixture
def settings(garage: Garage, bucket: str) -> Settings:
    """Return the settings of a location that is kept in Home Assistant, in a bucket of its own."""
    return settings_of(garage, bucket)


@pytest.fixture
def configured(garage: Garage, settings: Settings) -> Settings:
    """Return the settings of such a location in the agent's own configuration."""
    names = {"id": "cellar", "name": "The cellar"}
    return {**settings, **names, "region": garage.region}


@pytest.fixture
def forms(hass: HomeAssistant) -> LocationForms:
    """Return the forms for locations."""
    return LocationForms(hass)


@pytest.fixture
def fields(settings: Settings) -> Fields:
    """Return what to enter for a new bucket."""
    entered = {key: text for key, text in settings.items() if key != "provider"}
    return {**entered, ADVANCED: {}}


@pytest.fixture
def impatient() -> Iterator[None]:
    """Try at once to reach a lost agent again."""
    with (
        patch.object(coordinator_module, "_FIRST_DELAY_SECONDS", 0.01),
        patch.object(coordinator_module, "_LAST_DELAY_SECONDS", 0.05),
    ):
        yield


@pytest.fixture
def quick(impatient: None) -> Iterator[None]:
    """Shorten all that an interrupted upload waits for, but the agent."""
    with (
        patch.object(upload_module, "_REASON_SECONDS", 0.3),
        patch.object(upload_module, "_BACKOFF_SECONDS", (0.01, 0.05)),
    ):
        yield


@pytest.fixture
def deaf() -> Iterator[None]:
    """Listen to no events but those of the test."""
    with patch.object(coordinator_module.AgentCoordinator, "run", AsyncMock()):
        yield


@pytest.fixture(scope="module")
def large() -> tuple[AgentBackup, bytes]:
    """Return a backup of several parts."""
    return make_backup(size=60_000_000)


@pytest.fixture
async def tell(loaded: MockConfigEntry) -> Tell:
    """Return what tells of a location as its agent would, which tells nothing more by itself.

    The code is that of the location's error.
    """
    # It was asked for its backups once.
    await until(lambda: loaded.runtime_data.locations[LOCATION]["status"] == "ok")
    await until(lambda: loaded.runtime_data.locations[LOCATION]["backups"] == 0)

    def tell(code: str = "", **state: Any) -> None:
        connection = loaded.runtime_data
        error = {
            "code": code,
            "reason": code,
            "detail": "What the provider says",
            "hint": "What helps.",
            "provider_code": None,
            "since": dt_util.utcnow().isoformat(),
            **state.pop("error", {}),
        }
        location = {
            **connection.locations[LOCATION],
            "bucket": "ha-backups",
            "backups": 0,
            "status": "error" if code else "ok",
            "error": error if code else None,
            **state,
        }
        event = {"type": "location", "location": location}
        connection.handle_event(event)
        for listener in tuple(connection._event_listeners):
            listener(event)

    return tell
