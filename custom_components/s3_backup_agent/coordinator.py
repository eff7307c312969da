"""Coordinator for the S3 Backup Agent integration: the connection to one agent, and its state."""

import asyncio
from collections.abc import Callable, Container, Mapping
from contextlib import aclosing, suppress
from datetime import datetime
import logging
import time
from typing import Any, cast, override

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_ADDRESS, CONF_TOKEN, CONF_VERIFY_SSL
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator

from .client import (
    AGENT_UNREACHABLE,
    UNSUPPORTED_PROTOCOL,
    AgentClient,
    AgentError,
    Event,
    Info,
    Location,
    UploadStatus,
)
from .const import DOMAIN
from .discovery import is_app_removed
from .location import registrations_of
from .location.registrar import LocationRegistrar

_LOGGER = logging.getLogger(__name__)

# Reconnecting backs off between these.
_FIRST_DELAY_SECONDS = 1
_LAST_DELAY_SECONDS = 30
# An agent that only restarts does not make entities unavailable.
_GRACE_SECONDS = 15
# An agent that missed one call may have been up all along, and then sends no new hello.
_POLL_SECONDS = 5
# Bounds reading the locations again while events keep arriving.
_MAX_READS = 5

# The states of an upload in progress.
_IN_PROGRESS = frozenset({"receiving", "storing"})

type EventListener = Callable[[Event], None]
type S3BackupAgentConfigEntry = ConfigEntry[AgentCoordinator]


def create_client(hass: HomeAssistant, data: Mapping[str, Any]) -> AgentClient:
    """Return a client for the agent of an entry's data; raises InvalidAddressError."""
    # Only an agent on another host can have a certificate that is not to be verified.
    session = async_get_clientsession(hass, data.get(CONF_VERIFY_SSL, True))
    return AgentClient(data[CONF_ADDRESS], data.get(CONF_TOKEN), session=session)


class AgentState:
    """The locations of an agent and the uploads in progress."""

    def __init__(self) -> None:
        """Start empty."""
        self.locations: dict[str, Location] = {}
        self._uploads: dict[str, UploadStatus] = {}

    def uploads_to(self, location_id: str) -> list[UploadStatus]:
        """Return the uploads to a location that are in progress."""
        return [
            upload
            for upload in self._uploads.values()
            if upload["location"] == location_id
        ]

    def set_uploads(self, uploads: list[UploadStatus]) -> None:
        """Replace all uploads."""
        self._uploads = {}
        for upload in uploads:
            self._set_upload(upload)

    def apply(self, event: Event) -> None:
        """Apply an event of the agent."""
        if event["type"] == "hello":
            # Events for the uploads in progress follow.
            self._uploads = {}
        elif event["type"] == "upload":
            self._set_upload(cast(UploadStatus, event))
        elif event["type"] == "location":
            location = cast(Location, event["location"])
            # Any other is not offered.
            if location["id"] in self.locations:
                self.locations = {**self.locations, location["id"]: location}

    def _set_upload(self, upload: UploadStatus) -> None:
        """Add or update an upload, or remove one that has ended."""
        if upload["state"] in _IN_PROGRESS:
            self._uploads[upload["upload_id"]] = upload
        else:
            self._uploads.pop(upload["upload_id"], None)


class AgentCoordinator(DataUpdateCoordinator[AgentState]):
    """Follows the events of one agent, through restarts of either side.

    The agent forgets registered locations when it restarts; each hello registers them again.
    """

    config_entry: S3BackupAgentConfigEntry
    info: Info
    # The names of the agent's providers, by id.
    providers: dict[str, str]

    def __init__(
        self,
        hass: HomeAssistant,
        entry: S3BackupAgentConfigEntry,
        client: AgentClient,
        on_locations_changed: Callable[[], None],
        on_refused: Callable[[AgentError], None],
    ) -> None:
        """Initialize the coordinator; the caller closes the client."""
        super().__init__(hass, _LOGGER, config_entry=entry, name=DOMAIN)
        self.data = AgentState()
        self.client = client
        # The agent process that all locations were registered with last.
        self.instance_id: str | None = None
        # When the connection was lost, on the clock of time.monotonic(); None while connected.
        self.lost_at: float | None = None
        self.lost_code = ""  # of the last error since then
        # Whether the agent's app was removed, and nothing should wait for the agent.
        self.is_app_removed = False
        # Since when backups are missing that Home Assistant's schedule expects, by id of a location where that is known.
        self.overdue: dict[str, datetime | None] = {}
        self._registrar = LocationRegistrar(client)
        self._on_locations_changed = on_locations_changed
        self._on_refused = on_refused
        self._event_listeners: set[EventListener] = set()
        self._delay = _FIRST_DELAY_SECONDS
        self._grace: asyncio.TimerHandle | None = None
        # Replaced at each hello.
        self._next_hello = asyncio.Event()
        self._ended = False
        # Whether the locations were read since the last change of registrations.
        self._is_current = False
        self._sync_lock = asyncio.Lock()
        # Location events so far; an answer to a call in flight may be older than they are.
        self._location_events = 0

    @property
    def locations(self) -> dict[str, Location]:
        """The agent's locations, by id."""
        return self.data.locations

    @property
    def refused(self) -> dict[str, AgentError]:
        """Why the agent refuses locations stored in Home Assistant, by id."""
        return self._registrar.refused

    async def connect(self) -> None:
        """Read the agent's state and register the locations; raises AgentError."""
        await self._read_info()
        await self._sync()
        self.instance_id = self.info["instance_id"]

    async def async_sync(self) -> None:
        """Register changed locations; a failure is retried at the agent's next ping."""
        try:
            await self._sync_changes()
        except AgentError as err:
            _LOGGER.debug("The agent does not know all locations yet: %s", err)

    @override
    async def _async_update_data(self) -> AgentState:
        """Read the locations again; without the agent, the last state stays."""
        self._is_current = False
        await self.async_sync()
        return self.data

    @callback
    def listen(self, listener: EventListener) -> Callable[[], None]:
        """Call listener for each event; returns a function that removes it."""
        self._event_listeners.add(listener)
        return lambda: self._event_listeners.discard(listener)

    @callback
    def handle_event(self, event: Event) -> None:
        """Apply an event, and pass it to entities and listeners."""
        self.data.apply(event)
        if event["type"] in ("hello", "location", "upload"):
            self.async_update_listeners()
        for listener in tuple(self._event_listeners):
            listener(event)

    async def wait_until_connected(self, *, other_than: str | None = None) -> None:
        """Wait until the agent answers and knows all locations.

        With other_than, wait for a restart after that instance. Raises AgentError when the entry is unloaded, or the app
        removed, meanwhile.
        """
        while not self._ended:
            if self.is_app_removed:
                raise AgentError(AGENT_UNREACHABLE, "The agent's app was removed")
            hello = self._next_hello
            if self.instance_id != other_than and await self._answers():
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await hello.wait()
        raise AgentError(AGENT_UNREACHABLE, "The connection to the agent was closed")

    def registers(self, location_id: str) -> bool:
        """Return whether a location is stored in Home Assistant."""
        return location_id in registrations_of(self.config_entry)

    async def was_restarted_since(self, instance_id: str | None) -> bool:
        """Return whether the agent restarted since that instance, or does not answer."""
        try:
            return (await self.client.info())["instance_id"] != instance_id
        except AgentError:
            return True

    async def run(self) -> None:
        """Follow the events until cancelled."""
        try:
            while True:
                await self._follow_until_lost()
                await self._note_removal()
                await asyncio.sleep(self._delay)
                self._delay = min(self._delay * 2, _LAST_DELAY_SECONDS)
        finally:
            self._ended = True
            self._next_hello.set()
            self._cancel_grace()

    async def _follow_until_lost(self) -> None:
        """Follow the events of one connection until it is lost."""
        try:
            await self._follow_events()
        except AgentError as err:
            self._note_lost(err)
            if err.code in ("unauthorized", UNSUPPORTED_PROTOCOL):
                self._on_refused(err)
        except Exception:
            _LOGGER.exception("Unexpected error while following the agent's events")

    async def _note_removal(self) -> None:
        """Note whether the agent's app was removed; Supervisor stops an app before it removes it."""
        is_removed = await is_app_removed(self.hass, self.config_entry.data)
        if is_removed in (None, self.is_app_removed):
            return
        self.is_app_removed = is_removed
        if is_removed:
            _LOGGER.warning(
                "The app of the agent at %s was removed", self.client.address
            )
            self._cancel_grace()
            self._set_available(False)
            self._wake()
        self.handle_event({"type": "app"})

    async def _follow_events(self) -> None:
        """Handle the events of one connection."""
        async with aclosing(self.client.events()) as events:
            async for event in events:
                if event["type"] == "hello":
                    await self._greet(event["instance_id"])
                elif event["type"] == "ping":
                    await self._sync_changes()
                elif event["type"] == "lost":
                    await self._catch_up()
                elif event["type"] == "location":
                    self._location_events += 1
                self.handle_event(event)

    async def _greet(self, instance_id: str) -> None:
        """Read the state of an agent that may have restarted, and register the locations."""
        self._delay = _FIRST_DELAY_SECONDS
        version = self.info["version"]
        if is_restarted := instance_id != self.instance_id:
            await self._read_info()
        await self._sync(is_restarted=is_restarted)
        self.instance_id = instance_id
        if version != self.info["version"]:
            self._on_locations_changed()
        self._cancel_grace()
        self.is_app_removed = False
        if self.lost_at is not None:
            self.lost_at = None
            _LOGGER.info("The agent at %s is reachable again", self.client.address)
        self._set_available(True)
        self._wake()

    def _wake(self) -> None:
        """Wake all that wait for the agent."""
        hello, self._next_hello = self._next_hello, asyncio.Event()
        hello.set()

    async def _read_info(self) -> None:
        """Read the agent's version, capabilities and providers."""
        self.info = await self.client.info()
        self.providers = {
            provider["id"]: provider["name"]
            for provider in await self.client.providers()
        }

    async def _catch_up(self) -> None:
        """Read the state that lost events would have told."""
        await self._sync()
        if "uploads" in self.info["capabilities"]:
            self.data.set_uploads(await self.client.uploads())
            self.async_update_listeners()

    async def _answers(self) -> bool:
        """Return whether the agent answers, and knows all locations."""
        try:
            info = await self.client.info()
        except AgentError:
            return False
        return info["instance_id"] == self.instance_id

    async def _sync_changes(self) -> None:
        """Register what the agent does not know yet, unless all is current."""
        wanted = registrations_of(self.config_entry)
        if not self._is_current or not self._registrar.is_current(wanted):
            await self._sync()

    async def _sync(self, *, is_restarted: bool = False) -> None:
        """Register the locations stored in Home Assistant, and read all locations."""
        async with self._sync_lock:
            if is_restarted:
                self._registrar.reset()
            before = _shown(self.locations)
            wanted = registrations_of(self.config_entry)
            self._is_current = False
            await self._registrar.register(wanted)
            self.data.locations = {
                location["id"]: location
                for location in await self._read_locations()
                if _is_offered(location, wanted)
            }
            self._is_current = True
        self.async_update_listeners()
        if before != _shown(self.locations):
            self._on_locations_changed()

    async def _read_locations(self) -> list[Location]:
        """Read the locations, again when a newer event arrives meanwhile."""
        for _ in range(_MAX_READS):
            told = self._location_events
            locations = await self.client.locations()
            if told == self._location_events:
                break
        return locations

    @callback
    def _set_available(self, available: bool) -> None:
        """Make the entities available or unavailable."""
        self.last_update_success = available
        self.async_update_listeners()

    def _note_lost(self, err: AgentError) -> None:
        """Log once that the connection is lost, and start the grace period."""
        self.lost_code = err.code
        if self.lost_at is None:
            self.lost_at = time.monotonic()
            self._grace = self.hass.loop.call_later(
                _GRACE_SECONDS, self._set_available, False
            )
            _LOGGER.warning(
                "The agent at %s is unreachable: %s", self.client.address, err
            )

    def _cancel_grace(self) -> None:
        """Cancel the grace period."""
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None


def _is_offered(location: Location, registered: Container[str]) -> bool:
    """Return whether a location is offered as a backup location."""
    if location["source"] == "registered":
        # Any other is registered by another Home Assistant.
        return location["id"] in registered
    # The agent's built-in directory is on its own disk, and only there until it has a bucket.
    return location["source"] != "embedded"


def _shown(locations: dict[str, Location]) -> dict[str, tuple[str | None, ...]]:
    """Return the part of locations that devices and backup agents show."""
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
