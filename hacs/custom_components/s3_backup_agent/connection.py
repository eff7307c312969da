"""The lasting connection to one agent: its locations, and what it tells while it works."""

import asyncio
from collections.abc import Callable, Container
from contextlib import aclosing
import logging

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.aiohttp_client import async_get_clientsession

from .client import AgentClient, AgentError, Event, Info, Location, Settings

_LOGGER = logging.getLogger(__name__)

_FIRST_DELAY_SECONDS = 1
_LAST_DELAY_SECONDS = 30

type EventListener = Callable[[Event], None]


def create_client(hass: HomeAssistant, address: str, token: str | None) -> AgentClient:
    """Return a client for the agent at an address; raises InvalidAddressError."""
    return AgentClient(address, token, session=async_get_clientsession(hass))


class AgentConnection:
    """Knows the agent's locations and follows its events, through restarts of either side.

    The agent forgets at each start what Home Assistant registered, so that it is registered again then.
    """

    info: Info

    def __init__(
        self,
        client: AgentClient,
        get_registrations: Callable[[], dict[str, Settings]],
        on_locations_changed: Callable[[], None],
        on_unauthorized: Callable[[], None],
    ) -> None:
        """Take the client, which stays its owner's, the locations to register, and whom to tell about changes."""
        self.client = client
        self.locations: dict[str, Location] = {}
        self._get_registrations = get_registrations
        self._on_locations_changed = on_locations_changed
        self._on_unauthorized = on_unauthorized
        self._listeners: set[EventListener] = set()
        self._delay = _FIRST_DELAY_SECONDS
        self._available = True
        # What the agent was told, whether it took it or not.
        self._registered: dict[str, Settings] = {}
        self._one_at_a_time = asyncio.Lock()

    async def connect(self) -> None:
        """Make the agent's acquaintance; raises AgentError."""
        self.info = await self.client.info()
        await self._register()

    async def update(self) -> None:
        """Tell the agent what is registered now; a failure is made good with the next ping."""
        try:
            await self._register_changes()
        except AgentError as err:
            _LOGGER.debug("The agent does not know all locations yet: %s", err)

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
                elif event["type"] == "ping":
                    await self._register_changes()
                for listener in tuple(self._listeners):
                    listener(event)

    async def _greet(self, instance_id: str) -> None:
        """Look again at an agent that was started since."""
        self._delay = _FIRST_DELAY_SECONDS
        if instance_id != self.info["instance_id"]:
            self.info = await self.client.info()
            await self._register(is_new_agent=True)
        else:
            await self._register_changes()
        if not self._available:
            self._available = True
            _LOGGER.info("The agent at %s is back", self.client.address)

    async def _register_changes(self) -> None:
        """Register what the agent was not told yet."""
        if self._get_registrations() != self._registered:
            await self._register()

    async def _register(self, *, is_new_agent: bool = False) -> None:
        """Let the agent know the locations that are kept here, and look again at all of them."""
        async with self._one_at_a_time:
            if is_new_agent:
                self._registered = {}
            wanted = self._get_registrations()
            for location_id in self._registered.keys() - wanted.keys():
                await self._forget(location_id)
            for location_id, settings in wanted.items():
                if self._registered.get(location_id) != settings:
                    await self._put(location_id, settings)
            before, self.locations = self.locations, await self._get_locations(wanted)
            self._registered = wanted
        if _names(before) != _names(self.locations):
            self._on_locations_changed()

    async def _put(self, location_id: str, settings: Settings) -> None:
        """Register a location; one that the agent refuses is in nobody's way."""
        try:
            await self.client.put_location(location_id, settings)
        except AgentError as err:
            if err.retryable or err.code == "unauthorized":
                raise
            _LOGGER.warning(
                "The agent at %s refuses the location %s: %s",
                self.client.address,
                settings["name"],
                err,
            )

    async def _forget(self, location_id: str) -> None:
        """Make the agent forget a location, if it knows it."""
        try:
            await self.client.remove_location(location_id)
        except AgentError as err:
            if err.retryable or err.code == "unauthorized":
                raise
            _LOGGER.debug("The location %s is gone already: %s", location_id, err)

    async def _get_locations(self, registered: Container[str]) -> dict[str, Location]:
        """Ask for the locations; those that another Home Assistant registered are not ours."""
        return {
            location["id"]: location
            for location in await self.client.locations()
            if location["source"] != "registered" or location["id"] in registered
        }

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
