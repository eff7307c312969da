"""Uploads that go on when the agent went away in the middle, and those that rightly do not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext, suppress
import time
from typing import Any
from unittest.mock import patch

from lab.garage import Garage
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.ignore_uncaught_exceptions import (
    IGNORE_UNCAUGHT_EXCEPTIONS,
)

from custom_components.s3_backup_agent import (
    connection as connection_module,
    upload as upload_module,
)
from custom_components.s3_backup_agent.client import (
    AGENT_TIMEOUT,
    AGENT_UNREACHABLE,
    TRANSFER_BROKEN,
    AgentError,
)
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup import (
    AgentBackup,
    BackupAgent,
    BackupAgentError,
    BackupReaderWriterError,
)
from homeassistant.components.backup.agent import BackupAgentUnreachableError
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

from .agent import Agent
from .backups import collect, make_backup
from .test_backup import upload
from .test_entities import make_entry, settings_of
from .test_init import impatient, until

__all__ = ["impatient", "make_entry"]

# Home Assistant 2026.3 has an aiohttp that lets asyncio report a connection that broke in the middle of a request.
IGNORE_UNCAUGHT_EXCEPTIONS += [
    (__name__, "test_survives_a_broken_connection"),
    (__name__, "test_gives_up_after_many_attempts"),
    (__name__, "test_survives_announcements_that_fail"),
]

pytestmark = pytest.mark.usefixtures("impatient", "quick")


@pytest.fixture
def quick() -> Any:
    """Shorten all that is waited for, but the agent."""
    with (
        patch.object(upload_module, "_LAST_WORD_SECONDS", 0.3),
        patch.object(upload_module, "_PAUSE_SECONDS", (0.01, 0.05)),
    ):
        yield


class Interrupted:
    """A backup whose stream meets something in the middle, when it is opened for the first time or each time."""

    def __init__(
        self,
        tar: bytes,
        meet: Callable[[int], Awaitable[None]],
        *,
        at: int = 40_000_000,
    ) -> None:
        """Meet it after so many bytes, with the number of the stream."""
        self.tar, self.meet, self.at = tar, meet, at
        self.opened = 0
        self.closed = 0

    async def open(self) -> AsyncIterator[bytes]:
        """Open it."""
        self.opened += 1
        return self._stream(self.opened)

    async def _stream(self, number: int) -> AsyncIterator[bytes]:
        try:
            for start in range(0, len(self.tar), 1_000_000):
                if start == self.at:
                    await self.meet(number)
                yield self.tar[start : start + 1_000_000]
        finally:
            self.closed += 1


class Proxy:
    """Stands between Home Assistant and the agent, and cuts what goes through it."""

    def __init__(self, agent: Agent) -> None:
        """Stand on a socket beside the agent's."""
        self.path = agent.folder / "proxy.sock"
        self.address = f"unix://{self.path}"
        self._agent = agent
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Let connections through."""
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        """Let nothing through."""
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """End all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there = await asyncio.open_unix_connection(str(self._agent.socket))
        self._writers |= {writer, there[1]}
        await asyncio.gather(self._copy(reader, there[1]), self._copy(there[0], writer))
        self._writers -= {writer, there[1]}

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


@pytest.fixture
async def cellar(
    hass: HomeAssistant, garage: Garage, make_entry: Callable[..., MockConfigEntry]
) -> BackupAgent:
    """Return a location that is kept in Home Assistant, on an S3 server."""
    bucket = await garage.create_bucket(f"survival-{time.monotonic_ns()}")
    entry = make_entry(cellar=settings_of(garage, bucket))
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    found: BackupAgent = hass.data[DATA_MANAGER].backup_agents[f"{DOMAIN}.cellar"]
    return found


@pytest.fixture(scope="module")
def large() -> tuple[AgentBackup, bytes]:
    """Return a backup of several parts."""
    return make_backup(size=60_000_000)


@pytest.mark.parametrize("ending", ["killed", "stopped"])
async def test_survives_a_restart_of_the_agent(
    cellar: BackupAgent, agent: Agent, large: tuple[AgentBackup, bytes], *, ending: str
) -> None:
    """The agent ends in the middle and comes back: the backup is sent again, and is whole."""
    backup, tar = large
    progress: list[int] = []
    comebacks: list[asyncio.Task[None]] = []

    async def come_back() -> None:
        await (agent.kill() if ending == "killed" else agent.stop())
        await asyncio.sleep(0.5)
        await agent.start()

    async def end(number: int) -> None:
        if number == 1:
            await until(lambda: progress and progress[-1] > 20_000_000)
            comebacks.append(asyncio.create_task(come_back()))
            await asyncio.sleep(0.1)

    stream = Interrupted(tar, end)
    resumed: list[int] = []
    client = cellar._client  # type: ignore[attr-defined]
    create_upload = client.create_upload

    async def create(*args: Any) -> Any:
        created = await create_upload(*args)
        resumed.append(created["stored_bytes"])
        return created

    with patch.object(client, "create_upload", create):
        await upload(cellar, backup, stream.open, progress)
    assert stream.opened == 2
    assert progress == sorted(set(progress))
    assert len(resumed) == 2
    assert resumed[0] == 0
    if ending == "killed":
        assert resumed[1] > 0
    assert await cellar.async_list_backups() == [backup]
    assert await collect(await cellar.async_download_backup(backup.backup_id)) == tar
    await asyncio.gather(*comebacks)
    assert stream.closed == 2


async def test_gives_up_on_an_agent_that_stays_away(
    backup_agent: BackupAgent, agent: Agent, large: tuple[AgentBackup, bytes]
) -> None:
    """After the time that it is given, ten minutes, the agent is missed as in any other call."""
    assert upload_module._PATIENCE_SECONDS == 10 * 60
    backup, tar = large

    async def end(number: int) -> None:
        await agent.kill()

    stream = Interrupted(tar, end)
    start = time.monotonic()
    with (
        patch.object(upload_module, "_PATIENCE_SECONDS", 1.5),
        pytest.raises(BackupAgentUnreachableError, match="The transfer broke off"),
    ):
        await upload(backup_agent, backup, stream.open)
    assert 1 < time.monotonic() - start < 6
    assert stream.opened == 1

    # It was given its time already.
    start = time.monotonic()
    with (
        patch.object(upload_module, "_PATIENCE_SECONDS", 1.5),
        pytest.raises(BackupAgentUnreachableError, match="is it running"),
    ):
        await upload(backup_agent, backup, stream.open)
    assert time.monotonic() - start < 1


async def test_can_be_cancelled_while_it_waits(
    backup_agent: BackupAgent,
    agent: Agent,
    large: tuple[AgentBackup, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Home Assistant need not wait for the agent, too."""
    backup, tar = large

    async def end(number: int) -> None:
        await agent.kill()

    stream = Interrupted(tar, end)
    task = asyncio.create_task(upload(backup_agent, backup, stream.open))
    await until(lambda: "waits for the agent" in caplog.text)
    task.cancel()
    start = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - start < 1


async def test_ends_with_its_entry(
    hass: HomeAssistant,
    backup_agent: BackupAgent,
    agent: Agent,
    large: tuple[AgentBackup, bytes],
    *,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An entry that is unloaded waits for nothing."""
    backup, tar = large

    async def end(number: int) -> None:
        await agent.kill()

    stream = Interrupted(tar, end)
    task = asyncio.create_task(upload(backup_agent, backup, stream.open))
    await until(lambda: "waits for the agent" in caplog.text)
    await asyncio.sleep(0.2)
    assert await hass.config_entries.async_unload(entry.entry_id)
    with pytest.raises(BackupAgentUnreachableError, match="The transfer broke off"):
        await task


@pytest.mark.parametrize(
    "error",
    [BackupReaderWriterError("the writer's"), OSError(28, "full")],
    ids=lambda error: type(error).__name__,
)
async def test_leaves_errors_of_the_second_stream_alone(
    backup_agent: BackupAgent,
    agent: Agent,
    large: tuple[AgentBackup, bytes],
    error: Exception,
) -> None:
    """What fails on Home Assistant's side comes out as it is, in any attempt."""
    backup, tar = large
    comebacks: list[asyncio.Task[None]] = []

    async def come_back() -> None:
        await agent.kill()
        await agent.start()

    async def end(number: int) -> None:
        if number == 2:
            raise error
        # Not here: what reads this is cancelled.
        comebacks.append(asyncio.create_task(come_back()))
        await asyncio.sleep(0.1)

    stream = Interrupted(tar, end)
    with pytest.raises(type(error)) as raised:
        await upload(backup_agent, backup, stream.open)
    assert raised.value is error
    assert stream.opened == 2
    assert await backup_agent.async_list_backups() == []


async def test_does_not_repeat_what_the_agent_refuses(
    backup_agent: BackupAgent, agent: Agent, large: tuple[AgentBackup, bytes]
) -> None:
    """What the agent itself says is final."""
    backup, tar = large

    async def nothing(number: int) -> None:
        pass

    stream = Interrupted(tar[:-20_480], nothing)
    with pytest.raises(BackupAgentError, match="did not arrive whole"):
        await upload(backup_agent, backup, stream.open)
    assert stream.opened == 1
    await agent.wait_until_empty()


@pytest.fixture
async def proxy(agent: Agent) -> AsyncIterator[Proxy]:
    """Return a proxy before the agent."""
    proxy = Proxy(agent)
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def behind_proxy(hass: HomeAssistant, proxy: Proxy) -> BackupAgent:
    """Return the embedded location, reached through a proxy."""
    assert await async_setup_component(hass, "backup", {})
    entry = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: proxy.address})
    entry.add_to_hass(hass)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    found: BackupAgent = hass.data[DATA_MANAGER].backup_agents[f"{DOMAIN}.local"]
    return found


async def test_survives_a_broken_connection(
    behind_proxy: BackupAgent, proxy: Proxy, large: tuple[AgentBackup, bytes]
) -> None:
    """The agent is there all the time, and only the connection broke: it is sent again, too."""
    backup, tar = large

    async def cut(number: int) -> None:
        if number < 3:
            proxy.cut()

    stream = Interrupted(tar, cut)
    await upload(behind_proxy, backup, stream.open)
    assert stream.opened == 3
    assert await behind_proxy.async_list_backups() == [backup]


async def test_gives_up_after_many_attempts(
    behind_proxy: BackupAgent,
    proxy: Proxy,
    agent: Agent,
    large: tuple[AgentBackup, bytes],
) -> None:
    """A connection that breaks each time is not tried for ever, and nothing stays behind."""
    backup, tar = large

    async def cut(number: int) -> None:
        proxy.cut()

    stream = Interrupted(tar, cut)
    with (
        patch.object(upload_module, "_ATTEMPTS", 3),
        pytest.raises(BackupAgentUnreachableError, match="The transfer broke off"),
    ):
        await upload(behind_proxy, backup, stream.open)
    assert stream.opened == 3
    await agent.wait_until_empty()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_survives_a_restart_between_two_calls(
    backup_agent: BackupAgent,
    agent: Agent,
    large: tuple[AgentBackup, bytes],
    *,
    moment: str,
) -> None:
    """An agent that was started again and forgot the upload before its content, or after, is told of it again."""
    backup, tar = large
    client = backup_agent._client  # type: ignore[attr-defined]
    name = "send_content" if moment == "before" else "complete_upload"
    call = getattr(client, name)
    restarts: list[str] = []

    async def restart_before(*args: Any) -> Any:
        if not restarts:
            restarts.append(moment)
            await agent.kill()
            await agent.start()
        return await call(*args)

    async def nothing(number: int) -> None:
        pass

    stream = Interrupted(tar, nothing)
    with patch.object(client, name, restart_before):
        await upload(backup_agent, backup, stream.open)
    assert stream.opened == 2
    assert await backup_agent.async_list_backups() == [backup]


async def test_is_cancelled_before_its_content(
    hass: HomeAssistant, backup_agent: BackupAgent, large: tuple[AgentBackup, bytes]
) -> None:
    """What somebody cancelled is not sent again, even when it had not begun."""
    backup, tar = large
    client = backup_agent._client  # type: ignore[attr-defined]
    opened: list[str] = []

    async def open_stream() -> AsyncIterator[bytes]:
        opened.append("once more")
        for upload_under_way in await client.uploads():
            await client.cancel_upload(upload_under_way["upload_id"])
        await asyncio.sleep(0.1)
        return Interrupted(tar, lambda number: asyncio.sleep(0))._stream(1)

    with pytest.raises(BackupAgentError, match="The upload was cancelled"):
        await upload(backup_agent, backup, open_stream)
    assert opened == ["once more"]


@pytest.mark.parametrize("code", [AGENT_UNREACHABLE, AGENT_TIMEOUT])
async def test_survives_announcements_that_fail(
    behind_proxy: BackupAgent,
    proxy: Proxy,
    large: tuple[AgentBackup, bytes],
    *,
    code: str,
) -> None:
    """An agent that is there and cannot be told of the upload again, twice in a row, is told once more."""
    backup, tar = large
    client = behind_proxy._client  # type: ignore[attr-defined]
    create_upload = client.create_upload
    calls = 0

    async def create(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            raise AgentError(code, "gone for a moment", retryable=True)
        return await create_upload(*args)

    async def cut(number: int) -> None:
        if number == 1:
            proxy.cut()

    stream = Interrupted(tar, cut)
    with patch.object(client, "create_upload", create):
        await upload(behind_proxy, backup, stream.open)
    assert calls == 4
    assert await behind_proxy.async_list_backups() == [backup]


async def test_looks_again_at_an_agent_that_says_no_hello(
    backup_agent: BackupAgent,
) -> None:
    """One call that fails while the events go on is no reason to wait for a hello that never comes."""
    connection = backup_agent._connection  # type: ignore[attr-defined]
    info = connection.client.info
    calls = 0

    async def fail_once() -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise AgentError(AGENT_UNREACHABLE, "gone for a moment", retryable=True)
        return await info()

    with (
        patch.object(connection_module, "_LOOK_AGAIN_SECONDS", 0.05),
        patch.object(connection.client, "info", fail_once),
    ):
        async with asyncio.timeout(3):
            await connection.wait_until_there()
    assert calls == 2


@pytest.mark.parametrize("was_restarted", [True, False])
async def test_waits_until_the_agent_knows_the_location(
    cellar: BackupAgent, agent: Agent, *, was_restarted: bool
) -> None:
    """An agent that was started a moment ago and not told of the location is told; another one is believed."""
    backup, tar = make_backup()
    client = cellar._client  # type: ignore[attr-defined]
    create_upload = client.create_upload
    calls = 0

    async def create(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            if was_restarted:
                await agent.kill()
                await agent.start()
            raise AgentError("location_not_found", "There is no such location")
        return await create_upload(*args)

    stream = Interrupted(tar, lambda number: asyncio.sleep(0))
    with patch.object(client, "create_upload", create):
        if was_restarted:
            await upload(cellar, backup, stream.open)
        else:
            with pytest.raises(BackupAgentError):
                await upload(cellar, backup, stream.open)
    assert calls == 1 + was_restarted


@pytest.mark.parametrize("told", ["event", "list"])
@pytest.mark.parametrize("attempts", [1, 10])
async def test_believes_what_is_stored_when_the_answer_is_lost(
    backup_agent: BackupAgent, *, told: str, attempts: int
) -> None:
    """A backup that came to exist is not sent again, and no failure, because nobody heard that it did."""
    backup, tar = make_backup()
    client = backup_agent._client  # type: ignore[attr-defined]
    complete_upload = client.complete_upload

    async def lose_answer(*args: Any) -> Any:
        await complete_upload(*args)
        raise AgentError(TRANSFER_BROKEN, "The connection broke", retryable=True)

    stream = Interrupted(tar, lambda number: asyncio.sleep(0))
    silence = patch.object(upload_module._Progress, "on_event", lambda *args: None)
    with (
        silence if told == "list" else nullcontext(),
        patch.object(upload_module, "_ATTEMPTS", attempts),
        patch.object(client, "complete_upload", lose_answer),
    ):
        await upload(backup_agent, backup, stream.open)
    assert stream.opened == 1
    assert await backup_agent.async_list_backups() == [backup]


async def test_does_not_take_an_earlier_copy_for_what_it_sent(
    backup_agent: BackupAgent,
) -> None:
    """A backup that was there before says nothing about an upload whose end is not known."""
    backup, tar = make_backup()
    client = backup_agent._client  # type: ignore[attr-defined]
    stream = Interrupted(tar, lambda number: asyncio.sleep(0))
    await upload(backup_agent, backup, stream.open)
    await asyncio.sleep(1.1)

    async def lose_question(*args: Any) -> Any:
        raise AgentError(TRANSFER_BROKEN, "The connection broke", retryable=True)

    with (
        patch.object(upload_module, "_ATTEMPTS", 1),
        patch.object(client, "complete_upload", lose_question),
        pytest.raises(BackupAgentUnreachableError),
    ):
        await upload(backup_agent, backup, stream.open)


async def test_keeps_what_an_event_told_during_a_question(
    backup_agent: BackupAgent,
) -> None:
    """An answer that is older than an event is not taken in its place."""
    connection = backup_agent._connection  # type: ignore[attr-defined]
    ask = connection.client.locations
    backup, tar = make_backup()
    calls = 0
    # The agent tells its locations after its greeting, which asks as well.
    await until(lambda: connection._location_events)

    async def answer_late() -> Any:
        nonlocal calls
        calls += 1
        answer = await ask()
        if calls == 1:
            stream = Interrupted(tar, lambda number: asyncio.sleep(0))
            await upload(backup_agent, backup, stream.open)
            await until(lambda: connection.locations["local"]["backups"] == 1)
        return answer

    with patch.object(connection.client, "locations", answer_late):
        await connection._register()
    assert calls >= 2
    assert connection.locations["local"]["backups"] == 1
