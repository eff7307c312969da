"""An agent that is there is found: under Supervisor by its message, elsewhere by its socket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from inspect import signature
from typing import Any
from unittest.mock import patch

from lab.app import TOKEN as APP_TOKEN, App
from lab.process import free_port
from lab.supervisor import Supervisor
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.s3_backup_agent import discovery
from custom_components.s3_backup_agent.const import CONF_AGENT_ID, CONF_APP, DOMAIN
from custom_components.s3_backup_agent.issues import OPTIONS_PROBLEM
from homeassistant.components.hassio.const import DATA_COMPONENT
from homeassistant.components.hassio.discovery import HassIODiscovery
from homeassistant.components.hassio.handler import HassIO
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
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.setup import async_setup_component

from .agent import TOKEN, Agent
from .home import shown, until

SLUG = "local_s3_backup_agent"

type Announce = Callable[..., Coroutine[None, None, None]]


@pytest.fixture
async def app() -> AsyncIterator[Agent]:
    """Return an agent as it runs in an app: with a token, also on its socket."""
    async with Agent(token=TOKEN, tcp_port=free_port()) as agent:
        yield agent


@pytest.fixture
async def supervisor(hass: HomeAssistant) -> AsyncIterator[Supervisor]:
    """Let Home Assistant run under a Supervisor."""
    # First, because it would want much more of Supervisor.
    assert await async_setup_component(hass, "backup", {})
    async with Supervisor() as supervisor:
        hass.config.components.add("hassio")
        session = async_get_clientsession(hass)
        hass.data[DATA_COMPONENT] = HassIO(hass.loop, session, supervisor.host)
        yield supervisor


@pytest.fixture
async def announce(
    hass: HomeAssistant, supervisor: Supervisor, hass_client: ClientSessionGenerator
) -> Announce:
    """Return what announces an app to Home Assistant as Supervisor does, each time under a new id."""
    assert await async_setup_component(hass, "http", {})
    # Home Assistant 2026.3 hands it the whole component.
    more = (hass.data[DATA_COMPONENT],) * (
        len(signature(HassIODiscovery).parameters) - 1
    )
    hass.http.register_view(HassIODiscovery(hass, *more))
    client = await hass_client()

    async def announce(config: dict[str, Any], **names: str) -> None:
        uuid = supervisor.announce(DOMAIN, config, **names)
        answer = await client.post(f"/api/hassio_push/discovery/{uuid}")
        assert answer.status == 200
        for task in asyncio.all_tasks():
            if task.get_name().startswith("discovery flow "):
                await task
        await hass.async_block_till_done()

    return announce


def message(agent: Agent, token: str = TOKEN) -> dict[str, str]:
    """Return what an app says of itself."""
    return {"socket": str(agent.socket), "token": token}


async def submit(hass: HomeAssistant, flow: Any, **fields: str) -> Any:
    """Fill in a form, or choose from a menu."""
    result = await hass.config_entries.flow.async_configure(flow["flow_id"], fields)
    await hass.async_block_till_done()
    return result


async def begin(hass: HomeAssistant) -> Any:
    """Begin to add the integration by hand."""
    return await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )


def entries(hass: HomeAssistant) -> list[Any]:
    """Return the integration's entries."""
    return hass.config_entries.async_entries(DOMAIN)


async def test_app_is_connected_with_one_click(
    hass: HomeAssistant, app: Agent, announce: Announce
) -> None:
    """The app's message has all that is needed."""
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
async def test_app_announces_itself_and_tells_of_wrong_options(
    hass: HomeAssistant, supervisor: Supervisor, announce: Announce
) -> None:
    """The message that the agent sends is all that is needed; what is wrong is shown as long as it is."""
    supervisor.tokens[APP_TOKEN] = SLUG
    bad = {"log": {"level": "loud"}, "locations": [{"provider": "aws"}]}
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
        assert "- `log.level` must be one of error, warn, info" in problems
        assert "- `locations[0].bucket` is missing" in problems

        assert await app.stop() == 0
        app.set_options({"log": {"level": "info"}, "locations": []})
        await app.start()
        await until(lambda: OPTIONS_PROBLEM not in shown(hass))
        assert await hass.config_entries.async_unload(entry.entry_id)


async def test_app_that_lost_its_token_is_connected_without_a_click(
    hass: HomeAssistant, supervisor: Supervisor, announce: Announce
) -> None:
    """It makes another one, and its own message tells Home Assistant, as soon as Supervisor takes it."""
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


async def test_app_is_known_after_it_was_installed_again(
    hass: HomeAssistant, app: Agent, announce: Announce
) -> None:
    """Another id of the message, another token, another socket, another state: it is the same app."""
    await announce(message(app))
    await submit(hass, hass.config_entries.flow.async_progress()[0])
    (entry,) = entries(hass)
    before = entry.data[CONF_AGENT_ID]
    first = entry.runtime_data

    await announce(message(app))
    assert entries(hass) == [entry]
    assert entry.runtime_data is first, "nothing changed, so nothing is to be reloaded"

    async with Agent(token="another token, just as long") as again:
        await announce({"address": again.address, "token": again.token})
        assert entries(hass) == [entry]
        assert hass.config_entries.flow.async_progress() == []
        assert entry.state is ConfigEntryState.LOADED
        assert entry.data[CONF_ADDRESS] == again.address
        assert entry.data[CONF_TOKEN] == again.token
        assert entry.data[CONF_AGENT_ID] != before
        assert await hass.config_entries.async_unload(entry.entry_id)


async def test_app_with_a_new_token_needs_no_click(
    hass: HomeAssistant, app: Agent, announce: Announce
) -> None:
    """The message comes with the new token, and whoever asked for it is answered."""
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
async def test_app_that_was_added_by_hand_is_known(
    hass: HomeAssistant, app: Agent, announce: Announce, known_by: str
) -> None:
    """An entry for the same address, or for the same agent over TCP, becomes the app's."""
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


async def test_app_is_waited_for(
    hass: HomeAssistant, app: Agent, announce: Announce
) -> None:
    """An app that is announced before it answers can be connected a moment later; what is wrong is said."""
    await app.stop()
    await announce(message(app))
    (flow,) = hass.config_entries.flow.async_progress()
    result = await submit(hass, flow)
    assert result["errors"] == {"base": "cannot_connect"}
    app.token = "a token that nobody announced"
    await app.start()
    result = await submit(hass, flow)
    assert result["errors"] == {"base": "invalid_auth"}
    await app.stop()
    app.token = TOKEN
    await app.start()
    result = await submit(hass, flow)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_waiting_entry_is_woken_by_the_message(
    hass: HomeAssistant, app: Agent, announce: Announce
) -> None:
    """An app that was started later than Home Assistant is used at once."""
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
    """Who does not want it is not asked again, but may change their mind."""
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


async def test_message_without_an_address_is_of_no_use(
    hass: HomeAssistant, announce: Announce
) -> None:
    """It ends there."""
    await announce({"token": TOKEN})
    assert hass.config_entries.flow.async_progress() == []
    assert entries(hass) == []


async def test_adding_by_hand_offers_the_app(
    hass: HomeAssistant, app: Agent, announce: Announce, supervisor: Supervisor
) -> None:
    """Also when its message was overlooked, which then needs no answer any more."""
    supervisor.announce("mqtt", {"host": "core-mosquitto"}, slug="core_mosquitto")
    await announce(message(app))
    menu = await begin(hass)
    assert menu["type"] is FlowResultType.MENU
    assert menu["menu_options"] == ["found", "manual"]
    assert menu["description_placeholders"] == {"address": app.address}
    result = await submit(hass, menu, next_step_id="found")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["result"].unique_id == SLUG
    assert hass.config_entries.flow.async_progress() == []

    # It is not offered twice.
    flow = await begin(hass)
    assert flow["step_id"] == "manual"
    result = await submit(hass, flow, address=str(app.socket), token=TOKEN)
    assert result["reason"] == "already_configured"
    assert result["description_placeholders"] == {"address": app.address}


@pytest.mark.parametrize("answers_first", [True, False])
async def test_adding_by_hand_waits_for_the_app(
    hass: HomeAssistant, app: Agent, supervisor: Supervisor, *, answers_first: bool
) -> None:
    """An app that does not answer for a moment keeps its token, which nobody could enter, and its name."""
    supervisor.announce(DOMAIN, message(app))
    if answers_first:
        menu = await begin(hass)
        await app.stop()
        form = await submit(hass, menu, next_step_id="found")
    else:
        await app.stop()
        form = await begin(hass)
    assert form["step_id"] == "manual"
    assert form["errors"] == {"base": "cannot_connect"}
    assert str(app.socket) in form["description_placeholders"]["details"]
    await app.start()
    result = await submit(hass, form, address=str(app.socket))
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["result"].unique_id == result["data"][CONF_APP] == SLUG
    assert result["data"][CONF_TOKEN] == TOKEN


async def test_adding_by_hand_keeps_the_apps_token_to_the_app(
    hass: HomeAssistant, app: Agent, supervisor: Supervisor
) -> None:
    """It is shown to nobody at another address, and one that was entered is used instead."""
    supervisor.announce(DOMAIN, message(app))
    await app.stop()
    form = await begin(hass)
    await app.start()
    tcp = f"http://127.0.0.1:{app.tcp_port}"
    result = await submit(hass, form, address=tcp)
    assert result["errors"] == {CONF_TOKEN: "invalid_auth"}
    await app.stop()
    app.token = "a token that nobody announced"
    await app.start()
    result = await submit(hass, form, address=app.address)
    assert result["errors"] == {CONF_TOKEN: "invalid_auth"}
    result = await submit(hass, form, address=app.address, token=app.token)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"][CONF_TOKEN] == app.token
    assert result["result"].unique_id == SLUG


async def test_adding_by_hand_works_without_an_answer_of_supervisor(
    hass: HomeAssistant, supervisor: Supervisor
) -> None:
    """Then it is as if there were none."""
    supervisor.is_broken = True
    assert (await begin(hass))["step_id"] == "manual"


async def test_adding_by_hand_offers_the_socket(
    hass: HomeAssistant, agent: Agent
) -> None:
    """An agent on this machine is found where its socket usually is; another address can be entered."""
    with patch.object(discovery, "USUAL_SOCKETS", ("/nowhere", str(agent.socket))):
        menu = await begin(hass)
    assert menu["description_placeholders"] == {"address": agent.address}
    form = await submit(hass, menu, next_step_id="manual")
    assert form["step_id"] == "manual"
    with patch.object(discovery, "USUAL_SOCKETS", (str(agent.socket),)):
        menu = await begin(hass)
    await agent.stop()
    result = await submit(hass, menu, next_step_id="found")
    assert result["errors"] == {"base": "cannot_connect"}
    await agent.start()
    result = await submit(hass, result, address=agent.address)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_adding_by_hand_does_not_offer_what_is_there(
    hass: HomeAssistant, app: Agent
) -> None:
    """Not even by another address."""
    tcp = f"http://127.0.0.1:{app.tcp_port}"
    await submit(hass, await begin(hass), address=tcp, token=TOKEN)
    await app.stop()
    app.token, app.tcp_port = None, None
    await app.start()
    with patch.object(discovery, "USUAL_SOCKETS", (str(app.socket),)):
        form = await begin(hass)
    assert form["step_id"] == "manual"


async def test_adding_by_hand_asks_for_the_token_of_a_socket(
    hass: HomeAssistant, app: Agent
) -> None:
    """An agent that is found, but wants a token that nobody told, is entered already."""
    with patch.object(discovery, "USUAL_SOCKETS", (str(app.socket),)):
        form = await begin(hass)
    assert form["step_id"] == "manual"
    address = next(key for key in form["data_schema"].schema if key == CONF_ADDRESS)
    assert address.description == {"suggested_value": app.address}
    assert form["errors"] == {CONF_TOKEN: "invalid_auth"}
    result = await submit(hass, form, address=app.address, token=TOKEN)
    assert result["type"] is FlowResultType.CREATE_ENTRY
