"""The client of the agent: the calls of protocol version 1, and nothing of Home Assistant.

`docs/protocol.md` is what this module speaks. Whatever goes wrong leaves it as one exception, `AgentError`; errors of
the stream that an upload reads from leave it untouched.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
import json
import socket
from typing import Any, Final, NotRequired, Self, TypedDict, cast, override
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpProcessingError

try:
    # Several times faster; Home Assistant has it for its own HTTP server.
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

PROTOCOL: Final = 1

# Codes of this side of the socket; all others are the agent's own.
AGENT_UNREACHABLE: Final = "agent_unreachable"
AGENT_TIMEOUT: Final = "agent_timeout"
INVALID_RESPONSE: Final = "invalid_response"
TRANSFER_BROKEN: Final = "transfer_broken"
UNSUPPORTED_PROTOCOL: Final = "unsupported_protocol"

_CONNECT_SECONDS: Final = 10
# The agent answers a listing within 20 seconds, come what may.
_LISTING: Final = aiohttp.ClientTimeout(total=25, connect=_CONNECT_SECONDS)
_QUICK: Final = aiohttp.ClientTimeout(total=20, connect=_CONNECT_SECONDS)
_STORAGE: Final = aiohttp.ClientTimeout(total=120, connect=_CONNECT_SECONDS)
# Twelve steps, once more with what the first round taught; a person waits.
_CHECK: Final = aiohttp.ClientTimeout(total=180, connect=_CONNECT_SECONDS)
# An upload or a download may take days, and the agent sits out a quarter of an hour without its bucket; only a longer
# silence ends it.
_IDLE_SECONDS: Final = 30 * 60
_TRANSFER: Final = aiohttp.ClientTimeout(
    total=None, connect=_CONNECT_SECONDS, sock_read=_IDLE_SECONDS
)
# The agent pings every 15 seconds.
_EVENTS: Final = aiohttp.ClientTimeout(
    total=None, connect=_CONNECT_SECONDS, sock_read=50
)
# How long the cleaning up after a failed upload may hold up its caller.
_CLEANUP_SECONDS: Final = 15

# All that aiohttp raises about a connection or what came over it.
_BROKEN: Final = (aiohttp.ClientError, HttpProcessingError, OSError)

_SOCKET_BUFFER_BYTES: Final = 1024 * 1024
_READ_BUFFER_BYTES: Final = 1024 * 1024


class Info(TypedDict):
    """What is running at the other end."""

    name: str
    version: str
    protocol: int
    instance_id: str
    started_at: str
    capabilities: list[str]


class LocationError(TypedDict):
    """Why a location does not work."""

    code: str
    detail: str
    hint: str | None
    provider_code: str | None
    since: str


class Location(TypedDict):
    """A place where backups are kept."""

    id: str
    name: str
    provider: str
    endpoint: str | None
    region: str | None
    bucket: str | None
    prefix: str | None
    source: str
    status: str
    error: LocationError | None
    backups: int | None
    size_bytes: int | None


# The settings of a location, as `docs/configuration.md` has them; all of them are texts.
type Settings = dict[str, str]


class Region(TypedDict):
    """A region that a provider has."""

    id: str
    name: str


class ProviderField(TypedDict):
    """A setting that one provider has and others do not."""

    id: str
    label: str
    help: str
    pattern: str
    example: str
    optional: bool
    choices: list[str]


class ProviderKeys(TypedDict):
    """Where a provider gives access keys."""

    url: str
    help: str


class Provider(TypedDict):
    """What is known of a provider; the keys that are used here."""

    id: str
    name: str
    docs: str
    endpoint: str | None
    endpoint_example: str
    fields: list[ProviderField]
    region: str
    region_required: bool
    regions: list[Region]
    storage_classes: list[str]
    keys: ProviderKeys


class Report(TypedDict):
    """Why something failed, in an event or in a step of a check."""

    code: str
    reason: str
    detail: str
    hint: str | None
    provider_code: str | None


class CheckStep(TypedDict):
    """One step of a check; `settings` says with `key` which of them is wrong."""

    step: str
    ok: bool
    duration_ms: int
    error: Report | None
    key: NotRequired[str]


class Checked(TypedDict):
    """What trying a location's settings showed."""

    ok: bool
    steps: list[CheckStep]
    corrected: Settings | None
    found: Settings | None


class Skipped(TypedDict):
    """A metadata object that is not listed."""

    key: str
    reason: str


# Home Assistant's AgentBackup as a dictionary, with the agent's additions under `s3_backup_agent`.
type Backup = dict[str, Any]


class Listing(TypedDict):
    """The backups of a location."""

    backups: list[Backup]
    age_seconds: float
    stale: bool
    error: LocationError | None
    skipped: list[Skipped]


class Upload(TypedDict):
    """An announced upload."""

    upload_id: str
    part_size: int
    stored_bytes: int
    key: str


class Received(TypedDict):
    """What of an upload arrived at the agent."""

    size: int
    crc32: str
    sha256: str


class Event(TypedDict):
    """A line of the events stream; `type` says which of the other keys are there."""

    type: str
    instance_id: NotRequired[str]
    upload_id: NotRequired[str]
    location: NotRequired[str | Location]
    backup_id: NotRequired[str]
    state: NotRequired[str]
    stored_bytes: NotRequired[int]
    total_bytes: NotRequired[int]
    error: NotRequired[Report | None]
    events: NotRequired[int]


class AgentError(Exception):
    """A call failed: the agent said why, or it could not be reached."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        hint: str | None = None,
        provider_code: str | None = None,
        request_id: str | None = None,
        retryable: bool = False,
    ) -> None:
        """Take the fields of a problem as the agent sends them."""
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.provider_code = provider_code
        self.request_id = request_id
        self.retryable = retryable

    @classmethod
    def of(cls, report: Report) -> Self:
        """Return the error that the agent reports elsewhere than in a failed call."""
        return cls(
            report["code"],
            report["detail"],
            hint=report["hint"],
            provider_code=report["provider_code"],
        )

    @override
    def __str__(self) -> str:
        """Say what happened in the words of the provider, and what to do about it."""
        text = self.detail
        if self.provider_code and self.provider_code not in text:
            text = f"{text} ({self.provider_code})"
        if not self.hint:
            return text
        return f"{text}{'' if text.endswith(('.', '!', '?')) else '.'} {self.hint}"


class InvalidAddressError(ValueError):
    """The address is neither a socket's nor a server's."""


def normalize_address(address: str) -> str:
    """Return the one way to write an address: `unix:///path`, `http://host:port` or `https://host:port`.

    Raises InvalidAddressError when it is neither.
    """
    address = address.strip()
    if address.startswith("/"):
        address = f"unix://{address}"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as err:
        raise InvalidAddressError(address) from err
    if parts.scheme == "unix":
        # A path may hold what would be a query or a fragment elsewhere.
        path = address[len("unix://") :]
        if not path.startswith("/") or path.endswith("/"):
            raise InvalidAddressError(address)
        return f"unix://{path}"
    extra = parts.path.rstrip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in ("http", "https") or not parts.hostname or extra:
        raise InvalidAddressError(address)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")


class AgentClient:
    """One agent, reached over its Unix socket or over TCP."""

    def __init__(
        self,
        address: str,
        token: str | None = None,
        *,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        """Prepare to reach an agent, without connecting yet.

        A session can be lent for TCP and is left open; a Unix socket always needs one of its own.
        Raises InvalidAddressError.
        """
        self.address = normalize_address(address)
        # Each call has a connection of its own: a kept one may die with a restart of the agent, unnoticed until
        # the next call fails on it.
        self._headers = {"Accept-Encoding": "identity", "Connection": "close"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._base = self.address
        self._lent = False
        if self.address.startswith("unix://"):
            self._base = "http://agent"
            path = self.address.removeprefix("unix://")
            session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path))
        elif session is None:
            session = aiohttp.ClientSession()
        else:
            self._lent = True
        self._session = session
        self._cleanups: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Let go of all connections."""
        if not self._lent:
            await self._session.close()

    async def info(self) -> Info:
        """Ask what is running at the other end; raises `unsupported_protocol` when it is not our kind."""
        info = await self._json("GET", "/v1/info", timeout=_QUICK)
        if not isinstance(info, dict) or info.get("protocol") != PROTOCOL:
            found = info.get("protocol") if isinstance(info, dict) else None
            raise AgentError(
                UNSUPPORTED_PROTOCOL,
                f"The agent speaks version {found} of the protocol, not version {PROTOCOL}",
            )
        return cast(Info, info)

    async def locations(self) -> list[Location]:
        """Return all locations, configured and registered ones."""
        answer = await self._json("GET", "/v1/locations", timeout=_QUICK)
        return cast(list[Location], answer["locations"])

    async def providers(self) -> list[Provider]:
        """Return what the agent knows of each provider, the most useful first."""
        answer = await self._json("GET", "/v1/providers", timeout=_QUICK)
        return cast(list[Provider], answer["providers"])

    async def check_settings(self, settings: Settings) -> Checked:
        """Try the settings of a location, without keeping them."""
        path = _path("locations", "check")
        answer = await self._json("POST", path, timeout=_CHECK, json=settings)
        return cast(Checked, answer)

    async def put_location(self, location_id: str, settings: Settings) -> Location:
        """Register a location, which the agent knows until it is started again; the same again changes nothing."""
        path = _path("locations", location_id)
        answer = await self._json("PUT", path, timeout=_QUICK, json=settings)
        return cast(Location, answer)

    async def remove_location(self, location_id: str) -> None:
        """Make the agent forget a registered location; what is in its bucket stays."""
        path = _path("locations", location_id)
        (await self._request("DELETE", path, timeout=_QUICK)).close()

    async def backups(self, location_id: str, *, refresh: bool = False) -> Listing:
        """Return the backups of a location, after asking its bucket when refresh is set."""
        path = _path("locations", location_id, "backups")
        if refresh:
            path += "?refresh=true"
        return cast(Listing, await self._json("GET", path, timeout=_LISTING))

    async def backup(self, location_id: str, backup_id: str) -> Backup:
        """Return one backup."""
        path = _path("locations", location_id, "backups", backup_id)
        return cast(Backup, await self._json("GET", path, timeout=_LISTING))

    async def delete(self, location_id: str, backup_id: str) -> None:
        """Delete a backup."""
        path = _path("locations", location_id, "backups", backup_id)
        (await self._request("DELETE", path, timeout=_STORAGE)).close()

    async def download(self, location_id: str, backup_id: str) -> Download:
        """Start to download the tar of a backup; the caller reads it to its end, or closes it."""
        path = _path("locations", location_id, "backups", backup_id, "content")
        response = await self._request(
            "GET", path, timeout=_TRANSFER, read_bufsize=_READ_BUFFER_BYTES
        )
        if response.content_length is None:
            # Without it a body that was cut short looks complete.
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
    ) -> Backup:
        """Upload a backup whole; on any failure and on cancellation nothing of it is kept.

        What open_stream and its stream raise is raised from here as it is.
        """
        upload = await self.create_upload(location_id, backup, filename)
        upload_id = upload["upload_id"]
        try:
            if on_created:
                on_created(upload)
            body = await self.send_content(upload_id, await open_stream())
            return await self.complete_upload(upload_id, body.sent, body.crc32)
        except BaseException:
            await self._abandon(upload_id)
            raise

    async def create_upload(
        self, location_id: str, backup: Backup, filename: str
    ) -> Upload:
        """Announce a backup."""
        announcement = {"backup": backup, "filename": filename}
        path = _path("locations", location_id, "uploads")
        answer = await self._json("POST", path, timeout=_STORAGE, json=announcement)
        return cast(Upload, answer)

    async def send_content(
        self, upload_id: str, stream: AsyncIterator[bytes]
    ) -> UploadBody:
        """Send the tar of an announced backup; the answer knows what was sent."""
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
            # Whoever owns the stream may close it once we are done, which fails while it is being read.
            await body.wait_until_left_alone()
        return body

    async def complete_upload(self, upload_id: str, size: int, crc32: str) -> Backup:
        """Agree with the agent on what was sent; only now does the backup come to exist."""
        agreement = {"size": size, "crc32": crc32}
        path = _path("uploads", upload_id, "complete")
        answer = await self._json("POST", path, timeout=_TRANSFER, json=agreement)
        return cast(Backup, answer)

    async def cancel_upload(self, upload_id: str) -> None:
        """Cancel an upload, and have removed what it left in the bucket."""
        path = _path("uploads", upload_id)
        (await self._request("DELETE", path, timeout=_STORAGE)).close()

    async def events(self) -> AsyncGenerator[Event]:
        """Yield what happens at the agent, without end; raises when the connection does."""
        response = await self._request("GET", "/v1/events", timeout=_EVENTS)
        try:
            async for line in response.content:
                yield cast(Event, _decode(line))
        except _BROKEN as err:
            raise _body_error(err) from err
        finally:
            response.close()
        raise AgentError(AGENT_UNREACHABLE, "The agent closed the connection")

    async def set_log_level(self, level: str) -> None:
        """Set the agent's log level: error, warn, info, debug or trace."""
        await self._json("PUT", "/v1/log", timeout=_QUICK, json={"level": level})

    async def _abandon(self, upload_id: str) -> None:
        """Cancel a failed upload as well as may be, also while the caller is being cancelled."""

        async def cancel() -> None:
            with suppress(AgentError, TimeoutError):
                async with asyncio.timeout(_CLEANUP_SECONDS):
                    await self.cancel_upload(upload_id)

        task = asyncio.create_task(cancel())
        self._cleanups.add(task)
        task.add_done_callback(self._cleanups.discard)
        await asyncio.shield(task)

    async def _json(self, method: str, path: str, **kwargs: Any) -> Any:
        """Make a call whose answer is JSON."""
        response = await self._request(method, path, **kwargs)
        try:
            return _decode(await _read(response))
        finally:
            response.close()

    async def _request(
        self, method: str, path: str, **kwargs: Any
    ) -> aiohttp.ClientResponse:
        """Make a call; return an answer that is not an error and that the caller closes."""
        if self._session.closed:
            raise AgentError(AGENT_UNREACHABLE, "This side closed the connection")
        try:
            response = await self._session.request(
                method, self._base + path, headers=self._headers, **kwargs
            )
        except _BROKEN as err:
            raise _connection_error(err) from err
        if response.status < 400:
            return response
        try:
            raise _problem(response, await _read(response))
        finally:
            response.close()


class Download:
    """The tar of a backup on its way here, as an async iterator of its bytes."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        """Read the body of a response."""
        self.size = response.content_length
        self._response = response

    def __aiter__(self) -> Self:
        """Return the iterator."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes; raises AgentError when they end before their time."""
        try:
            # What one system call brought, without joining it with the next.
            chunk, _ = await self._response.content.readchunk()
        except _BROKEN as err:
            self._response.close()
            raise _body_error(err) from err
        except BaseException:
            self._response.close()
            raise
        if not chunk:
            self._response.close()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Stop here; closing early is normal."""
        self._response.close()


class UploadBody(aiohttp.Payload):
    """The tar of a backup on its way to the agent, counted while it passes."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        """Send what a stream yields."""
        super().__init__(stream, content_type="application/x-tar")
        self._stream = stream
        self._crc = 0
        self.started = False
        self._finished = asyncio.Event()
        self.sent = 0
        self.stream_error: BaseException | None = None

    @property
    def crc32(self) -> str:
        """The CRC-32 of what was sent."""
        return f"{self._crc:08x}"

    @override
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Refuse: the content is a stream of bytes."""
        raise TypeError("a stream has no text")

    @override
    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the stream."""
        await self.write_with_length(writer, None)

    @override
    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Send the stream, in chunks as it yields them."""
        if self.started:
            # Older versions of aiohttp repeat a PUT whose connection broke, with what is left of its body.
            raise ConnectionResetError("the stream cannot be sent again")
        self._consumed = self.started = True
        _widen(writer)
        try:
            while chunk := await self._next():
                self.sent += len(chunk)
                self._crc = crc32(chunk, self._crc)
                async with asyncio.timeout(_IDLE_SECONDS):
                    await writer.write(chunk)
        finally:
            self._finished.set()

    async def wait_until_left_alone(self) -> None:
        """Wait until nobody reads the stream any more."""
        if self.started:
            await self._finished.wait()

    async def _next(self) -> bytes:
        """Return the next chunk, empty at the end; remembers what the stream itself raises."""
        try:
            while not (chunk := await anext(self._stream)):
                pass
        except StopAsyncIteration:
            return b""
        except asyncio.CancelledError as err:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                self.stream_error = err
            raise
        except BaseException as err:
            self.stream_error = err
            raise
        return chunk


def _widen(writer: AbstractStreamWriter) -> None:
    """Let more bytes into the socket at once: fewer system calls and wake-ups for each gibibyte."""
    transport = getattr(writer, "transport", None)
    if transport is not None and (sock := transport.get_extra_info("socket")):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)


def _path(*segments: str) -> str:
    """Return the path of a call; ids are quoted whatever they hold."""
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read a short answer."""
    try:
        return await response.read()
    except _BROKEN as err:
        raise _body_error(err) from err


def _decode(text: bytes) -> Any:
    """Decode an answer that must be a JSON object."""
    try:
        answer = json.loads(text)
    except ValueError as err:
        raise AgentError(INVALID_RESPONSE, "The answer is not JSON") from err
    if not isinstance(answer, dict):
        raise AgentError(INVALID_RESPONSE, "The answer is not a JSON object")
    return answer


def _problem(response: aiohttp.ClientResponse, body: bytes) -> AgentError:
    """Return the error that the agent answered, or one for an answer that is not the agent's."""
    try:
        problem = json.loads(body)
        return AgentError(
            str(problem["code"]),
            str(problem["detail"]),
            hint=problem.get("hint"),
            provider_code=problem.get("provider_code"),
            request_id=problem.get("request_id"),
            retryable=bool(problem.get("retryable")),
        )
    except ValueError, KeyError, TypeError, AttributeError:
        return AgentError(
            INVALID_RESPONSE,
            f"Not an agent's answer: HTTP {response.status} {response.reason}",
        )


def _connection_error(err: Exception) -> AgentError:
    """Return the error for a call that got no answer."""
    if isinstance(err, TimeoutError):
        return AgentError(
            AGENT_TIMEOUT, "The agent did not answer in time", retryable=True
        )
    return AgentError(AGENT_UNREACHABLE, str(err) or repr(err), retryable=True)


def _body_error(err: Exception) -> AgentError:
    """Return the error for an answer that broke off."""
    if isinstance(err, TimeoutError):
        return _connection_error(err)
    return AgentError(
        TRANSFER_BROKEN,
        f"The connection to the agent broke: {err or repr(err)}",
        retryable=True,
    )
