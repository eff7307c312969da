"""What is shown on the page of repairs, and for how long."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
import json
import secrets
from typing import Any
from unittest.mock import patch

from freezegun.api import FrozenDateTimeFactory
from lab.garage import Garage
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.s3_backup_agent.client import AgentClient, AgentError
from custom_components.s3_backup_agent.connection import AgentConnection
from custom_components.s3_backup_agent.const import CONF_APP, DOMAIN
from homeassistant.components.backup import suggested_filename
from homeassistant.components.backup.config import Day, ScheduleRecurrence
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr, issue_registry as ir
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util

from .agent import Agent
from .backups import DATE, make_backup, streaming
from .test_init import impatient, until

__all__ = ["impatient"]

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

type Tell = Callable[..., None]


@pytest.fixture
async def loaded(hass: HomeAssistant, entry: MockConfigEntry) -> MockConfigEntry:
    """Return the entry of an agent with its own location, which tells nothing more by itself."""
    assert await async_setup_component(hass, "backup", {})
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    # It was asked for its backups once.
    await until(lambda: entry.runtime_data.locations["local"]["status"] == "ok")
    await until(lambda: entry.runtime_data.locations["local"]["backups"] == 0)
    return entry


@pytest.fixture
def tell(loaded: MockConfigEntry) -> Tell:
    """Return what tells of a location as its agent would; the code is that of its error."""

    def tell(code: str = "", **state: Any) -> None:
        connection = loaded.runtime_data
        error = {
            "code": code,
            "reason": code,
            "detail": "What the provider says",
            "hint": "What helps.",
            "provider_code": None,
            "since": dt_util.utcnow().isoformat(),
            **state.pop("error", {}),
        }
        location = {
            **connection.locations["local"],
            "bucket": "ha-backups",
            "backups": 0,
            "status": "error" if code else "ok",
            "error": error if code else None,
            **state,
        }
        event = {"type": "location", "location": location}
        connection.state.on_event(event)
        for listener in tuple(connection._listeners):
            listener(event)

    return tell


def shown(hass: HomeAssistant) -> dict[str, ir.IssueEntry]:
    """Return what is shown, by kind."""
    return {
        issue.translation_key: issue
        for issue in ir.async_get(hass).issues.values()
        if issue.domain == DOMAIN and issue.active and issue.translation_key
    }


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("storage_auth", "credentials"),
        ("storage_forbidden", "permissions"),
        ("bucket_not_found", "bucket_missing"),
        ("wrong_region", "wrong_region_configured"),
        ("clock_skew", "clock"),
        ("storage_certificate", "certificate"),
        ("storage_full", "storage_full"),
    ],
)
def test_shows_an_error_while_it_lasts(
    hass: HomeAssistant, tell: Tell, code: str, kind: str
) -> None:
    """What does not go away by itself is shown at once, with the provider's words, and no longer than it is true."""
    tell(code, source="configuration")
    (issue,) = shown(hass).values()
    assert issue.translation_key == kind
    assert issue.severity is ir.IssueSeverity.ERROR
    assert not issue.is_fixable
    assert not issue.is_persistent
    assert issue.learn_more_url is not None
    assert issue.learn_more_url.endswith("/docs/configuration.md")
    assert issue.translation_placeholders == {
        "location": "Local directory",
        "bucket": "ha-backups",
        "details": "What the provider says. What helps.",
    }
    tell(status="unknown")
    assert set(shown(hass)) == {kind}, "nobody knows better yet"
    tell()
    assert shown(hass) == {}


def test_shows_one_error_after_the_other(hass: HomeAssistant, tell: Tell) -> None:
    """Only what is wrong now."""
    tell("storage_full")
    tell("bucket_not_found")
    assert set(shown(hass)) == {"bucket_missing"}
    tell("storage_error")
    assert shown(hass) == {}


async def test_links_the_page_of_the_app(
    hass: HomeAssistant, loaded: MockConfigEntry, tell: Tell
) -> None:
    """The pages of apps have moved; Home Assistant itself knows where they are."""
    data = {**loaded.data, CONF_APP: "local_agent"}
    hass.config_entries.async_update_entry(loaded, data=data)
    await hass.async_block_till_done()
    tell("storage_auth", source="configuration")
    page = "homeassistant://config/app/local_agent/config"
    assert shown(hass)["credentials"].learn_more_url == page

    dr.async_get(hass).async_get_or_create(
        config_entry_id=loaded.entry_id,
        identifiers={("hassio", "local_agent")},
        configuration_url="homeassistant://hassio/addon/local_agent",
    )
    tell("storage_auth", source="configuration")
    page = "homeassistant://hassio/addon/local_agent/config"
    assert shown(hass)["credentials"].learn_more_url == page


def test_storage_may_be_away_for_a_day(
    hass: HomeAssistant, tell: Tell, freezer: FrozenDateTimeFactory
) -> None:
    """It is shown after a day, whether the agent was started again meanwhile or not, and until it answers."""
    start = dt_util.utcnow()
    tell("storage_unreachable")
    freezer.move_to(start + 12 * HOUR)
    tell(status="unknown")
    tell("storage_timeout")
    assert shown(hass) == {}
    freezer.move_to(start + 24 * HOUR)
    async_fire_time_changed(hass)
    (issue,) = shown(hass).values()
    assert issue.translation_key == "unreachable"
    assert issue.severity is ir.IssueSeverity.WARNING
    assert issue.is_persistent
    assert issue.translation_placeholders is not None
    since = dt_util.as_local(start).strftime("%Y-%m-%d %H:%M")
    assert issue.translation_placeholders["since"] == since
    tell()
    assert shown(hass) == {}
    tell("storage_unreachable")
    assert shown(hass) == {}, "the day begins again"


async def test_storage_that_is_away_is_still_shown_after_a_restart(
    hass: HomeAssistant, loaded: MockConfigEntry, tell: Tell
) -> None:
    """Both sides forget since when; what was shown stays until the storage answers."""
    long_ago = (dt_util.utcnow() - 2 * DAY).isoformat()
    tell("storage_unreachable", error={"since": long_ago})
    assert set(shown(hass)) == {"unreachable"}
    (known,) = await loaded.runtime_data.client.locations()
    known["status"], known["error"] = "unknown", None
    with (
        patch.object(AgentClient, "locations", return_value=[known]),
        patch.object(AgentConnection, "run"),
    ):
        assert await hass.config_entries.async_reload(loaded.entry_id)
    assert set(shown(hass)) == {"unreachable"}
    tell("storage_unreachable")
    assert set(shown(hass)) == {"unreachable"}
    tell("storage_auth")
    assert set(shown(hass)) == {"credentials"}


async def test_shows_which_side_is_too_old(
    hass: HomeAssistant, entry: MockConfigEntry, impatient: None, agent: Agent
) -> None:
    """Until it was updated, at first and later."""
    protocol = "custom_components.s3_backup_agent.client.agent.PROTOCOL"
    with patch(protocol, 2):
        assert not await hass.config_entries.async_setup(entry.entry_id)
    assert set(shown(hass)) == {"agent_too_old"}
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.LOADED
    assert shown(hass) == {}

    with patch(protocol, 0):
        await agent.kill()
        await agent.start()
        await until(lambda: set(shown(hass)) == {"agent_too_new"})
        async_fire_time_changed(hass, dt_util.utcnow() + HOUR)
        assert set(shown(hass)) == {"agent_too_new"}, "nothing has become better"
    await until(lambda: not shown(hass))


async def test_shows_nothing_of_what_is_gone(
    hass: HomeAssistant, loaded: MockConfigEntry, tell: Tell
) -> None:
    """Not of an entry that was switched off or removed."""
    tell("storage_auth")
    assert set(shown(hass)) == {"credentials"}
    await hass.config_entries.async_set_disabled_by(
        loaded.entry_id, ConfigEntryDisabler.USER
    )
    assert shown(hass) == {}
    await hass.config_entries.async_set_disabled_by(loaded.entry_id, None)
    await hass.async_block_till_done()
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{loaded.entry_id}_left",
        is_fixable=False,
        severity=ir.IssueSeverity.ERROR,
        translation_key="credentials",
    )
    await hass.config_entries.async_remove(loaded.entry_id)
    assert shown(hass) == {}


@pytest.fixture
def schedule(hass: HomeAssistant, loaded: MockConfigEntry) -> Any:
    """Return Home Assistant's automatic backups, with this location among their places."""
    data = hass.data[DATA_MANAGER].config.data
    data.create_backup.agent_ids = [f"{DOMAIN}.local"]
    return data


def uploaded(when: datetime) -> dict[str, Any]:
    """Return a location's last upload."""
    about = {"backup_id": "x", "size_bytes": 1, "duration_ms": 1}
    return {"last_upload": {**about, "uploaded_at": when.isoformat()}}


async def test_shows_that_backups_do_not_come(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    tell: Tell,
    schedule: Any,
    freezer: FrozenDateTimeFactory,
) -> None:
    """One may be missing, a second one is shown; over restarts, and until one comes."""
    now = dt_util.now().replace(hour=9, minute=0, second=0, microsecond=0)
    freezer.move_to(now)
    schedule.schedule.recurrence = ScheduleRecurrence.DAILY
    tell(**uploaded(now - 10 * DAY))
    assert shown(hass) == {}, "it has just become part of it"
    freezer.move_to(now + 1 * DAY + 12 * HOUR)
    tell(**uploaded(now - 10 * DAY))
    assert shown(hass) == {}
    freezer.move_to(now + 2 * DAY + 3 * HOUR)
    tell(**uploaded(now - 10 * DAY))
    assert shown(hass) == {}, "the second one may be on its way"
    freezer.move_to(now + 2 * DAY + 12 * HOUR)
    tell(last_upload=None)
    (issue,) = shown(hass).values()
    assert issue.translation_key == "overdue"
    assert issue.severity is ir.IssueSeverity.WARNING
    assert issue.translation_placeholders is not None
    first = (now + DAY).strftime("%Y-%m-%d 04:45")
    assert issue.translation_placeholders["since"] == first

    async_fire_time_changed(hass)
    await hass.async_block_till_done()
    assert await hass.config_entries.async_reload(loaded.entry_id)
    tell(last_upload=None)
    assert set(shown(hass)) == {"overdue"}
    tell(**uploaded(dt_util.utcnow()))
    assert shown(hass) == {}


async def test_misses_no_backups_before_there_is_a_list(
    hass: HomeAssistant, tell: Tell, schedule: Any, freezer: FrozenDateTimeFactory
) -> None:
    """Nobody knows what is in the bucket then; what was shown before stays."""
    schedule.schedule.recurrence = ScheduleRecurrence.DAILY
    nothing: dict[str, Any] = {"backups": None, "last_upload": None}
    tell(status="unknown", **nothing)
    freezer.move_to(dt_util.utcnow() + 4 * DAY)
    tell(status="unknown", **nothing)
    tell("storage_error", **nothing)
    assert shown(hass) == {}
    tell(last_upload=None)
    assert set(shown(hass)) == {"overdue"}, "it was expected all the time"
    tell("storage_error", **nothing)
    assert set(shown(hass)) == {"overdue"}
    tell(**uploaded(dt_util.utcnow()))
    assert shown(hass) == {}


@pytest.mark.parametrize("how", ["never", "elsewhere", "no days"])
async def test_expects_backups_only_where_they_should_come(
    hass: HomeAssistant,
    tell: Tell,
    schedule: Any,
    freezer: FrozenDateTimeFactory,
    how: str,
) -> None:
    """A location that is not, or no longer, part of automatic backups lacks nothing."""
    now = dt_util.utcnow()
    schedule.schedule.recurrence = ScheduleRecurrence.DAILY
    tell(last_upload=None)
    freezer.move_to(now + 4 * DAY)
    tell(last_upload=None)
    assert set(shown(hass)) == {"overdue"}
    if how == "never":
        schedule.schedule.recurrence = ScheduleRecurrence.NEVER
    elif how == "elsewhere":
        schedule.create_backup.agent_ids = ["backup.local"]
    else:
        schedule.schedule.recurrence = ScheduleRecurrence.CUSTOM_DAYS
    tell(last_upload=None)
    assert shown(hass) == {}


async def test_expects_nothing_of_an_agent_that_does_not_tell(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    tell: Tell,
    schedule: Any,
    freezer: FrozenDateTimeFactory,
) -> None:
    """An older agent does not say when it uploaded."""
    del loaded.runtime_data.locations["local"]["last_upload"]
    schedule.schedule.recurrence = ScheduleRecurrence.DAILY
    tell()
    freezer.move_to(dt_util.utcnow() + 4 * DAY)
    tell()
    assert shown(hass) == {}


async def test_expects_backups_as_often_as_they_are_made(
    hass: HomeAssistant, tell: Tell, schedule: Any, freezer: FrozenDateTimeFactory
) -> None:
    """Once a week is enough where it is so wanted; a new rhythm starts anew."""
    monday = datetime(2026, 11, 23, 20, tzinfo=dt_util.get_default_time_zone())
    freezer.move_to(monday)
    schedule.schedule.recurrence = ScheduleRecurrence.CUSTOM_DAYS
    schedule.schedule.days = [Day.SUNDAY]
    schedule.schedule.time = datetime(2026, 1, 1, 3).time()
    tell(**uploaded(monday))
    freezer.move_to(monday + 12 * DAY)
    tell(**uploaded(monday))
    assert shown(hass) == {}
    freezer.move_to(monday + 13 * DAY)
    tell(**uploaded(monday))
    assert set(shown(hass)) == {"overdue"}
    schedule.schedule.recurrence = ScheduleRecurrence.DAILY
    tell(**uploaded(monday))
    assert shown(hass) == {}


async def test_names_what_is_left_over(
    hass: HomeAssistant, loaded: MockConfigEntry, tell: Tell
) -> None:
    """Metadata without a tar is shown by name, some of many."""
    client = loaded.runtime_data.client
    names = [f"backups/{number}.metadata.json" for number in range(12)]
    listing = {
        "skipped": [
            {"key": key, "code": "tar_missing", "reason": "There is no tar"}
            for key in names
        ]
    }
    with patch.object(client, "backups", side_effect=AgentError("x", "no")) as asked:
        tell(skipped={"tar_missing": 12, "metadata_missing": 0})
        await until(lambda: asked.call_count)
    assert shown(hass) == {}
    with patch.object(client, "backups", return_value=listing) as asked:
        tell(skipped={"tar_missing": 12, "metadata_missing": 0})
        await until(lambda: shown(hass))
        tell(skipped={"tar_missing": 12, "metadata_missing": 0})
        assert asked.call_count == 1
    (issue,) = shown(hass).values()
    assert issue.translation_key == "metadata_without_tar"
    assert issue.translation_placeholders is not None
    assert issue.translation_placeholders["count"] == "12"
    keys = issue.translation_placeholders["keys"].splitlines()
    assert keys == [*(f"- `{key}`" for key in names[:10]), "- …"]
    tell(skipped={"tar_missing": 0, "metadata_missing": 0})
    assert shown(hass) == {}


async def test_names_damaged_backups(
    hass: HomeAssistant, loaded: MockConfigEntry, tell: Tell
) -> None:
    """Shown at once, some of many, and by name and date as soon as there is a list that has them."""
    client = loaded.runtime_data.client
    ids = [f"{number:08x}" for number in range(12)]
    found: dict[str, Any] = {"verification": {"damaged": ids}}
    with patch.object(client, "backups") as asked:
        tell(backups=None, **found)
        await asyncio.sleep(0.05)
        assert not asked.called, "there is none yet"
    (issue,) = shown(hass).values()
    assert issue.translation_key == "backup_damaged"
    assert issue.severity is ir.IssueSeverity.ERROR
    assert not issue.is_fixable
    assert issue.learn_more_url == "homeassistant://config/backup/backups"
    assert damaged(hass) == [*(f"- `{it}`" for it in ids[:10]), "- …"]

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
        await until(lambda: damaged(hass)[0] == named)
        tell(**found)
        assert damaged(hass)[:2] == [named, f"- `{ids[1]}`"]
        assert asked.call_count == 1
        tell("storage_unreachable", **found)
        assert set(shown(hass)) == {"backup_damaged"}, "it is no better for that"
    tell(verification={"damaged": []})
    assert shown(hass) == {}
    tell(verification=None)
    assert shown(hass) == {}


def as_shown(date: str) -> str:
    """Return a backup's date as it is shown."""
    return dt_util.as_local(datetime.fromisoformat(date)).strftime("%Y-%m-%d %H:%M")


def damaged(hass: HomeAssistant) -> list[str]:
    """Return the lines about damaged backups that are shown."""
    placeholders = shown(hass)["backup_damaged"].translation_placeholders
    assert placeholders is not None
    return placeholders["backups"].splitlines()


def toml_of(settings: dict[str, str]) -> str:
    """Return the agent's configuration of a location."""
    lines = [f"{key} = {json.dumps(text)}" for key, text in settings.items()]
    return "\n".join(["[[locations]]", *lines])


@pytest.fixture
async def settings(garage: Garage) -> dict[str, str]:
    """Return the settings of a location in a bucket of its own."""
    return {
        "id": "cellar",
        "name": "The cellar",
        "endpoint": garage.endpoint,
        "region": garage.region,
        "bucket": await garage.create_bucket(f"bucket-{secrets.token_hex(4)}"),
        "access_key_id": garage.key_id,
        "secret_access_key": garage.secret_key,
    }


@pytest.mark.usefixtures("impatient")
async def test_shows_damage_until_it_is_gone(
    hass: HomeAssistant, garage: Garage, settings: dict[str, str]
) -> None:
    """With a real bucket: a schedule or a call finds it; then the backup is whole again, or is deleted."""
    backup, tar = make_backup()
    flipped = tar[:-2000] + bytes([tar[-2000] ^ 1]) + tar[-1999:]

    async def put(content: bytes) -> None:
        (key,) = (it for it in garage.bucket_keys(bucket) if it.endswith(".tar"))
        garage.client().put_object(Bucket=bucket, Key=key, Body=content)
        await client.backups("cellar", refresh=True)

    bucket = settings["bucket"]
    async with Agent(more=toml_of(settings)) as agent:
        entry = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: agent.address})
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        client = entry.runtime_data.client
        name = suggested_filename(backup)
        await client.upload("cellar", backup.as_dict(), name, streaming(tar))
        await put(flipped)
        assert shown(hass) == {}
        await agent.stop()
        agent.more = toml_of({**settings, "verify_every": "7d"})
        await agent.start()
        await until(lambda: set(shown(hass)) == {"backup_damaged"})
        placeholders = shown(hass)["backup_damaged"].translation_placeholders
        assert placeholders is not None
        assert placeholders["location"] == "The cellar"
        line = f"- Before the update, {as_shown(DATE)} (`{backup.backup_id}`)"
        await until(lambda: damaged(hass) == [line])

        await put(tar)
        await client.verify("cellar", backup.backup_id, full=True)
        await until(lambda: not shown(hass))

        await put(flipped)
        await client.verify("cellar", backup.backup_id, full=True)
        await until(lambda: set(shown(hass)) == {"backup_damaged"})
        await client.delete("cellar", backup.backup_id)
        await until(lambda: not shown(hass))
        assert await hass.config_entries.async_unload(entry.entry_id)


@pytest.mark.usefixtures("impatient")
async def test_shows_what_the_agent_tells(
    hass: HomeAssistant, settings: dict[str, str]
) -> None:
    """With a real bucket: the key of a location in the agent's own configuration is wrong, then it is right."""
    wrong = {**settings, "secret_access_key": "f" * 64}
    async with Agent(more=toml_of(wrong)) as agent:
        entry = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: agent.address})
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        client = entry.runtime_data.client
        with pytest.raises(AgentError):
            await client.backups("cellar")
        await until(lambda: set(shown(hass)) == {"credentials"})
        first = entry.runtime_data.info["instance_id"]
        await agent.stop()
        agent.more = toml_of(settings)
        await agent.start()
        await until(lambda: entry.runtime_data.info["instance_id"] != first)
        await client.backups("cellar")
        await until(lambda: not shown(hass))
        assert await hass.config_entries.async_unload(entry.entry_id)
