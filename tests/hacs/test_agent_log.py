"""Forwarding the agent's log at the wanted level."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
import logging
from unittest.mock import patch

from lab.stopwatch import Stopwatch
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from custom_components.s3_backup_agent import agent_log as module
from custom_components.s3_backup_agent.agent_log import wanted_level
from custom_components.s3_backup_agent.client import AgentError
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.core import HomeAssistant

from .agent import Agent
from .agent_logs import INTEGRATION, LOGGER, lines_of
from .home import until

pytestmark = pytest.mark.usefixtures("levels")


SECRET = "planted/secret+of+40+characters/0123456789"


@pytest.fixture
async def loaded(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    set_level: Callable[[str], Awaitable[None]],
) -> AsyncIterator[MockConfigEntry]:
    """Return a loaded entry."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    yield entry
    await hass.config_entries.async_unload(entry.entry_id)


async def told(
    entry: MockConfigEntry, caplog: pytest.LogCaptureFixture, level: int
) -> float:
    """Make the agent log until a record of a level arrives; return the seconds it took."""
    watch = Stopwatch()
    caplog.clear()
    async with asyncio.timeout(10):
        while not lines_of(caplog, level):
            await entry.runtime_data.client.backups("local")
            await asyncio.sleep(0.05)
    return watch.seconds()


@pytest.mark.parametrize(
    ("level", "wanted"),
    [
        (logging.DEBUG, "debug"),
        (logging.INFO, "info"),
        (logging.WARNING, "warn"),
        (logging.ERROR, "error"),
        (logging.CRITICAL, None),
        (1, "debug"),
    ],
)
def test_level_follows_loggers(level: int, wanted: str | None) -> None:
    """The agent's level is its logger's, set there or on a parent."""
    logging.getLogger(INTEGRATION).setLevel(level)
    assert wanted_level() == wanted
    logging.getLogger(LOGGER).setLevel(logging.ERROR)
    assert wanted_level() == "error"


async def test_default_level_forwards_warnings_only(
    agent: Agent, loaded: MockConfigEntry, caplog: pytest.LogCaptureFixture
) -> None:
    """Home Assistant's default level forwards warnings and errors only."""
    with pytest.raises(AgentError):
        await loaded.runtime_data.client.backups("nowhere")
    await asyncio.sleep(0.3)
    assert lines_of(caplog) == []
    assert "DEBUG" not in agent.log()


async def test_action_changes_level(
    agent: Agent,
    loaded: MockConfigEntry,
    set_level: Callable[[str], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """logger.set_level raises and lowers the agent's level within a second."""
    await set_level("debug")
    assert await told(loaded, caplog, logging.DEBUG) < 1
    (line, *_) = lines_of(caplog, logging.DEBUG)
    assert line.startswith(("agent::", "api::"))
    assert "duration_ms=" in line

    await set_level("warning")
    await asyncio.sleep(1)
    before = agent.log()
    caplog.clear()
    await loaded.runtime_data.client.backups("local")
    await asyncio.sleep(0.3)
    assert lines_of(caplog) == []
    assert agent.log() == before


async def test_debug_logging_button_changes_level(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    hass_ws_client: WebSocketGenerator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The websocket command of *Enable debug logging* changes the level."""
    logging.getLogger().setLevel(logging.WARNING)
    client = await hass_ws_client()
    for level, wanted in (("DEBUG", "debug"), ("NOTSET", "warn")):
        await client.send_json_auto_id(
            {
                "type": "logger/integration_log_level",
                "integration": DOMAIN,
                "level": level,
                "persistence": "none",
            }
        )
        assert (await client.receive_json())["success"]
        assert wanted_level() == wanted
        if level == "DEBUG":
            assert await told(loaded, caplog, logging.DEBUG) < 1


@pytest.mark.usefixtures("impatient")
async def test_log_resumes_after_restart(
    hass: HomeAssistant,
    agent: Agent,
    loaded: MockConfigEntry,
    set_level: Callable[[str], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log resumes after a restart of the agent and a reload of the entry."""
    await set_level("debug")
    await told(loaded, caplog, logging.DEBUG)

    await agent.stop()
    await until(lambda: " is unreachable: " in caplog.text)
    await agent.start()
    await until(lambda: " is reachable again" in caplog.text)
    await told(loaded, caplog, logging.DEBUG)

    assert await hass.config_entries.async_reload(loaded.entry_id)
    await told(loaded, caplog, logging.DEBUG)


async def test_ping_reopens_broken_stream(
    loaded: MockConfigEntry,
    set_level: Callable[[str], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A ping reopens a broken log stream, and leaves an open one alone."""
    await set_level("debug")
    await told(loaded, caplog, logging.DEBUG)
    connection = loaded.runtime_data
    (listener,) = (
        listener
        for listener in connection._event_listeners
        if isinstance(getattr(listener, "__self__", None), module.AgentLog)
    )
    log = listener.__self__
    log._stream.cancel()
    await until(log._stream.done)
    listener({"type": "ping"})
    await told(loaded, caplog, logging.DEBUG)
    stream = log._stream
    listener({"type": "ping"})
    await set_level("debug")
    assert log._stream is stream


async def test_older_agent_has_no_log_stream(
    hass: HomeAssistant,
    agent: Agent,
    entry: MockConfigEntry,
    set_level: Callable[[str], Awaitable[None]],
) -> None:
    """An older agent without the capability is not asked for its log."""
    await set_level("debug")
    with patch.object(module, "_CAPABILITY", "something new"):
        assert await hass.config_entries.async_setup(entry.entry_id)
        await entry.runtime_data.client.backups("local")
        await asyncio.sleep(0.3)
    assert "DEBUG" not in agent.log()
    assert await hass.config_entries.async_unload(entry.entry_id)


async def test_log_contains_no_secret(
    loaded: MockConfigEntry,
    agent: Agent,
    set_level: Callable[[str], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither log contains a location's secrets."""
    await set_level("debug")
    await told(loaded, caplog, logging.DEBUG)
    client = loaded.runtime_data.client
    settings = {
        "name": "Planted",
        "endpoint": "http://127.0.0.1:9",
        "region": "none",
        "bucket": "bucket",
        "access_key_id": "an-access-key-id",
        "secret_access_key": SECRET,
        "session_token": f"session-{SECRET}",
        "proxy": f"http://user:{SECRET.replace('/', '-')}@127.0.0.1:9",
    }
    checked = await client.check_settings(settings)
    assert not checked["ok"]
    await client.put_location("planted", settings)
    with pytest.raises(AgentError):
        await client.backups("planted")
    await client.remove_location("planted")
    await asyncio.sleep(0.3)
    assert any("planted" in line for line in lines_of(caplog))
    for secret in (SECRET, SECRET.replace("/", "-"), SECRET.replace("/", "%2F")):
        assert secret not in caplog.text
        assert secret not in agent.log()
