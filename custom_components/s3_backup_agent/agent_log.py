"""Forwards the agent's log to Home Assistant's, at the level of the integration's logger.

*Enable debug logging* and `logger.set_level` change that level. The records have an events stream of their own: while
it is open, the agent logs at least at that level, and reopening it loses no other events.
"""

import asyncio
from contextlib import aclosing
import logging
import re
import time
from typing import TYPE_CHECKING, Final

from homeassistant.const import EVENT_LOGGING_CHANGED
from homeassistant.core import Event as HomeAssistantEvent, HomeAssistant, callback

from .client import AgentError, Event
from .const import DOMAIN

if TYPE_CHECKING:
    from .coordinator import AgentCoordinator, S3BackupAgentConfigEntry

_LOGGER = logging.getLogger(__name__)
_AGENT_LOGGER: Final = logging.getLogger(f"{__package__}.agent")

_LEVELS: Final = {
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}
_CAPABILITY: Final = "events_log"

# Above an agent's own rate limit.
_BURST: Final = 1000
_RECORDS_PER_SECOND: Final = 200
# The interval of warnings about dropped records.
_REPORT_SECONDS: Final = 5
_MAX_LINE: Final = 8192

# Control characters could make one record look like several.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def wanted_level() -> str | None:
    """Return the level to request from the agent, None for no log."""
    for level, value in reversed(_LEVELS.items()):
        if _AGENT_LOGGER.isEnabledFor(value):
            return level
    return None


class AgentLog:
    """Forwards the log of one agent while its entry is loaded."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: S3BackupAgentConfigEntry,
        coordinator: AgentCoordinator,
    ) -> None:
        """Initialize the log."""
        self._hass = hass
        self._entry = entry
        self._coordinator = coordinator
        self._level: str | None = None
        self._stream: asyncio.Task[None] | None = None
        self._limit = _RateLimit()

    @callback
    def start(self) -> None:
        """Open the log stream at the agent's next hello."""
        self._entry.async_on_unload(self._coordinator.listen(self._on_event))
        self._entry.async_on_unload(
            self._hass.bus.async_listen(EVENT_LOGGING_CHANGED, self._on_logging_changed)
        )
        self._entry.async_on_unload(self._limit.report)

    @callback
    def _on_event(self, event: Event) -> None:
        """Open the stream at each connection, and reopen a broken one."""
        is_closed = self._stream is None or self._stream.done()
        if event["type"] == "hello" or (event["type"] == "ping" and is_closed):
            self._open()

    @callback
    def _on_logging_changed(self, _: HomeAssistantEvent) -> None:
        """Reopen the stream when the level changes."""
        if wanted_level() != self._level:
            self._open()

    def _open(self) -> None:
        """Replace the stream; without a level, only close it."""
        if self._stream:
            self._stream.cancel()
        self._stream = None
        self._level = wanted_level()
        if self._level and _CAPABILITY in self._coordinator.info["capabilities"]:
            self._stream = self._entry.async_create_background_task(
                self._hass, self._follow(self._level), f"{DOMAIN} log"
            )

    async def _follow(self, level: str) -> None:
        """Forward the records until the connection is lost; the next hello or ping reopens it."""
        try:
            async with aclosing(self._coordinator.client.events(log=level)) as events:
                async for event in events:
                    self._forward(event)
        except AgentError as err:
            _LOGGER.debug("The agent's log stream was lost: %s", err)
        except Exception:
            _LOGGER.exception("Unexpected error while following the agent's log")

    @callback
    def _forward(self, event: Event) -> None:
        """Log a record."""
        if event["type"] == "log_lost":
            self._limit.drop(event["records"])
        elif event["type"] == "log":
            if self._limit.allows():
                level = _LEVELS.get(event["level"], logging.DEBUG)
                _AGENT_LOGGER.log(level, "%s", _line(event))
            else:
                self._limit.drop(1)


class _RateLimit:
    """Limits the rate of records, and counts the dropped ones."""

    def __init__(self) -> None:
        """Start with a full burst."""
        self._allowed = float(_BURST)
        self._at = time.monotonic()
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None

    def allows(self) -> bool:
        """Return whether another record is within the limit."""
        now = time.monotonic()
        more = (now - self._at) * _RECORDS_PER_SECOND
        self._allowed, self._at = min(self._allowed + more, _BURST), now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True

    @callback
    def drop(self, records: int) -> None:
        """Count dropped records."""
        self._dropped += records
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_REPORT_SECONDS, self.report)

    @callback
    def report(self) -> None:
        """Log how many records were dropped."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
            _AGENT_LOGGER.warning(
                "%d log records dropped: rate limit exceeded", self._dropped
            )
            self._dropped = 0


def _line(event: Event) -> str:
    """Return a record as one line."""
    target = event["target"].removeprefix(f"{DOMAIN}::")
    fields = (f"{name}={value}" for name, value in event["fields"].items())
    text = " ".join([f"{target}:", event["message"], *fields])[:_MAX_LINE]
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
