"""Devices and entities of locations."""

import asyncio
from typing import Any
from unittest.mock import patch

from lab.garage import Garage
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent import (
    async_remove_config_entry_device,
    coordinator as coordinator_module,
)
from custom_components.s3_backup_agent.binary_sensor import BINARY_SENSORS
from custom_components.s3_backup_agent.button import BUTTONS
from custom_components.s3_backup_agent.client import AgentClient
from custom_components.s3_backup_agent.const import CONF_APP, DOMAIN
from custom_components.s3_backup_agent.sensor import PROBLEMS, SENSORS
from homeassistant.components.backup import BackupAgent
from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.const import CONF_ADDRESS, STATE_ON, STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr, entity_registry as er

from .agent import Agent
from .backups import Stalling, make_backup, upload
from .home import MakeEntry, device, entity_id, press, settings_of, until, value


@pytest.fixture(autouse=True)
def all_enabled() -> Any:
    """Enable entities that are disabled by default."""
    with patch(
        "homeassistant.helpers.entity.Entity.entity_registry_enabled_default", True
    ):
        yield


async def test_location_is_device_with_entities(
    hass: HomeAssistant, backup_agent: BackupAgent, agent: Agent
) -> None:
    """A location is a service device with all its entities."""
    found = device(hass)
    assert found is not None
    assert found.name == "Local directory"
    assert found.entry_type is dr.DeviceEntryType.SERVICE
    assert found.model == f"file://{agent.folder}/state/local"
    assert found.sw_version
    entities = er.async_entries_for_device(er.async_get(hass), found.id)
    assert {entity.unique_id for entity in entities} == {
        f"local_{it.key}" for it in (*BINARY_SENSORS, *SENSORS, *BUTTONS)
    }
    state = hass.states.get(entity_id(hass, "status"))
    assert state is not None
    assert state.name == "Local directory Status"


async def test_sensors_follow_upload(
    hass: HomeAssistant, backup_agent: BackupAgent
) -> None:
    """The progress is known during an upload, and the counts are right afterwards."""
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


async def test_upload_of_older_agent_waits_for_nothing(
    hass: HomeAssistant,
    backup_agent: BackupAgent,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The uploads of version 0.1's agent do not say whether they wait."""
    upload_status = {
        "upload_id": "1",
        "location": "local",
        "backup_id": "1f2e3d4c",
        "state": "storing",
        "stored_bytes": 1,
        "total_bytes": 4,
        "error": None,
    }
    entry.runtime_data.handle_event({"type": "upload", **upload_status})
    assert float(value(hass, "upload_progress")) == 25
    assert value(hass, "status") != "waiting"
    assert "Traceback" not in caplog.text


async def test_cancel_button_cancels_upload(
    hass: HomeAssistant, backup_agent: BackupAgent, agent: Agent
) -> None:
    """The button cancels the upload, and its sender is told."""
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


async def test_cancel_does_not_wait_for_check(
    hass: HomeAssistant, backup_agent: BackupAgent
) -> None:
    """Cancelling does not wait for a check."""
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


async def test_last_upload_sensors(
    hass: HomeAssistant, backup_agent: BackupAgent, entry: MockConfigEntry
) -> None:
    """The sensors show the last upload's time and duration."""
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
async def test_status_is_error_code(
    hass: HomeAssistant, backup_agent: BackupAgent, entry: MockConfigEntry, code: str
) -> None:
    """The status is the error's code, or `error` for an unknown one."""
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

    assert value(hass, "problem") == STATE_ON


async def test_other_home_assistants_location_is_ignored(
    hass: HomeAssistant, backup_agent: BackupAgent, entry: MockConfigEntry
) -> None:
    """Events about another Home Assistant's locations are ignored."""
    coordinator = entry.runtime_data
    coordinator.handle_event(
        {
            "type": "location",
            "location": {**coordinator.locations["local"], "id": "theirs"},
        }
    )
    assert list(coordinator.locations) == ["local"]


async def test_missing_bucket_is_reported(
    hass: HomeAssistant, garage: Garage, make_entry: MakeEntry
) -> None:
    """A missing bucket is the status, and the error of the buttons."""
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


async def test_entities_belong_to_subentry(
    hass: HomeAssistant, garage: Garage, bucket: str, make_entry: MakeEntry
) -> None:
    """The entities of a stored location belong to its subentry, and are removed with it."""
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


async def test_device_links_app_page(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """The device of an app's own location links to the app's page."""
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
async def test_devices_follow_locations(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry
) -> None:
    """Devices are added, renamed and removed with the agent's locations."""
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
async def test_entities_are_unavailable_after_grace_period(
    hass: HomeAssistant, agent: Agent
) -> None:
    """A short outage changes no state; a longer one makes entities unavailable."""
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


async def test_device_shows_new_agent_version(
    hass: HomeAssistant,
    agent: Agent,
    entry: MockConfigEntry,
    impatient: None,
) -> None:
    """The device shows an upgraded agent's version."""
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
async def test_duplicate_location_has_one_device(hass: HomeAssistant) -> None:
    """Of two locations with one id, the first has the device."""
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
async def test_location_moves_to_second_agent(
    hass: HomeAssistant, entry: MockConfigEntry, way: str
) -> None:
    """The second agent takes over a location when the first entry is disabled or removed, not at a reload."""
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
        assert len(found) == len([*BINARY_SENSORS, *SENSORS, *BUTTONS])
        assert entity_id(hass, "status") == before
        assert value(hass, "status") == "ok"
        devices = dr.async_entries_for_config_entry(dr.async_get(hass), second.entry_id)
        assert [(it.name, it.disabled_by) for it in devices] == [("Another", None)]

        if way == "disabled":
            # The current owner keeps the location.
            await hass.config_entries.async_set_disabled_by(entry.entry_id, None)
            await hass.async_block_till_done()
            assert entry.state is ConfigEntryState.LOADED
            assert value(hass, "status") == "ok"
            assert er.async_entries_for_config_entry(registry, entry.entry_id) == []
        assert await hass.config_entries.async_unload(second.entry_id)
