"""Actions, as automations call them, and the button that verifies."""

import asyncio
from typing import Any
from unittest.mock import patch

from lab.garage import Garage
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, MockUser

from custom_components.s3_backup_agent.client import AgentError
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup import BackupAgent
from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNKNOWN
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import (
    HomeAssistantError,
    ServiceValidationError,
    Unauthorized,
)
from homeassistant.helpers.translation import async_load_integrations
from homeassistant.util import dt as dt_util

from .agent import Agent
from .backups import Stalling, make_backup, streaming, upload
from .home import MakeEntry, device, press, settings_of, until, value


async def act(
    hass: HomeAssistant, action: str, location_id: str = "local", **data: Any
) -> Any:
    """Call an action on a location; return its response."""
    return await _call(hass, action, location_id, data, wants_response=True)


async def act_only(
    hass: HomeAssistant, action: str, location_id: str = "local", **data: Any
) -> None:
    """Call an action on a location without a response."""
    await _call(hass, action, location_id, data, wants_response=False)


async def _call(
    hass: HomeAssistant,
    action: str,
    location_id: str,
    data: dict[str, Any],
    *,
    wants_response: bool,
) -> Any:
    found = device(hass, location_id)
    assert found is not None
    return await hass.services.async_call(
        DOMAIN,
        action,
        {"device_id": found.id, **data},
        blocking=True,
        return_response=wants_response,
    )


async def test_check_location(
    hass: HomeAssistant, garage: Garage, make_entry: MakeEntry
) -> None:
    """A check returns its result; without a response, a failed check raises."""
    entry = make_entry(cellar=settings_of(garage, "no-such-bucket"))
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    answer = await act(hass, "check_location")
    steps = answer.pop("steps")
    assert {step["ok"] for step in steps} == {True}
    assert answer == {
        "ok": True,
        "failed_step": None,
        "problem": None,
        "details": None,
        "hint": None,
    }
    await act_only(hass, "check_location")

    answer = await act(hass, "check_location", "cellar")
    assert answer["ok"] is False
    assert answer["failed_step"] == answer["steps"][-1]["step"] == "bucket"
    assert answer["problem"] == "bucket_not_found"
    assert answer["details"]
    assert answer["hint"]
    with pytest.raises(HomeAssistantError, match="The bucket does not exist"):
        await act_only(hass, "check_location", "cellar")


async def test_refresh_lists_from_bucket(
    hass: HomeAssistant, agent: Agent, backup_agent: BackupAgent
) -> None:
    """A refresh lists from the bucket."""

    async def listed() -> list[str]:
        answer = await act(hass, "refresh")
        return [backup["backup_id"] for backup in answer["backups"]]

    assert await listed() == []
    backup, tar = make_backup()
    await upload(backup_agent, backup, streaming(tar))
    assert await listed() == [backup.backup_id]
    for path in agent.files():
        path.unlink()
    assert await listed() == []
    await until(lambda: value(hass, "backups") == "0")


@pytest.mark.parametrize("mode", ["quick", "full"])
async def test_verify_backup(
    hass: HomeAssistant, backup_agent: BackupAgent, mode: str
) -> None:
    """An intact backup passes in each mode."""
    backup, tar = make_backup(size=3_000_000)
    await upload(backup_agent, backup, streaming(tar))
    about = {"backup_id": backup.backup_id, "mode": mode}
    answer = await act(hass, "verify_backup", **about)
    assert answer["ok"] is True
    assert answer["mode"] == mode
    assert answer["size_bytes"] == len(tar)
    assert answer["problems"] == answer["notes"] == []
    await act_only(hass, "verify_backup", **about)


async def test_verify_reports_damage(
    hass: HomeAssistant, agent: Agent, backup_agent: BackupAgent
) -> None:
    """A changed bit is reported; without a response, it raises."""
    backup, tar = make_backup(size=3_000_000)
    await upload(backup_agent, backup, streaming(tar))
    (path,) = (path for path in agent.files() if path.suffix == ".tar")
    path.write_bytes(tar[:-2000] + bytes([tar[-2000] ^ 1]) + tar[-1999:])
    about = {"backup_id": backup.backup_id, "mode": "full"}
    answer = await act(hass, "verify_backup", **about)
    assert answer["ok"] is False
    assert answer["problems"]
    with pytest.raises(HomeAssistantError, match="is damaged: ") as raised:
        await act_only(hass, "verify_backup", **about)
    details = (raised.value.translation_placeholders or {})["details"]
    assert answer["problems"][0]["detail"] in details

    await hass.config.async_update(language="de")
    await async_load_integrations(hass, {DOMAIN})
    with pytest.raises(HomeAssistantError) as raised:
        await act_only(hass, "verify_backup", **about)
    details = (raised.value.translation_placeholders or {})["details"]
    assert details == "Der Inhalt des Archivs ist nicht der hochgeladene."


async def test_newest_backup_is_verified(
    hass: HomeAssistant, backup_agent: BackupAgent, agent: Agent
) -> None:
    """The button verifies the newest backup byte by byte; the sensors show when, and whether it is damaged."""
    before = dt_util.utcnow().replace(microsecond=0)
    with pytest.raises(HomeAssistantError, match="no backup to verify"):
        await press(hass, "verify")
    assert value(hass, "last_verified") == STATE_UNKNOWN
    asked_at = dt_util.parse_datetime(value(hass, "last_check"), raise_on_error=True)
    assert before <= asked_at <= dt_util.utcnow()

    backup, tar = make_backup(size=2_000_000)
    await upload(backup_agent, backup, streaming(tar))
    await press(hass, "verify")
    await until(lambda: value(hass, "last_verified") != STATE_UNKNOWN)
    verified_at = value(hass, "last_verified")
    assert before <= dt_util.parse_datetime(verified_at, raise_on_error=True)
    assert value(hass, "problem") == STATE_OFF

    (stored,) = (path for path in agent.files() if path.suffix == ".tar")
    stored.write_bytes(tar[:-2000] + bytes([tar[-2000] ^ 1]) + tar[-1999:])
    with pytest.raises(HomeAssistantError, match="is damaged"):
        await press(hass, "verify")
    await until(lambda: value(hass, "problem") == STATE_ON)


@pytest.mark.usefixtures("backup_agent")
async def test_verify_errors_are_translated(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """An unknown backup and an older agent have their own errors."""
    with pytest.raises(HomeAssistantError, match="does not exist in this location"):
        await act(hass, "verify_backup", backup_id="unknown")
    entry.runtime_data.info["capabilities"] = []
    with pytest.raises(HomeAssistantError, match="does not support this"):
        await act(hass, "verify_backup", backup_id="unknown")


async def test_agent_crash_during_verify_raises(
    hass: HomeAssistant, agent: Agent, backup_agent: BackupAgent
) -> None:
    """A crash of the agent during a verification raises."""
    backup, tar = make_backup(size=200_000_000)
    await upload(backup_agent, backup, streaming(tar))
    task = asyncio.create_task(
        act(hass, "verify_backup", backup_id=backup.backup_id, mode="full")
    )
    await asyncio.sleep(0.05)
    await agent.kill()
    with pytest.raises(HomeAssistantError, match=r"was interrupted|Can't reach"):
        await task


async def test_cancel_upload(
    hass: HomeAssistant, agent: Agent, backup_agent: BackupAgent
) -> None:
    """The upload is cancelled and its sender told; without an upload, it raises."""
    with pytest.raises(ServiceValidationError, match="No upload to this location"):
        await act_only(hass, "cancel_upload")
    backup, tar = make_backup(size=20_000_000)
    stream = Stalling(tar, 15_000_000)
    task = asyncio.create_task(upload(backup_agent, backup, stream.open))
    await until(lambda: value(hass, "upload_progress") != "unknown")
    await act_only(hass, "cancel_upload")
    stream.go_on.set()
    with pytest.raises(HomeAssistantError, match="The upload was cancelled"):
        await task
    await agent.wait_until_empty()


@pytest.mark.usefixtures("deaf", "backup_agent")
async def test_cancel_ignores_ended_upload(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """An upload that just ended is no error; other failures raise."""
    entry.runtime_data.data.set_uploads(
        [
            {
                "upload_id": "ended",
                "location": "local",
                "backup_id": "1f2e3d4c",
                "state": "storing",
                "stored_bytes": 5,
                "total_bytes": 5,
                "error": None,
            }
        ]
    )
    await act_only(hass, "cancel_upload")
    busy = AgentError("storage_throttled", "Later", retryable=True)
    with (
        patch.object(entry.runtime_data.client, "cancel_upload", side_effect=busy),
        pytest.raises(HomeAssistantError, match="is throttling requests: Later"),
    ):
        await act_only(hass, "cancel_upload")


async def test_refresh_raises_for_stale_list(
    hass: HomeAssistant, backup_agent: BackupAgent, entry: MockConfigEntry
) -> None:
    """A refresh that returns a stale list raises."""
    stale = {
        "backups": [],
        "stale": True,
        "error": {
            "code": "storage_timeout",
            "detail": "Too slow",
            "hint": None,
            "provider_code": None,
        },
    }
    with (
        patch.object(entry.runtime_data.client, "backups", return_value=stale),
        pytest.raises(HomeAssistantError, match="did not answer in time: Too slow"),
    ):
        await act_only(hass, "refresh")


async def test_invalid_targets_raise(
    hass: HomeAssistant, agent: Agent, backup_agent: BackupAgent, entry: MockConfigEntry
) -> None:
    """An unknown device, an unreachable agent and an unloaded entry raise."""
    with pytest.raises(ServiceValidationError, match="is not a backup location"):
        await hass.services.async_call(
            DOMAIN, "refresh", {"device_id": "other"}, blocking=True
        )
    await agent.stop()
    for action in ("check_location", "refresh"):
        with pytest.raises(HomeAssistantError, match="Check that it is running"):
            await act_only(hass, action)
    assert await hass.config_entries.async_unload(entry.entry_id)
    with pytest.raises(ServiceValidationError, match="is not connected"):
        await act_only(hass, "refresh")


@pytest.mark.usefixtures("backup_agent")
async def test_actions_require_admin(
    hass: HomeAssistant, hass_read_only_user: MockUser
) -> None:
    """The actions are for administrators only."""
    with pytest.raises(Unauthorized):
        await hass.services.async_call(
            DOMAIN,
            "refresh",
            {"device_id": "any"},
            blocking=True,
            context=Context(user_id=hass_read_only_user.id),
        )
