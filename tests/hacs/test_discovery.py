"""Discovery of apps by Supervisor."""

from unittest.mock import patch

from lab.app import TOKEN as APP_TOKEN, App
from lab.supervisor import Supervisor
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.client import AgentError
from custom_components.s3_backup_agent.const import CONF_AGENT_ID, CONF_APP, DOMAIN
from custom_components.s3_backup_agent.discovery import is_app_removed
from custom_components.s3_backup_agent.issues import APP_REMOVED, OPTIONS_PROBLEM
from homeassistant.config_entries import (
    SOURCE_HASSIO,
    SOURCE_IGNORE,
    SOURCE_REAUTH,
    SOURCE_USER,
    ConfigEntryState,
)
from homeassistant.const import CONF_ADDRESS, CONF_TOKEN
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

from .agent import TOKEN, Agent
from .home import shown, until
from .supervised import SLUG, Announce, begin, entries, message, submit


async def test_app_is_added_with_one_click(
    hass: HomeAssistant, app: Agent, announce: Announce
) -> None:
    """The discovery message contains all that an entry needs."""
    await announce(message(app), name="My Agent")
    (flow,) = hass.config_entries.flow.async_progress()
    assert flow["context"]["source"] == SOURCE_HASSIO
    assert flow["context"]["title_placeholders"] == {"name": "My Agent"}
    result = await submit(hass, flow)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == "My Agent"
    entry = result["result"]
    assert entry.unique_id == SLUG
    assert entry.state is ConfigEntryState.LOADED
    agent_id = entry.runtime_data.info["agent_id"]
    assert entry.data == {
        CONF_ADDRESS: app.address,
        CONF_TOKEN: TOKEN,
        CONF_APP: SLUG,
        CONF_AGENT_ID: agent_id,
    }


@pytest.mark.usefixtures("impatient")
async def test_invalid_app_options_are_shown(
    hass: HomeAssistant, supervisor: Supervisor, announce: Announce
) -> None:
    """The app announces itself, and its invalid options are shown until they are corrected."""
    supervisor.tokens[APP_TOKEN] = SLUG
    bad = {"log_level": "loud", "locations": [{"provider": "aws"}]}
    async with App(bad, supervisor=supervisor.host) as app:
        await until(lambda: bool(supervisor.messages))
        await announce(supervisor.messages[0]["config"])
        (flow,) = hass.config_entries.flow.async_progress()
        result = await submit(hass, flow)
        assert result["type"] is FlowResultType.CREATE_ENTRY
        entry = result["result"]
        assert entry.state is ConfigEntryState.LOADED

        issue = shown(hass)[OPTIONS_PROBLEM]
        assert issue.learn_more_url == f"homeassistant://config/app/{SLUG}/config"
        assert issue.translation_placeholders is not None
        problems = issue.translation_placeholders["problems"]
        assert "- `log_level`: Choose one of these: error, warn, info" in problems
        assert "- `locations[0].bucket`: A value is needed." in problems

        assert await app.stop() == 0
        app.set_options({"log_level": "info", "locations": []})
        await app.start()
        await until(lambda: OPTIONS_PROBLEM not in shown(hass))
        assert await hass.config_entries.async_unload(entry.entry_id)


async def test_lost_token_is_replaced(
    hass: HomeAssistant, supervisor: Supervisor, announce: Announce
) -> None:
    """An app that lost its token announces a new one, which the entry takes over."""
    supervisor.tokens[APP_TOKEN] = SLUG
    async with App({"locations": []}, supervisor=supervisor.host) as app:
        await until(lambda: bool(supervisor.messages))
        await announce(supervisor.messages[0]["config"])
        await submit(hass, hass.config_entries.flow.async_progress()[0])
        (entry,) = entries(hass)
        before = app.token

        assert await app.stop() == 0
        (app.data / "token").unlink()
        supervisor.is_broken = True
        await app.start()
        await until(lambda: "System is not ready" in app.log())
        supervisor.is_broken = False
        await until(lambda: supervisor.messages[0]["config"]["token"] != before)
        await announce(supervisor.messages[0]["config"])
        assert entries(hass) == [entry]
        assert entry.data[CONF_TOKEN] == app.token != before
        assert entry.state is ConfigEntryState.LOADED
        assert hass.config_entries.flow.async_progress() == []
        assert await hass.config_entries.async_unload(entry.entry_id)


async def test_reinstalled_app_keeps_entry(
    hass: HomeAssistant, app: Agent, announce: Announce
) -> None:
    """A reinstalled app with a new message id, token, socket and state keeps its entry."""
    await announce(message(app))
    await submit(hass, hass.config_entries.flow.async_progress()[0])
    (entry,) = entries(hass)
    before = entry.data[CONF_AGENT_ID]
    first = entry.runtime_data

    await announce(message(app))
    assert entries(hass) == [entry]
    assert entry.runtime_data is first, "an unchanged entry is not reloaded"

    async with Agent(token="another token, just as long") as again:
        await announce({"address": again.address, "token": again.token})
        assert entries(hass) == [entry]
        assert hass.config_entries.flow.async_progress() == []
        assert entry.state is ConfigEntryState.LOADED
        assert entry.data[CONF_ADDRESS] == again.address
        assert entry.data[CONF_TOKEN] == again.token
        assert entry.data[CONF_AGENT_ID] != before
        assert await hass.config_entries.async_unload(entry.entry_id)


async def test_open_card_follows_a_reinstalled_app(
    hass: HomeAssistant, app: Agent, announce: Announce
) -> None:
    """The card *Discovered* of the app before it was installed again uses the newest message."""
    async with Agent(token="the token before, as long") as before:
        await announce({"address": before.address, "token": before.token})
        (flow,) = hass.config_entries.flow.async_progress()
    await announce(message(app))
    assert [flow["flow_id"]] == [
        it["flow_id"] for it in hass.config_entries.flow.async_progress()
    ]
    result = await submit(hass, flow)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["result"].data[CONF_TOKEN] == TOKEN


@pytest.mark.usefixtures("impatient")
async def test_removed_app_ends_backups_and_is_shown(
    hass: HomeAssistant,
    app: Agent,
    announce: Announce,
    supervisor: Supervisor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An upload does not wait for an app that was removed; installed again, the app continues."""
    await announce(message(app))
    await submit(hass, hass.config_entries.flow.async_progress()[0])
    (entry,) = entries(hass)
    coordinator = entry.runtime_data
    await app.stop()
    await until(lambda: coordinator.lost_at is not None)
    assert APP_REMOVED not in shown(hass), "the app is only stopped"
    waiting = hass.async_create_task(coordinator.wait_until_connected())
    supervisor.remove(SLUG)
    with pytest.raises(AgentError, match="app was removed"):
        await waiting
    await until(lambda: APP_REMOVED in shown(hass))
    assert not coordinator.last_update_success
    assert "was removed" in caplog.text

    supervisor.is_broken = True
    await coordinator._note_removal()
    assert coordinator.is_app_removed, "Supervisor did not tell"
    assert APP_REMOVED in shown(hass)
    assert await hass.config_entries.async_reload(entry.entry_id) is False
    assert APP_REMOVED in shown(hass)
    supervisor.is_broken = False
    assert await hass.config_entries.async_reload(entry.entry_id) is False
    assert APP_REMOVED in shown(hass)

    supervisor.names[SLUG] = "Installed again, but not started"
    assert await hass.config_entries.async_reload(entry.entry_id) is False
    assert APP_REMOVED not in shown(hass)
    await app.start()
    await announce(message(app))
    assert entry.state is ConfigEntryState.LOADED
    assert APP_REMOVED not in shown(hass)
    assert await hass.config_entries.async_unload(entry.entry_id)


async def test_app_is_not_removed_if_supervisor_does_not_tell(
    hass: HomeAssistant, supervisor: Supervisor
) -> None:
    """An error of Supervisor, or an answer of another form, says neither."""
    data = {CONF_APP: SLUG}
    assert await is_app_removed(hass, {}) is False
    assert await is_app_removed(hass, data) is True
    supervisor.names[SLUG] = "S3 Backup Agent"
    assert await is_app_removed(hass, data) is False
    with patch.dict("lab.supervisor._APP", clear=True):
        assert await is_app_removed(hass, data) is None
    supervisor.is_broken = True
    assert await is_app_removed(hass, data) is None


async def test_new_token_ends_reauth(
    hass: HomeAssistant, app: Agent, announce: Announce
) -> None:
    """An announced token ends the reauth flow."""
    data = {CONF_ADDRESS: app.address, CONF_TOKEN: "the old token", CONF_APP: SLUG}
    entry = MockConfigEntry(domain=DOMAIN, data=data, unique_id=SLUG)
    entry.add_to_hass(hass)
    assert not await hass.config_entries.async_setup(entry.entry_id)
    (flow,) = hass.config_entries.flow.async_progress()
    assert flow["context"]["source"] == SOURCE_REAUTH
    await announce(message(app))
    assert hass.config_entries.flow.async_progress() == []
    assert entry.state is ConfigEntryState.LOADED


@pytest.mark.parametrize("known_by", ["address", "agent_id"])
async def test_manual_entry_becomes_apps_entry(
    hass: HomeAssistant, app: Agent, announce: Announce, known_by: str
) -> None:
    """A manual entry for the same address or agent becomes the app's."""
    tcp = f"http://127.0.0.1:{app.tcp_port}"
    address = app.address if known_by == "address" else tcp
    flow = await begin(hass)
    result = await submit(hass, flow, address=address, token=TOKEN)
    entry = result["result"]
    assert entry.unique_id == entry.data[CONF_AGENT_ID]

    await announce(message(app))
    assert entries(hass) == [entry]
    assert hass.config_entries.flow.async_progress() == []
    assert entry.unique_id == SLUG
    assert entry.data[CONF_ADDRESS] == app.address
    assert entry.state is ConfigEntryState.LOADED


async def test_discovery_retries_connection(
    hass: HomeAssistant, app: Agent, announce: Announce
) -> None:
    """The discovery form shows a failed connection, and can be submitted again."""
    await app.stop()
    await announce(message(app))
    (flow,) = hass.config_entries.flow.async_progress()
    result = await submit(hass, flow)
    assert result["errors"] == {"base": "cannot_connect"}
    app.token = "a token that was not announced"
    await app.start()
    result = await submit(hass, flow)
    assert result["errors"] == {"base": "invalid_auth"}
    await app.stop()
    app.token = TOKEN
    await app.start()
    result = await submit(hass, flow)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_message_wakes_waiting_entry(
    hass: HomeAssistant, app: Agent, announce: Announce
) -> None:
    """A discovery message sets up an entry that waits for its retry."""
    data = {CONF_ADDRESS: app.address, CONF_TOKEN: TOKEN, CONF_APP: SLUG}
    entry = MockConfigEntry(domain=DOMAIN, data=data, unique_id=SLUG)
    entry.add_to_hass(hass)
    await app.stop()
    assert not await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    await app.start()
    await announce(message(app))
    assert entry.state is ConfigEntryState.LOADED


async def test_ignored_app_stays_ignored(
    hass: HomeAssistant, app: Agent, announce: Announce
) -> None:
    """An ignored app is not offered again, but can be added by hand."""
    await announce(message(app))
    (flow,) = hass.config_entries.flow.async_progress()
    await hass.config_entries.flow.async_init(
        DOMAIN,
        context={"source": SOURCE_IGNORE},
        data={"unique_id": flow["context"]["unique_id"], "title": "x"},
    )
    assert hass.config_entries.flow.async_progress() == []
    await announce(message(app))
    assert hass.config_entries.flow.async_progress() == []

    menu = await begin(hass)
    assert menu["type"] is FlowResultType.MENU
    result = await submit(hass, menu, next_step_id="found")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert [entry.source for entry in entries(hass)] == [SOURCE_USER]


async def test_message_without_address_is_ignored(
    hass: HomeAssistant, announce: Announce
) -> None:
    """A message without an address aborts the flow."""
    await announce({"token": TOKEN})
    assert hass.config_entries.flow.async_progress() == []
    assert entries(hass) == []
