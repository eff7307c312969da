"""Backup platform for the S3 Backup Agent integration."""

from collections.abc import AsyncIterator, Callable, Coroutine
import logging
from typing import TYPE_CHECKING, Any, override

from homeassistant.components.backup import AgentBackup, BackupAgent, BackupAgentError
from homeassistant.core import HomeAssistant, callback

from .client import AgentError, Backup, Turn
from .const import DATA_BACKUP_AGENT_LISTENERS, DOMAIN
from .coordinator import AgentCoordinator, S3BackupAgentConfigEntry
from .download import download_content
from .errors import AGENT_AWAY, agent_errors_as, backup_error
from .parse import parse_backup
from .upload import upload_resuming

if TYPE_CHECKING:
    # Missing in Home Assistant 2026.3.
    from homeassistant.components.backup import OnProgressCallback

    from .client import Location

_LOGGER = logging.getLogger(__name__)


async def async_get_backup_agents(
    hass: HomeAssistant, **kwargs: Any
) -> list[BackupAgent]:
    """Return a backup agent for each location."""
    agents: dict[str, BackupAgent] = {}
    entries: list[S3BackupAgentConfigEntry] = hass.config_entries.async_loaded_entries(
        DOMAIN
    )
    # Oldest first: Home Assistant's order depends on unique ids, which change.
    for entry in sorted(entries, key=lambda entry: entry.created_at):
        speaks = True
        for location in entry.runtime_data.locations.values():
            agent = S3BackupAgent(entry.runtime_data, location, speaks=speaks)
            if agents.setdefault(agent.unique_id, agent) is agent:
                speaks = False
            else:
                _LOGGER.warning(
                    "Two agents have a location with the id %s; ignoring the one at %s",
                    agent.unique_id,
                    entry.runtime_data.client.address,
                )
    return list(agents.values())


@callback
def async_register_backup_agents_listener(
    hass: HomeAssistant,
    *,
    listener: Callable[[], None],
    **kwargs: Any,
) -> Callable[[], None]:
    """Register a listener to be called when the backup agents change."""
    listeners = hass.data.setdefault(DATA_BACKUP_AGENT_LISTENERS, [])
    listeners.append(listener)

    @callback
    def remove_listener() -> None:
        listeners.remove(listener)

    return remove_listener


class S3BackupAgent(BackupAgent):
    """Backup agent for one location."""

    domain = DOMAIN

    def __init__(
        self, coordinator: AgentCoordinator, location: Location, *, speaks: bool
    ) -> None:
        """Initialize the backup agent; one of the agent's locations speaks for it while it is away."""
        self.name = location["name"]
        self.unique_id = location["id"]
        self._coordinator = coordinator
        self._client = coordinator.client
        self._speaks = speaks

    @override
    @agent_errors_as(backup_error)
    async def async_list_backups(self, **kwargs: Any) -> list[AgentBackup]:
        """List the backups."""
        try:
            listing = await self._client.backups(self.unique_id)
        except AgentError as err:
            if self._speaks or err.code not in AGENT_AWAY:
                raise
            # Home Assistant would show the same error for each location.
            return []
        if listing["stale"] and (error := listing["error"]):
            # The status sensor shows it, and the agent's log has a line for each outage.
            _LOGGER.debug(
                "The list of backups in %s is stale, %d seconds old: %s",
                self.name,
                listing["age_seconds"],
                error["detail"],
            )
        turn = Turn()
        backups: list[AgentBackup] = []
        for backup in listing["backups"]:
            await turn.give_way()
            if (parsed := self._parse(backup)) is not None:
                backups.append(parsed)
        return backups

    @override
    @agent_errors_as(backup_error)
    async def async_get_backup(self, backup_id: str, **kwargs: Any) -> AgentBackup:
        """Return one backup."""
        found = self._parse(await self._client.backup(self.unique_id, backup_id))
        if found is None:
            raise BackupAgentError(
                translation_domain=DOMAIN,
                translation_key="unknown_backup_format",
                translation_placeholders={"backup_id": backup_id},
            )
        return found

    @override
    @agent_errors_as(backup_error)
    async def async_upload_backup(
        self,
        *,
        open_stream: Callable[[], Coroutine[Any, Any, AsyncIterator[bytes]]],
        backup: AgentBackup,
        on_progress: OnProgressCallback | None = None,
        **kwargs: Any,
    ) -> None:
        """Upload a backup; errors of its stream pass unchanged."""
        await upload_resuming(
            self._coordinator, self.unique_id, backup, open_stream, on_progress
        )

    @override
    @agent_errors_as(backup_error)
    async def async_download_backup(
        self, backup_id: str, **kwargs: Any
    ) -> AsyncIterator[bytes]:
        """Download a backup."""
        return await download_content(self._coordinator, self.unique_id, backup_id)

    @override
    @agent_errors_as(backup_error)
    async def async_delete_backup(self, backup_id: str, **kwargs: Any) -> None:
        """Delete a backup."""
        await self._client.delete(self.unique_id, backup_id)

    def _parse(self, backup: Backup) -> AgentBackup | None:
        """Return a backup as Home Assistant's type, None if this version rejects it."""
        try:
            return parse_backup(backup)
        except (KeyError, TypeError, ValueError) as err:
            _LOGGER.warning(
                "Home Assistant cannot parse backup %s in %s: %r",
                backup.get("backup_id"),
                self.name,
                err,
            )
            return None
