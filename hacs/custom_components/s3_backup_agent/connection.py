"""The lasting connection to one agent: its locations, and what it tells while it works."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
import logging

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.aiohttp_client import async_get_clientsession

from .client import AgentClient, AgentError, Event, Info, Location

_LOGGER = logging.getLogger(__name__)

_FIRST_DELAY_SECONDS = 1
_LAST_DELAY_SECONDS = 30

type EventListener = Callable[[Event], None]


def create_client(hass: HomeAssistant, address: str, token: str | None) -> AgentClient:
    """Return a client for the agent at an address; raises InvalidAddressError."""
    return AgentClient(address, token, session=async_get_clientsession(hass))


class AgentConnection:
    """Knows the agent's locations and follows its events, through restarts of either side."""

    info: Info
    locations: dict[str, Location]

    def __init__(
        self,
        client: AgentClient,
        on_locations_changed: Callable[[], None],
        on_unauthorized: Callable[[], None],
    ) -> None:
        """Take the client, which stays its owner's, and whom to tell about changes."""
        self.client = client
        self._on_locations_changed = on_locations_changed
        self._on_unauthorized = on_unauthorized
        self._listeners: set[EventListener] = set()
        self._delay = _FIRST_DELAY_SECONDS
        self._available = True

    async def connect(self) -> None:
        """Make the agent's acquaintance; raises AgentError."""
        self.info = await self.client.info()
        self.locations = await self._get_locations()

    @callback
    def listen(self, listener: EventListener) -> Callable[[], None]:
        """Call listener for each event; returns what ends that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    async def run(self) -> None:
        """Follow the events until cancelled."""
        while True:
            try:
                await self._follow_events()
            except AgentError as err:
                self._log_lost(err)
                if err.code == "unauthorized":
                    self._on_unauthorized()
            except Exception:
                _LOGGER.exception("Unexpected error while following the agent's events")
            await asyncio.sleep(self._delay)
            self._delay = min(self._delay * 2, _LAST_DELAY_SECONDS)

    async def _follow_events(self) -> None:
        """Hand on the events of one connection, until it ends."""
        async with aclosing(self.client.events()) as events:
            async for event in events:
                if event["type"] == "hello":
                    await self._greet(event["instance_id"])
                for listener in tuple(self._listeners):
                    listener(event)

    async def _greet(self, instance_id: str) -> None:
        """Look again at an agent that was started since."""
        self._delay = _FIRST_DELAY_SECONDS
        if instance_id != self.info["instance_id"]:
            self.info = await self.client.info()
            await self._refresh_locations()
        if not self._available:
            self._available = True
            _LOGGER.info("The agent at %s is back", self.client.address)

    async def _refresh_locations(self) -> None:
        """Ask for the locations again, and tell when they are other ones."""
        before, self.locations = self.locations, await self._get_locations()
        if _names(before) != _names(self.locations):
            self._on_locations_changed()

    async def _get_locations(self) -> dict[str, Location]:
        """Ask for the locations."""
        return {location["id"]: location for location in await self.client.locations()}

    def _log_lost(self, err: AgentError) -> None:
        """Say once that the agent is away."""
        if self._available:
            self._available = False
            _LOGGER.warning("The agent at %s is away: %s", self.client.address, err)


def _names(locations: dict[str, Location]) -> dict[str, str]:
    """Return what Home Assistant shows of locations."""
    return {
        location_id: location["name"] for location_id, location in locations.items()
    }
