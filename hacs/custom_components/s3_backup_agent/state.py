"""What is known of an agent right now: fed by its events, read by entities, and never asked for again and again."""

from collections.abc import Callable
from typing import Final, cast

from homeassistant.core import callback

from .client import Event, Location, UploadStatus

# Those that an upload under way has.
_UNDER_WAY: Final = frozenset({"receiving", "storing"})

type Listener = Callable[[], None]


class AgentState:
    """The locations of an agent and the uploads under way, and who wants to know of changes."""

    def __init__(self) -> None:
        """Know nothing yet, of an agent that is there."""
        self.available = True
        self.locations: dict[str, Location] = {}
        self._uploads: dict[str, UploadStatus] = {}
        self._listeners: dict[str, set[Listener]] = {}

    @callback
    def listen(self, location_id: str, listener: Listener) -> Callable[[], None]:
        """Call listener whenever something about a location changed; returns what ends that."""
        listeners = self._listeners.setdefault(location_id, set())
        listeners.add(listener)
        return lambda: listeners.discard(listener)

    def uploads_to(self, location_id: str) -> list[UploadStatus]:
        """Return the uploads to a location that are under way."""
        return [
            upload
            for upload in self._uploads.values()
            if upload["location"] == location_id
        ]

    @callback
    def set_available(self, available: bool) -> None:
        """Take note of whether the agent is there."""
        if available != self.available:
            self.available = available
            self._tell(*self._listeners)

    @callback
    def set_locations(self, locations: dict[str, Location]) -> None:
        """Take note of all locations."""
        before, self.locations = self.locations, locations
        self._tell(
            *(
                location_id
                for location_id in before.keys() | locations.keys()
                if before.get(location_id) != locations.get(location_id)
            )
        )

    @callback
    def set_uploads(self, uploads: list[UploadStatus]) -> None:
        """Take note of all uploads."""
        before = self._uploads.values()
        self._uploads = {
            upload["upload_id"]: upload
            for upload in uploads
            if upload["state"] in _UNDER_WAY
        }
        self._tell(*{upload["location"] for upload in (*before, *uploads)})

    @callback
    def on_event(self, event: Event) -> None:
        """Take note of an event."""
        if event["type"] == "hello":
            # Those under way are told next.
            self.set_uploads([])
        elif event["type"] == "location":
            self._set_location(cast(Location, event["location"]))
        elif event["type"] == "upload":
            self._set_upload(cast(UploadStatus, event))

    def _set_location(self, location: Location) -> None:
        """Take note of one location, unless it is another Home Assistant's."""
        if location["id"] in self.locations:
            self.set_locations({**self.locations, location["id"]: location})

    def _set_upload(self, upload: UploadStatus) -> None:
        """Take note of one upload."""
        if upload["state"] in _UNDER_WAY:
            self._uploads[upload["upload_id"]] = upload
        else:
            self._uploads.pop(upload["upload_id"], None)
        self._tell(upload["location"])

    def _tell(self, *location_ids: str) -> None:
        """Tell whoever listens to these locations."""
        for location_id in location_ids:
            for listener in tuple(self._listeners.get(location_id, ())):
                listener()
