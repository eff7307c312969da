"""The actions, as an automation takes them."""

import asyncio
from typing import Any
from unittest.mock import patch

from lab.garage import Garage
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, MockUser

from custom_components.s3_backup_agent.client import AgentError
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup import BackupAgent
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import (
    HomeAssistantError,
    ServiceValidationError,
    Unauthorized,
)

from .agent import Agent
from .backups import Stalling, make_backup, streaming, upload
from .home import MakeEntry, device, settings_of, until, value


async def act(
    hass: HomeAssistant, action: str, location_id: str = "local", **data: Any
) -> Any:
    """Take an action about a location, and want its response."""
    return await _call(hass, action, location_id, data, wants_response=True)


async def act_only(
    hass: HomeAssistant, action: str, location_id: str = "local", **data: Any
) -> None:
    """Take an action about a location, and want no response."""
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


async def test_checks_a_location(
    hass: HomeAssistant, garage: Garage, make_entry: MakeEntry
) -> None:
    """A check says that all is well, or what is not; without a response, the latter is an error."""
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


async def test_refreshes(
    hass: HomeAssistant, agent: Agent, backup_agent: BackupAgent
) -> None:
    """The list is read again."""

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
async def test_verifies_a_backup(
    hass: HomeAssistant, backup_agent: BackupAgent, mode: str
) -> None:
    """A backup that is as it was is fine, in either mode."""
    backup, tar = make_backup(size=3_000_000)
    await upload(backup_agent, backup, streaming(tar))
    about = {"backup_id": backup.backup_id, "mode": mode}
    answer = await act(hass, "verify_backup", **about)
    assert answer["ok"] is True
    assert answer["mode"] == mode
    assert answer["size_bytes"] == len(tar)
    assert answer["problems"] == []
    await act_only(hass, "verify_backup", **about)


async def test_finds_damage(
    hass: HomeAssistant, agent: Agent, backup_agent: BackupAgent
) -> None:
    """A backup in which one bit changed is not as it was; without a response, that is an error."""
    backup, tar = make_backup(size=3_000_000)
    await upload(backup_agent, backup, streaming(tar))
    (path,) = (path for path in agent.files() if path.suffix == ".tar")
    path.write_bytes(tar[:-2000] + bytes([tar[-2000] ^ 1]) + tar[-1999:])
    about = {"backup_id": backup.backup_id, "mode": "full"}
    answer = await act(hass, "verify_backup", **about)
    assert answer["ok"] is False
    assert answer["problems"]
    with pytest.raises(HomeAssistantError, match="is damaged: "):
        await act_only(hass, "verify_backup", **about)


@pytest.mark.usefixtures("backup_agent")
async def test_verifies_only_what_there_is(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """An unknown backup, and an agent that cannot verify, are errors with a sentence of their own."""
    with pytest.raises(HomeAssistantError, match="does not exist in this location"):
        await act(hass, "verify_backup", backup_id="unknown")
    entry.runtime_data.info["capabilities"] = []
    with pytest.raises(HomeAssistantError, match="does not support this"):
        await act(hass, "verify_backup", backup_id="unknown")


async def test_verifies_without_trusting_the_connection(
    hass: HomeAssistant, agent: Agent, backup_agent: BackupAgent
) -> None:
    """An agent that dies in the middle has verified nothing."""
    backup, tar = make_backup(size=200_000_000)
    await upload(backup_agent, backup, streaming(tar))
    task = asyncio.create_task(
        act(hass, "verify_backup", backup_id=backup.backup_id, mode="full")
    )
    await asyncio.sleep(0.05)
    await agent.kill()
    with pytest.raises(HomeAssistantError, match=r"was interrupted|Can't reach"):
        await task


async def test_cancels_an_upload(
    hass: HomeAssistant, agent: Agent, backup_agent: BackupAgent
) -> None:
    """What is being uploaded is cancelled, and its sender told; when nothing is, that is said."""
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
async def test_minds_no_upload_that_ended_by_itself(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """An upload that ended just before it was cancelled is no error; any other failure is one."""
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
        pytest.raises(HomeAssistantError, match="asks to slow down: Later"),
    ):
        await act_only(hass, "cancel_upload")


async def test_says_that_a_list_is_old(
    hass: HomeAssistant, backup_agent: BackupAgent, entry: MockConfigEntry
) -> None:
    """Who asks for a fresh list is told when there is none."""
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


async def test_says_what_it_cannot_act_on(
    hass: HomeAssistant, agent: Agent, backup_agent: BackupAgent, entry: MockConfigEntry
) -> None:
    """Another device, an agent that is away, one that is not connected: an error of the right kind."""
    with pytest.raises(ServiceValidationError, match="is not a backup location"):
        await hass.services.async_call(
            DOMAIN, "refresh", {"device_id": "other"}, blocking=True
        )
    await agent.stop()
    for action in ("check_location", "refresh"):
        with pytest.raises(HomeAssistantError, match="is it running"):
            await act_only(hass, action)
    assert await hass.config_entries.async_unload(entry.entry_id)
    with pytest.raises(ServiceValidationError, match="is not connected"):
        await act_only(hass, "refresh")


@pytest.mark.usefixtures("backup_agent")
async def test_is_for_administrators(
    hass: HomeAssistant, hass_read_only_user: MockUser
) -> None:
    """As with Home Assistant's backups, not everybody may."""
    with pytest.raises(Unauthorized):
        await hass.services.async_call(
            DOMAIN,
            "refresh",
            {"device_id": "any"},
            blocking=True,
            context=Context(user_id=hass_read_only_user.id),
        )
