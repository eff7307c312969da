"""The lasting connection to one agent: its locations, and what it tells while it works."""

import asyncio
from collections.abc import Callable, Container, Mapping
from contextlib import aclosing, suppress
import logging
import time
from typing import Any

from homeassistant.const import CONF_ADDRESS, CONF_TOKEN, CONF_VERIFY_SSL
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.aiohttp_client import async_get_clientsession

from .client import (
    AGENT_UNREACHABLE,
    UNSUPPORTED_PROTOCOL,
    AgentClient,
    AgentError,
    Event,
    Info,
    Location,
    Settings,
)
from .state import AgentState

_LOGGER = logging.getLogger(__name__)

_FIRST_DELAY_SECONDS = 1
_LAST_DELAY_SECONDS = 30
# An agent that is only started again is not worth telling anybody.
_GRACE_SECONDS = 15
# An agent that did not answer once may be there all the time, and then says no new hello.
_LOOK_AGAIN_SECONDS = 5
# Where events come without end, the answer is new enough some time.
_MOST_QUESTIONS = 5

type EventListener = Callable[[Event], None]


def create_client(hass: HomeAssistant, data: Mapping[str, Any]) -> AgentClient:
    """Return a client for the agent that an entry's data is about; raises InvalidAddressError."""
    # Only an agent on another machine can have a certificate that is not to be verified.
    session = async_get_clientsession(hass, data.get(CONF_VERIFY_SSL, True))
    return AgentClient(data[CONF_ADDRESS], data.get(CONF_TOKEN), session=session)


class AgentConnection:
    """Knows the agent's locations and follows its events, through restarts of either side.

    The agent forgets at each start what Home Assistant registered, so that it is registered again then.
    """

    info: Info
    # The names of the providers that the agent knows, by their ids.
    providers: dict[str, str]

    def __init__(
        self,
        client: AgentClient,
        get_registrations: Callable[[], dict[str, Settings]],
        on_locations_changed: Callable[[], None],
        on_refused: Callable[[AgentError], None],
    ) -> None:
        """Take the client, which stays its owner's, the locations to register, and whom to tell about changes."""
        self.client = client
        self.state = AgentState()
        # The start of the agent that was told of all locations last.
        self.instance_id: str | None = None
        # When the agent was lost, as time.monotonic() counts; None while it is there.
        self.lost_at: float | None = None
        self._get_registrations = get_registrations
        self._on_locations_changed = on_locations_changed
        self._on_refused = on_refused
        self._listeners: set[EventListener] = set()
        self._delay = _FIRST_DELAY_SECONDS
        self._grace: asyncio.TimerHandle | None = None
        # Replaced with each hello of the agent.
        self._next_hello = asyncio.Event()
        self._ended = False
        # What the agent was told, whether it took it or not; None while it is in doubt what it knows.
        self._registered: dict[str, Settings | None] = {}
        # Whether the locations were asked for since.
        self._is_up_to_date = False
        self._one_at_a_time = asyncio.Lock()
        # How many events told of a location, which an answer under way may not know of.
        self._location_events = 0

    @property
    def locations(self) -> dict[str, Location]:
        """The agent's locations, as they stand."""
        return self.state.locations

    async def connect(self) -> None:
        """Make the agent's acquaintance; raises AgentError."""
        await self._make_acquaintance()
        await self._register()
        self.instance_id = self.info["instance_id"]

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

    async def wait_until_there(self, *, other_than: str | None = None) -> None:
        """Wait until the agent is there and knows all locations; with other_than, until it was started again since.

        Raises AgentError when this connection ends before.
        """
        while not self._ended:
            hello = self._next_hello
            if self.instance_id != other_than and await self._is_there():
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_SECONDS):
                    await hello.wait()
        raise AgentError(AGENT_UNREACHABLE, "The connection to the agent was ended")

    def registers(self, location_id: str) -> bool:
        """Return whether a location is kept here, so that the agent is told of it at each start."""
        return location_id in self._get_registrations()

    async def was_lost_since(self, instance_id: str | None) -> bool:
        """Return whether the agent was started again since that start, or does not answer."""
        try:
            return (await self.client.info())["instance_id"] != instance_id
        except AgentError:
            return True

    async def run(self) -> None:
        """Follow the events until cancelled."""
        try:
            while True:
                await self._follow_until_lost()
                await asyncio.sleep(self._delay)
                self._delay = min(self._delay * 2, _LAST_DELAY_SECONDS)
        finally:
            self._ended = True
            self._next_hello.set()
            self._end_grace()

    async def _follow_until_lost(self) -> None:
        """Follow the events of one connection; takes note of how it ends."""
        try:
            await self._follow_events()
        except AgentError as err:
            self._note_lost(err)
            if err.code in ("unauthorized", UNSUPPORTED_PROTOCOL):
                self._on_refused(err)
        except Exception:
            _LOGGER.exception("Unexpected error while following the agent's events")

    async def _follow_events(self) -> None:
        """Hand on the events of one connection, until it ends."""
        async with aclosing(self.client.events()) as events:
            async for event in events:
                if event["type"] == "hello":
                    await self._greet(event["instance_id"])
                elif event["type"] == "ping":
                    await self._register_changes()
                elif event["type"] == "lost":
                    await self._catch_up()
                elif event["type"] == "location":
                    self._location_events += 1
                self.state.on_event(event)
                for listener in tuple(self._listeners):
                    listener(event)

    async def _greet(self, instance_id: str) -> None:
        """Look again at an agent that may have been started since, and at all its locations."""
        self._delay = _FIRST_DELAY_SECONDS
        version = self.info["version"]
        if is_new_agent := instance_id != self.instance_id:
            await self._make_acquaintance()
        await self._register(is_new_agent=is_new_agent)
        self.instance_id = instance_id
        if version != self.info["version"]:
            self._on_locations_changed()
        self._end_grace()
        if self.lost_at is not None:
            self.lost_at = None
            _LOGGER.info("The agent at %s is back", self.client.address)
        self.state.set_available(True)
        hello, self._next_hello = self._next_hello, asyncio.Event()
        hello.set()

    async def _make_acquaintance(self) -> None:
        """Ask what is running, and what it knows."""
        self.info = await self.client.info()
        self.providers = {
            provider["id"]: provider["name"]
            for provider in await self.client.providers()
        }

    async def _catch_up(self) -> None:
        """Ask for what events told that were lost."""
        await self._register()
        if "uploads" in self.info["capabilities"]:
            self.state.set_uploads(await self.client.uploads())

    async def _is_there(self) -> bool:
        """Return whether the agent answers, and is the one that was told of all locations."""
        try:
            info = await self.client.info()
        except AgentError:
            return False
        return info["instance_id"] == self.instance_id

    async def _register_changes(self) -> None:
        """Register what the agent was not told yet, or was not asked about since."""
        if not self._is_up_to_date or self._get_registrations() != self._registered:
            await self._register()

    async def _register(self, *, is_new_agent: bool = False) -> None:
        """Let the agent know the locations that are kept here, and look again at all of them."""
        async with self._one_at_a_time:
            before = _shown(self.locations)
            if is_new_agent:
                self._registered = {}
            wanted = self._get_registrations()
            self._is_up_to_date = False
            for location_id in self._registered.keys() - wanted.keys():
                await self._forget(location_id)
            for location_id, settings in wanted.items():
                if self._registered.get(location_id) != settings:
                    await self._put(location_id, settings)
            self.state.set_locations(await self._get_newest_locations(wanted))
            self._is_up_to_date = True
        if before != _shown(self.locations):
            self._on_locations_changed()

    async def _put(self, location_id: str, settings: Settings) -> None:
        """Register a location; one that the agent refuses is in nobody's way."""
        self._registered[location_id] = None
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
        self._registered[location_id] = settings

    async def _forget(self, location_id: str) -> None:
        """Make the agent forget a location, if it knows it."""
        self._registered[location_id] = None
        try:
            await self.client.remove_location(location_id)
        except AgentError as err:
            if err.retryable or err.code == "unauthorized":
                raise
            _LOGGER.debug("The location %s is gone already: %s", location_id, err)
        del self._registered[location_id]

    async def _get_newest_locations(
        self, registered: Container[str]
    ) -> dict[str, Location]:
        """Ask for the locations, again when events told something newer meanwhile."""
        for _ in range(_MOST_QUESTIONS):
            told = self._location_events
            locations = await self._get_locations(registered)
            if told == self._location_events:
                break
        return locations

    async def _get_locations(self, registered: Container[str]) -> dict[str, Location]:
        """Ask for the locations; those that another Home Assistant registered are not ours."""
        return {
            location["id"]: location
            for location in await self.client.locations()
            if location["source"] != "registered" or location["id"] in registered
        }

    def _note_lost(self, err: AgentError) -> None:
        """Say once that the agent is away, and after a while tell everybody."""
        if self.lost_at is None:
            self.lost_at = time.monotonic()
            self._grace = asyncio.get_running_loop().call_later(
                _GRACE_SECONDS, self.state.set_available, False
            )
            _LOGGER.warning("The agent at %s is away: %s", self.client.address, err)

    def _end_grace(self) -> None:
        """No longer count how long the agent is away."""
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None


def _shown(locations: dict[str, Location]) -> dict[str, tuple[str | None, ...]]:
    """Return what Home Assistant shows of locations, whatever they hold."""
    return {
        location["id"]: (
            location["name"],
            location["provider"],
            location["endpoint"],
            location["bucket"],
            location["prefix"],
        )
        for location in locations.values()
    }
