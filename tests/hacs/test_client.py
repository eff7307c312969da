"""The client alone, against the real agent: its calls, its events, and how it speaks of errors."""

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
    stored = await send(client, backup, streaming(tar, chunk=chunk))
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
    await send(client, backup, streaming(tar))
    assert len(agent.files()) == 2
    await client.delete(LOCATION, backup.backup_id)
    assert agent.files() == []
    assert (await client.backups(LOCATION, refresh=True))["backups"] == []
    with pytest.raises(AgentError) as raised:
        await client.delete(LOCATION, backup.backup_id)
    assert raised.value.code == "backup_not_found"


async def test_deletes_many_at_once() -> None:
    """Home Assistant deletes all old backups at once, and has more of them than the agent serves connections."""
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


async def test_follows_events(agent: Agent, client: AgentClient) -> None:
    """Events begin with a greeting, tell of uploads, and end with the agent."""
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
                await send(client, backup, streaming(tar))
                download = await client.download(LOCATION, backup.backup_id)
                assert await collect(download) == tar


async def test_misses_the_agent(agent: Agent, client: AgentClient) -> None:
    """An agent that is not there, or not any more, is unreachable."""
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
