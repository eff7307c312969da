"""The backup platform: one backup location for each location of an agent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
import logging
from typing import TYPE_CHECKING, Any, Self, override

from homeassistant.components.backup import (
    AgentBackup,
    BackupAgent,
    BackupAgentError,
    suggested_filename,
)
from homeassistant.core import HomeAssistant, callback

from .client import TRANSFER_BROKEN, AgentError, Backup, Download, Event, Upload
from .connection import AgentConnection
from .const import DATA_BACKUP_AGENT_LISTENERS, DOMAIN
from .errors import map_errors

if TYPE_CHECKING:
    # Home Assistant 2026.3 does not have it.
    from homeassistant.components.backup import OnProgressCallback

    from . import S3BackupAgentConfigEntry
    from .client import Location

_LOGGER = logging.getLogger(__name__)

# How long to wait for the agent's own word on an upload whose connection it broke.
_LAST_WORD_SECONDS = 2


async def async_get_backup_agents(
    hass: HomeAssistant, **kwargs: Any
) -> list[BackupAgent]:
    """Return a backup agent for each location."""
    agents: dict[str, BackupAgent] = {}
    entries: list[S3BackupAgentConfigEntry] = hass.config_entries.async_loaded_entries(
        DOMAIN
    )
    for entry in entries:
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
    @map_errors
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
        backups = (self._parse(backup) for backup in listing["backups"])
        return [backup for backup in backups if backup is not None]

    @override
    @map_errors
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
    @map_errors
    async def async_upload_backup(
        self,
        *,
        open_stream: Callable[[], Coroutine[Any, Any, AsyncIterator[bytes]]],
        backup: AgentBackup,
        on_progress: OnProgressCallback | None = None,
        **kwargs: Any,
    ) -> None:
        """Upload a backup; errors of its stream are Home Assistant's own and pass."""
        with _following(self._connection, on_progress) as progress:
            try:
                await self._client.upload(
                    self.unique_id,
                    backup.as_dict(),
                    suggested_filename(backup),
                    open_stream,
                    progress.start,
                )
            except AgentError as err:
                if err.code == TRANSFER_BROKEN and (cause := await progress.failure()):
                    raise cause from err
                raise

    @override
    @map_errors
    async def async_download_backup(
        self, backup_id: str, **kwargs: Any
    ) -> AsyncIterator[bytes]:
        """Download a backup."""
        return _Content(await self._client.download(self.unique_id, backup_id))

    @override
    @map_errors
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

    @map_errors
    async def __anext__(self) -> bytes:
        """Return the next bytes."""
        return await anext(self._download)

    async def aclose(self) -> None:
        """Stop here."""
        await self._download.aclose()


class _Progress:
    """Follows one upload in the agent's events."""

    def __init__(self, on_progress: OnProgressCallback | None) -> None:
        """Report to on_progress."""
        self._on_progress = on_progress
        self._upload_id: str | None = None
        self._failure: asyncio.Future[AgentError] = (
            asyncio.get_running_loop().create_future()
        )

    @callback
    def start(self, upload: Upload) -> None:
        """Follow this upload."""
        self._upload_id = upload["upload_id"]

    @callback
    def on_event(self, event: Event) -> None:
        """Look at an event, whatever it is about."""
        if event["type"] != "upload" or event["upload_id"] != self._upload_id:
            return
        if error := event["error"]:
            if not self._failure.done():
                self._failure.set_result(AgentError.of(error))
        elif self._on_progress:
            self._on_progress(bytes_uploaded=event["stored_bytes"])

    async def failure(self) -> AgentError | None:
        """Return why the agent gave up the upload, if it tells soon."""
        try:
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                return await self._failure
        except TimeoutError:
            return None


@contextmanager
def _following(
    connection: AgentConnection, on_progress: OnProgressCallback | None
) -> Iterator[_Progress]:
    """Follow an upload while it lasts."""
    progress = _Progress(on_progress)
    stop = connection.listen(progress.on_event)
    try:
        yield progress
    finally:
        stop()
