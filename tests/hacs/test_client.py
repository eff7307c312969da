"""The client alone, against the real agent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
import importlib.util
import json
from pathlib import Path
import subprocess
import sys
from typing import Any
from unittest.mock import patch
import zlib

import aiohttp
import pytest

from custom_components.s3_backup_agent import client as client_module
from custom_components.s3_backup_agent.client import (
    AgentClient,
    AgentError,
    InvalidAddressError,
    agent as agent_module,
    normalize_address,
    transfer as transfer_module,
)
from custom_components.s3_backup_agent.client.turns import decode
from homeassistant.components.backup import AgentBackup, suggested_filename

from .agent import Agent, free_port
from .backups import OpenStream, collect, make_backup, streaming

LOCATION = "local"
TOKEN = "a token of more than sixteen characters"


async def upload(
    client: AgentClient, backup: AgentBackup, open_stream: OpenStream
) -> dict[str, Any]:
    """Upload as the integration does."""
    name = suggested_filename(backup)
    return await client.upload(LOCATION, backup.as_dict(), name, open_stream)


def test_needs_nothing_of_home_assistant() -> None:
    """The benchmark and other programs use the module by itself."""
    folder = Path(client_module.__file__).parent.parent
    program = (
        "import sys; sys.modules['homeassistant'] = None\n"
        "import client; client.normalize_address('/run/agent.sock')\n"
        "assert not [name for name in sys.modules if name.startswith('homeassistant.')]"
    )
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)


@pytest.mark.parametrize(
    ("address", "normal"),
    [
        ("unix:///run/agent.sock", "unix:///run/agent.sock"),
        (" /run/agent #1?.sock ", "unix:///run/agent #1?.sock"),
        ("http://localhost:8099/", "http://localhost:8099"),
        ("HTTPS://Agent.Local", "https://agent.local"),
        ("http://[::1]:8099", "http://[::1]:8099"),
    ],
)
def test_normalizes_addresses(address: str, normal: str) -> None:
    """One agent has one address."""
    assert normalize_address(address) == normal


@pytest.mark.parametrize(
    "address",
    [
        "",
        "agent.local",
        "unix://",
        "unix://run/agent.sock",
        "unix:///run/",
        "ftp://agent.local",
        "http://",
        "http://agent.local:port",
        "http://[::1",
        "http://user@agent.local",
        "http://agent.local/path",
        "http://agent.local/?query",
    ],
)
def test_refuses_addresses(address: str) -> None:
    """What is no address is refused before anything is tried."""
    with pytest.raises(InvalidAddressError):
        normalize_address(address)


async def test_tells_what_runs_there(client: AgentClient) -> None:
    """An agent with nothing configured has one location."""
    info = await client.info()
    assert info["name"] == "s3-backup-agent"
    assert info["instance_id"]
    (location,) = await client.locations()
    assert (location["id"], location["source"]) == (LOCATION, "embedded")


@pytest.mark.parametrize("size", [0, 100_000, 20_000_000])
@pytest.mark.parametrize("chunk", [10_240, 65_536, 1_048_576])
async def test_brings_back_what_it_took(
    client: AgentClient, size: int, chunk: int
) -> None:
    """A backup of any size, in chunks of any size, comes back byte for byte."""
    backup, tar = make_backup(size=size)
    stored = await upload(client, backup, streaming(tar, chunk=chunk))
    assert stored["size"] == len(tar)

    listing = await client.backups(LOCATION)
    assert [found["backup_id"] for found in listing["backups"]] == [backup.backup_id]
    assert await client.backup(LOCATION, backup.backup_id) == stored
    assert AgentBackup.from_dict(stored) == backup

    download = await client.download(LOCATION, backup.backup_id)
    assert download.size == len(tar)
    assert await collect(download) == tar


async def test_deletes(agent: Agent, client: AgentClient) -> None:
    """A deleted backup is gone, and the second time it is unknown."""
    backup, tar = make_backup()
    await upload(client, backup, streaming(tar))
    assert len(agent.files()) == 2
    await client.delete(LOCATION, backup.backup_id)
    assert agent.files() == []
    assert (await client.backups(LOCATION, refresh=True))["backups"] == []
    with pytest.raises(AgentError) as raised:
        await client.delete(LOCATION, backup.backup_id)
    assert raised.value.code == "backup_not_found"


@pytest.mark.parametrize("backup_id", ["unknown", "a/b c#d?e%f", "ünïcode 🎉"])
async def test_does_not_find(client: AgentClient, backup_id: str) -> None:
    """Unknown ids are not found, whatever they hold."""
    for call in (client.backup, client.download, client.delete):
        with pytest.raises(AgentError) as raised:
            await call(LOCATION, backup_id)
        assert raised.value.code == "backup_not_found"
    with pytest.raises(AgentError) as raised:
        await client.backups("unknown location")
    assert raised.value.code == "location_not_found"
    assert not raised.value.retryable


async def test_refuses_a_stream_that_is_too_short(
    agent: Agent, client: AgentClient
) -> None:
    """A stream that ends early leaves nothing behind."""
    backup, tar = make_backup(size=20_000_000)
    with pytest.raises(AgentError) as raised:
        await upload(client, backup, streaming(tar[:-10_240]))
    assert raised.value.code == "size_mismatch"
    await agent.wait_until_empty()
    assert (await client.backups(LOCATION, refresh=True))["backups"] == []


async def test_takes_a_stream_that_is_longer(client: AgentClient) -> None:
    """Home Assistant may announce less than it sends; the true size is kept."""
    backup, tar = make_backup()
    announced = replace(backup, size=len(tar) - 10_240)
    stored = await upload(client, announced, streaming(tar))
    assert stored["size"] == len(tar)
    assert await collect(await client.download(LOCATION, backup.backup_id)) == tar


@pytest.mark.parametrize(
    ("lie", "code"),
    [({"size": 1}, "size_mismatch"), ({"crc32": "00000000"}, "checksum_mismatch")],
)
async def test_refuses_when_the_counts_differ(
    agent: Agent, client: AgentClient, lie: dict[str, Any], code: str
) -> None:
    """What the sender counted is not what arrived: nothing is kept."""
    backup, tar = make_backup()
    created = await client.create_upload(LOCATION, backup.as_dict(), "name.tar")
    upload_id = created["upload_id"]
    body = await client.send_content(upload_id, await streaming(tar)())
    assert body.sent == len(tar)
    assert body.crc32 == f"{zlib.crc32(tar):08x}"
    truth = {"size": body.sent, "crc32": body.crc32}
    with pytest.raises(AgentError) as raised:
        await client.complete_upload(upload_id, **{**truth, **lie})
    assert raised.value.code == code
    await agent.wait_until_empty()


async def test_refuses_what_is_no_backup(agent: Agent, client: AgentClient) -> None:
    """A stream that is no tar of this backup is refused."""
    backup, tar = make_backup(size=20_000_000)
    _, other_tar = make_backup("another", size=20_000_000)
    for content in (bytes(len(tar)), b"x" * len(tar), other_tar):
        announced = replace(backup, size=len(content))
        with pytest.raises(AgentError) as raised:
            await upload(client, announced, streaming(content))
        # The agent may refuse, and close, while this side is still sending.
        assert raised.value.code in ("invalid_metadata", "transfer_broken")
        await agent.wait_until_empty()


class StreamError(Exception):
    """An error that only the stream's owner knows."""


@pytest.mark.parametrize("size", [0, 20_000_000])
@pytest.mark.parametrize(
    "error",
    [
        StreamError("mine"),
        OSError(5, "the disk"),
        TimeoutError("the stream's"),
        AgentError("theirs", "the stream's own"),
        asyncio.CancelledError("the stream's"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_leaves_errors_of_the_stream_alone(
    agent: Agent, client: AgentClient, error: BaseException, size: int
) -> None:
    """What the stream raises comes out as it is, and nothing is kept."""
    backup, tar = make_backup(size=size)
    with pytest.raises(type(error)) as raised:
        await upload(client, backup, streaming(tar, then=error))
    assert raised.value is error
    await agent.wait_until_empty()
    # The agent is as good as before.
    await upload(client, backup, streaming(tar))


async def test_leaves_errors_of_opening_alone(
    agent: Agent, client: AgentClient
) -> None:
    """A stream that cannot be opened ends the upload with its own error."""

    async def open_stream() -> AsyncIterator[bytes]:
        raise StreamError

    backup, _ = make_backup()
    with pytest.raises(StreamError):
        await upload(client, backup, open_stream)
    await agent.wait_until_empty()


async def test_cancels_in_the_middle(agent: Agent, client: AgentClient) -> None:
    """A cancelled upload ends at once, leaves its stream to its owner and nothing at the agent."""
    backup, tar = make_backup(size=20_000_000)
    stalled = asyncio.Event()
    created: list[str] = []

    async def stream() -> AsyncIterator[bytes]:
        yield tar[:10_000_000]
        stalled.set()
        await asyncio.Event().wait()

    opened = stream()

    async def open_stream() -> AsyncIterator[bytes]:
        return opened

    task = asyncio.create_task(
        client.upload(
            LOCATION,
            backup.as_dict(),
            "name.tar",
            open_stream,
            lambda upload: created.append(upload["upload_id"]),
        )
    )
    await stalled.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # Raises while anybody still reads it.
    await opened.aclose()  # type: ignore[attr-defined]
    await agent.wait_until_empty()
    with pytest.raises(AgentError) as raised:
        await client.cancel_upload(created[0])
    assert raised.value.code == "upload_not_found"


async def test_replaces_an_upload_of_the_same_backup(
    agent: Agent, client: AgentClient
) -> None:
    """The second upload of a backup wins, the first one ends as cancelled."""
    backup, tar = make_backup(size=20_000_000)
    stalled, go_on = asyncio.Event(), asyncio.Event()

    async def stream() -> AsyncIterator[bytes]:
        yield tar[:10_000_000]
        stalled.set()
        await go_on.wait()
        for start in range(10_000_000, len(tar), 1_000_000):
            yield tar[start : start + 1_000_000]

    async def open_stream() -> AsyncIterator[bytes]:
        return stream()

    first = asyncio.create_task(upload(client, backup, open_stream))
    await stalled.wait()
    await upload(client, backup, streaming(tar))
    go_on.set()
    with pytest.raises(AgentError) as raised:
        await first
    assert raised.value.code in ("cancelled", "transfer_broken")
    assert len(agent.files()) == 2
    assert await collect(await client.download(LOCATION, backup.backup_id)) == tar


async def test_closes_a_download_early(client: AgentClient) -> None:
    """A download may be left in the middle, or before it began."""
    backup, tar = make_backup(size=20_000_000)
    await upload(client, backup, streaming(tar))
    for read in (0, 1):
        download = await client.download(LOCATION, backup.backup_id)
        for _ in range(read):
            assert await anext(download)
        await download.aclose()
    assert await collect(await client.download(LOCATION, backup.backup_id)) == tar


@pytest.mark.parametrize("size", [100_000, 20_000_000])
async def test_breaks_on_damaged_content(
    agent: Agent, client: AgentClient, size: int
) -> None:
    """Stored bytes that have changed never look like a whole backup."""
    backup, tar = make_backup(size=size)
    await upload(client, backup, streaming(tar))
    (path,) = (path for path in agent.files() if path.suffix == ".tar")
    damaged = bytearray(tar)
    damaged[size // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(AgentError) as raised:
        await collect(await client.download(LOCATION, backup.backup_id))
    assert raised.value.code in ("transfer_broken", "checksum_mismatch")


async def test_follows_events(agent: Agent, client: AgentClient) -> None:
    """Events begin with a greeting, tell of uploads, and end with the agent."""
    backup, tar = make_backup(size=20_000_000)
    info = await client.info()
    async with aclosing(client.events()) as events:
        hello = await anext(events)
        assert hello == {"type": "hello", "instance_id": info["instance_id"]}
        task = asyncio.create_task(upload(client, backup, streaming(tar)))
        seen = []
        async for event in events:
            if event["type"] != "upload":
                continue
            seen.append(event)
            if event["state"] == "complete":
                break
        await task
        stored = [event["stored_bytes"] for event in seen]
        assert stored == sorted(stored)
        assert stored[-1] == len(tar)
        assert {event["backup_id"] for event in seen} == {backup.backup_id}
        assert {event["total_bytes"] for event in seen} == {len(tar)}

        await agent.stop()
        with pytest.raises(AgentError) as raised:
            async for _ in events:
                pass
        assert raised.value.code in ("agent_unreachable", "transfer_broken")


async def test_sets_the_log_level(client: AgentClient) -> None:
    """The level is the agent's to check."""
    await client.set_log_level("debug")
    with pytest.raises(AgentError) as raised:
        await client.set_log_level("loud")
    assert raised.value.code == "invalid_request"


async def test_needs_the_token() -> None:
    """Over TCP, and on a socket when the agent has a token, nothing works without it."""
    async with Agent(token=TOKEN, tcp_port=free_port()) as agent:
        for address in (agent.address, f"http://127.0.0.1:{agent.tcp_port}"):
            for token in (None, "wrong", TOKEN + "x"):
                async with AgentClient(address, token) as client:
                    with pytest.raises(AgentError) as raised:
                        await client.info()
                    assert raised.value.code == "unauthorized"
            async with AgentClient(address, TOKEN) as client:
                backup, tar = make_backup()
                await upload(client, backup, streaming(tar))
                download = await client.download(LOCATION, backup.backup_id)
                assert await collect(download) == tar


async def test_misses_the_agent(agent: Agent, client: AgentClient) -> None:
    """An agent that is not there, or not any more, is unreachable."""
    backup, tar = make_backup(size=20_000_000)

    async def open_stream() -> AsyncIterator[bytes]:
        await agent.kill()
        return await streaming(tar)()

    with pytest.raises(AgentError) as raised:
        await upload(client, backup, open_stream)
    assert raised.value.code == "agent_unreachable"

    await agent.start()

    async def stream() -> AsyncIterator[bytes]:
        yield tar[:10_000_000]
        await agent.kill()
        yield tar[10_000_000:]

    async def open_half() -> AsyncIterator[bytes]:
        return stream()

    with pytest.raises(AgentError) as raised:
        await upload(client, backup, open_half)
    assert raised.value.code == "transfer_broken"
    assert raised.value.retryable
    with pytest.raises(AgentError) as raised:
        await client.info()
    assert raised.value.code == "agent_unreachable"


async def test_is_of_no_use_when_closed(agent: Agent) -> None:
    """A closed client says so in the same way."""
    client = AgentClient(agent.address)
    await client.close()
    with pytest.raises(AgentError) as raised:
        await client.info()
    assert raised.value.code == "agent_unreachable"


def test_speaks_in_sentences() -> None:
    """An error is what happened, the provider's code and what to do."""
    error = AgentError("storage_auth", "Key unknown")
    assert str(error) == "Key unknown"
    error = AgentError("x", "Key unknown", provider_code="NoKey", hint="Check the key.")
    assert str(error) == "Key unknown (NoKey). Check the key."
    error = AgentError("x", "NoKey: unknown.", provider_code="NoKey", hint="Check.")
    assert str(error) == "NoKey: unknown. Check."


@asynccontextmanager
async def something_else(
    folder: Path, answer: bytes, *, silent: bool = False
) -> AsyncIterator[AgentClient]:
    """Return a client of something that gives one answer to everything, and may say no more but stay."""
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if silent:
            await left.wait()
        writer.close()

    path = folder / "else.sock"
    server = await asyncio.start_unix_server(serve, path)
    try:
        async with AgentClient(f"unix://{path}") as client:
            yield client
    finally:
        left.set()
        server.close()
        await server.wait_closed()


def http(status: str, body: str, *headers: str) -> bytes:
    """Return an answer."""
    head = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join((*head, "", body)).encode()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http("200 OK", "<html>"), "invalid_response"),
        (http("200 OK", "[1]"), "invalid_response"),
        (http("502 Bad Gateway", "<html>"), "invalid_response"),
        (http("404 Not Found", "[1]"), "invalid_response"),
        (http("404 Not Found", '{"code": "x"}'), "invalid_response"),
        (http("200 OK", '{"protocol": 2}'), "unsupported_protocol"),
        (http("200 OK", "{}"), "unsupported_protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "transfer_broken"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n{", "transfer_broken"),
        (b"SSH-2.0-OpenSSH\r\n", "agent_unreachable"),
        (b"", "agent_unreachable"),
    ],
)
async def test_knows_what_is_not_the_agent(
    tmp_path: Path, answer: bytes, code: str
) -> None:
    """Whatever else answers at the address is an error of the one kind."""
    async with something_else(tmp_path, answer) as client:
        with pytest.raises(AgentError) as raised:
            await client.info()
        assert raised.value.code == code
        assert str(raised.value)


async def test_refuses_content_of_unknown_length(tmp_path: Path) -> None:
    """Content without a length could be cut short unnoticed."""
    answer = b"HTTP/1.1 200 OK\r\n\r\nsome bytes"
    async with something_else(tmp_path, answer) as client:
        with pytest.raises(AgentError) as raised:
            await client.download(LOCATION, "id")
        assert raised.value.code == "invalid_response"


async def test_notices_content_cut_short(tmp_path: Path) -> None:
    """Fewer bytes than announced are an error, not an end."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome bytes"
    async with something_else(tmp_path, answer) as client:
        download = await client.download(LOCATION, "id")
        assert await anext(download) == b"some bytes"
        with pytest.raises(AgentError) as raised:
            await anext(download)
        assert raised.value.code == "transfer_broken"


async def test_notices_content_that_was_damaged(tmp_path: Path) -> None:
    """Bytes that are not those that the agent read are an error, at their end."""
    for crc32, code in (
        (f"{zlib.crc32(b'some bytes'):08x}", None),
        ("00000000", "checksum_mismatch"),
    ):
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nS3-Backup-Agent-CRC32: {crc32}"
        )
        answer = f"{head}\r\n\r\nsome bytes".encode()
        async with something_else(tmp_path, answer) as client:
            download = await client.download(LOCATION, "id")
            assert await anext(download) == b"some bytes"
            with pytest.raises(AgentError if code else StopAsyncIteration) as raised:
                await anext(download)
            assert getattr(raised.value, "code", None) == code


async def test_waits_only_so_long(tmp_path: Path) -> None:
    """Silence ends a call."""
    quick = aiohttp.ClientTimeout(total=0.05)
    with patch.object(agent_module, "_QUICK", quick):
        async with something_else(tmp_path, b"", silent=True) as client:
            with pytest.raises(AgentError) as raised:
                await client.info()
    assert raised.value.code == "agent_timeout"
    assert raised.value.retryable


async def test_waits_only_so_long_for_content(tmp_path: Path) -> None:
    """Silence in the middle of a download or of an upload ends it."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome bytes"
    idle = aiohttp.ClientTimeout(total=None, sock_read=0.5)
    with patch.object(agent_module, "_TRANSFER", idle):
        async with something_else(tmp_path, answer, silent=True) as client:
            download = await client.download(LOCATION, "id")
            assert await anext(download) == b"some bytes"
            with pytest.raises(AgentError) as raised:
                await anext(download)
            assert raised.value.code == "agent_timeout"
    with patch.object(transfer_module, "IDLE_SECONDS", 0.5):
        async with something_else(tmp_path, b"", silent=True) as client:
            with pytest.raises(AgentError) as raised:
                await client.send_content("id", await streaming(bytes(20_000_000))())
            assert raised.value.code == "agent_timeout"


async def test_hears_a_refusal_while_sending(tmp_path: Path) -> None:
    """An answer that comes before the content has been sent is heard at once, and the stream is left alone."""
    problem = '{"code": "storage_full", "detail": "No space left"}'
    answer = http("507 Insufficient Storage", problem)
    stream = await streaming(bytes(20_000_000))()
    async with something_else(tmp_path, answer, silent=True) as client:
        with pytest.raises(AgentError) as raised:
            await client.send_content("id", stream)
    assert raised.value.code == "storage_full"
    await stream.aclose()  # type: ignore[attr-defined]


async def test_leaves_a_download_when_cancelled(tmp_path: Path) -> None:
    """Whoever waits for the next bytes may be cancelled; the connection goes with it."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome bytes"
    async with something_else(tmp_path, answer, silent=True) as client:
        download = await client.download(LOCATION, "id")
        assert await anext(download) == b"some bytes"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(download)
        assert download._response.closed


@pytest.mark.parametrize("line", [b"nonsense", b"[]", b'"%s"' % (b"x" * 300_000)])
async def test_survives_nonsense_among_the_events(tmp_path: Path, line: bytes) -> None:
    """A line that is no event ends the stream with an error of the one kind."""
    answer = b'HTTP/1.1 200 OK\r\n\r\n{"type": "hello"}\n%s\n' % line
    async with (
        something_else(tmp_path, answer) as client,
        aclosing(client.events()) as events,
    ):
        assert await anext(events) == {"type": "hello"}
        with pytest.raises(AgentError) as raised:
            await anext(events)
        assert raised.value.code == "invalid_response"


LONG = "x" * 70_000


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "answer",
    [
        {"text": LONG},
        {"before": 1.5, "list": [{"a": [1, {}]}, LONG, "ü", None], "after": []},
        {"empty": [], "list": [[], [LONG]]},
        [LONG],
    ],
)
async def test_decodes_what_is_long(answer: Any, indent: int | None) -> None:
    """In turns, and to the same."""
    for ascii_only in (True, False):
        text = json.dumps(answer, indent=indent, ensure_ascii=ascii_only)
        assert await decode(text.encode()) == answer


@pytest.mark.parametrize(
    "text",
    [
        *('{"a": [%s', '{"a": [%s}', '{"a": [%s]', '{"a": [%s]}}', '{"a": [%s] "b"}'),
        *("{%s}", '{"a" %s}', '{"a": [%s,]}', '{"a": [%s], }', "[%s"),
    ],
)
async def test_decodes_nothing_that_is_broken(text: str) -> None:
    """However long it is."""
    with pytest.raises(ValueError, match=r"\w"):
        await decode((text % f'"{LONG}"').encode())


class Writer:
    """Takes what a body writes, over no connection at all."""

    def __init__(self) -> None:
        """Begin empty."""
        self.written = b""

    async def write(self, chunk: bytes) -> None:
        """Take a chunk."""
        self.written += chunk


async def test_sends_a_stream_once() -> None:
    """A body is a stream: empty chunks are nothing, it has no text, and there is no second time."""

    async def stream() -> AsyncIterator[bytes]:
        for chunk in (b"some ", b"", b"bytes"):
            yield chunk

    body = client_module.UploadBody(stream())
    writer: Any = Writer()
    await body.write(writer)
    assert writer.written == b"some bytes"
    assert (body.sent, body.crc32) == (10, f"{zlib.crc32(b'some bytes'):08x}")
    with pytest.raises(ConnectionResetError):
        await body.write(writer)
    with pytest.raises(TypeError):
        body.decode()


def test_counts_without_isal() -> None:
    """Python's own checksum does where the faster one is missing."""
    spec = importlib.util.spec_from_file_location(
        f"{client_module.__name__}.bare", transfer_module.__file__
    )
    assert spec is not None
    assert spec.loader is not None
    bare = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, {"isal.isal_zlib": None}):
        spec.loader.exec_module(bare)
    assert bare.crc32 is zlib.crc32


async def test_cleaning_up_does_not_hold_up(agent: Agent, client: AgentClient) -> None:
    """An agent that does not answer the cancellation of a failed upload is not waited for."""
    backup, tar = make_backup()

    async def never(upload_id: str) -> None:
        await asyncio.Event().wait()

    with (
        patch.object(client, "cancel_upload", never),
        patch.object(agent_module, "_CLEANUP_SECONDS", 0.05),
        pytest.raises(StreamError),
    ):
        await upload(client, backup, streaming(tar, then=StreamError()))


async def test_has_verified_nothing_without_a_result(
    client: AgentClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that ends early is no word about the backup, and the agent's own error is one."""
    lines: list[dict[str, Any]] = [{"type": "progress", "read_bytes": 1}]

    async def answer(*args: Any, **kwargs: Any) -> AsyncIterator[dict[str, Any]]:
        for line in lines:
            yield line

    monkeypatch.setattr(client, "_lines", answer)
    with pytest.raises(AgentError, match="gave no result"):
        await client.verify(LOCATION, "1f2e3d4c", full=True)
    lines.append(
        {
            "type": "error",
            "code": "storage_timeout",
            "detail": "Too slow",
            "hint": None,
            "provider_code": None,
        }
    )
    with pytest.raises(AgentError, match="Too slow") as raised:
        await client.verify(LOCATION, "1f2e3d4c", full=True)
    assert raised.value.code == "storage_timeout"


async def test_lets_go_of_a_writer() -> None:
    """An older aiohttp's writer that is cancelled while it waits for the socket waits no more."""
    loop = asyncio.get_running_loop()

    class Protocol:
        _drain_waiter = loop.create_future()

    class Writer:
        protocol = Protocol()

        async def write(self, chunk: bytes) -> None:
            await asyncio.shield(self.protocol._drain_waiter)

    async def stream() -> AsyncIterator[bytes]:
        yield b"a"

    body = transfer_module.UploadBody(stream())
    task = asyncio.create_task(body.write(Writer()))  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert Protocol._drain_waiter.done()
