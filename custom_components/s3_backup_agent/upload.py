"""Uploads that survive a restart of the agent: the backup is sent again, and the agent resumes from its journal.

The agent alone retries requests to the bucket. This side retries only when the agent itself is away.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
import logging
import time
from typing import TYPE_CHECKING, Final

from homeassistant.components.backup import AgentBackup, suggested_filename
from homeassistant.core import callback
from homeassistant.util import dt as dt_util

from .client import (
    AGENT_TIMEOUT,
    AGENT_UNREACHABLE,
    INVALID_RESPONSE,
    TRANSFER_BROKEN,
    AgentError,
    Backup,
    Event,
    Upload,
)
from .coordinator import AgentCoordinator

if TYPE_CHECKING:
    # Missing in Home Assistant 2026.3.
    from homeassistant.components.backup import OnProgressCallback

_LOGGER = logging.getLogger(__name__)

# How long to wait for the reason of an upload whose connection the agent closed.
_REASON_SECONDS = 2
# How long an agent may be away before the upload fails.
_AWAY_SECONDS = 600
# Bounds how often a connection may break, each time with a transfer of the whole backup.
_ATTEMPTS: Final = 5
# The first and the longest pause before another attempt.
_BACKOFF_SECONDS = (1, 30)

_CONNECTION_LOST: Final = (AGENT_UNREACHABLE, TRANSFER_BROKEN)
_SHUTTING_DOWN: Final = "shutting_down"
# The answer of a restarted agent about an upload that it does not resume.
_UPLOAD_UNKNOWN: Final = "upload_not_found"
# The answer of a restarted agent about a location that is not registered again yet.
_LOCATION_UNKNOWN: Final = "location_not_found"
# The agent's reason for an upload whose connection broke; it adds nothing.
_SENDER_GONE: Final = "invalid_request"
_AGENT_GONE: Final = frozenset({*_CONNECTION_LOST, _SHUTTING_DOWN, _UPLOAD_UNKNOWN})
# The errors after which the agent may have committed the upload.
_ANSWER_LOST: Final = _AGENT_GONE | {AGENT_TIMEOUT, INVALID_RESPONSE}

type OpenStream = Callable[[], Awaitable[AsyncIterator[bytes]]]


async def upload_resuming(
    coordinator: AgentCoordinator,
    location_id: str,
    backup: AgentBackup,
    open_stream: OpenStream,
    on_progress: OnProgressCallback | None,
) -> None:
    """Upload a backup, again after a restart of the agent.

    Makes up to 5 attempts, and waits up to 10 minutes for the agent before each. Raises AgentError, and errors of the
    stream unchanged.
    """
    upload = _ResumingUpload(coordinator, location_id, backup, open_stream, on_progress)
    stop = coordinator.listen(upload.progress.on_event)
    try:
        await upload.run()
    finally:
        stop()


class _ResumingUpload:
    """One upload, through all its attempts."""

    def __init__(
        self,
        coordinator: AgentCoordinator,
        location_id: str,
        backup: AgentBackup,
        open_stream: OpenStream,
        on_progress: OnProgressCallback | None,
    ) -> None:
        """Initialize the upload."""
        self.progress = _Progress(on_progress)
        self._coordinator = coordinator
        self._client = coordinator.client
        self._location_id = location_id
        self._backup = backup
        self._streams = _Streams(open_stream)

    async def run(self) -> None:
        """Upload the backup; a failure cancels the upload at the agent."""
        try:
            for attempt in range(1, _ATTEMPTS + 1):
                instance_id = self._coordinator.instance_id
                try:
                    return await self._attempt()
                except AgentError as err:
                    if await self._is_committed(err):
                        return None
                    if attempt == _ATTEMPTS or not await self._may_retry(
                        err, instance_id
                    ):
                        raise
                    await self._wait(err, instance_id, attempt)
                    # The agent may not have answered this before.
                    if await self._is_committed(err):
                        return None
        except BaseException:
            await self._streams.close()
            if self.progress.upload_id:
                await self._client.abandon(self.progress.upload_id)
            raise

    async def _attempt(self) -> None:
        """Upload the backup once; raises the agent's own reason for a failure, if it gives one."""
        self.progress.reset()
        try:
            await self._client.upload(
                self._location_id,
                self._backup.as_dict(),
                suggested_filename(self._backup),
                self._streams.open,
                self.progress.start,
                on_sent=self.progress.sent,
                keep=True,
            )
        except AgentError as err:
            reason = await self.progress.reason_for(err)
            raise reason from err

    async def _may_retry(self, err: AgentError, instance_id: str | None) -> bool:
        """Return whether a failure only says that the agent is away, or was restarted."""
        if self.progress.is_agent_gone(err):
            return True
        return (
            err.code == _LOCATION_UNKNOWN
            and self._coordinator.registers(self._location_id)
            and await self._coordinator.was_restarted_since(instance_id)
        )

    async def _wait(
        self, err: AgentError, instance_id: str | None, attempt: int
    ) -> None:
        """Wait for the agent; raises the attempt's failure if it stays away."""
        _LOGGER.warning("Upload interrupted, waiting for the agent: %s", err)
        lost_at = self._coordinator.lost_at or time.monotonic()
        first, last = _BACKOFF_SECONDS
        try:
            async with asyncio.timeout(lost_at + _AWAY_SECONDS - time.monotonic()):
                await asyncio.sleep(min(first * 2 ** (attempt - 1), last))
                await self._coordinator.wait_until_connected(
                    other_than=instance_id if err.code == _SHUTTING_DOWN else None
                )
        except (AgentError, TimeoutError) as failure:
            raise err from failure

    async def _is_committed(self, err: AgentError) -> bool:
        """Return whether the agent committed a failed attempt, and only its answer was lost."""
        if err.code not in _ANSWER_LOST or self.progress.sent_bytes is None:
            return False
        if self.progress.is_complete:
            return True
        try:
            stored = await self._client.backup(
                self._location_id, self._backup.backup_id
            )
        except AgentError:
            return False
        return self.progress.made(stored)


class _Streams:
    """The streams of a backup, one at a time.

    Home Assistant 2026.3 does not close them; its encryption leaves a thread waiting until then.
    """

    def __init__(self, open_stream: OpenStream) -> None:
        """Initialize without an open stream."""
        self._open_stream = open_stream
        self._stream: AsyncIterator[bytes] | None = None

    async def open(self) -> AsyncIterator[bytes]:
        """Open the backup from its start."""
        await self.close()
        self._stream = await self._open_stream()
        return self._stream

    async def close(self) -> None:
        """Close the open stream."""
        stream, self._stream = self._stream, None
        if abort := getattr(stream, "abort", None):
            abort()
        elif close := getattr(stream, "aclose", None):
            await close()


class _Progress:
    """Follows an upload in the agent's events, through all attempts."""

    def __init__(self, on_progress: OnProgressCallback | None) -> None:
        """Initialize the progress."""
        self.upload_id: str | None = None
        # The size sent by this attempt, once it is complete.
        self.sent_bytes: int | None = None
        self.is_complete = False
        # The start of this attempt; on the agent's clock as soon as an event tells it.
        self._started_at = dt_util.utcnow()
        self._on_progress = on_progress
        self._reported = 0
        self._reason: asyncio.Future[AgentError]
        self._is_cancelled = False
        self._is_created = False
        self.reset()

    @callback
    def reset(self) -> None:
        """Start another attempt."""
        self._is_created = False
        self.sent_bytes = None
        self.is_complete = False
        self._started_at = dt_util.utcnow()
        self._reset_reason()

    @callback
    def start(self, upload: Upload) -> None:
        """Follow a created upload."""
        self.upload_id = upload["upload_id"]
        self._is_created = True
        self.is_complete = False
        self._reset_reason()

    @callback
    def sent(self, size: int) -> None:
        """Note that the whole backup was sent; from now on it may be committed."""
        self.sent_bytes = size

    def made(self, stored: Backup) -> bool:
        """Return whether a stored backup is this attempt's, not an earlier copy."""
        about = stored.get("s3_backup_agent") or {}
        uploaded_at = dt_util.parse_datetime(about.get("uploaded_at") or "")
        # The agent records whole seconds.
        return (
            uploaded_at is not None
            and uploaded_at >= self._started_at.replace(microsecond=0)
            and about.get("size") == self.sent_bytes
        )

    @callback
    def on_event(self, event: Event) -> None:
        """Handle an event of the agent."""
        if event["type"] == "hello":
            # The reason of a process that shut down is no reason to give up on the next one.
            self._reset_reason()
        if event["type"] != "upload" or event["upload_id"] != self.upload_id:
            return
        if at := dt_util.parse_datetime(event.get("started_at") or ""):
            self._started_at = at
        if event["state"] == "complete":
            self.is_complete = True
        if error := event["error"]:
            if not self._reason.done():
                self._reason.set_result(AgentError.of(error))
        elif event["state"] == "cancelled":
            self._is_cancelled = True
        elif self._on_progress and event["stored_bytes"] > self._reported:
            # A resumed upload reports nothing until it passes the last attempt.
            self._reported = event["stored_bytes"]
            self._on_progress(bytes_uploaded=self._reported)

    def is_agent_gone(self, err: AgentError) -> bool:
        """Return whether the agent is away, or too slow to create the upload."""
        return err.code in _AGENT_GONE or (
            err.code == AGENT_TIMEOUT and not self._is_created
        )

    async def reason_for(self, err: AgentError) -> AgentError:
        """Return the agent's reason for a broken connection, if it tells one soon."""
        if err.code == _UPLOAD_UNKNOWN and self._is_cancelled:
            return AgentError("cancelled", "The upload was cancelled at the agent")
        if err.code not in _CONNECTION_LOST or not self._is_created:
            return err
        # Unlike wait_for, this does not cancel the future at the timeout.
        told, _ = await asyncio.wait({self._reason}, timeout=_REASON_SECONDS)
        if not told:
            return err
        reason = self._reason.result()
        return err if reason.code == _SENDER_GONE else reason

    def _reset_reason(self) -> None:
        """Forget the reason of an earlier failure."""
        self._is_cancelled = False
        self._reason = asyncio.get_running_loop().create_future()
