"""Registration of locations that are stored in Home Assistant."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
import itertools
from typing import Any
from unittest.mock import patch

import pytest

from custom_components.s3_backup_agent.client import AgentClient, AgentError
from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.coordinator import AgentCoordinator
from custom_components.s3_backup_agent.location.registrar import LocationRegistrar
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.config_entries import ConfigEntryState, ConfigSubentry
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir

from .agent import Agent
from .backups import collect, make_backup, streaming
from .home import MakeEntry, Settings, agents_of, shown, until

LOCAL = {f"{DOMAIN}.local": "Local directory"}


def with_local(*location_ids: str) -> dict[str, str]:
    """Return the backup agents: the directory and these."""
    return LOCAL | {
        f"{DOMAIN}.{location_id}": f"The {location_id}" for location_id in location_ids
    }


async def known_to(client: AgentClient) -> set[str]:
    """Return the ids of the registered locations."""
    return {
        location["id"]
        for location in await client.locations()
        if location["source"] == "registered"
    }


@contextmanager
def unanswered(call: str) -> Iterator[None]:
    """Lose the answers of a call, but not the call."""
    method = getattr(AgentClient, call)

    async def lose_answer(client: AgentClient, *args: Any) -> None:
        await method(client, *args)
        raise AgentError("agent_timeout", "Not in time", retryable=True)

    with patch.object(AgentClient, call, lose_answer):
        yield


async def ping(connection: AgentCoordinator) -> None:
    """Send a ping event."""

    async def events() -> AsyncIterator[Any]:
        yield {"type": "ping"}

    with patch.object(connection.client, "events", events):
        await connection._follow_events()


def cellar_of(settings: Settings) -> ConfigSubentry:
    """Return the subentry of a location."""
    return ConfigSubentry(
        data=settings,  # type: ignore[arg-type]
        subentry_type="location",
        title="The cellar",
        unique_id="cellar",
    )


@pytest.mark.usefixtures("impatient")
async def test_registered_location_survives_restart(
    hass: HomeAssistant,
    *,
    agent: Agent,
    client: AgentClient,
    settings: Settings,
    make_entry: MakeEntry,
) -> None:
    """A registered location is a backup agent, also after a restart of the agent."""
    entry = make_entry(cellar=settings)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert agents_of(hass) == with_local("cellar")
    cellar = hass.data[DATA_MANAGER].backup_agents[f"{DOMAIN}.cellar"]
    backup, tar = make_backup()
    await cellar.async_upload_backup(
        open_stream=streaming(tar), backup=backup, on_progress=lambda **_: None
    )
    (location,) = [
        location for location in await client.locations() if location["id"] == "cellar"
    ]
    assert (location["source"], location["bucket"]) == (
        "registered",
        settings["bucket"],
    )

    first = entry.runtime_data.instance_id
    await agent.kill()
    await agent.start()
    await until(lambda: entry.runtime_data.instance_id != first)
    await until(lambda: "cellar" in entry.runtime_data.locations)
    await hass.async_block_till_done()
    assert agents_of(hass) == with_local("cellar")
    assert await cellar.async_list_backups() == [backup]
    stream = await cellar.async_download_backup(backup.backup_id)
    assert await collect(stream) == tar
    await cellar.async_delete_backup(backup.backup_id)


async def test_subentry_changes_are_registered(
    hass: HomeAssistant,
    *,
    client: AgentClient,
    settings: Settings,
    make_entry: MakeEntry,
) -> None:
    """Added, renamed and removed subentries are registered without a reload."""
    entry = make_entry()
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert agents_of(hass) == LOCAL

    subentry = cellar_of(settings)
    hass.config_entries.async_add_subentry(entry, subentry)
    await hass.async_block_till_done()
    assert agents_of(hass) == with_local("cellar")
    assert await known_to(client) == {"cellar"}

    hass.config_entries.async_update_subentry(entry, subentry, title="The attic")
    await hass.async_block_till_done()
    assert agents_of(hass)[f"{DOMAIN}.cellar"] == "The attic"
    assert (await client.locations())[-1]["name"] == "The attic"

    hass.config_entries.async_remove_subentry(entry, subentry.subentry_id)
    await hass.async_block_till_done()
    assert agents_of(hass) == LOCAL
    assert await known_to(client) == set()
    assert entry.state is ConfigEntryState.LOADED


async def test_refused_location_blocks_no_other(
    hass: HomeAssistant,
    *,
    agent: Agent,
    client: AgentClient,
    settings: Settings,
    make_entry: MakeEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A location that the agent refuses does not block the others."""
    entry = make_entry(
        bad={**settings, "bucket": "a/b"},
        local={**settings, "prefix": "local"},
        cellar=settings,
        attic=settings,
    )
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert agents_of(hass) == with_local("cellar")
    assert set(entry.runtime_data.refused) == {"bad", "local", "attic"}
    issues = [
        issue.translation_placeholders
        for issue in ir.async_get(hass).issues.values()
        if issue.translation_key == "location_refused"
    ]
    assert len(issues) == 3
    (attic,) = (it for it in issues if it and it["location"] == "The attic")
    assert 'the same folder as the location "cellar"' in attic["details"]
    assert caplog.text.count("refuses the location") == 3
    assert "refuses the location The bad: The location's settings" in caplog.text
    assert "refuses the location The local: The location" in caplog.text
    assert settings["secret_access_key"] not in caplog.text

    # A refused location has no registration to remove.
    for subentry_id in list(entry.subentries):
        hass.config_entries.async_remove_subentry(entry, subentry_id)
    await hass.async_block_till_done()
    assert agents_of(hass) == LOCAL
    assert await known_to(client) == set()
    assert "location_refused" not in shown(hass)


async def test_locations_exchange_their_folders(
    client: AgentClient, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Two locations may have each other's folder, and another one that of one that moves."""
    registrar = LocationRegistrar(client)

    async def register(**prefixes: str) -> None:
        wanted = {
            location_id: {**settings, "name": location_id, "prefix": prefix}
            for location_id, prefix in prefixes.items()
        }
        await registrar.register(wanted)
        assert registrar.refused == {}
        found = {each["id"]: each["prefix"] for each in await client.locations()}
        assert {each: found[each] for each in prefixes} == prefixes

    await register(attic="a", cellar="b", roof="c")
    # The one that needs the folder of another comes first.
    await register(shed="c", attic="b", cellar="a", roof="d")
    assert "refuses the location" not in caplog.text


async def test_other_home_assistants_locations_are_kept(
    hass: HomeAssistant,
    *,
    client: AgentClient,
    settings: Settings,
    make_entry: MakeEntry,
) -> None:
    """Locations registered by another Home Assistant are neither shown nor removed."""
    await client.put_location("theirs", {**settings, "prefix": "theirs"})
    entry = make_entry(refused={**settings, "bucket": "a/b"}, ours=settings)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert agents_of(hass) == with_local("ours")
    assert await known_to(client) == {"ours", "theirs"}
    assert await hass.config_entries.async_remove(entry.entry_id)
    await hass.async_block_till_done()
    assert agents_of(hass) == {}
    assert await known_to(client) == {"theirs"}


async def test_entry_is_removed_without_agent(
    hass: HomeAssistant,
    *,
    agent: Agent,
    settings: Settings,
    make_entry: MakeEntry,
) -> None:
    """An entry can be removed while its agent is away."""
    entry = make_entry(cellar=settings)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await agent.stop()
    assert await hass.config_entries.async_remove(entry.entry_id)
    await hass.async_block_till_done()
    assert hass.config_entries.async_entries(DOMAIN) == []


async def test_ping_retries_failed_registration(
    hass: HomeAssistant,
    *,
    client: AgentClient,
    settings: Settings,
    make_entry: MakeEntry,
) -> None:
    """A failed registration is retried at the next ping."""
    entry = make_entry(cellar=settings, attic={**settings, "prefix": "attic"})
    assert await hass.config_entries.async_setup(entry.entry_id)
    cellar, attic = entry.subentries.values()
    # Wait until the hello is handled, which would register all locations, too.
    seen: list[Any] = []
    stop = entry.runtime_data.listen(seen.append)
    async with asyncio.timeout(10):
        for number in itertools.count():
            if seen:
                break
            await client.put_location("theirs", {**settings, "prefix": str(number)})
            await asyncio.sleep(0.05)
    stop()
    await client.remove_location("theirs")
    away = AgentError("agent_timeout", "Not in time", retryable=True)
    with patch.object(AgentClient, "put_location", side_effect=away) as put:
        hass.config_entries.async_update_subentry(entry, cellar, title="Cellar")
        await hass.async_block_till_done()
        put.assert_called_once()
    with patch.object(AgentClient, "remove_location", side_effect=away) as remove:
        hass.config_entries.async_remove_subentry(entry, attic.subentry_id)
        await hass.async_block_till_done()
        remove.assert_called_once()
    names = {location["name"] for location in await client.locations()}
    assert names == {"Local directory", "The cellar", "The attic"}

    pinged = asyncio.Event()
    stop = entry.runtime_data.listen(
        lambda event: pinged.set() if event["type"] == "ping" else None
    )
    async with asyncio.timeout(20):
        await pinged.wait()
    stop()
    names = {location["name"] for location in await client.locations()}
    assert names == {"Local directory", "Cellar"}
    await hass.async_block_till_done()
    assert agents_of(hass) == LOCAL | {f"{DOMAIN}.cellar": "Cellar"}


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("call", ["put_location", "locations"])
async def test_reverted_change_is_registered_after_lost_answer(
    hass: HomeAssistant,
    *,
    client: AgentClient,
    settings: Settings,
    make_entry: MakeEntry,
    call: str,
) -> None:
    """A change whose answer was lost is reverted."""
    entry = make_entry(cellar=settings)
    assert await hass.config_entries.async_setup(entry.entry_id)
    (cellar,) = entry.subentries.values()
    with unanswered(call):
        hass.config_entries.async_update_subentry(entry, cellar, title="The attic")
        await hass.async_block_till_done()
    assert (await client.locations())[-1]["name"] == "The attic"
    hass.config_entries.async_update_subentry(entry, cellar, title="The cellar")
    await hass.async_block_till_done()
    assert (await client.locations())[-1]["name"] == "The cellar"


@pytest.mark.usefixtures("deaf")
async def test_location_is_registered_again_after_lost_answer(
    hass: HomeAssistant,
    *,
    client: AgentClient,
    settings: Settings,
    make_entry: MakeEntry,
) -> None:
    """A removal whose answer was lost registers the location again."""
    entry = make_entry(cellar=settings)
    assert await hass.config_entries.async_setup(entry.entry_id)
    (cellar,) = entry.subentries.values()
    with unanswered("remove_location"):
        hass.config_entries.async_remove_subentry(entry, cellar.subentry_id)
        await hass.async_block_till_done()
    assert await known_to(client) == set()
    hass.config_entries.async_add_subentry(entry, cellar)
    await hass.async_block_till_done()
    assert await known_to(client) == {"cellar"}


@pytest.mark.usefixtures("deaf")
async def test_location_is_removed_after_lost_answer(
    hass: HomeAssistant,
    *,
    client: AgentClient,
    settings: Settings,
    make_entry: MakeEntry,
) -> None:
    """A registration whose answer was lost is removed."""
    entry = make_entry()
    assert await hass.config_entries.async_setup(entry.entry_id)
    cellar = cellar_of(settings)
    with unanswered("put_location"):
        hass.config_entries.async_add_subentry(entry, cellar)
        await hass.async_block_till_done()
    assert await known_to(client) == {"cellar"}
    hass.config_entries.async_remove_subentry(entry, cellar.subentry_id)
    await hass.async_block_till_done()
    assert await known_to(client) == set()


@pytest.mark.usefixtures("deaf")
async def test_ping_reads_locations_once_after_failure(
    hass: HomeAssistant, settings: Settings, make_entry: MakeEntry
) -> None:
    """A failed read of the locations is repeated at the next ping, once."""
    entry = make_entry(cellar=settings)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    (cellar,) = entry.subentries.values()
    with unanswered("locations"):
        hass.config_entries.async_update_subentry(entry, cellar, title="Cellar")
        await hass.async_block_till_done()
    assert agents_of(hass)[f"{DOMAIN}.cellar"] == "The cellar"
    connection = entry.runtime_data
    await ping(connection)
    await hass.async_block_till_done()
    assert agents_of(hass)[f"{DOMAIN}.cellar"] == "Cellar"
    with patch.object(AgentClient, "locations") as locations:
        await ping(connection)
    locations.assert_not_called()


async def test_registration_failure_retries_setup(
    hass: HomeAssistant, settings: Settings, make_entry: MakeEntry
) -> None:
    """A registration that fails at setup retries the setup."""
    entry = make_entry(cellar=settings)
    away = AgentError("shutting_down", "Stopping", retryable=True)
    with patch.object(AgentClient, "put_location", side_effect=away):
        assert not await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
