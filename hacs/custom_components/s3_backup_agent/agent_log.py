"""The agent's log in Home Assistant's, as detailed as Home Assistant wants it right now.

The level of one logger counts, which *Enable debug logging* and `logger.set_level` change. The records come over an events
stream of their own: while it is open the agent logs at that level at least, and opening it again costs no other event.
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
    from . import S3BackupAgentConfigEntry
    from .connection import AgentConnection

_LOGGER = logging.getLogger(__name__)
_AGENT_LOGGER: Final = logging.getLogger(f"{__package__}.agent")

_LEVELS: Final = {
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}
_CAPABILITY: Final = "events_log"

# A little more than an agent sends; what is above that is none of its own.
_BURST: Final = 1000
_RECORDS_PER_SECOND: Final = 200
# After so many lines Home Assistant gets to do something else.
_LINES_AT_ONCE: Final = 20
# How long what is left out is counted before it is told.
_TELL_SECONDS: Final = 5
_LONGEST: Final = 8192

# What could make one record look like several.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def wanted_level() -> str | None:
    """Return the level that Home Assistant wants of the agent, or None when it wants nothing."""
    for level, value in reversed(_LEVELS.items()):
        if _AGENT_LOGGER.isEnabledFor(value):
            return level
    return None


class AgentLog:
    """Follows the log of one agent while its entry is loaded."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: S3BackupAgentConfigEntry,
        connection: AgentConnection,
    ) -> None:
        """Take the connection whose agent is meant; nothing happens before start."""
        self._hass = hass
        self._entry = entry
        self._connection = connection
        self._level: str | None = None
        self._stream: asyncio.Task[None] | None = None
        self._rate = _Rate()

    @callback
    def start(self) -> None:
        """Follow the log from the agent's next hello on."""
        self._entry.async_on_unload(self._connection.listen(self._on_event))
        self._entry.async_on_unload(
            self._hass.bus.async_listen(EVENT_LOGGING_CHANGED, self._on_logging_changed)
        )
        self._entry.async_on_unload(self._rate.tell)

    @callback
    def _on_event(self, event: Event) -> None:
        """Open the stream when the agent is there, also after a restart."""
        is_closed = self._stream is None or self._stream.done()
        if event["type"] == "hello" or (event["type"] == "ping" and is_closed):
            self._open()

    @callback
    def _on_logging_changed(self, _: HomeAssistantEvent) -> None:
        """Open the stream with another level."""
        if wanted_level() != self._level:
            self._open()

    def _open(self) -> None:
        """Let go of one stream, and open the next if anything is wanted."""
        if self._stream:
            self._stream.cancel()
        self._stream = None
        self._level = wanted_level()
        if self._level and _CAPABILITY in self._connection.info["capabilities"]:
            self._stream = self._entry.async_create_background_task(
                self._hass, self._follow(self._level), f"{DOMAIN} log"
            )

    async def _follow(self, level: str) -> None:
        """Hand on the records until the connection ends; the next hello or ping opens another."""
        try:
            async with aclosing(self._connection.client.events(log=level)) as events:
                lines = 0
                async for event in events:
                    self._hand_on(event)
                    lines += 1
                    if lines % _LINES_AT_ONCE == 0:
                        await asyncio.sleep(0)
        except AgentError as err:
            _LOGGER.debug("The agent's log broke off: %s", err)
        except Exception:
            _LOGGER.exception("Unexpected error while following the agent's log")

    @callback
    def _hand_on(self, event: Event) -> None:
        """Log a record."""
        if event["type"] == "log_lost":
            self._rate.lose(event["records"])
        elif event["type"] == "log":
            if self._rate.allows():
                level = _LEVELS.get(event["level"], logging.DEBUG)
                _AGENT_LOGGER.log(level, "%s", _line(event))
            else:
                self._rate.lose(1)


class _Rate:
    """How many records there may be, and how many there were beyond that."""

    def __init__(self) -> None:
        """Allow a burst."""
        self._allowed = float(_BURST)
        self._at = time.monotonic()
        self._lost = 0
        self._timer: asyncio.TimerHandle | None = None

    def allows(self) -> bool:
        """Return whether there may be one more record now."""
        now = time.monotonic()
        more = (now - self._at) * _RECORDS_PER_SECOND
        self._allowed, self._at = min(self._allowed + more, _BURST), now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True

    @callback
    def lose(self, records: int) -> None:
        """Count records that are left out."""
        self._lost += records
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_TELL_SECONDS, self.tell)

    @callback
    def tell(self) -> None:
        """Say once how many were left out."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
            _AGENT_LOGGER.warning(
                "%d log records are left out, there were too many", self._lost
            )
            self._lost = 0


def _line(event: Event) -> str:
    """Return a record as text, in one line."""
    target = event["target"].removeprefix(f"{DOMAIN}::")
    fields = (f"{name}={value}" for name, value in event["fields"].items())
    text = " ".join([f"{target}:", event["message"], *fields])[:_LONGEST]
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
