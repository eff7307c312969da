"""Locations that automatic backups name and that are gone."""

from collections.abc import AsyncIterator
import time

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup.config import RetentionParametersDict
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.components.backup.manager import BackupManager
from homeassistant.config_entries import ConfigEntryDisabler
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

from .agent import Agent
from .home import Confirm, Fix, MakeEntry, Settings, shown

type Ids = list[str]

ELSEWHERE = "ha-0123456789ab"


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    """Return an agent without locations of its own."""
    async with Agent(is_embedded=True) as agent:
        yield agent


@pytest.fixture
async def manager(hass: HomeAssistant) -> BackupManager:
    """Return Home Assistant's backup manager."""
    assert await async_setup_component(hass, "backup", {})
    manager: BackupManager = hass.data[DATA_MANAGER]
    return manager


def agent_ids(*location_ids: str) -> Ids:
    """Return the ids of backup agents, beside Home Assistant's own one."""
    return ["backup.local", *(f"{DOMAIN}.{it}" for it in location_ids)]


async def schedule(
    hass: HomeAssistant, manager: BackupManager, entry: MockConfigEntry, *ids: str
) -> None:
    """Set up automatic backups to locations, and set up the entry."""
    manager.config.update(create_backup={"agent_ids": agent_ids(*ids)})
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    update(entry)


def update(entry: MockConfigEntry) -> None:
    """Let the watcher see the current state, as every event of the agent does."""
    coordinator = entry.runtime_data
    for listener in tuple(coordinator._event_listeners):
        listener({"type": "lost", "events": 0})


async def test_schedule_follows_the_folder(
    hass: HomeAssistant,
    *,
    manager: BackupManager,
    settings: Settings,
    make_entry: MakeEntry,
    fix: Fix,
    confirm: Confirm,
) -> None:
    """One click replaces a location by the one that has its folder, with its settings."""
    entry = make_entry(cellar=settings, attic={**settings, "prefix": "attic"})
    await schedule(hass, manager, entry)
    # The id that the agent derives for the folder on another machine.
    (gone, *_) = entry.runtime_data.locations["cellar"]["other_ids"]
    retention: RetentionParametersDict = {"copies": 7, "days": None}
    manager.config.update(
        agents={f"{DOMAIN}.{gone}": {"protected": False, "retention": retention}},
        create_backup={"agent_ids": agent_ids(gone, "attic")},
    )
    update(entry)
    assert set(shown(hass)) == {"schedule_moved"}
    form = await fix("schedule_moved")
    placeholders = form["description_placeholders"]
    assert (placeholders["gone"], placeholders["location"]) == (gone, "The cellar")
    folder = f"{settings['endpoint']}/{settings['bucket']}/backups/"
    assert placeholders["folder"] == folder
    assert (await confirm(form))["type"] == "create_entry"
    assert manager.config.data.create_backup.agent_ids == agent_ids("cellar", "attic")
    moved = manager.config.data.agents[f"{DOMAIN}.cellar"]
    assert moved.to_dict() == {"protected": False, "retention": retention}
    update(entry)
    assert shown(hass) == {}


async def test_location_named_twice_is_named_once(
    hass: HomeAssistant,
    *,
    manager: BackupManager,
    settings: Settings,
    make_entry: MakeEntry,
    fix: Fix,
    confirm: Confirm,
) -> None:
    """A location that automatic backups name already is not added again."""
    entry = make_entry(cellar=settings)
    await schedule(hass, manager, entry)
    (gone, *_) = entry.runtime_data.locations["cellar"]["other_ids"]
    manager.config.update(create_backup={"agent_ids": agent_ids("cellar", gone)})
    update(entry)
    assert (await confirm(await fix("schedule_moved")))["type"] == "create_entry"
    assert manager.config.data.create_backup.agent_ids == agent_ids("cellar")


async def test_only_location_is_offered(
    hass: HomeAssistant,
    *,
    manager: BackupManager,
    settings: Settings,
    make_entry: MakeEntry,
    fix: Fix,
) -> None:
    """The only location is offered for the only one that is gone."""
    entry = make_entry(cellar=settings)
    await schedule(hass, manager, entry, ELSEWHERE)
    form = await fix("schedule_moved")
    assert form["description_placeholders"]["location"] == "The cellar"


@pytest.mark.parametrize("named", [[ELSEWHERE], [ELSEWHERE, "cellar"]])
async def test_location_without_replacement_is_named(
    hass: HomeAssistant,
    *,
    manager: BackupManager,
    settings: Settings,
    make_entry: MakeEntry,
    named: Ids,
) -> None:
    """A location that no other one replaces is named, until the schedule leaves it out."""
    prefixes = ["attic"] if named == [ELSEWHERE] else []
    others = {prefix: {**settings, "prefix": prefix} for prefix in prefixes}
    entry = make_entry(cellar=settings, **others)
    await schedule(hass, manager, entry, *named)
    (issue,) = shown(hass).values()
    assert issue.translation_key == "schedule_gone"
    assert issue.translation_placeholders == {"gone": ELSEWHERE}
    assert not issue.is_fixable
    manager.config.update(create_backup={"agent_ids": agent_ids("cellar")})
    update(entry)
    assert shown(hass) == {}


async def test_nothing_is_gone_while_an_agent_is_away(
    hass: HomeAssistant,
    *,
    manager: BackupManager,
    settings: Settings,
    make_entry: MakeEntry,
) -> None:
    """While an agent is away or disabled, its locations are not gone; a shown issue stays."""
    away = MockConfigEntry(
        domain=DOMAIN,
        data={"address": "unix:///nowhere/agent.sock"},
        disabled_by=ConfigEntryDisabler.USER,
    )
    away.add_to_hass(hass)
    entry = make_entry(cellar=settings)
    await schedule(hass, manager, entry, ELSEWHERE)
    assert shown(hass) == {}
    assert await hass.config_entries.async_remove(away.entry_id)
    update(entry)
    assert set(shown(hass)) == {"schedule_moved"}
    entry.runtime_data.lost_at = time.monotonic()
    update(entry)
    assert set(shown(hass)) == {"schedule_moved"}
    entry.runtime_data.lost_at = None


async def test_fix_while_an_agent_is_away(
    hass: HomeAssistant,
    *,
    manager: BackupManager,
    settings: Settings,
    make_entry: MakeEntry,
    fix: Fix,
    confirm: Confirm,
) -> None:
    """While an agent is away, the fix says so, and changes nothing."""
    entry = make_entry(cellar=settings)
    await schedule(hass, manager, entry, ELSEWHERE)
    form = await fix("schedule_moved")
    MockConfigEntry(
        domain=DOMAIN,
        data={"address": "unix:///nowhere/agent.sock"},
        disabled_by=ConfigEntryDisabler.USER,
    ).add_to_hass(hass)
    assert (await confirm(form))["reason"] == "agents_away"
    assert (await fix("schedule_moved"))["reason"] == "agents_away"
    assert manager.config.data.create_backup.agent_ids == agent_ids(ELSEWHERE)


@pytest.mark.parametrize("change", ["schedule", "location"])
async def test_fix_that_came_too_late(
    hass: HomeAssistant,
    *,
    manager: BackupManager,
    settings: Settings,
    make_entry: MakeEntry,
    fix: Fix,
    confirm: Confirm,
    change: str,
) -> None:
    """A fix changes nothing if the schedule or the locations changed meanwhile."""
    entry = make_entry(cellar=settings)
    await schedule(hass, manager, entry, ELSEWHERE)
    form = await fix("schedule_moved")
    if change == "schedule":
        manager.config.update(create_backup={"agent_ids": agent_ids()})
    else:
        (subentry_id,) = entry.subentries
        hass.config_entries.async_remove_subentry(entry, subentry_id)
        await hass.async_block_till_done()
    result = await confirm(form)
    if change == "schedule":
        # Nothing is left to replace.
        assert result["type"] == "create_entry"
    else:
        assert (result["type"], result["reason"]) == ("abort", "no_replacement")
    expected = agent_ids() if change == "schedule" else agent_ids(ELSEWHERE)
    assert manager.config.data.create_backup.agent_ids == expected
