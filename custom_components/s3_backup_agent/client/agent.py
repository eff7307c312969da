"""The calls of the agent's protocol."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, Final, cast
from urllib.parse import quote

import aiohttp

from .errors import (
    AGENT_UNREACHABLE,
    INVALID_RESPONSE,
    TRANSFER_BROKEN,
    AgentError,
    UnsupportedProtocolError,
)
from .http import HttpClient
from .models import (
    Backup,
    Checked,
    Event,
    Info,
    Listing,
    Location,
    Provider,
    Recovery,
    Report,
    Setting,
    Settings,
    Skipped,
    Upload,
    UploadStatus,
    Verified,
)
from .transfer import IDLE_SECONDS, Download, UploadBody

PROTOCOL: Final = 1

_CONNECT_SECONDS: Final = 10
# The agent answers a listing within 20 seconds, and Home Assistant waits for the slowest location.
# aiohttp rounds up to the next second.
_LISTING: Final = aiohttp.ClientTimeout(total=24, connect=_CONNECT_SECONDS)
_QUICK: Final = aiohttp.ClientTimeout(total=20, connect=_CONNECT_SECONDS)
_STORAGE: Final = aiohttp.ClientTimeout(total=120, connect=_CONNECT_SECONDS)
# Twelve steps, and again with corrected settings.
_CHECK: Final = aiohttp.ClientTimeout(total=180, connect=_CONNECT_SECONDS)
# A few ranges of each tar.
_RECOVERY: Final = aiohttp.ClientTimeout(total=300, connect=_CONNECT_SECONDS)
_TRANSFER: Final = aiohttp.ClientTimeout(
    total=None, connect=_CONNECT_SECONDS, sock_read=IDLE_SECONDS
)
# The agent pings every 15 seconds without other events.
_EVENTS: Final = aiohttp.ClientTimeout(
    total=None, connect=_CONNECT_SECONDS, sock_read=50
)
# The agent deletes one after the other, and limits its connections.
_MAX_DELETIONS: Final = 8
# Bounds the cleanup of a failed upload, for which the caller waits.
_CLEANUP_SECONDS: Final = 15
_READ_BUFFER_BYTES: Final = 1024 * 1024
_NDJSON: Final = {"Accept": "application/x-ndjson"}


class AgentClient(HttpClient):
    """Client of one agent, over its Unix socket or over TCP."""

    def __init__(
        self,
        address: str,
        token: str | None = None,
        *,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        """Initialize the client; raises InvalidAddressError.

        A session is used over TCP only, and stays open: a Unix socket needs a connector of its own.
        """
        super().__init__(address, token, session)
        self._cleanups: set[asyncio.Task[None]] = set()
        self._deletions = asyncio.Semaphore(_MAX_DELETIONS)

    async def info(self) -> Info:
        """Return the agent's version and capabilities; raises UnsupportedProtocolError."""
        info = await self._json("GET", "/v1/info", timeout=_QUICK)
        if not isinstance(info, dict) or info.get("protocol") != PROTOCOL:
            found = info.get("protocol") if isinstance(info, dict) else None
            raise UnsupportedProtocolError(found, PROTOCOL)
        return cast(Info, info)

    async def locations(self) -> list[Location]:
        """Return all locations, configured and registered."""
        answer = await self._json("GET", "/v1/locations", timeout=_QUICK)
        return cast(list[Location], answer["locations"])

    async def providers(self) -> list[Provider]:
        """Return the providers, in the order to show them."""
        answer = await self._json("GET", "/v1/providers", timeout=_QUICK)
        return cast(list[Provider], answer["providers"])

    async def settings(self, provider_id: str) -> list[Setting]:
        """Return the settings of a provider's locations, in the order of the form."""
        path = f"/v1/settings?provider={quote(provider_id, safe='')}"
        answer = await self._json("GET", path, timeout=_QUICK)
        return cast(list[Setting], answer["settings"])

    async def check_settings(self, settings: Settings) -> Checked:
        """Check settings without storing them."""
        path = _path("locations", "check")
        answer = await self._json("POST", path, timeout=_CHECK, json=settings)
        return cast(Checked, answer)

    async def check_location(self, location_id: str) -> Checked:
        """Check a location."""
        path = _path("locations", location_id, "check")
        return cast(Checked, await self._json("POST", path, timeout=_CHECK))

    async def put_location(self, location_id: str, settings: Settings) -> Location:
        """Register a location until the agent restarts; idempotent."""
        path = _path("locations", location_id)
        answer = await self._json("PUT", path, timeout=_QUICK, json=settings)
        return cast(Location, answer)

    async def remove_location(self, location_id: str) -> None:
        """Remove a registered location; its bucket stays as it is."""
        path = _path("locations", location_id)
        (await self._request("DELETE", path, timeout=_QUICK)).close()

    async def backups(self, location_id: str, *, refresh: bool = False) -> Listing:
        """Return the backups of a location; refresh bypasses the agent's cache."""
        path = _path("locations", location_id, "backups")
        if refresh:
            path += "?refresh=true"
        backups: list[Backup] = []
        skipped: list[Skipped] = []
        head: dict[str, Any] = {}
        lines = self._lines("GET", path, timeout=_LISTING, headers=_NDJSON)
        async with aclosing(lines):
            async for line in lines:
                match line.get("type"):
                    case None:
                        # Older agents answer with one document.
                        return cast(Listing, line)
                    case "listing":
                        head = line
                    case "backup":
                        backups.append(line["backup"])
                    case "skipped":
                        skipped.append(cast(Skipped, line))
                    case "end":
                        listing = {**head, "backups": backups, "skipped": skipped}
                        return cast(Listing, listing)
        raise AgentError(
            TRANSFER_BROKEN, "The list of backups is incomplete", retryable=True
        )

    async def backup(self, location_id: str, backup_id: str) -> Backup:
        """Return one backup."""
        path = _path("locations", location_id, "backups", backup_id)
        return cast(Backup, await self._json("GET", path, timeout=_LISTING))

    async def delete(self, location_id: str, backup_id: str) -> None:
        """Delete a backup; limits the concurrency of many deletions."""
        path = _path("locations", location_id, "backups", backup_id)
        async with self._deletions:
            (await self._request("DELETE", path, timeout=_STORAGE)).close()

    async def verify(
        self, location_id: str, backup_id: str, *, full: bool = False
    ) -> Verified:
        """Verify a backup; full reads all of it."""
        path = _path("locations", location_id, "backups", backup_id, "verify")
        mode = {"mode": "full" if full else "quick"}
        lines = self._lines("POST", path, timeout=_TRANSFER, json=mode)
        async with aclosing(lines):
            async for line in lines:
                if line["type"] == "result":
                    return cast(Verified, line)
                if line["type"] == "error":
                    raise AgentError.of(cast(Report, line))
        raise AgentError(TRANSFER_BROKEN, "The agent gave no result", retryable=True)

    async def recover(self, location_id: str, *, dry_run: bool = False) -> Recovery:
        """Adopt all tars without metadata; dry_run only reports them."""
        path = _path("locations", location_id, "recover")
        body = {"keys": None, "dry_run": dry_run}
        answer = await self._json("POST", path, timeout=_RECOVERY, json=body)
        return cast(Recovery, answer)

    async def download(self, location_id: str, backup_id: str) -> Download:
        """Start the download of a backup's tar, which the caller closes."""
        path = _path("locations", location_id, "backups", backup_id, "content")
        response = await self._request(
            "GET", path, timeout=_TRANSFER, read_bufsize=_READ_BUFFER_BYTES
        )
        if response.content_length is None:
            # Without it, a truncated body would look complete.
            response.close()
            raise AgentError(INVALID_RESPONSE, "The answer has no length")
        return Download(response)

    async def upload(
        self,
        location_id: str,
        backup: Backup,
        filename: str,
        open_stream: Callable[[], Awaitable[AsyncIterator[bytes]]],
        on_created: Callable[[Upload], None] | None = None,
        *,
        on_sent: Callable[[int], None] | None = None,
        keep: bool = False,
    ) -> Backup:
        """Upload a backup; a failure or a cancellation aborts it.

        With keep, the caller aborts it, or resumes it from the stored parts. Errors of the stream pass unchanged.
        """
        upload = await self.create_upload(location_id, backup, filename)
        upload_id = upload["upload_id"]
        try:
            if on_created:
                on_created(upload)
            body = await self.send_content(upload_id, await open_stream())
            if on_sent:
                on_sent(body.sent)
            return await self.complete_upload(upload_id, body.sent, body.crc32)
        except BaseException:
            if not keep:
                await self.abandon(upload_id)
            raise

    async def create_upload(
        self, location_id: str, backup: Backup, filename: str
    ) -> Upload:
        """Create an upload."""
        body = {"backup": backup, "filename": filename}
        path = _path("locations", location_id, "uploads")
        answer = await self._json("POST", path, timeout=_STORAGE, json=body)
        return cast(Upload, answer)

    async def send_content(
        self, upload_id: str, stream: AsyncIterator[bytes]
    ) -> UploadBody:
        """Send the tar of an upload; returns the body with its size and CRC-32."""
        body = UploadBody(stream)
        path = _path("uploads", upload_id, "content")
        try:
            await self._json("PUT", path, timeout=_TRANSFER, data=body)
        except Exception as err:
            if body.stream_error is not None:
                raise body.stream_error from None
            if (
                isinstance(err, AgentError)
                and err.code == AGENT_UNREACHABLE
                and body.started
            ):
                raise AgentError(TRANSFER_BROKEN, err.detail, retryable=True) from err
            raise
        finally:
            # Closing the stream, which the caller may do next, fails while it is read.
            await body.wait_until_released()
        return body

    async def complete_upload(self, upload_id: str, size: int, crc32: str) -> Backup:
        """Commit an upload, if size and CRC-32 match what the agent received."""
        body = {"size": size, "crc32": crc32}
        path = _path("uploads", upload_id, "complete")
        answer = await self._json("POST", path, timeout=_TRANSFER, json=body)
        return cast(Backup, answer)

    async def uploads(self) -> list[UploadStatus]:
        """Return the uploads in progress, of all clients."""
        answer = await self._json("GET", "/v1/uploads", timeout=_QUICK)
        return cast(list[UploadStatus], answer["uploads"])

    async def cancel_upload(self, upload_id: str) -> None:
        """Cancel an upload; the agent removes its parts."""
        path = _path("uploads", upload_id)
        (await self._request("DELETE", path, timeout=_STORAGE)).close()

    async def events(self, *, log: str | None = None) -> AsyncGenerator[Event]:
        """Yield the agent's events until the connection is lost, which raises AgentError.

        With log, records of that level and above are included: error, warn, info, debug or trace.
        """
        path = f"/v1/events?log={log}" if log else "/v1/events"
        events = self._lines("GET", path, timeout=_EVENTS)
        async with aclosing(events):
            async for event in events:
                yield cast(Event, event)
        raise AgentError(AGENT_UNREACHABLE, "The agent closed the connection")

    async def set_log_level(self, level: str) -> None:
        """Set the agent's log level: error, warn, info, debug or trace."""
        await self._json("PUT", "/v1/log", timeout=_QUICK, json={"level": level})

    async def set_schedule(self, due: str | None, administrators: list[str]) -> None:
        """Tell when the next automatic backup is due, None if none is scheduled, and the ids of all administrators."""
        body = {"next_backup": due, "administrators": administrators}
        (await self._request("PUT", "/v1/schedule", timeout=_QUICK, json=body)).close()

    async def diagnostics(self) -> dict[str, Any]:
        """Return the agent's diagnostics, without secrets."""
        answer = await self._json("GET", "/v1/diagnostics", timeout=_QUICK)
        return cast(dict[str, Any], answer)

    async def abandon(self, upload_id: str) -> None:
        """Cancel a failed upload, best effort; completes even if the caller is cancelled."""

        async def cancel() -> None:
            with suppress(AgentError, TimeoutError):
                async with asyncio.timeout(_CLEANUP_SECONDS):
                    await self.cancel_upload(upload_id)

        task = asyncio.create_task(cancel())
        self._cleanups.add(task)
        task.add_done_callback(self._cleanups.discard)
        await asyncio.shield(task)


def _path(*segments: str) -> str:
    """Return the path of a call, with each segment quoted."""
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)
