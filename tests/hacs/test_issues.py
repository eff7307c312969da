"""Repairs issues of storage and agent."""

from datetime import timedelta
from unittest.mock import patch

from freezegun.api import FrozenDateTimeFactory
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.s3_backup_agent.client import AgentClient, AgentError
from custom_components.s3_backup_agent.const import CONF_APP, DOMAIN
from custom_components.s3_backup_agent.coordinator import AgentCoordinator
from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr, issue_registry as ir
from homeassistant.util import dt as dt_util

from .agent import Agent, toml_of
from .home import Settings, Tell, shown, until

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


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
def test_error_is_shown_while_it_lasts(
    hass: HomeAssistant, tell: Tell, code: str, kind: str
) -> None:
    """A lasting error is shown at once with the provider's details, and deleted when it ends."""
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
    assert set(shown(hass)) == {kind}, "an unknown state keeps the issue"
    tell()
    assert shown(hass) == {}


def test_next_error_replaces_issue(hass: HomeAssistant, tell: Tell) -> None:
    """Only the current error is shown."""
    tell("storage_full")
    tell("bucket_not_found")
    assert set(shown(hass)) == {"bucket_missing"}
    tell("storage_error")
    assert shown(hass) == {}


async def test_issue_links_app_page(
    hass: HomeAssistant, loaded: MockConfigEntry, tell: Tell
) -> None:
    """The link is the app device's configuration URL, or the app's page."""
    data = {**loaded.data, CONF_APP: "local_agent"}
    hass.config_entries.async_update_entry(loaded, data=data)
    await hass.async_block_till_done()
    tell("storage_auth", source="configuration")
    page = "homeassistant://config/app/local_agent/config"
    assert shown(hass)["credentials"].learn_more_url == page

    supervisor = MockConfigEntry(domain="hassio")
    supervisor.add_to_hass(hass)
    dr.async_get(hass).async_get_or_create(
        config_entry_id=supervisor.entry_id,
        identifiers={("hassio", "local_agent")},
        configuration_url="homeassistant://hassio/addon/local_agent",
    )
    tell("storage_auth", source="configuration")
    page = "homeassistant://hassio/addon/local_agent/config"
    assert shown(hass)["credentials"].learn_more_url == page


def test_unreachable_storage_is_shown_after_a_day(
    hass: HomeAssistant, tell: Tell, freezer: FrozenDateTimeFactory
) -> None:
    """An unreachable storage is shown after a day, across restarts of the agent, until it answers."""
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
    assert shown(hass) == {}, "a new outage starts a new day"


async def test_unreachable_issue_survives_restart(
    hass: HomeAssistant, loaded: MockConfigEntry, tell: Tell
) -> None:
    """The issue survives a restart of both sides until the storage answers."""
    long_ago = (dt_util.utcnow() - 2 * DAY).isoformat()
    tell("storage_unreachable", error={"since": long_ago})
    assert set(shown(hass)) == {"unreachable"}
    (known,) = await loaded.runtime_data.client.locations()
    known["status"], known["error"] = "unknown", None
    with (
        patch.object(AgentClient, "locations", return_value=[known]),
        patch.object(AgentCoordinator, "run"),
    ):
        assert await hass.config_entries.async_reload(loaded.entry_id)
    assert set(shown(hass)) == {"unreachable"}
    tell("storage_unreachable")
    assert set(shown(hass)) == {"unreachable"}
    tell("storage_auth")
    assert set(shown(hass)) == {"credentials"}


async def test_protocol_mismatch_is_shown(
    hass: HomeAssistant, entry: MockConfigEntry, impatient: None, agent: Agent
) -> None:
    """A protocol mismatch names the side to update, at setup and later."""
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
        assert set(shown(hass)) == {"agent_too_new"}, "the mismatch persists"
    await until(lambda: not shown(hass))


async def test_disabled_or_removed_entry_has_no_issues(
    hass: HomeAssistant, loaded: MockConfigEntry, tell: Tell
) -> None:
    """Disabling or removing an entry deletes its issues."""
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


async def test_disabled_entry_without_setup_has_no_issues(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """Disabling an entry that waits for its retry deletes its issues."""
    with patch("custom_components.s3_backup_agent.client.agent.PROTOCOL", 2):
        assert not await hass.config_entries.async_setup(entry.entry_id)
        assert set(shown(hass)) == {"agent_too_old"}
        disabled = ConfigEntryDisabler.USER
        await hass.config_entries.async_set_disabled_by(entry.entry_id, disabled)
    assert shown(hass) == {}


async def test_orphaned_metadata_is_named(
    hass: HomeAssistant, loaded: MockConfigEntry, tell: Tell
) -> None:
    """Metadata without a tar is listed by key, up to a limit."""
    client = loaded.runtime_data.client
    names = [f"backups/{number}.metadata.json" for number in range(12)]
    listing = {
        "skipped": [
            {"key": key, "code": "tar_missing", "reason": "There is no tar"}
            for key in names
        ],
        "backups": [],
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


async def test_ignored_orphans_come_back_for_another_one(
    hass: HomeAssistant, loaded: MockConfigEntry, tell: Tell
) -> None:
    """An ignored issue stays ignored for the same tars, and comes back for a new one."""
    client = loaded.runtime_data.client

    async def found(*names: str) -> ir.IssueEntry:
        """Let the agent find these tars; return the issue."""
        skipped = [
            {"key": name, "code": "metadata_missing", "reason": "It has no metadata"}
            for name in names
        ]
        listing = {"skipped": skipped, "backups": []}
        with patch.object(client, "backups", return_value=listing):
            tell(skipped={"tar_missing": 0, "metadata_missing": len(names)})
            await until(lambda: placeholder(hass) == str(len(names)))
        return shown(hass)["tars_without_metadata"]

    def placeholder(hass: HomeAssistant) -> str | None:
        issue = shown(hass).get("tars_without_metadata")
        return ((issue and issue.translation_placeholders) or {}).get("count")

    issue = await found("a.tar", "b.tar")
    assert issue.is_persistent, "what it is about outlives a restart"
    ir.async_ignore_issue(hass, DOMAIN, issue.issue_id, True)
    assert (await found("a.tar")).dismissed_version
    assert (await found("a.tar", "b.tar")).dismissed_version
    assert (await found("a.tar", "b.tar", "new.tar")).dismissed_version is None

    ir.async_ignore_issue(hass, DOMAIN, issue.issue_id, True)
    assert await hass.config_entries.async_unload(loaded.entry_id)
    assert shown(hass)["tars_without_metadata"].dismissed_version


@pytest.mark.usefixtures("impatient")
async def test_real_agent_reports_wrong_key(
    hass: HomeAssistant, configured: Settings
) -> None:
    """With a real bucket, a wrong key is shown until it is corrected."""
    wrong = {**configured, "secret_access_key": "f" * 64}
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
        agent.more = toml_of(configured)
        await agent.start()
        await until(lambda: entry.runtime_data.info["instance_id"] != first)
        await client.backups("cellar")
        await until(lambda: not shown(hass))
        assert await hass.config_entries.async_unload(entry.entry_id)
