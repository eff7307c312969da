"""Uploads whose connection breaks while the agent keeps running."""

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

# aiohttp 3.13 in Home Assistant 2026.3 lets asyncio report a broken request.
IGNORE_UNCAUGHT_EXCEPTIONS += [
    (__name__, "test_upload_resumes_after_broken_connection"),
    (__name__, "test_failed_creation_is_retried"),
    (__name__, "test_attempts_are_bounded"),
]

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
async def proxy(agent: Agent) -> AsyncIterator[Proxy]:
    """Return a proxy in front of the agent."""
    async with Proxy(agent) as proxy:
        yield proxy


@pytest.fixture
async def behind_proxy(hass: HomeAssistant, proxy: Proxy) -> BackupAgent:
    """Return the directory, reached through a proxy."""
    assert await async_setup_component(hass, "backup", {})
    entry = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: proxy.address})
    entry.add_to_hass(hass)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    found: BackupAgent = hass.data[DATA_MANAGER].backup_agents[f"{DOMAIN}.local"]
    return found


async def test_upload_resumes_after_broken_connection(
    behind_proxy: BackupAgent, proxy: Proxy, large: tuple[AgentBackup, bytes]
) -> None:
    """A broken connection sends the backup again."""
    backup, tar = large

    async def cut(number: int) -> None:
        if number < 3:
            proxy.cut()

    stream = Interrupted(tar, cut)
    await upload(behind_proxy, backup, stream.open)
    assert stream.opened == 3
    assert await behind_proxy.async_list_backups() == [backup]


@pytest.mark.parametrize("code", [AGENT_UNREACHABLE, AGENT_TIMEOUT])
async def test_failed_creation_is_retried(
    behind_proxy: BackupAgent,
    proxy: Proxy,
    large: tuple[AgentBackup, bytes],
    *,
    code: str,
) -> None:
    """Creating the upload is retried, several times in a row."""
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


async def test_reason_of_previous_attempt_is_ignored() -> None:
    """The event of a replaced upload says nothing about the next attempt."""
    progress = upload_module._Progress(None)
    progress.start({"upload_id": "first"})  # type: ignore[typeddict-item]
    progress.reset()
    error = {"code": "cancelled", "detail": "", "hint": None, "provider_code": None}
    event: Any = {"type": "upload", "upload_id": "first", "state": "cancelled"}
    event["error"] = error
    progress.on_event(event)
    broken = AgentError(TRANSFER_BROKEN, "The connection broke", retryable=True)
    assert await progress.reason_for(broken) is broken


async def test_attempts_are_bounded(
    behind_proxy: BackupAgent,
    proxy: Proxy,
    agent: Agent,
    large: tuple[AgentBackup, bytes],
) -> None:
    """A connection that always breaks fails the upload, and nothing is left behind."""
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
async def test_lost_answer_of_committed_upload_is_success(
    backup_agent: BackupAgent, *, told: str, attempts: int
) -> None:
    """A committed backup whose answer is lost is neither sent again nor a failure."""
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


async def test_earlier_copy_is_not_mistaken_for_upload(
    backup_agent: BackupAgent,
) -> None:
    """A copy from before says nothing about an upload with an unknown end."""
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


async def test_newer_event_wins_over_older_answer(
    backup_agent: BackupAgent,
) -> None:
    """An answer older than an event does not replace it."""
    connection = backup_agent._coordinator  # type: ignore[attr-defined]
    ask = connection.client.locations
    backup, tar = make_backup()
    calls = 0
    # Wait for the location events after the hello.
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
