"""Repairs issues of damaged and unverifiable backups."""

import asyncio
from datetime import datetime
from typing import Any
from unittest.mock import patch

from lab.garage import Garage
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.client import AgentError
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup import suggested_filename
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.util import dt as dt_util

from .agent import Agent, toml_of
from .backups import DATE, make_backup, streaming
from .home import Settings, Tell, shown, until, value


def as_shown(date: str) -> str:
    """Return a backup's date as shown."""
    return dt_util.as_local(datetime.fromisoformat(date)).strftime("%Y-%m-%d %H:%M")


def lines(hass: HomeAssistant, kind: str = "backup_damaged") -> list[str]:
    """Return the lines of an issue."""
    placeholders = shown(hass)[kind].translation_placeholders
    assert placeholders is not None
    return placeholders["backups"].splitlines()


async def test_damaged_backups_are_named(
    hass: HomeAssistant, loaded: MockConfigEntry, tell: Tell
) -> None:
    """Damaged backups are shown at once by id, and by name and date once listed."""
    client = loaded.runtime_data.client
    ids = [f"{number:08x}" for number in range(12)]
    found: dict[str, Any] = {"verification": {"damaged": ids}}
    with patch.object(client, "backups") as asked:
        tell(backups=None, **found)
        await asyncio.sleep(0.05)
        assert not asked.called, "there is no listing yet"
    (issue,) = shown(hass).values()
    assert issue.translation_key == "backup_damaged"
    assert issue.severity is ir.IssueSeverity.ERROR
    assert not issue.is_fixable
    assert issue.learn_more_url == "homeassistant://config/backup/backups"
    assert lines(hass) == [*(f"- `{it}`" for it in ids[:10]), "- …"]

    about = {"name": "Nightly", "date": DATE}
    listing = {
        "skipped": [],
        "backups": [{"backup_id": ids[0], **about}, {"backup_id": "whole", **about}],
    }
    with patch.object(client, "backups", side_effect=AgentError("x", "no")) as asked:
        tell(**found)
        await until(lambda: asked.call_count)
    with patch.object(client, "backups", return_value=listing) as asked:
        tell(**found)
        named = f"- Nightly, {as_shown(DATE)} (`{ids[0]}`)"
        await until(lambda: lines(hass)[0] == named)
        tell(**found)
        assert lines(hass)[:2] == [named, f"- `{ids[1]}`"]
        assert asked.call_count == 1
        tell("storage_unreachable", **found)
        assert set(shown(hass)) == {"backup_damaged"}, "an outage keeps the issue"
    tell(verification={"damaged": []})
    assert shown(hass) == {}
    tell(verification=None)
    assert shown(hass) == {}


async def test_unverifiable_backups_are_named(
    hass: HomeAssistant, loaded: MockConfigEntry, tell: Tell
) -> None:
    """Unverifiable backups have an issue of their own."""
    listing = {
        "skipped": [],
        "backups": [{"backup_id": "cold", "name": "Nightly", "date": DATE}],
    }
    with patch.object(loaded.runtime_data.client, "backups", return_value=listing):
        tell(verification={"damaged": ["bad"], "unread": ["cold"]})
        assert set(shown(hass)) == {"backup_damaged", "backup_unread"}
        named = f"- Nightly, {as_shown(DATE)} (`cold`)"
        await until(lambda: lines(hass, "backup_unread") == [named])
    issue = shown(hass)["backup_unread"]
    assert issue.severity is ir.IssueSeverity.WARNING
    assert issue.learn_more_url == "homeassistant://config/backup/backups"
    tell(verification={"damaged": ["bad"], "unread": []})
    assert set(shown(hass)) == {"backup_damaged"}


@pytest.mark.usefixtures("impatient")
async def test_damage_is_shown_until_repaired_or_deleted(
    hass: HomeAssistant, garage: Garage, configured: Settings
) -> None:
    """With a real bucket, damage is shown until the backup is repaired or deleted."""
    backup, tar = make_backup()
    flipped = tar[:-2000] + bytes([tar[-2000] ^ 1]) + tar[-1999:]

    async def put(content: bytes) -> None:
        (key,) = (it for it in garage.bucket_keys(bucket) if it.endswith(".tar"))
        garage.client().put_object(Bucket=bucket, Key=key, Body=content)
        await client.backups("cellar", refresh=True)

    bucket = configured["bucket"]
    async with Agent(more=toml_of(configured)) as agent:
        entry = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: agent.address})
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        client = entry.runtime_data.client
        name = suggested_filename(backup)
        await client.upload("cellar", backup.as_dict(), name, streaming(tar))
        await put(flipped)
        assert shown(hass) == {}
        await agent.stop()
        agent.more = toml_of({**configured, "verify_every": "7d"})
        await agent.start()
        await until(lambda: set(shown(hass)) == {"backup_damaged"})
        placeholders = shown(hass)["backup_damaged"].translation_placeholders
        assert placeholders is not None
        assert placeholders["location"] == "The cellar"
        line = f"- Before the update, {as_shown(DATE)} (`{backup.backup_id}`)"
        await until(lambda: lines(hass) == [line])
        assert value(hass, "status", "cellar") == "backup_damaged"
        # A quick look cannot refute it.
        quick = await client.verify("cellar", backup.backup_id)
        assert [it["code"] for it in quick["problems"]] == ["found_damaged"]
        assert value(hass, "status", "cellar") == "backup_damaged"

        await put(tar)
        await client.verify("cellar", backup.backup_id, full=True)
        await until(lambda: not shown(hass))
        assert value(hass, "status", "cellar") == "ok"

        await put(flipped)
        await client.verify("cellar", backup.backup_id, full=True)
        await until(lambda: set(shown(hass)) == {"backup_damaged"})
        await client.delete("cellar", backup.backup_id)
        await until(lambda: not shown(hass))
        assert await hass.config_entries.async_unload(entry.entry_id)
