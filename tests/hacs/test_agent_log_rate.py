"""Limits of the forwarded log."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
import json
import logging
from pathlib import Path
import time
from typing import Any
from unittest.mock import patch

from aiohttp import web
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent import agent_log as module
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant

from .agent_logs import lines_of
from .home import until

pytestmark = pytest.mark.usefixtures("levels")


class Chatterbox:
    """A fake agent that logs prepared records."""

    def __init__(self, folder: Path, *lines: dict[str, Any]) -> None:
        """Initialize the fake agent in a folder."""
        self.path = folder / "chatter.sock"
        # Encoded beforehand, to leave the CPU to the reader.
        self.text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        self.listened_to = asyncio.Event()
        self.say = asyncio.Event()

    async def __aenter__(self) -> str:
        """Start, and return the address."""
        app = web.Application()
        app.router.add_get("/v1/info", self.info)
        app.router.add_get("/v1/events", self.events)
        app.router.add_get("/{anything:.*}", self.nothing)
        self.runner = web.AppRunner(app, handler_cancellation=True)
        await self.runner.setup()
        await web.UnixSite(self.runner, str(self.path)).start()
        return f"unix://{self.path}"

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop."""
        await self.runner.cleanup()

    async def info(self, request: web.Request) -> web.Response:
        """Answer like an agent."""
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
        """Answer with an empty list."""
        return web.json_response({request.path.rpartition("/")[2]: []})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Send a hello, and the prepared records once told to."""
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
    """Return a log event."""
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
    """Return a function that sets up an entry for a fake agent with prepared records."""
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


async def test_burst_is_limited_without_blocking(
    chatter: Callable[..., Awaitable[Chatterbox]], caplog: pytest.LogCaptureFixture
) -> None:
    """Of 10,000 records most are dropped and counted, and the event loop stays responsive."""
    longest = 0.0

    async def watch() -> None:
        # CPU time, which a busy machine does not affect.
        nonlocal longest
        while True:
            start = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - start)

    def told() -> list[int]:
        said = (line.split() for line in lines_of(caplog, logging.WARNING))
        return [
            int(count) for count, *words in said if words[-2:] == ["limit", "exceeded"]
        ]

    lines = [record("x" * 100, part_number=str(number)) for number in range(10_000)]
    box = await chatter(*lines, {"type": "log_lost", "records": 7})
    with patch.object(module, "_REPORT_SECONDS", 2):
        watcher = asyncio.create_task(watch())
        box.say.set()
        try:
            # asyncio may log as well.
            await until(
                lambda: any(
                    "records dropped" in it.getMessage() for it in caplog.records[-9:]
                )
            )
            await asyncio.sleep(2.5)
        finally:
            watcher.cancel()
    # A busy machine may report twice.
    assert 1 <= len(told()) <= 2
    logged = len(lines_of(caplog)) - len(told())
    assert 1000 <= logged <= 3000
    assert sum(told()) == 10_000 + 7 - logged
    assert longest < 0.05


async def test_control_characters_are_escaped(
    chatter: Callable[..., Awaitable[Chatterbox]], caplog: pytest.LogCaptureFixture
) -> None:
    """A record stays one line, whatever a storage answers; an invalid one ends the stream."""
    box = await chatter(
        record("first\n2026-01-01 ERROR forged\x1b[0m\u2028", größe="ä"),
        {"type": "log", "level": "warn"},
    )
    box.say.set()
    await until(lambda: "Unexpected error while following" in caplog.text)
    assert lines_of(caplog) == [
        "agent::upload: first\\n2026-01-01 ERROR forged\\x1b[0m\\u2028 größe=ä"
    ]


async def test_unload_reports_dropped_records(
    hass: HomeAssistant,
    chatter: Callable[..., Awaitable[Chatterbox]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Unloading the entry logs the number of dropped records."""
    box = await chatter({"type": "log_lost", "records": 7}, record("last"))
    box.say.set()
    await until(lambda: lines_of(caplog))
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    await hass.config_entries.async_unload(entry.entry_id)
    assert lines_of(caplog)[-1] == "7 log records dropped: rate limit exceeded"
