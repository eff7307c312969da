"""The agent is there all the time, but a call or its answer is lost in the middle of an upload."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.ignore_uncaught_exceptions import (
    IGNORE_UNCAUGHT_EXCEPTIONS,
)

from custom_components.s3_backup_agent import upload as upload_module
from custom_components.s3_backup_agent.client import (
    AGENT_TIMEOUT,
    AGENT_UNREACHABLE,
    TRANSFER_BROKEN,
    AgentError,
)
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup import AgentBackup, BackupAgent
from homeassistant.components.backup.agent import BackupAgentUnreachableError
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

from .agent import Agent
from .backups import Interrupted, make_backup, upload
from .home import until
from .proxy import Proxy

# Home Assistant 2026.3 has an aiohttp that lets asyncio report a connection that broke in the middle of a request.
IGNORE_UNCAUGHT_EXCEPTIONS += [
    (__name__, "test_survives_a_broken_connection"),
    (__name__, "test_survives_announcements_that_fail"),
    (__name__, "test_gives_up_after_many_attempts"),
]

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
async def proxy(agent: Agent) -> AsyncIterator[Proxy]:
    """Return a proxy before the agent."""
    async with Proxy(agent) as proxy:
        yield proxy


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


async def test_takes_no_word_on_the_attempt_before_for_its_own() -> None:
    """An agent discards an upload when the next one is announced, which says nothing of the next one."""
    progress = upload_module._Progress(None)
    progress.start({"upload_id": "first"})  # type: ignore[typeddict-item]
    progress.reset()
    error = {"code": "cancelled", "detail": "", "hint": None, "provider_code": None}
    event: Any = {"type": "upload", "upload_id": "first", "state": "cancelled"}
    event["error"] = error
    progress.on_event(event)
    broken = AgentError(TRANSFER_BROKEN, "The connection broke", retryable=True)
    assert await progress.reason_for(broken) is broken


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
        pytest.raises(
            BackupAgentUnreachableError, match="The transfer was interrupted"
        ),
    ):
        await upload(behind_proxy, backup, stream.open)
    assert stream.opened == 3
    await agent.wait_until_empty()


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

    stream = Interrupted(tar)
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
    stream = Interrupted(tar)
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
    connection = backup_agent._coordinator  # type: ignore[attr-defined]
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
            stream = Interrupted(tar)
            await upload(backup_agent, backup, stream.open)
            await until(lambda: connection.locations["local"]["backups"] == 1)
        return answer

    with patch.object(connection.client, "locations", answer_late):
        await connection._sync()
    assert calls >= 2
    assert connection.locations["local"]["backups"] == 1
