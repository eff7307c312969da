"""Repairs flows."""

import asyncio
from contextlib import suppress
import os
import time
from typing import Any
from unittest.mock import patch

from lab.garage import Garage
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.client import AgentClient, AgentError, Recovery
from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.repairs import async_create_fix_flow
from homeassistant.components.repairs import ConfirmRepairFlow
from homeassistant.core import HomeAssistant
from homeassistant.helpers.translation import async_load_integrations

from .agent import Agent
from .backups import make_backup
from .home import Confirm, Fix, MakeEntry, Settings, settings_of, shown, until


@pytest.fixture
def settings(garage: Garage, bucket: str) -> Settings:
    """Return the settings of a location with a wrong region."""
    return settings_of(garage, bucket, region="us-east-1")


@pytest.fixture
async def wrong(
    hass: HomeAssistant, make_entry: MakeEntry, settings: Settings, impatient: None
) -> MockConfigEntry:
    """Return the entry of a location with a wrong region, after the agent detected it."""
    entry = make_entry(cellar=settings)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    await ask(entry)
    await until(lambda: "wrong_region" in shown(hass))
    return entry


async def ask(entry: MockConfigEntry, location_id: str = "cellar") -> None:
    """Refresh the agent's listing."""
    with suppress(AgentError):
        await entry.runtime_data.client.backups(location_id, refresh=True)


def change(hass: HomeAssistant, entry: MockConfigEntry, **changes: str) -> None:
    """Change the settings of the location."""
    (subentry,) = entry.subentries.values()
    data = {**subentry.data, **changes}
    hass.config_entries.async_update_subentry(entry, subentry, data=data)


async def test_region_is_corrected(
    hass: HomeAssistant,
    *,
    wrong: MockConfigEntry,
    garage: Garage,
    settings: Settings,
    fix: Fix,
    confirm: Confirm,
) -> None:
    """The correction is checked and shown before it is stored."""
    assert shown(hass)["wrong_region"].is_fixable
    form = await fix("wrong_region")
    assert form["step_id"] == "confirm"
    placeholders = form["description_placeholders"]
    assert placeholders["location"] == "The cellar"
    assert placeholders["changes"] == f"- **Region**: `{garage.region}`"
    (subentry,) = wrong.subentries.values()
    assert subentry.data == settings

    result = await confirm(form)
    assert result["type"] == "create_entry"
    (subentry,) = wrong.subentries.values()
    assert subentry.data == {**settings, "region": garage.region}
    assert shown(hass) == {}
    await ask(wrong)
    await until(lambda: wrong.runtime_data.locations["cellar"]["status"] == "ok")
    assert shown(hass) == {}


async def test_only_region_is_changed(
    hass: HomeAssistant,
    *,
    wrong: MockConfigEntry,
    garage: Garage,
    settings: Settings,
    fix: Fix,
    confirm: Confirm,
) -> None:
    """Settings that change during the flow are kept."""
    form = await fix("wrong_region")
    change(hass, wrong, prefix="another")
    await confirm(form)
    (subentry,) = wrong.subentries.values()
    changed = {"prefix": "another", "region": garage.region}
    assert subentry.data == {**settings, **changed}


async def test_region_corrected_elsewhere_finishes(
    hass: HomeAssistant, wrong: MockConfigEntry, garage: Garage, fix: Fix
) -> None:
    """A region that was corrected meanwhile needs no fix."""
    with patch.object(wrong.runtime_data, "async_sync"):
        change(hass, wrong, region=garage.region)
        await until(lambda: shown(hass))
        result = await fix("wrong_region")
    assert result["type"] == "create_entry"
    assert shown(hass) == {}


async def test_no_issue_until_last_change_is_checked(
    hass: HomeAssistant, wrong: MockConfigEntry
) -> None:
    """The answer to an earlier change shows no issue for the current settings."""
    connection = wrong.runtime_data
    asked: list[asyncio.Event] = []

    async def backups(location_id: str, *, refresh: bool = False) -> None:
        asked.append(asyncio.Event())
        await asked[-1].wait()

    with (
        patch.object(connection, "async_sync"),
        patch.object(connection.client, "backups", backups),
    ):
        change(hass, wrong, bucket="bucket-1")
        await until(lambda: len(asked) == 1)
        change(hass, wrong, bucket="bucket-2")
        await until(lambda: len(asked) == 2)
        asked[0].set()
        await asyncio.sleep(0.1)
        assert shown(hass) == {}
        asked[1].set()
        await until(lambda: "wrong_region" in shown(hass))


async def test_no_correction_aborts(
    hass: HomeAssistant, wrong: MockConfigEntry, fix: Fix
) -> None:
    """Without a correction, the flow aborts with the details."""
    with patch.object(wrong.runtime_data, "async_sync"):
        change(hass, wrong, bucket="another-one")
        await until(lambda: shown(hass))
        result = await fix("wrong_region")
    assert result["type"] == "abort"
    assert result["reason"] == "no_correction"
    assert "another-one" in result["description_placeholders"]["details"]
    assert "wrong_region" in shown(hass)


async def test_correction_without_tls_aborts(
    hass: HomeAssistant, wrong: MockConfigEntry, fix: Fix
) -> None:
    """The fix offers no endpoint without TLS, which the form does with a warning."""
    checked = {
        "ok": False,
        "steps": [],
        "corrected": {"endpoint": "http://127.0.0.1:1", "region": "garage"},
        "found": None,
        "notes": [],
    }
    with (
        patch.object(wrong.runtime_data, "async_sync"),
        patch.object(AgentClient, "check_settings", return_value=checked),
    ):
        change(hass, wrong, endpoint="https://127.0.0.1:1")
        await until(lambda: shown(hass))
        result = await fix("wrong_region")
    assert (result["type"], result["reason"]) == ("abort", "no_correction")


async def test_removed_location_aborts(
    hass: HomeAssistant, wrong: MockConfigEntry, fix: Fix, confirm: Confirm
) -> None:
    """A removed location aborts the flow at each step."""
    form = await fix("wrong_region")
    target = "custom_components.s3_backup_agent.repairs.subentry_of"
    with patch(target, return_value=None):
        assert (await confirm(form))["reason"] == "location_removed"
        assert (await fix("wrong_region"))["reason"] == "location_removed"


async def test_region_fix_needs_agent(
    hass: HomeAssistant, wrong: MockConfigEntry, agent: Agent, fix: Fix
) -> None:
    """Without the agent or its entry, the flow aborts."""
    await agent.stop()
    result = await fix("wrong_region")
    assert result["reason"] == "failed"
    assert result["description_placeholders"]["details"]
    assert await hass.config_entries.async_unload(wrong.entry_id)
    assert (await fix("wrong_region"))["reason"] == "entry_not_loaded"


@pytest.fixture
async def forgotten(
    hass: HomeAssistant, agent: Agent, entry: MockConfigEntry, http: Any
) -> MockConfigEntry:
    """Return the entry of an agent with an orphaned tar, and a file that is no tar."""
    folder = agent.folder / "state" / "local" / "backups"
    folder.mkdir(parents=True, exist_ok=True)
    _, tar = make_backup()
    for name, content in (("Forgotten.tar", tar), ("Broken.tar", b"x" * 10_240)):
        (folder / name).write_bytes(content)
        os.utime(folder / name, (time.time() - 7200,) * 2)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    await ask(entry, "local")
    await until(lambda: "tars_without_metadata" in shown(hass))
    return entry


async def test_tars_are_adopted(
    hass: HomeAssistant,
    *,
    forgotten: MockConfigEntry,
    agent: Agent,
    client: AgentClient,
    fix: Fix,
    confirm: Confirm,
) -> None:
    """The tars' backups are shown before they are adopted; a tar that is none is named once, and no issue any more."""
    issue = shown(hass)["tars_without_metadata"]
    assert issue.is_fixable
    assert issue.translation_placeholders is not None
    assert issue.translation_placeholders["count"] == "2"
    form = await fix("tars_without_metadata")
    assert form["step_id"] == "confirm"
    placeholders = form["description_placeholders"]
    assert placeholders["backups"].startswith("- Before the update (`")
    assert "Forgotten.tar" in placeholders["backups"]
    assert "Broken.tar" in placeholders["rest"]
    assert (await client.backups("local", refresh=True))["backups"] == []

    # The form has named the tar that is none.
    result = await confirm(form)
    assert result["type"] == "create_entry"
    (backup,) = (await client.backups("local", refresh=True))["backups"]
    assert backup["name"] == "Before the update"
    await until(lambda: not shown(hass))
    listing = await client.backups("local", refresh=True)
    (skipped,) = listing["skipped"]
    assert skipped["code"] == "not_a_backup"
    assert "Broken.tar" in skipped["key"]

    # Another content under the same name may be a backup.
    broken = agent.folder / "state" / "local" / "backups" / "Broken.tar"
    broken.write_bytes(make_backup()[1])
    os.utime(broken, (time.time() - 7200,) * 2)
    await ask(forgotten, "local")
    await until(lambda: "tars_without_metadata" in shown(hass))


async def test_refused_tars_are_explained_in_german(
    hass: HomeAssistant,
    forgotten: MockConfigEntry,
    agent: Agent,
    fix: Fix,
    confirm: Confirm,
) -> None:
    """A German dialog says in German why tars are no backups, before and after the fix."""
    folder = agent.folder / "state" / "local" / "backups"
    (folder / "Copy.tar").write_bytes((folder / "Forgotten.tar").read_bytes())
    os.utime(folder / "Copy.tar", (time.time() - 9000,) * 2)
    await ask(forgotten, "local")
    await hass.config.async_update(language="de")
    await async_load_integrations(hass, {DOMAIN})
    form = await fix("tars_without_metadata")
    rest = form["description_placeholders"]["rest"]
    broken = "Broken.tar`: Das ist kein vollständiges Backup von Home Assistant."
    assert broken in rest
    assert "Copy.tar`: Weitere Kopie eines aufgelisteten Backups." in rest
    # Found since the form was shown.
    (folder / "Late.tar").write_bytes(b"y" * 10_240)
    os.utime(folder / "Late.tar", (time.time() - 7200,) * 2)
    result = await confirm(form)
    assert result["reason"] == "not_adopted"
    rest = result["description_placeholders"]["rest"]
    assert "Late.tar`: Das ist kein vollständiges Backup von Home Assistant." in rest


async def test_foreign_tars_are_named_and_forgotten(
    hass: HomeAssistant, *, forgotten: MockConfigEntry, agent: Agent, fix: Fix
) -> None:
    """Where no tar is a backup, the fix names them, and the issue goes away for good."""
    (agent.folder / "state" / "local" / "backups" / "Forgotten.tar").unlink()
    await ask(forgotten, "local")
    result = await fix("tars_without_metadata")
    assert result["reason"] == "not_adopted"
    assert result["description_placeholders"]["count"] == "0"
    await until(lambda: not shown(hass))
    await agent.stop()
    await agent.start()
    await until(lambda: forgotten.runtime_data.lost_at is None)
    await ask(forgotten, "local")
    assert shown(hass) == {}


async def test_adopting_all_tars_deletes_issue(
    hass: HomeAssistant,
    forgotten: MockConfigEntry,
    agent: Agent,
    fix: Fix,
    confirm: Confirm,
) -> None:
    """Adopting all tars deletes the issue."""
    (agent.folder / "state" / "local" / "backups" / "Broken.tar").unlink()
    await ask(forgotten, "local")
    form = await fix("tars_without_metadata")
    result = await confirm(form)
    assert result["type"] == "create_entry"
    await ask(forgotten, "local")
    await until(lambda: not shown(hass))


async def test_adoption_aborts_without_agent(
    forgotten: MockConfigEntry, agent: Agent, fix: Fix, confirm: Confirm
) -> None:
    """An agent that goes away before the confirmation aborts the flow."""
    form = await fix("tars_without_metadata")
    await agent.stop()
    assert (await confirm(form))["reason"] == "failed"


async def test_adoption_aborts_for_unloaded_entry(
    hass: HomeAssistant, forgotten: MockConfigEntry, fix: Fix, confirm: Confirm
) -> None:
    """An entry that is unloaded before the confirmation aborts the flow."""
    form = await fix("tars_without_metadata")
    assert await hass.config_entries.async_unload(forgotten.entry_id)
    assert (await confirm(form))["reason"] == "entry_not_loaded"


async def test_older_agent_shows_no_adoptable_tars(
    hass: HomeAssistant, forgotten: MockConfigEntry
) -> None:
    """An older agent cannot adopt tars, so no issue is shown."""
    connection = forgotten.runtime_data
    capabilities = connection.info["capabilities"]
    connection.info["capabilities"] = [it for it in capabilities if it != "recover"]
    location = connection.locations["local"]
    for listener in tuple(connection._event_listeners):
        listener({"type": "location", "location": location})
    assert shown(hass) == {}


async def test_other_issues_use_confirm_flow(hass: HomeAssistant) -> None:
    """Other issues use Home Assistant's own flow."""
    assert isinstance(await async_create_fix_flow(hass, "x", None), ConfirmRepairFlow)


async def test_entry_unloaded_during_preparation_aborts(
    hass: HomeAssistant, forgotten: MockConfigEntry, fix: Fix, confirm: Confirm
) -> None:
    """The form of an entry unloaded meanwhile is shown, and its confirmation aborts."""
    recover = AgentClient.recover

    async def unloading(*args: Any, **options: Any) -> Recovery:
        found = await recover(*args, **options)
        assert await hass.config_entries.async_unload(forgotten.entry_id)
        return found

    with patch.object(AgentClient, "recover", unloading):
        form = await fix("tars_without_metadata")
    assert form["description_placeholders"]["location"]
    assert (await confirm(form))["reason"] == "entry_not_loaded"
