"""Calls, events and errors of the client."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
import subprocess
import sys
from typing import Any

from lab.process import free_port
import pytest

from custom_components.s3_backup_agent import client as client_module
from custom_components.s3_backup_agent.client import (
    AgentClient,
    AgentError,
    InvalidAddressError,
    normalize_address,
)
from homeassistant.components.backup import AgentBackup

from .agent import LOCATION, TOKEN, Agent
from .backups import Interrupted, collect, make_backup, send, streaming


def test_client_is_independent_of_home_assistant() -> None:
    """The client package imports nothing of Home Assistant."""
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
def test_addresses_are_normalized(address: str, normal: str) -> None:
    """An address has one canonical form."""
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
def test_invalid_addresses_are_refused(address: str) -> None:
    """An invalid address raises before any connection."""
    with pytest.raises(InvalidAddressError):
        normalize_address(address)


async def test_agent_tells_its_name_and_locations(client: AgentClient) -> None:
    """An agent tells who it is, and which locations it has."""
    info = await client.info()
    assert info["name"] == "s3-backup-agent"
    assert info["instance_id"]
    (location,) = await client.locations()
    assert (location["id"], location["source"]) == (LOCATION, "configuration")


@pytest.mark.parametrize("size", [0, 100_000, 20_000_000])
@pytest.mark.parametrize("chunk", [10_240, 65_536, 1_048_576])
async def test_backup_round_trip(client: AgentClient, size: int, chunk: int) -> None:
    """A backup of any size, in chunks of any size, is downloaded unchanged."""
    backup, tar = make_backup(size=size)
    stored = await send(client, backup, streaming(tar, chunk=chunk))
    assert stored["size"] == len(tar)

    listing = await client.backups(LOCATION)
    assert [found["backup_id"] for found in listing["backups"]] == [backup.backup_id]
    assert await client.backup(LOCATION, backup.backup_id) == stored
    assert AgentBackup.from_dict(stored) == backup

    download = await client.download(LOCATION, backup.backup_id)
    assert download.size == len(tar)
    assert await collect(download) == tar


async def test_deleted_backup_is_gone(agent: Agent, client: AgentClient) -> None:
    """A second deletion raises backup_not_found."""
    backup, tar = make_backup()
    await send(client, backup, streaming(tar))
    assert len(agent.files()) == 2
    await client.delete(LOCATION, backup.backup_id)
    assert agent.files() == []
    assert (await client.backups(LOCATION, refresh=True))["backups"] == []
    with pytest.raises(AgentError) as raised:
        await client.delete(LOCATION, backup.backup_id)
    assert raised.value.code == "backup_not_found"


async def test_many_concurrent_deletions() -> None:
    """Many concurrent deletions stay within the agent's connection limit."""
    async with (
        Agent(token=TOKEN, tcp_port=free_port()) as agent,
        AgentClient(f"http://127.0.0.1:{agent.tcp_port}", TOKEN) as client,
    ):
        unknown = (client.delete(LOCATION, f"old-{number}") for number in range(200))
        outcomes = await asyncio.gather(*unknown, return_exceptions=True)
    assert Counter(getattr(it, "code", it) for it in outcomes) == {
        "backup_not_found": 200
    }


@pytest.mark.parametrize("backup_id", ["unknown", "a/b c#d?e%f", "ünïcode 🎉"])
async def test_unknown_ids_raise(client: AgentClient, backup_id: str) -> None:
    """Unknown ids raise not found, with any characters."""
    for call in (client.backup, client.download, client.delete):
        with pytest.raises(AgentError) as raised:
            await call(LOCATION, backup_id)
        assert raised.value.code == "backup_not_found"
    with pytest.raises(AgentError) as raised:
        await client.backups("unknown location")
    assert raised.value.code == "location_not_found"
    assert not raised.value.retryable


async def test_events_report_upload(agent: Agent, client: AgentClient) -> None:
    """Events start with a hello, report an upload, and end with the agent."""
    backup, tar = make_backup(size=20_000_000)
    info = await client.info()
    async with aclosing(client.events()) as events:
        hello = await anext(events)
        assert hello == {"type": "hello", "instance_id": info["instance_id"]}
        task = asyncio.create_task(send(client, backup, streaming(tar)))
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


async def test_log_level_is_validated(client: AgentClient) -> None:
    """The agent validates the log level."""
    await client.set_log_level("debug")
    with pytest.raises(AgentError) as raised:
        await client.set_log_level("loud")
    assert raised.value.code == "invalid_request"


async def test_token_is_required() -> None:
    """Each call needs the agent's token, over TCP and on a socket."""
    async with Agent(token=TOKEN, tcp_port=free_port()) as agent:
        for address in (agent.address, f"http://127.0.0.1:{agent.tcp_port}"):
            for token in (None, "wrong", TOKEN + "x"):
                async with AgentClient(address, token) as client:
                    with pytest.raises(AgentError) as raised:
                        await client.info()
                    assert raised.value.code == "unauthorized"
            async with AgentClient(address, TOKEN) as client:
                backup, tar = make_backup()
                await send(client, backup, streaming(tar))
                download = await client.download(LOCATION, backup.backup_id)
                assert await collect(download) == tar


async def test_missing_agent_raises_unreachable(
    agent: Agent, client: AgentClient
) -> None:
    """A call to a missing agent raises agent_unreachable, a broken upload transfer_broken."""
    backup, tar = make_backup(size=20_000_000)

    async def open_stream() -> AsyncIterator[bytes]:
        await agent.kill()
        return await streaming(tar)()

    with pytest.raises(AgentError) as raised:
        await send(client, backup, open_stream)
    assert raised.value.code == "agent_unreachable"

    await agent.start()
    stream = Interrupted(tar, lambda number: agent.kill(), at=10_000_000)
    with pytest.raises(AgentError) as raised:
        await send(client, backup, stream.open)
    assert raised.value.code == "transfer_broken"
    assert raised.value.retryable
    with pytest.raises(AgentError) as raised:
        await client.info()
    assert raised.value.code == "agent_unreachable"


async def test_closed_client_raises(agent: Agent) -> None:
    """A closed client raises agent_unreachable."""
    client = AgentClient(agent.address)
    await client.close()
    with pytest.raises(AgentError) as raised:
        await client.info()
    assert raised.value.code == "agent_unreachable"


def test_error_text_has_code_and_hint() -> None:
    """An error's text contains the detail, the provider's code and the hint."""
    error = AgentError("storage_auth", "Key unknown")
    assert str(error) == "Key unknown"
    error = AgentError("x", "Key unknown", provider_code="NoKey", hint="Check the key.")
    assert str(error) == "Key unknown (NoKey). Check the key."
    error = AgentError("x", "NoKey: unknown.", provider_code="NoKey", hint="Check.")
    assert str(error) == "NoKey: unknown. Check."


async def test_verify_without_result_raises(
    client: AgentClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verification without a result raises, and the agent's error is raised."""
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
