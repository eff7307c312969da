"""The agent's log in Home Assistant's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
import json
import logging
from pathlib import Path
import time
from typing import Any
from unittest.mock import patch

from aiohttp import web
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from custom_components.s3_backup_agent import agent_log as module
from custom_components.s3_backup_agent.agent_log import wanted_level
from custom_components.s3_backup_agent.client import AgentError
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

from .agent import Agent
from .home import until

INTEGRATION = f"custom_components.{DOMAIN}"
LOGGER = f"{INTEGRATION}.agent"
SECRET = "planted/secret+of+40+characters/0123456789"


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """Leave the loggers as they were."""
    loggers = [logging.getLogger(name) for name in ("", INTEGRATION, LOGGER)]
    before = [logger.level for logger in loggers]
    for logger in loggers[1:]:
        logger.setLevel(logging.NOTSET)
    yield
    for logger, level in zip(loggers, before, strict=True):
        getattr(logger, "orig_setLevel", logger.setLevel)(level)


@pytest.fixture
async def set_level(hass: HomeAssistant) -> Callable[[str], Awaitable[None]]:
    """Return what sets the integration's level as a person does."""
    assert await async_setup_component(hass, "logger", {"logger": {}})

    async def set_level(level: str) -> None:
        await hass.services.async_call(
            "logger", "set_level", {INTEGRATION: level}, blocking=True
        )

    await set_level("warning")
    return set_level


@pytest.fixture
async def loaded(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    set_level: Callable[[str], Awaitable[None]],
) -> AsyncIterator[MockConfigEntry]:
    """Return an entry that is set up."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    yield entry
    await hass.config_entries.async_unload(entry.entry_id)


def lines_of(caplog: pytest.LogCaptureFixture, level: int = 0) -> list[str]:
    """Return what the agent's logger has said at a level, or at all."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == LOGGER and level in (0, record.levelno)
    ]


async def told(
    entry: MockConfigEntry, caplog: pytest.LogCaptureFixture, level: int
) -> float:
    """Make the agent do something until its log is told at a level; returns after how many seconds."""
    start = time.monotonic()
    caplog.clear()
    async with asyncio.timeout(10):
        while not lines_of(caplog, level):
            await entry.runtime_data.client.backups("local")
            await asyncio.sleep(0.05)
    return time.monotonic() - start


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
def test_level(level: int, wanted: str | None) -> None:
    """The agent's level is that of its logger here, set there or further up."""
    logging.getLogger(INTEGRATION).setLevel(level)
    assert wanted_level() == wanted
    logging.getLogger(LOGGER).setLevel(logging.ERROR)
    assert wanted_level() == "error"


async def test_says_little_by_default(
    agent: Agent, loaded: MockConfigEntry, caplog: pytest.LogCaptureFixture
) -> None:
    """With Home Assistant's own default only warnings and errors come."""
    with pytest.raises(AgentError):
        await loaded.runtime_data.client.backups("nowhere")
    await asyncio.sleep(0.3)
    assert lines_of(caplog) == []
    assert "DEBUG" not in agent.log()


async def test_follows_the_action(
    agent: Agent,
    loaded: MockConfigEntry,
    set_level: Callable[[str], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """logger.set_level changes the agent's level within a second, both ways."""
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


async def test_follows_the_button(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    hass_ws_client: WebSocketGenerator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """So does what the page of the integration sends."""
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
async def test_survives_restarts(
    hass: HomeAssistant,
    agent: Agent,
    loaded: MockConfigEntry,
    set_level: Callable[[str], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It goes on when the agent was started again, and when the entry was."""
    await set_level("debug")
    await told(loaded, caplog, logging.DEBUG)

    await agent.stop()
    await until(lambda: " is away: " in caplog.text)
    await agent.start()
    await until(lambda: " is back" in caplog.text)
    await told(loaded, caplog, logging.DEBUG)

    assert await hass.config_entries.async_reload(loaded.entry_id)
    await told(loaded, caplog, logging.DEBUG)


async def test_opens_again_what_broke_alone(
    loaded: MockConfigEntry,
    set_level: Callable[[str], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The stream is looked after at each ping, should it end by itself."""
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


async def test_an_agent_without_it(
    hass: HomeAssistant,
    agent: Agent,
    entry: MockConfigEntry,
    set_level: Callable[[str], Awaitable[None]],
) -> None:
    """An older agent is not asked for what it does not have."""
    await set_level("debug")
    with patch.object(module, "_CAPABILITY", "something new"):
        assert await hass.config_entries.async_setup(entry.entry_id)
        await entry.runtime_data.client.backups("local")
        await asyncio.sleep(0.3)
    assert "DEBUG" not in agent.log()
    assert await hass.config_entries.async_unload(entry.entry_id)


async def test_tells_no_secret(
    loaded: MockConfigEntry,
    agent: Agent,
    set_level: Callable[[str], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing that is secret is in the log, whatever is done with it."""
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


class Chatterbox:
    """Something that answers like an agent, and logs as much as it is told to."""

    def __init__(self, folder: Path, *lines: dict[str, Any]) -> None:
        """Listen in a folder."""
        self.path = folder / "chatter.sock"
        # Made ready before, as it would be in another process.
        self.text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        self.listened_to = asyncio.Event()
        self.say = asyncio.Event()

    async def __aenter__(self) -> str:
        """Return its address."""
        app = web.Application()
        app.router.add_get("/v1/info", self.info)
        app.router.add_get("/v1/events", self.events)
        app.router.add_get("/{anything:.*}", self.nothing)
        self.runner = web.AppRunner(app, handler_cancellation=True)
        await self.runner.setup()
        await web.UnixSite(self.runner, str(self.path)).start()
        return f"unix://{self.path}"

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop answering."""
        await self.runner.cleanup()

    async def info(self, request: web.Request) -> web.Response:
        """Say what an agent says."""
        return web.json_response(
            {
                "name": "s3-backup-agent",
                "version": "9.9.9",
                "protocol": 1,
                "instance_id": "chatterbox",
                "started_at": "2026-01-01T00:00:00Z",
                "capabilities": ["events", "events_log"],
            }
        )

    async def nothing(self, request: web.Request) -> web.Response:
        """Have none of whatever is asked for."""
        return web.json_response({request.path.rpartition("/")[2]: []})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Say hello, and all that was prepared when it is time."""
        response = web.StreamResponse()
        await response.prepare(request)
        hello = {"type": "hello", "instance_id": "chatterbox"}
        await response.write(json.dumps(hello).encode() + b"\n")
        if "log" in request.query:
            self.listened_to.set()
            await self.say.wait()
            await response.write(self.text)
        await asyncio.Event().wait()
        return response


def record(message: str, **fields: str) -> dict[str, Any]:
    """Return the event of a record."""
    return {
        "type": "log",
        "time": "2026-01-01T00:00:00Z",
        "level": "warn",
        "target": "s3_backup_agent::agent::upload",
        "message": message,
        "fields": fields,
    }


@pytest.fixture
async def chatter(
    hass: HomeAssistant,
    tmp_path: Path,
    set_level: Callable[[str], Awaitable[None]],
) -> AsyncIterator[Callable[..., Awaitable[Chatterbox]]]:
    """Return what sets up an entry for a chatterbox with lines to say."""
    boxes: list[Chatterbox] = []

    async def start(*lines: dict[str, Any]) -> Chatterbox:
        box = Chatterbox(tmp_path, *lines)
        boxes.append(box)
        entry = MockConfigEntry(
            domain=DOMAIN, data={CONF_ADDRESS: await box.__aenter__()}
        )
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done()
        await box.listened_to.wait()
        return box

    yield start
    for entry in hass.config_entries.async_entries(DOMAIN):
        await hass.config_entries.async_unload(entry.entry_id)
    for box in boxes:
        await box.__aexit__()


async def test_a_burst_holds_nothing_up(
    chatter: Callable[..., Awaitable[Chatterbox]], caplog: pytest.LogCaptureFixture
) -> None:
    """Of 10,000 records at once the most are counted and left out, and Home Assistant goes on meanwhile."""
    longest = 0.0

    async def watch() -> None:
        # The time that is spent, not that which a busy machine takes away.
        nonlocal longest
        while True:
            start = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - start)

    def told() -> list[int]:
        said = (line.split() for line in lines_of(caplog, logging.WARNING))
        return [int(count) for count, *words in said if words[-2:] == ["too", "many"]]

    lines = [record("x" * 100, part_number=str(number)) for number in range(10_000)]
    box = await chatter(*lines, {"type": "log_lost", "records": 7})
    with patch.object(module, "_REPORT_SECONDS", 2):
        watcher = asyncio.create_task(watch())
        box.say.set()
        try:
            # asyncio may have said something since.
            await until(
                lambda: any("left out" in it.getMessage() for it in caplog.records[-9:])
            )
            await asyncio.sleep(2.5)
        finally:
            watcher.cancel()
    # Once, or twice where the machine was too busy to be done with them by then.
    assert 1 <= len(told()) <= 2
    logged = len(lines_of(caplog)) - len(told())
    assert 1000 <= logged <= 3000
    assert sum(told()) == 10_000 + 7 - logged
    assert longest < 0.05


async def test_a_record_is_one_line(
    chatter: Callable[..., Awaitable[Chatterbox]], caplog: pytest.LogCaptureFixture
) -> None:
    """What a storage answers cannot look like a line of Home Assistant's, nor break the reading."""
    box = await chatter(
        record("first\n2026-01-01 ERROR forged\x1b[0m\u2028", größe="ä"),
        {"type": "log", "level": "warn"},
    )
    box.say.set()
    await until(lambda: "Unexpected error while following" in caplog.text)
    assert lines_of(caplog) == [
        "agent::upload: first\\n2026-01-01 ERROR forged\\x1b[0m\\u2028 größe=ä"
    ]


async def test_what_is_left_out_is_told_at_the_end(
    hass: HomeAssistant,
    chatter: Callable[..., Awaitable[Chatterbox]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Unloading forgets no count."""
    box = await chatter({"type": "log_lost", "records": 7}, record("last"))
    box.say.set()
    await until(lambda: lines_of(caplog))
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    await hass.config_entries.async_unload(entry.entry_id)
    assert lines_of(caplog)[-1] == "7 log records are left out, there were too many"
