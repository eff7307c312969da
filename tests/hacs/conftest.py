"""Fixtures: the agent, and Home Assistant connected to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from inspect import signature
import logging
import secrets
from typing import Any
from unittest.mock import AsyncMock, patch

from lab.garage import Garage
from lab.process import free_port
from lab.supervisor import Supervisor
import pytest
import pytest_asyncio
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator
import pytest_socket

from custom_components.s3_backup_agent import (
    coordinator as coordinator_module,
    upload as upload_module,
)
from custom_components.s3_backup_agent.client import AgentClient
from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.location.form import SECTIONS
from homeassistant.components.backup import AgentBackup, BackupAgent
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.components.hassio.const import DATA_COMPONENT
from homeassistant.components.hassio.discovery import HassIODiscovery
from homeassistant.components.hassio.handler import HassIO
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util

from .agent import LOCATION, TOKEN, Agent
from .agent_logs import INTEGRATION, LOGGER
from .backups import make_backup
from .home import Confirm, Fix, MakeEntry, Settings, Tell, settings_of, shown, until
from .location_forms import Fields, LocationForms
from .supervised import Announce

FIX_PATH = "/api/repairs/issues/fix"


@pytest.fixture(autouse=True)
def reachable_agent() -> None:
    """Allow connections to the agent, which the test library blocks."""
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)


@pytest.fixture(autouse=True)
def no_deprecated_call(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail if Home Assistant reports a call that it will remove."""
    yield
    assert "Detected that custom integration" not in caplog.text


@pytest.fixture(autouse=True)
def custom_integration(request: pytest.FixtureRequest) -> None:
    """Enable custom integrations in tests with Home Assistant."""
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
    """Return a running agent with a directory."""
    async with Agent() as agent:
        yield agent


@pytest.fixture
async def client(agent: Agent) -> AsyncIterator[AgentClient]:
    """Return a client of the agent."""
    async with AgentClient(agent.address) as client:
        yield client


@pytest.fixture
def entry(hass: HomeAssistant, agent: Agent) -> MockConfigEntry:
    """Return an entry of the agent, not set up."""
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
    """Return the directory's backup agent."""
    found: BackupAgent = hass.data[DATA_MANAGER].backup_agents[f"{DOMAIN}.{LOCATION}"]
    return found


@pytest.fixture
async def make_entry(hass: HomeAssistant, agent: Agent) -> MakeEntry:
    """Return a function that makes an entry with stored locations."""
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
    """Return the settings of a location in a new bucket."""
    return settings_of(garage, bucket)


@pytest.fixture
def configured(garage: Garage, settings: Settings) -> Settings:
    """Return the settings of a location in the agent's own configuration."""
    names = {"id": "cellar", "name": "The cellar"}
    return {**settings, **names, "region": garage.region}


@pytest.fixture
def forms(hass: HomeAssistant) -> LocationForms:
    """Return the forms for locations."""
    return LocationForms(hass)


@pytest.fixture
def fields(settings: Settings) -> Fields:
    """Return the form input for a new bucket."""
    entered = {key: text for key, text in settings.items() if key != "provider"}
    return {**entered, **{name: {} for name in SECTIONS}}


@pytest.fixture
def impatient() -> Iterator[None]:
    """Reconnect to a lost agent at once."""
    with (
        patch.object(coordinator_module, "_FIRST_DELAY_SECONDS", 0.01),
        patch.object(coordinator_module, "_LAST_DELAY_SECONDS", 0.05),
    ):
        yield


@pytest.fixture
def quick(impatient: None) -> Iterator[None]:
    """Shorten the waits of an interrupted upload."""
    with (
        patch.object(upload_module, "_REASON_SECONDS", 0.3),
        patch.object(upload_module, "_BACKOFF_SECONDS", (0.01, 0.05)),
    ):
        yield


@pytest.fixture
def deaf() -> Iterator[None]:
    """Ignore the agent's events."""
    with patch.object(coordinator_module.AgentCoordinator, "run", AsyncMock()):
        yield


@pytest.fixture(scope="module")
def large() -> tuple[AgentBackup, bytes]:
    """Return a backup of several parts."""
    return make_backup(size=60_000_000)


@pytest.fixture
async def tell(loaded: MockConfigEntry) -> Tell:
    """Return a function that sends a location event with an error code, instead of the agent."""
    # The first listing is done.
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


@pytest.fixture
async def app() -> AsyncIterator[Agent]:
    """Return an agent as in an app, which has a token also on its socket."""
    async with Agent(token=TOKEN, tcp_port=free_port()) as agent:
        yield agent


@pytest.fixture
async def supervisor(hass: HomeAssistant) -> AsyncIterator[Supervisor]:
    """Run Home Assistant under a fake Supervisor."""
    # Set up before Supervisor exists, since it would call more of its API.
    assert await async_setup_component(hass, "backup", {})
    async with Supervisor() as supervisor:
        hass.config.components.add("hassio")
        session = async_get_clientsession(hass)
        hass.data[DATA_COMPONENT] = HassIO(hass.loop, session, supervisor.host)
        yield supervisor


@pytest.fixture
async def announce(
    hass: HomeAssistant, supervisor: Supervisor, hass_client: ClientSessionGenerator
) -> Announce:
    """Return a function that announces an app as Supervisor does, each time under a new id."""
    assert await async_setup_component(hass, "http", {})
    # Home Assistant 2026.3 takes one argument more.
    more = (hass.data[DATA_COMPONENT],) * (
        len(signature(HassIODiscovery).parameters) - 1
    )
    hass.http.register_view(HassIODiscovery(hass, *more))
    client = await hass_client()

    async def announce(config: dict[str, Any], **names: str) -> None:
        uuid = supervisor.announce(DOMAIN, config, **names)
        answer = await client.post(f"/api/hassio_push/discovery/{uuid}")
        assert answer.status == 200
        for task in asyncio.all_tasks():
            if task.get_name().startswith("discovery flow "):
                await task
        await hass.async_block_till_done()

    return announce


@pytest.fixture
async def guarded() -> AsyncIterator[Agent]:
    """Return an agent with a token, reachable also over TCP."""
    async with Agent(token=TOKEN, tcp_port=free_port()) as agent:
        yield agent


@pytest.fixture
def levels() -> Iterator[None]:
    """Restore the loggers' levels afterwards."""
    loggers = [logging.getLogger(name) for name in ("", INTEGRATION, LOGGER)]
    before = [logger.level for logger in loggers]
    for logger in loggers[1:]:
        logger.setLevel(logging.NOTSET)
    yield
    for logger, level in zip(loggers, before, strict=True):
        getattr(logger, "orig_setLevel", logger.setLevel)(level)


@pytest.fixture
async def set_level(hass: HomeAssistant) -> Callable[[str], Awaitable[None]]:
    """Return a function that sets the integration's level by action."""
    assert await async_setup_component(hass, "logger", {"logger": {}})

    async def set_level(level: str) -> None:
        await hass.services.async_call(
            "logger", "set_level", {INTEGRATION: level}, blocking=True
        )

    await set_level("warning")
    return set_level


@pytest.fixture
async def http(hass: HomeAssistant, hass_client: ClientSessionGenerator) -> Any:
    """Return the frontend's HTTP client."""
    for component in ("http", "repairs", "backup"):
        assert await async_setup_component(hass, component, {})
    return await hass_client()


@pytest.fixture
def fix(hass: HomeAssistant, http: Any) -> Fix:
    """Return a function that starts the fix flow of an issue."""

    async def fix(kind: str) -> Any:
        issue_id = shown(hass)[kind].issue_id
        body = {"handler": DOMAIN, "issue_id": issue_id}
        answer = await http.post(FIX_PATH, json=body)
        assert answer.status == 200, await answer.text()
        return await answer.json()

    return fix


@pytest.fixture
def confirm(hass: HomeAssistant, http: Any) -> Confirm:
    """Return a function that confirms a fix flow."""

    async def confirm(flow: Any) -> Any:
        answer = await http.post(f"{FIX_PATH}/{flow['flow_id']}", json={})
        assert answer.status == 200, await answer.text()
        await hass.async_block_till_done()
        return await answer.json()

    return confirm
