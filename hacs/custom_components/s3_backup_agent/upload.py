"""Uploads that outlive their agent: when it goes away in the middle, they wait for it and are sent again.

The agent keeps a journal of what it stored, so that most of what is sent again need not go to the bucket again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
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
from .connection import AgentConnection

if TYPE_CHECKING:
    # Home Assistant 2026.3 does not have it.
    from homeassistant.components.backup import OnProgressCallback

_LOGGER = logging.getLogger(__name__)

# How long to wait for the agent's own word on an upload whose connection it broke.
_LAST_WORD_SECONDS = 2
# How long an agent may be away, from when it was lost.
_PATIENCE_SECONDS = 600
# An agent that breaks off that often will do so again.
_ATTEMPTS: Final = 10
# Between attempts at an agent that is there; twice as long with each, up to the second.
_PAUSE_SECONDS = (1, 30)

_CONNECTION: Final = (AGENT_UNREACHABLE, TRANSFER_BROKEN)
_SHUTTING_DOWN: Final = "shutting_down"
# What an agent that was started again says of an upload that it was told of before.
_FORGOTTEN: Final = "upload_not_found"
# What it says of a location that it was not told of yet.
_LOCATION_UNKNOWN: Final = "location_not_found"
# What the agent says of an upload whose connection broke: nothing new.
_SENDER_GONE: Final = "invalid_request"
_GONE: Final = frozenset({*_CONNECTION, _SHUTTING_DOWN, _FORGOTTEN})
# What says nothing about whether the agent did what it was asked.
_ANSWER_LOST: Final = _GONE | {AGENT_TIMEOUT, INVALID_RESPONSE}

type OpenStream = Callable[[], Awaitable[AsyncIterator[bytes]]]


async def upload_patiently(
    connection: AgentConnection,
    location_id: str,
    backup: AgentBackup,
    open_stream: OpenStream,
    on_progress: OnProgressCallback | None,
) -> None:
    """Upload a backup, again when the agent goes away; raises AgentError, and what the stream itself raises."""
    streams = _Streams(open_stream)
    with _following(connection, on_progress) as progress:
        try:
            for attempt in range(1, _ATTEMPTS + 1):
                instance_id = connection.instance_id
                try:
                    await _attempt(connection, location_id, backup, streams, progress)
                except AgentError as err:
                    if await _is_stored(connection, location_id, backup, progress, err):
                        return
                    if attempt == _ATTEMPTS or not (
                        progress.is_gone(err)
                        or await _is_untold(connection, location_id, err, instance_id)
                    ):
                        raise
                    await _wait(connection, err, instance_id, attempt)
                    # An agent that was away could not be asked before.
                    if await _is_stored(connection, location_id, backup, progress, err):
                        return
                else:
                    return
        except BaseException:
            await streams.close()
            if progress.upload_id:
                await connection.client.abandon(progress.upload_id)
            raise


async def _attempt(
    connection: AgentConnection,
    location_id: str,
    backup: AgentBackup,
    streams: _Streams,
    progress: _Progress,
) -> None:
    """Upload a backup; raises what the agent itself says about a failure, if it says something."""
    progress.begin()
    try:
        await connection.client.upload(
            location_id,
            backup.as_dict(),
            suggested_filename(backup),
            streams.open,
            progress.start,
            on_sent=progress.sent,
            keep=True,
        )
    except AgentError as err:
        raise await progress.cause_of(err) from err


async def _wait(
    connection: AgentConnection,
    err: AgentError,
    instance_id: str | None,
    attempt: int,
) -> None:
    """Wait for the agent after a failed attempt; raises the failure when it does not come back."""
    _LOGGER.warning("An upload broke off, and waits for the agent: %s", err)
    lost_at = connection.lost_at or time.monotonic()
    first, last = _PAUSE_SECONDS
    try:
        async with asyncio.timeout(lost_at + _PATIENCE_SECONDS - time.monotonic()):
            await asyncio.sleep(min(first * 2 ** (attempt - 1), last))
            await connection.wait_until_there(
                other_than=instance_id if err.code == _SHUTTING_DOWN else None
            )
    except (AgentError, TimeoutError) as failure:
        raise err from failure


async def _is_stored(
    connection: AgentConnection,
    location_id: str,
    backup: AgentBackup,
    progress: _Progress,
    err: AgentError,
) -> bool:
    """Return whether a failed attempt stored the backup all the same, and only the agent's answer was lost."""
    if err.code not in _ANSWER_LOST or progress.sent_bytes is None:
        return False
    if progress.is_complete:
        return True
    try:
        stored = await connection.client.backup(location_id, backup.backup_id)
    except AgentError:
        return False
    return progress.made(stored)


async def _is_untold(
    connection: AgentConnection,
    location_id: str,
    err: AgentError,
    instance_id: str | None,
) -> bool:
    """Return whether an error only says that the agent was started again and not told of the location yet."""
    return (
        err.code == _LOCATION_UNKNOWN
        and connection.registers(location_id)
        and await connection.was_lost_since(instance_id)
    )


class _Streams:
    """The streams of a backup, one at a time, each closed before the next.

    Home Assistant 2026.3 leaves that to us; where it encrypts, a thread waits for its stream to be read until then.
    """

    def __init__(self, open_stream: OpenStream) -> None:
        """Open them so."""
        self._open_stream = open_stream
        self._stream: AsyncIterator[bytes] | None = None

    async def open(self) -> AsyncIterator[bytes]:
        """Open the backup from its start."""
        await self.close()
        self._stream = await self._open_stream()
        return self._stream

    async def close(self) -> None:
        """Close what is open."""
        stream, self._stream = self._stream, None
        if abort := getattr(stream, "abort", None):
            abort()
        elif close := getattr(stream, "aclose", None):
            await close()


class _Progress:
    """Follows one upload in the agent's events, through all attempts."""

    def __init__(self, on_progress: OnProgressCallback | None) -> None:
        """Report to on_progress."""
        self.upload_id: str | None = None
        # What this attempt sent, once that is all.
        self.sent_bytes: int | None = None
        self.is_complete = False
        # When this attempt began: by the agent's own clock, as soon as it tells.
        self._started_at = dt_util.utcnow()
        self._on_progress = on_progress
        self._reported = 0
        self._failure: asyncio.Future[AgentError]
        self._is_cancelled = False
        self._is_announced = False
        self.begin()

    @callback
    def begin(self) -> None:
        """Forget what was told of the attempt before."""
        self._is_announced = False
        self.sent_bytes = None
        self.is_complete = False
        self._started_at = dt_util.utcnow()
        self._expect_failure()

    @callback
    def start(self, upload: Upload) -> None:
        """Follow this upload from now on."""
        self.upload_id = upload["upload_id"]
        self._is_announced = True
        self.is_complete = False
        self._expect_failure()

    @callback
    def sent(self, size: int) -> None:
        """Take note that all was sent, so that the backup may exist from now on."""
        self.sent_bytes = size

    def made(self, stored: Backup) -> bool:
        """Return whether a backup is what this attempt sent, and not an earlier copy."""
        about = stored.get("s3_backup_agent") or {}
        uploaded_at = dt_util.parse_datetime(about.get("uploaded_at") or "")
        # The agent notes whole seconds.
        return (
            uploaded_at is not None
            and uploaded_at >= self._started_at.replace(microsecond=0)
            and about.get("size") == self.sent_bytes
        )

    @callback
    def on_event(self, event: Event) -> None:
        """Look at an event, whatever it is about."""
        if event["type"] == "hello":
            # What an agent says that is about to end is no reason not to ask the next one.
            self._expect_failure()
        if event["type"] != "upload" or event["upload_id"] != self.upload_id:
            return
        if at := dt_util.parse_datetime(event.get("started_at") or ""):
            self._started_at = at
        if event["state"] == "complete":
            self.is_complete = True
        if error := event["error"]:
            self._fail(AgentError.of(error))
        elif event["state"] == "cancelled":
            self._is_cancelled = True
        elif self._on_progress and event["stored_bytes"] > self._reported:
            # An attempt that catches up with the one before has nothing to report.
            self._reported = event["stored_bytes"]
            self._on_progress(bytes_uploaded=self._reported)

    def is_gone(self, err: AgentError) -> bool:
        """Return whether an error only says that the agent went away, or was too slow to take the announcement."""
        return err.code in _GONE or (
            err.code == AGENT_TIMEOUT and not self._is_announced
        )

    async def cause_of(self, err: AgentError) -> AgentError:
        """Return why the agent gave up the upload, if it tells soon, instead of what only says that it did."""
        if err.code == _FORGOTTEN and self._is_cancelled:
            return AgentError("cancelled", "The agent was told to cancel it")
        if err.code not in _CONNECTION or not self._is_announced:
            return err
        # Waiting for the future itself would cancel it when the time is over.
        told, _ = await asyncio.wait({self._failure}, timeout=_LAST_WORD_SECONDS)
        if not told:
            return err
        cause = self._failure.result()
        return err if cause.code == _SENDER_GONE else cause

    def _expect_failure(self) -> None:
        """Forget what was told before."""
        self._is_cancelled = False
        self._failure = asyncio.get_running_loop().create_future()

    def _fail(self, err: AgentError) -> None:
        """Take note of why the upload failed."""
        if not self._failure.done():
            self._failure.set_result(err)


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
