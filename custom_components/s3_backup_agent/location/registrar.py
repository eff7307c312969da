"""Registers the locations stored in Home Assistant with the agent."""

import logging

from ..client import AgentClient, AgentError, Settings

_LOGGER = logging.getLogger(__name__)


class LocationRegistrar:
    """Makes an agent's registrations match the locations stored in Home Assistant."""

    def __init__(self, client: AgentClient) -> None:
        """Start without registrations."""
        self._client = client
        # The settings last sent, accepted or refused; None after a call without an answer.
        self._registered: dict[str, Settings | None] = {}
        # Why the agent refuses locations, by id.
        self.refused: dict[str, AgentError] = {}

    def reset(self) -> None:
        """Forget what was registered, as the agent does when it restarts."""
        self._registered = {}

    def is_current(self, wanted: dict[str, Settings]) -> bool:
        """Return whether the agent has these registrations."""
        return wanted == self._registered

    async def register(self, wanted: dict[str, Settings]) -> None:
        """Add, change and remove registrations; raises AgentError for what a retry may solve."""
        for location_id in self._registered.keys() - wanted.keys():
            await self._remove(location_id)
        changed = [
            location_id
            for location_id, settings in wanted.items()
            if self._registered.get(location_id) != settings
        ]
        for location_id in changed:
            await self._put(location_id, wanted[location_id])
        # Its folder may have been that of a location that has moved since.
        for location_id in [each for each in changed if each in self.refused]:
            await self._put(location_id, wanted[location_id])
        for location_id in [each for each in changed if each in self.refused]:
            _LOGGER.warning(
                "The agent at %s refuses the location %s: %s",
                self._client.address,
                wanted[location_id]["name"],
                self.refused[location_id],
            )

    async def _put(self, location_id: str, settings: Settings) -> None:
        """Register a location; a refused one does not stop the others."""
        self._registered[location_id] = None
        self.refused.pop(location_id, None)
        try:
            await self._client.put_location(location_id, settings)
        except AgentError as err:
            _raise_if_temporary(err)
            self.refused[location_id] = err
        self._registered[location_id] = settings

    async def _remove(self, location_id: str) -> None:
        """Remove a registration; an unknown one is no error."""
        self._registered[location_id] = None
        self.refused.pop(location_id, None)
        try:
            await self._client.remove_location(location_id)
        except AgentError as err:
            _raise_if_temporary(err)
            _LOGGER.debug("The location %s is not registered: %s", location_id, err)
        del self._registered[location_id]


def _raise_if_temporary(err: AgentError) -> None:
    """Raise an error that says nothing about the location."""
    if err.retryable or err.code == "unauthorized":
        raise err
