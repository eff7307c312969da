"""The devices and entities of locations: pushed by the agent, there while it is, gone with their location."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

from lab.garage import Garage
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent import (
    async_remove_config_entry_device,
    coordinator as coordinator_module,
)
from custom_components.s3_backup_agent.button import BUTTONS
from custom_components.s3_backup_agent.client import AgentClient
from custom_components.s3_backup_agent.const import CONF_APP, DOMAIN
from custom_components.s3_backup_agent.sensor import PROBLEMS, SENSORS
from homeassistant.components.backup import BackupAgent
from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.const import CONF_ADDRESS, STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr, entity_registry as er

from .agent import Agent
from .backups import Stalling, make_backup, upload
from .home import MakeEntry, device, entity_id, press, settings_of, until, value


@pytest.fixture(autouse=True)
def all_enabled() -> Any:
    """Enable what is disabled by default."""
    with patch(
        "homeassistant.helpers.entity.Entity.entity_registry_enabled_default", True
    ):
        yield


async def test_shows_each_location(
    hass: HomeAssistant, backup_agent: BackupAgent, agent: Agent
) -> None:
    """A location is a device of the service type, with all its entities."""
    found = device(hass)
    assert found is not None
    assert found.name == "Local directory"
    assert found.entry_type is dr.DeviceEntryType.SERVICE
    assert found.model == f"file://{agent.folder}/state/local"
    assert found.sw_version
    entities = er.async_entries_for_device(er.async_get(hass), found.id)
    assert {entity.unique_id for entity in entities} == {
        f"local_{it.key}" for it in (*SENSORS, *BUTTONS)
    }
    state = hass.states.get(entity_id(hass, "status"))
    assert state is not None
    assert state.name == "Local directory Status"


async def test_follows_uploads(hass: HomeAssistant, backup_agent: BackupAgent) -> None:
    """The progress is there while an upload is, and the numbers are right afterwards."""
    await press(hass, "refresh")
    await until(lambda: value(hass, "backups") == "0")
    assert value(hass, "status") == "ok"
    assert value(hass, "upload_progress") == STATE_UNKNOWN
    assert value(hass, "cancel_upload") == STATE_UNAVAILABLE

    backup, tar = make_backup(size=30_000_000)
    stream = Stalling(tar, 20_000_000)
    task = asyncio.create_task(upload(backup_agent, backup, stream.open))
    await until(
        lambda: (
            value(hass, "upload_progress") != STATE_UNKNOWN
            and float(value(hass, "upload_progress")) > 20
        )
    )
    assert float(value(hass, "upload_progress")) < 70
    assert value(hass, "cancel_upload") == STATE_UNKNOWN
    stream.go_on.set()
    await task
    await until(lambda: value(hass, "upload_progress") == STATE_UNKNOWN)
    await press(hass, "refresh")
    await until(lambda: value(hass, "backups") == "1")
    size = hass.states.get(entity_id(hass, "total_size"))
    assert size is not None
    assert float(size.state) == pytest.approx(len(tar) / 1e9)
    assert size.attributes["unit_of_measurement"] == "GB"


async def test_cancels(
    hass: HomeAssistant, backup_agent: BackupAgent, agent: Agent
) -> None:
    """The button cancels what is being uploaded, which its sender is told."""
    backup, tar = make_backup(size=20_000_000)
    stream = Stalling(tar, 15_000_000)
    task = asyncio.create_task(upload(backup_agent, backup, stream.open))
    await until(lambda: value(hass, "cancel_upload") == STATE_UNKNOWN)
    await press(hass, "cancel_upload")
    stream.go_on.set()
    with pytest.raises(HomeAssistantError, match="The upload was cancelled"):
        await task
    await until(lambda: value(hass, "cancel_upload") == STATE_UNAVAILABLE)
    await agent.wait_until_empty()


async def test_cancels_while_something_is_checked(
    hass: HomeAssistant, backup_agent: BackupAgent
) -> None:
    """A check may take minutes, which nobody who wants to cancel should wait for."""
    checking, go_on = asyncio.Event(), asyncio.Event()

    async def check(*args: Any) -> Any:
        checking.set()
        await go_on.wait()
        return {"ok": True, "steps": []}

    backup, tar = make_backup(size=20_000_000)
    stream = Stalling(tar, 15_000_000)
    task = asyncio.create_task(upload(backup_agent, backup, stream.open))
    await until(lambda: value(hass, "cancel_upload") == STATE_UNKNOWN)
    with patch.object(AgentClient, "check_location", check):
        pressed = asyncio.create_task(press(hass, "check"))
        await checking.wait()
        async with asyncio.timeout(10):
            await press(hass, "cancel_upload")
        go_on.set()
        await pressed
    stream.go_on.set()
    with pytest.raises(HomeAssistantError, match="The upload was cancelled"):
        await task


async def test_shows_what_is_told_of_the_last_upload(
    hass: HomeAssistant, backup_agent: BackupAgent, entry: MockConfigEntry
) -> None:
    """The last upload, when it was and how long it took."""
    coordinator = entry.runtime_data
    last = {
        "backup_id": "1f2e3d4c",
        "uploaded_at": "2026-11-20T03:47:12Z",
        "size_bytes": 5,
        "duration_ms": 90_000,
    }
    location = {**coordinator.locations["local"], "last_upload": last}
    coordinator.handle_event({"type": "location", "location": location})
    assert value(hass, "last_upload") == "2026-11-20T03:47:12+00:00"
    assert float(value(hass, "last_upload_duration")) == 1.5
    coordinator.handle_event(
        {"type": "location", "location": {**location, "last_upload": None}}
    )
    assert value(hass, "last_upload") == STATE_UNKNOWN
    assert value(hass, "last_upload_duration") == STATE_UNKNOWN


@pytest.mark.parametrize("code", [*PROBLEMS, "brand_new"])
async def test_has_a_word_for_each_problem(
    hass: HomeAssistant, backup_agent: BackupAgent, entry: MockConfigEntry, code: str
) -> None:
    """The status is the code of the problem; one that is not known yet is an error."""
    coordinator = entry.runtime_data
    location = {
        **coordinator.locations["local"],
        "status": "error",
        "error": {
            "code": code,
            "reason": code,
            "detail": "x",
            "hint": "y",
            "provider_code": None,
            "since": "2026-11-20T03:47:12Z",
        },
    }
    coordinator.handle_event({"type": "location", "location": location})
    assert value(hass, "status") == ("error" if code == "brand_new" else code)


async def test_ignores_the_locations_of_others(
    hass: HomeAssistant, backup_agent: BackupAgent, entry: MockConfigEntry
) -> None:
    """What another Home Assistant registered is nothing here."""
    coordinator = entry.runtime_data
    coordinator.handle_event(
        {
            "type": "location",
            "location": {**coordinator.locations["local"], "id": "theirs"},
        }
    )
    assert list(coordinator.locations) == ["local"]


async def test_reports_a_problem_of_the_storage(
    hass: HomeAssistant, garage: Garage, make_entry: MakeEntry
) -> None:
    """A bucket that is missing is the location's status, and what its button says."""
    entry = make_entry(cellar=settings_of(garage, "no-such-bucket", prefix="folder"))
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    with pytest.raises(HomeAssistantError, match="The bucket does not exist"):
        await press(hass, "refresh", "cellar")
    await until(lambda: value(hass, "status", "cellar") == "bucket_not_found")
    with pytest.raises(HomeAssistantError, match="The bucket does not exist"):
        await press(hass, "check", "cellar")
    await press(hass, "check")
    found = device(hass, "cellar")
    assert found is not None
    assert found.manufacturer == "Garage"
    assert found.model == "no-such-bucket/folder"


async def test_belongs_to_its_subentry(
    hass: HomeAssistant, garage: Garage, bucket: str, make_entry: MakeEntry
) -> None:
    """A location that is kept in Home Assistant has its entities below its subentry, and they go with it."""
    entry = make_entry(cellar=settings_of(garage, bucket, prefix="folder"))
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    (subentry_id,) = entry.subentries
    registry = er.async_get(hass)
    found = registry.async_get(entity_id(hass, "status", "cellar"))
    assert found is not None
    assert found.config_subentry_id == subentry_id
    local = registry.async_get(entity_id(hass, "status"))
    assert local is not None
    assert local.config_subentry_id is None
    kept = device(hass)
    assert kept is not None
    assert await async_remove_config_entry_device(hass, entry, kept) is False

    hass.config_entries.async_remove_subentry(entry, subentry_id)
    await until(lambda: "cellar" not in entry.runtime_data.locations)
    await hass.async_block_till_done()
    assert device(hass, "cellar") is None
    assert registry.async_get(found.entity_id) is None
    assert device(hass) is not None


async def test_leads_to_the_page_of_the_app(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """A location of the app's own configuration is changed on the app's page."""
    data = {**entry.data, CONF_APP: "a0d7b954_s3_backup_agent"}
    hass.config_entries.async_update_entry(entry, data=data)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    found = device(hass)
    assert found is not None
    assert found.configuration_url is not None
    assert found.configuration_url.startswith("homeassistant://")
    assert found.configuration_url.endswith("a0d7b954_s3_backup_agent/config")


@pytest.mark.usefixtures("impatient", "backup_agent")
async def test_follows_the_locations(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """Locations come and go with a restart of the agent; one that comes back is the same again."""
    for locations in ({"attic": "Attic"}, {}, {"attic": "Größe & Ferne"}):
        await agent.stop()
        agent.locations = dict(locations)
        await agent.start()
        wanted = set(locations or {"local": ""})
        while set(entry.runtime_data.locations) != wanted:
            await asyncio.sleep(0.01)
        await hass.async_block_till_done()
        for location_id in ("attic", "local"):
            assert (device(hass, location_id) is not None) is (location_id in wanted)
        (location_id,) = wanted
        assert value(hass, "upload_progress", location_id) == STATE_UNKNOWN
    found = device(hass, "attic")
    assert found is not None
    assert found.name == "Größe & Ferne"


@pytest.mark.usefixtures("impatient", "backup_agent")
async def test_is_unavailable_without_the_agent(
    hass: HomeAssistant, agent: Agent
) -> None:
    """A short absence is not worth a word; a longer one is, and ends by itself."""
    changes: list[str] = []
    hass.bus.async_listen(
        "state_changed",
        lambda event: changes.append(event.data["new_state"].state),
    )
    await agent.stop()
    await asyncio.sleep(0.3)
    await agent.start()
    await asyncio.sleep(0.3)
    assert STATE_UNAVAILABLE not in changes

    with patch.object(coordinator_module, "_GRACE_SECONDS", 0.05):
        await agent.stop()
        await until(lambda: value(hass, "backups") == STATE_UNAVAILABLE)
    await agent.start()
    await until(lambda: value(hass, "backups") != STATE_UNAVAILABLE)


async def test_takes_over_a_new_version(
    hass: HomeAssistant,
    agent: Agent,
    entry: MockConfigEntry,
    impatient: None,
) -> None:
    """An agent that was upgraded is shown as what it is now."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    found = device(hass)
    assert found is not None
    version = found.sw_version
    dr.async_get(hass).async_update_device(found.id, sw_version="0.0.1")
    entry.runtime_data.info["version"] = "0.0.1"
    await agent.stop()
    await agent.start()
    await until(lambda: getattr(device(hass), "sw_version", None) == version)


@pytest.mark.usefixtures("backup_agent")
async def test_shows_a_location_once(hass: HomeAssistant) -> None:
    """Of two locations with one id only the first is shown."""
    async with Agent(locations={"local": "Another", "attic": "Attic"}) as other:
        second = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: other.address})
        second.add_to_hass(hass)
        assert await hass.config_entries.async_setup(second.entry_id)
        await hass.async_block_till_done()
        found = device(hass)
        assert found is not None
        assert found.name == "Local directory"
        found = device(hass, "attic")
        assert found is not None
        assert await hass.config_entries.async_unload(second.entry_id)


@pytest.mark.usefixtures("backup_agent")
@pytest.mark.parametrize("way", ["disabled", "removed"])
async def test_hands_a_location_over(
    hass: HomeAssistant, entry: MockConfigEntry, way: str
) -> None:
    """When the first of two agents with a location goes for good, it is the second one's; not for a reload."""
    before = entity_id(hass, "status")
    async with Agent(locations={"local": "Another"}) as other:
        second = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: other.address})
        second.add_to_hass(hass)
        assert await hass.config_entries.async_setup(second.entry_id)
        assert await hass.config_entries.async_reload(entry.entry_id)
        await hass.async_block_till_done()
        registry = er.async_get(hass)
        assert er.async_entries_for_config_entry(registry, second.entry_id) == []

        if way == "removed":
            assert await hass.config_entries.async_remove(entry.entry_id)
        else:
            disabled = ConfigEntryDisabler.USER
            await hass.config_entries.async_set_disabled_by(entry.entry_id, disabled)
        await hass.async_block_till_done()
        found = er.async_entries_for_config_entry(registry, second.entry_id)
        assert len(found) == len(SENSORS) + len(BUTTONS)
        assert entity_id(hass, "status") == before
        assert value(hass, "status") == "ok"
        devices = dr.async_entries_for_config_entry(dr.async_get(hass), second.entry_id)
        assert [(it.name, it.disabled_by) for it in devices] == [("Another", None)]

        if way == "disabled":
            # The first come keeps it.
            await hass.config_entries.async_set_disabled_by(entry.entry_id, None)
            await hass.async_block_till_done()
            assert entry.state is ConfigEntryState.LOADED
            assert value(hass, "status") == "ok"
            assert er.async_entries_for_config_entry(registry, entry.entry_id) == []
        assert await hass.config_entries.async_unload(second.entry_id)


@pytest.mark.usefixtures("deaf", "backup_agent")
async def test_catches_up_when_events_were_lost(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """A stream that left events out makes everything be asked for again."""
    connection = entry.runtime_data
    connection.data.locations = {}
    connection.data.set_uploads(
        [
            {
                "upload_id": "x",
                "location": "local",
                "backup_id": "y",
                "state": "receiving",
                "stored_bytes": 1,
                "total_bytes": 2,
                "error": None,
            }
        ]
    )

    async def events() -> AsyncIterator[Any]:
        yield {"type": "lost", "events": 3}

    with patch.object(connection.client, "events", events):
        connection.info["capabilities"].remove("uploads")
        await connection._follow_events()
        assert list(connection.locations) == ["local"]
        assert connection.data.uploads_to("local")
        connection.info["capabilities"].append("uploads")
        await connection._follow_events()
    assert connection.data.uploads_to("local") == []
