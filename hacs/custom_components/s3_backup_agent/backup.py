"""The backup platform: one backup location for each location of an agent."""

from collections.abc import AsyncIterator, Callable, Coroutine
import logging
from typing import TYPE_CHECKING, Any, Self, override

from homeassistant.components.backup import AgentBackup, BackupAgent, BackupAgentError
from homeassistant.core import HomeAssistant, callback

from .client import Backup, Download, Turn
from .connection import AgentConnection
from .const import DATA_BACKUP_AGENT_LISTENERS, DOMAIN
from .errors import agent_errors_as, backup_error
from .upload import upload_patiently

if TYPE_CHECKING:
    # Home Assistant 2026.3 does not have it.
    from homeassistant.components.backup import OnProgressCallback

    from . import S3BackupAgentConfigEntry
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
    # The oldest first: their order in Home Assistant changes when one gets another unique id.
    for entry in sorted(entries, key=lambda entry: entry.created_at):
        for location in entry.runtime_data.locations.values():
            agent = S3BackupAgent(entry.runtime_data, location)
            if agents.setdefault(agent.unique_id, agent) is not agent:
                _LOGGER.warning(
                    "Two agents have a location with the id %s; the one at %s is left out",
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
    """Call listener whenever there are other backup agents; returns what ends that."""
    listeners = hass.data.setdefault(DATA_BACKUP_AGENT_LISTENERS, [])
    listeners.append(listener)

    @callback
    def remove_listener() -> None:
        listeners.remove(listener)

    return remove_listener


class S3BackupAgent(BackupAgent):
    """Forwards what Home Assistant asks of one location to the agent."""

    domain = DOMAIN

    def __init__(self, connection: AgentConnection, location: Location) -> None:
        """Stand for a location of the agent at the other end of a connection."""
        self.name = location["name"]
        self.unique_id = location["id"]
        self._connection = connection
        self._client = connection.client

    @override
    @agent_errors_as(backup_error)
    async def async_list_backups(self, **kwargs: Any) -> list[AgentBackup]:
        """List the backups."""
        listing = await self._client.backups(self.unique_id)
        if listing["stale"] and (error := listing["error"]):
            _LOGGER.warning(
                "The backups in %s are those of %d seconds ago: %s",
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
        """Upload a backup; errors of its stream are Home Assistant's own and pass."""
        await upload_patiently(
            self._connection, self.unique_id, backup, open_stream, on_progress
        )

    @override
    @agent_errors_as(backup_error)
    async def async_download_backup(
        self, backup_id: str, **kwargs: Any
    ) -> AsyncIterator[bytes]:
        """Download a backup."""
        return _Content(await self._client.download(self.unique_id, backup_id))

    @override
    @agent_errors_as(backup_error)
    async def async_delete_backup(self, backup_id: str, **kwargs: Any) -> None:
        """Delete a backup."""
        await self._client.delete(self.unique_id, backup_id)

    def _parse(self, backup: Backup) -> AgentBackup | None:
        """Return a backup as Home Assistant knows it, or None for one that this version does not."""
        try:
            return AgentBackup.from_dict(backup)
        except (KeyError, TypeError, ValueError) as err:
            _LOGGER.warning(
                "Home Assistant does not understand backup %s in %s: %r",
                backup.get("backup_id"),
                self.name,
                err,
            )
            return None


class _Content:
    """The bytes of a backup, whose errors are those of the backup integration."""

    def __init__(self, download: Download) -> None:
        """Read a download."""
        self._download = download

    def __aiter__(self) -> Self:
        """Return the iterator."""
        return self

    @agent_errors_as(backup_error)
    async def __anext__(self) -> bytes:
        """Return the next bytes."""
        return await anext(self._download)

    async def aclose(self) -> None:
        """Stop here."""
        await self._download.aclose()
