"""The backup platform: what Home Assistant's backup manager gets to see."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
import json
import signal
import time
from typing import Any
from unittest.mock import patch

import aiohttp
from lab.process import free_port
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.s3_backup_agent import errors, upload as upload_module
from custom_components.s3_backup_agent.client import AgentError, agent as agent_module
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup import (
    BackupAgent,
    BackupAgentError,
    BackupNotFound,
    BackupReaderWriterError,
)
from homeassistant.components.backup.agent import BackupAgentUnreachableError
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.const import CONF_ADDRESS, CONF_TOKEN
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

from .agent import REPOSITORY, Agent
from .backups import collect, make_backup, streaming, upload

INTEGRATION = REPOSITORY / "hacs" / "custom_components" / DOMAIN


async def test_keeps_a_backup(agent: Agent, backup_agent: BackupAgent) -> None:
    """A backup is stored, listed, found, read and deleted."""
    assert backup_agent.agent_id == f"{DOMAIN}.local"
    assert backup_agent.name == "Local directory"
    backup, tar = make_backup(size=30_000_000, name="Größe & Ferne #1")
    progress: list[int] = []
    await upload(backup_agent, backup, streaming(tar), progress)

    names = [path.name for path in agent.files()]
    stem = "Größe_&_Ferne_#1_2026-11-20_04.47_12345678"
    assert names == [f"{stem}.metadata.json", f"{stem}.tar"]
    assert await backup_agent.async_list_backups() == [backup]
    assert await backup_agent.async_get_backup(backup.backup_id) == backup
    stream = await backup_agent.async_download_backup(backup.backup_id)
    assert await collect(stream) == tar

    await backup_agent.async_delete_backup(backup.backup_id)
    assert await backup_agent.async_list_backups() == []
    assert agent.files() == []


async def test_keeps_a_backup_over_tcp(hass: HomeAssistant) -> None:
    """An agent on another machine, with its token, does all of it as well."""
    assert await async_setup_component(hass, "backup", {})
    token = "a token of more than sixteen characters"
    async with Agent(token=token, tcp_port=free_port()) as agent:
        address = f"http://127.0.0.1:{agent.tcp_port}"
        entry = MockConfigEntry(
            domain=DOMAIN, data={CONF_ADDRESS: address, CONF_TOKEN: token}
        )
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done()
        found: BackupAgent = hass.data[DATA_MANAGER].backup_agents[f"{DOMAIN}.local"]
        backup, tar = make_backup(size=30_000_000)
        progress: list[int] = []
        await upload(found, backup, streaming(tar), progress)
        assert progress
        assert await found.async_list_backups() == [backup]
        stream = await found.async_download_backup(backup.backup_id)
        assert await collect(stream) == tar
        await found.async_delete_backup(backup.backup_id)
        assert agent.files() == []
        assert await hass.config_entries.async_unload(entry.entry_id)


async def test_reports_progress(backup_agent: BackupAgent) -> None:
    """Progress is what is stored, and comes while the upload goes on."""
    backup, tar = make_backup(size=30_000_000)
    progress: list[int] = []
    before_end: list[int] = []

    async def stream() -> AsyncIterator[bytes]:
        yield tar[:25_000_000]
        async with asyncio.timeout(10):
            while not any(progress):
                await asyncio.sleep(0.01)
        before_end.extend(progress)
        yield tar[25_000_000:]

    async def open_stream() -> AsyncIterator[bytes]:
        return stream()

    await upload(backup_agent, backup, open_stream, progress)
    assert 0 < before_end[-1] <= 25_000_000
    assert progress == sorted(progress)
    assert progress[-1] <= len(tar)


async def test_uploads_without_progress(backup_agent: BackupAgent) -> None:
    """Home Assistant 2026.3 does not ask for progress."""
    backup, tar = make_backup()
    await backup_agent.async_upload_backup(  # type: ignore[call-arg]
        open_stream=streaming(tar), backup=backup
    )
    assert await backup_agent.async_list_backups() == [backup]


async def test_does_not_find_an_unknown_backup(backup_agent: BackupAgent) -> None:
    """An unknown id is what Home Assistant takes for one."""
    for call in (
        backup_agent.async_get_backup,
        backup_agent.async_download_backup,
        backup_agent.async_delete_backup,
    ):
        with pytest.raises(BackupNotFound, match="does not exist in this location"):
            await call("unknown")


async def test_misses_the_agent(agent: Agent, backup_agent: BackupAgent) -> None:
    """Without its agent, a location is unreachable in every call."""
    backup, tar = make_backup()
    await upload(backup_agent, backup, streaming(tar))
    await agent.stop()
    calls = (
        backup_agent.async_list_backups(),
        backup_agent.async_get_backup(backup.backup_id),
        backup_agent.async_download_backup(backup.backup_id),
        backup_agent.async_delete_backup(backup.backup_id),
        upload(backup_agent, backup, streaming(tar)),
    )
    for call in calls:
        with (
            patch.object(upload_module, "_AWAY_SECONDS", 0.3),
            pytest.raises(BackupAgentUnreachableError) as raised,
        ):
            await call
        assert "is it running?" in str(raised.value)
        assert str(agent.socket) in str(raised.value)


async def test_misses_the_agent_in_the_middle(
    agent: Agent, backup_agent: BackupAgent
) -> None:
    """An agent that dies under an upload or a download leaves an error, not half a backup."""
    backup, tar = make_backup(size=30_000_000)
    await upload(backup_agent, backup, streaming(tar))
    download = await backup_agent.async_download_backup(backup.backup_id)
    assert await anext(download)

    async def stream() -> AsyncIterator[bytes]:
        yield tar[:10_000_000]
        await agent.kill()
        yield tar[10_000_000:]

    async def open_stream() -> AsyncIterator[bytes]:
        return stream()

    other = replace(backup, backup_id="another")
    with (
        patch.object(upload_module, "_REASON_SECONDS", 0.05),
        patch.object(upload_module, "_AWAY_SECONDS", 0.3),
        pytest.raises(
            BackupAgentUnreachableError, match="The transfer was interrupted"
        ),
    ):
        await upload(backup_agent, other, open_stream)
    with pytest.raises(
        BackupAgentUnreachableError, match="The transfer was interrupted"
    ):
        await collect(download)


async def test_refuses_a_truncated_stream(
    agent: Agent, backup_agent: BackupAgent
) -> None:
    """A cipher that failed ends its stream early: an error, and nothing is kept."""
    backup, tar = make_backup(size=20_000_000)
    with pytest.raises(BackupAgentError, match="did not arrive whole"):
        await upload(backup_agent, backup, streaming(tar[:-10_240]))
    await agent.wait_until_empty()
    assert await backup_agent.async_list_backups() == []


@pytest.mark.parametrize("size", [0, 100_000, 20_000_000])
async def test_refuses_what_is_no_backup(
    agent: Agent, backup_agent: BackupAgent, size: int
) -> None:
    """A stream that is not the tar of the backup is refused, with the reason."""
    backup, tar = make_backup(size=size)
    _, other_tar = make_backup("another", size=size)
    for content in (bytes(len(tar)), b"x" * len(tar), other_tar):
        announced = replace(backup, size=len(content))
        with pytest.raises(BackupAgentError, match="not a complete backup"):
            await upload(backup_agent, announced, streaming(content))
        await agent.wait_until_empty()


async def test_takes_a_longer_stream(backup_agent: BackupAgent) -> None:
    """More bytes than announced are kept, with their true number."""
    backup, tar = make_backup()
    announced = replace(backup, size=backup.size - 10_240)
    await upload(backup_agent, announced, streaming(tar))
    assert await backup_agent.async_list_backups() == [backup]


async def test_refuses_what_changed_on_the_way(
    agent: Agent, backup_agent: BackupAgent
) -> None:
    """A checksum that differs is an error, and nothing is kept."""
    backup, tar = make_backup()
    with (
        patch(
            "custom_components.s3_backup_agent.client.transfer.crc32",
            lambda chunk, crc: 0x1234,
        ),
        pytest.raises(BackupAgentError, match="damaged on its way"),
    ):
        await upload(backup_agent, backup, streaming(tar))
    await agent.wait_until_empty()


@pytest.mark.parametrize(
    "error",
    [BackupReaderWriterError("the writer's"), OSError(28, "full"), ValueError("x")],
    ids=lambda error: type(error).__name__,
)
async def test_leaves_home_assistants_errors_alone(
    agent: Agent, backup_agent: BackupAgent, error: Exception
) -> None:
    """What fails on Home Assistant's side comes out as it is."""
    backup, tar = make_backup(size=20_000_000)
    with pytest.raises(type(error)) as raised:
        await upload(backup_agent, backup, streaming(tar, then=error))
    assert raised.value is error
    await agent.wait_until_empty()


async def test_is_cancelled(agent: Agent, backup_agent: BackupAgent) -> None:
    """A cancelled upload is cancelled at the agent too."""
    backup, tar = make_backup(size=20_000_000)
    stalled = asyncio.Event()

    async def stream() -> AsyncIterator[bytes]:
        yield tar[:15_000_000]
        stalled.set()
        await asyncio.Event().wait()

    async def open_stream() -> AsyncIterator[bytes]:
        return stream()

    task = asyncio.create_task(upload(backup_agent, backup, open_stream))
    await stalled.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await agent.wait_until_empty()


async def test_passes_on_why_the_agent_gave_up(
    hass: HomeAssistant, agent: Agent, backup_agent: BackupAgent
) -> None:
    """When a connection breaks because the upload failed, the agent's reason is told, not the broken connection."""
    backup, tar = make_backup()
    connection = hass.config_entries.async_loaded_entries(DOMAIN)[0].runtime_data
    reason = {
        "code": "storage_forbidden",
        "detail": "Access to bucket x denied",
        "hint": "Allow PutObject.",
        "provider_code": "AccessDenied",
    }

    async def broken(*args: Any, **kwargs: Any) -> None:
        args[-1]({"upload_id": "u"})
        for upload_id in ("other", "u", "u"):
            event = {
                "type": "upload",
                "upload_id": upload_id,
                "state": "failed",
                "stored_bytes": 0,
                "error": reason if upload_id == "u" else None,
            }
            for listener in tuple(connection._event_listeners):
                listener(event)
        raise AgentError("transfer_broken", "reset by peer")

    with (
        patch.object(connection.client, "upload", broken),
        pytest.raises(
            BackupAgentError,
            match=r"not allowed to do this: Access to bucket x denied \(AccessDenied\)\. Allow PutObject\.",
        ),
    ):
        await upload(backup_agent, backup, streaming(tar))


async def test_closes_a_download_early(backup_agent: BackupAgent) -> None:
    """Whoever asked for a download may leave, also before the first byte."""
    backup, tar = make_backup(size=20_000_000)
    await upload(backup_agent, backup, streaming(tar))
    for read in (0, 1):
        stream = await backup_agent.async_download_backup(backup.backup_id)
        for _ in range(read):
            await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]


async def test_breaks_on_damaged_content(
    agent: Agent, backup_agent: BackupAgent
) -> None:
    """A restore from bytes that have changed fails loudly."""
    backup, tar = make_backup(size=20_000_000)
    await upload(backup_agent, backup, streaming(tar))
    (path,) = (path for path in agent.files() if path.suffix == ".tar")
    path.write_bytes(bytes([tar[0] ^ 1]) + tar[1:])
    with pytest.raises(BackupAgentError):
        await collect(await backup_agent.async_download_backup(backup.backup_id))


async def test_lists_the_others_beside_a_strange_one(
    backup_agent: BackupAgent, caplog: pytest.LogCaptureFixture
) -> None:
    """A backup that this version of Home Assistant does not understand hides no other."""
    backup, tar = make_backup()
    await upload(backup_agent, backup, streaming(tar))
    client = backup_agent._client  # type: ignore[attr-defined]
    strange = {**backup.as_dict(), "backup_id": "strange", "folders": ["attic"]}
    listing = await client.backups("local")
    listing["backups"].insert(0, strange)

    async def backups(location_id: str) -> Any:
        return listing

    async def one(location_id: str, backup_id: str) -> Any:
        return strange

    with patch.object(client, "backups", backups), patch.object(client, "backup", one):
        assert await backup_agent.async_list_backups() == [backup]
        assert "does not understand backup strange" in caplog.text
        with pytest.raises(BackupAgentError, match="does not understand backup"):
            await backup_agent.async_get_backup("strange")


async def test_says_when_a_list_is_old(
    backup_agent: BackupAgent, caplog: pytest.LogCaptureFixture
) -> None:
    """A list from before the bucket went away is served, with a word in the log."""
    listing = {
        "backups": [],
        "age_seconds": 400.5,
        "stale": True,
        "error": {"detail": "No route to the bucket"},
        "skipped": [],
    }

    async def backups(location_id: str) -> Any:
        return listing

    with patch.object(backup_agent._client, "backups", backups):  # type: ignore[attr-defined]
        assert await backup_agent.async_list_backups() == []
    assert "is stale, 400 seconds old: No route to the bucket" in caplog.text


async def test_waits_for_a_list_only_so_long(
    agent: Agent, backup_agent: BackupAgent
) -> None:
    """Home Assistant shows nothing before the slowest location has answered: 25 seconds are the most."""
    limit = agent_module._LISTING.total
    assert limit is not None
    # Longer times are rounded up to a second.
    assert limit + 1 <= 25
    short = aiohttp.ClientTimeout(total=0.5, connect=0.5)
    agent.signal(signal.SIGSTOP)
    start = time.monotonic()
    try:
        with (
            patch.object(agent_module, "_LISTING", short),
            pytest.raises(BackupAgentUnreachableError, match="did not answer in time"),
        ):
            await backup_agent.async_list_backups()
    finally:
        agent.signal(signal.SIGCONT)
    assert time.monotonic() - start < 3


async def test_stands_after_its_entry_is_unloaded(
    hass: HomeAssistant, entry: MockConfigEntry, backup_agent: BackupAgent
) -> None:
    """A call that comes too late is an error of the usual kind."""
    assert await hass.config_entries.async_unload(entry.entry_id)
    with pytest.raises(BackupAgentUnreachableError):
        await backup_agent.async_list_backups()


async def test_serves_home_assistants_own_views(
    hass: HomeAssistant,
    agent: Agent,
    backup_agent: BackupAgent,
    hass_client: ClientSessionGenerator,
) -> None:
    """Upload, list, download and delete through the backup manager and its HTTP views."""
    backup, tar = make_backup(size=3_000_000)
    manager = hass.data[DATA_MANAGER]
    http = await hass_client()
    form = aiohttp.FormData()
    form.add_field("file", tar, filename="backup.tar")
    answer = await http.post(
        f"/api/backup/upload?agent_id={backup_agent.agent_id}", data=form
    )
    assert answer.status == 201, await answer.text()
    await hass.async_block_till_done()

    backups, agent_errors = await manager.async_get_backups()
    assert agent_errors == {}
    assert list(backups) == [backup.backup_id]
    assert list(backups[backup.backup_id].agents) == [backup_agent.agent_id]

    url = f"/api/backup/download/{backup.backup_id}?agent_id={backup_agent.agent_id}"
    answer = await http.get(url)
    assert await answer.read() == tar
    answer = await http.get(url.replace(backup.backup_id, "unknown"))
    assert answer.status == 404

    assert await manager.async_delete_backup(backup.backup_id) == {}
    assert agent.files() == []
    await agent.stop()
    _, agent_errors = await manager.async_get_backups()
    (error,) = agent_errors.values()
    assert isinstance(error, BackupAgentUnreachableError)


def test_has_a_sentence_for_every_error() -> None:
    """Each code of the protocol that may reach a person has a translation, with the agent's own report in it."""
    strings = json.loads((INTEGRATION / "translations" / "en.json").read_text())
    for key in errors.TRANSLATED | {"agent_error"}:
        assert "{details}" in strings["exceptions"][key]["message"]
    openapi = json.loads((REPOSITORY / "docs" / "openapi.json").read_text())
    codes = set(openapi["components"]["schemas"]["Code"]["enum"])
    # Nobody but a programmer can do something about these.
    assert codes - errors.TRANSLATED == {
        "invalid_request",
        "not_found",
        "upload_not_found",
    }


def test_keeps_the_words_of_unknown_errors() -> None:
    """A code from a newer agent is an error like any other."""
    error = errors.backup_error(AgentError("brand_new", "Something", hint="Do it."))
    assert type(error) is BackupAgentError
    assert error.translation_key == "agent_error"
    assert error.translation_placeholders == {"details": "Something. Do it."}
