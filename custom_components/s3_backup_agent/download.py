"""Downloads that raise the agent's own reason when they break off.

A broken body only closes the connection; the agent sends the reason as an event.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self
import weakref

from homeassistant.core import callback

from .client import AGENT_UNREACHABLE, TRANSFER_BROKEN, AgentError, Download, Event
from .coordinator import AgentCoordinator
from .errors import CONTENT_DAMAGED, agent_errors_as, backup_error

# How long to wait for the reason of a download whose connection the agent closed.
_REASON_SECONDS = 2

_CHECKSUM_MISMATCH: Final = "checksum_mismatch"
_CONNECTION_LOST: Final = (AGENT_UNREACHABLE, TRANSFER_BROKEN)


async def download_content(
    coordinator: AgentCoordinator, location_id: str, backup_id: str
) -> Content:
    """Start the download of a backup, which the caller closes; raises AgentError."""
    reasons = _Reasons()
    # The event may arrive with the first bytes.
    stop = coordinator.listen(reasons.on_event)
    try:
        download = await coordinator.client.download(location_id, backup_id)
    except BaseException:
        stop()
        raise
    return Content(download, reasons, stop)


class Content:
    """Content of a backup, with errors of the backup integration."""

    def __init__(
        self, download: Download, reasons: _Reasons, stop: Callable[[], None]
    ) -> None:
        """Initialize the content of a download."""
        self._download = download
        self._reasons = reasons
        # Home Assistant 2026.3 does not close downloads.
        self._stop = weakref.finalize(self, stop)

    def __aiter__(self) -> Self:
        """Return the iterator."""
        return self

    @agent_errors_as(backup_error)
    async def __anext__(self) -> bytes:
        """Return the next bytes."""
        try:
            return await anext(self._download)
        except StopAsyncIteration:
            self._stop()
            raise
        except AgentError as err:
            reason = await self._reasons.of(self._download, err)
            self._stop()
            raise reason from err

    async def aclose(self) -> None:
        """Close the download."""
        self._stop()
        await self._download.aclose()


class _Reasons:
    """The reasons of broken downloads, as the agent's events tell them."""

    def __init__(self) -> None:
        """Initialize without a reason."""
        self._by_id: dict[str, AgentError] = {}
        self._told = asyncio.Event()

    @callback
    def on_event(self, event: Event) -> None:
        """Handle an event of the agent."""
        if event["type"] == "download" and (error := event["error"]):
            reason = AgentError.of(error)
            if reason.code == _CHECKSUM_MISMATCH:
                reason.code = CONTENT_DAMAGED
            self._by_id[event["download_id"]] = reason
            self._told.set()

    async def of(self, download: Download, err: AgentError) -> AgentError:
        """Return the agent's reason for a broken connection, if it tells one soon."""
        if err.code not in _CONNECTION_LOST or download.id is None:
            return err
        with suppress(TimeoutError):
            async with asyncio.timeout(_REASON_SECONDS):
                while download.id not in self._by_id:
                    self._told.clear()
                    await self._told.wait()
        return self._by_id.get(download.id, err)
