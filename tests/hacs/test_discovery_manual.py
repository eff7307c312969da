"""Discovery in the flow by hand."""

from unittest.mock import patch

from lab.supervisor import Supervisor
import pytest

from custom_components.s3_backup_agent import discovery
from custom_components.s3_backup_agent.const import CONF_APP, DOMAIN
from homeassistant.const import CONF_ADDRESS, CONF_TOKEN
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

from .agent import TOKEN, Agent
from .supervised import SLUG, Announce, begin, message, submit


async def test_manual_flow_offers_app(
    hass: HomeAssistant, app: Agent, announce: Announce, supervisor: Supervisor
) -> None:
    """The manual flow offers an announced app once, and aborts its discovery flow."""
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

    # A configured app is not offered.
    flow = await begin(hass)
    assert flow["step_id"] == "manual"
    result = await submit(hass, flow, address=str(app.socket), token=TOKEN)
    assert result["reason"] == "already_configured"
    assert result["description_placeholders"] == {"address": app.address}


@pytest.mark.parametrize("answers_first", [True, False])
async def test_manual_flow_keeps_token_of_app(
    hass: HomeAssistant, app: Agent, supervisor: Supervisor, *, answers_first: bool
) -> None:
    """An app that does not answer for a moment keeps its token and name in the form."""
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


async def test_manual_flow_uses_token_for_app_only(
    hass: HomeAssistant, app: Agent, supervisor: Supervisor
) -> None:
    """The app's token is used only for its address, and not instead of an entered one."""
    supervisor.announce(DOMAIN, message(app))
    await app.stop()
    form = await begin(hass)
    await app.start()
    tcp = f"http://127.0.0.1:{app.tcp_port}"
    result = await submit(hass, form, address=tcp)
    assert result["errors"] == {CONF_TOKEN: "invalid_auth"}
    await app.stop()
    app.token = "a token that was not announced"
    await app.start()
    result = await submit(hass, form, address=app.address)
    assert result["errors"] == {CONF_TOKEN: "invalid_auth"}
    result = await submit(hass, form, address=app.address, token=app.token)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"][CONF_TOKEN] == app.token
    assert result["result"].unique_id == SLUG


async def test_manual_flow_without_supervisors_answer(
    hass: HomeAssistant, supervisor: Supervisor
) -> None:
    """Without an answer of Supervisor, or with one of another form, the manual form is shown."""
    supervisor.messages.append({"service": DOMAIN})
    assert (await begin(hass))["step_id"] == "manual"
    supervisor.is_broken = True
    assert (await begin(hass))["step_id"] == "manual"


async def test_manual_flow_offers_local_socket(
    hass: HomeAssistant, agent: Agent
) -> None:
    """A local socket is offered, and another address can be entered."""
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


async def test_manual_flow_skips_configured_agent(
    hass: HomeAssistant, app: Agent
) -> None:
    """A configured agent is not offered by another address."""
    tcp = f"http://127.0.0.1:{app.tcp_port}"
    await submit(hass, await begin(hass), address=tcp, token=TOKEN)
    await app.stop()
    app.token, app.tcp_port = None, None
    await app.start()
    with patch.object(discovery, "USUAL_SOCKETS", (str(app.socket),)):
        form = await begin(hass)
    assert form["step_id"] == "manual"


async def test_manual_flow_asks_for_token_of_socket(
    hass: HomeAssistant, app: Agent
) -> None:
    """The form for an agent with a token has its address filled in."""
    with patch.object(discovery, "USUAL_SOCKETS", (str(app.socket),)):
        form = await begin(hass)
    assert form["step_id"] == "manual"
    address = next(key for key in form["data_schema"].schema if key == CONF_ADDRESS)
    assert address.description == {"suggested_value": app.address}
    assert form["errors"] == {CONF_TOKEN: "invalid_auth"}
    result = await submit(hass, form, address=app.address, token=TOKEN)
    assert result["type"] is FlowResultType.CREATE_ENTRY
