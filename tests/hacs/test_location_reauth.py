"""Reauth flow for a location's key."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lab.garage import Garage
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.client import AgentClient, AgentError
from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntryState, ConfigSubentry
from homeassistant.const import CONF_TOKEN
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

from .agent import TOKEN, Agent
from .home import MakeEntry, Settings, until


@dataclass
class Kept:
    """An entry with a location whose secret is wrong."""

    hass: HomeAssistant
    entry: MockConfigEntry
    right: Settings

    @property
    def subentry(self) -> ConfigSubentry:
        """The location's subentry."""
        subentry: ConfigSubentry
        (subentry,) = self.entry.subentries.values()
        return subentry

    def flows(self) -> list[Any]:
        """Return the open reauth flows."""
        return [
            flow
            for flow in self.hass.config_entries.flow.async_progress()
            if flow["context"]["source"] == SOURCE_REAUTH
        ]

    async def list(self) -> None:
        """Refresh the agent's listing."""
        client: AgentClient = self.entry.runtime_data.client
        with suppress(AgentError):
            await client.backups("cellar", refresh=True)

    async def asked(self) -> Any:
        """Refresh the listing, and return the flow it starts."""
        await self.list()
        await until(self.flows)
        (flow,) = self.flows()
        return flow

    async def answer(self, flow: Any, **fields: str) -> Any:
        """Fill in the form."""
        result = await self.hass.config_entries.flow.async_configure(
            flow["flow_id"], fields
        )
        await self.hass.async_block_till_done()
        return result


@pytest.fixture
async def kept(
    hass: HomeAssistant, settings: Settings, make_entry: MakeEntry, impatient: None
) -> Kept:
    """Return an entry with a location whose secret is wrong, set up."""
    entry = make_entry(cellar={**settings, "secret_access_key": "f" * 64})
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return Kept(hass, entry, settings)


async def test_rejected_key_starts_reauth(kept: Kept, garage: Garage) -> None:
    """The flow names the location, checks the key, and changes nothing else."""
    flow = await kept.asked()
    assert flow["step_id"] == "reauth_location"
    names = flow["context"]["title_placeholders"]
    assert names["name"] == "S3 Backup Agent: The cellar"

    form = await kept.answer(
        flow, access_key_id=garage.key_id, secret_access_key="e" * 64
    )
    assert form["type"] is FlowResultType.FORM
    assert form["errors"] == {"secret_access_key": "storage_auth"}
    placeholders = form["description_placeholders"]
    assert placeholders["location"] == "The cellar"
    assert placeholders["bucket"] == kept.right["bucket"]
    assert placeholders["details"]
    assert "e" * 64 not in str(form)
    assert kept.subentry.data["secret_access_key"] == "f" * 64

    result = await kept.answer(
        flow, access_key_id=f" {garage.key_id} ", secret_access_key=garage.secret_key
    )
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "reauth_location_successful"
    assert kept.subentry.data == kept.right
    assert kept.entry.state is ConfigEntryState.LOADED
    connection = kept.entry.runtime_data
    await until(lambda: connection.locations["cellar"]["status"] == "ok")
    assert kept.flows() == []


async def test_reauth_starts_once(kept: Kept) -> None:
    """Repeated rejections start one flow."""
    flow = await kept.asked()
    await kept.list()
    await kept.list()
    assert [again["flow_id"] for again in kept.flows()] == [flow["flow_id"]]


async def test_other_error_keeps_old_key(kept: Kept, garage: Garage) -> None:
    """An error that is not about the key is shown, and the key is not stored."""
    flow = await kept.asked()
    subentry = kept.subentry
    kept.hass.config_entries.async_update_subentry(
        kept.entry, subentry, data={**subentry.data, "endpoint": "http://127.0.0.1:1"}
    )
    form = await kept.answer(
        flow, access_key_id=garage.key_id, secret_access_key=garage.secret_key
    )
    assert form["errors"] == {"base": "storage_unreachable"}


async def test_reauth_without_agent_can_be_repeated(
    kept: Kept, garage: Garage, agent: Agent
) -> None:
    """The form shows an unreachable agent, and can be submitted again."""
    flow = await kept.asked()
    await agent.stop()
    form = await kept.answer(
        flow, access_key_id=garage.key_id, secret_access_key=garage.secret_key
    )
    assert form["errors"] == {"base": "agent_unreachable"}
    await agent.start()
    result = await kept.answer(
        flow, access_key_id=garage.key_id, secret_access_key=garage.secret_key
    )
    assert result["reason"] == "reauth_location_successful"


async def test_session_token_is_replaced_with_key(kept: Kept, garage: Garage) -> None:
    """The session token is asked for with the key, and dropped with the old one."""
    subentry = kept.subentry
    kept.hass.config_entries.async_update_subentry(
        kept.entry, subentry, data={**subentry.data, "session_token": "old"}
    )
    await kept.hass.async_block_till_done()
    flow = await kept.asked()
    form = await kept.hass.config_entries.flow.async_configure(flow["flow_id"])
    assert form["data_schema"] is not None
    assert "session_token" in form["data_schema"].schema
    result = await kept.answer(
        flow, access_key_id=garage.key_id, secret_access_key=garage.secret_key
    )
    assert result["reason"] == "reauth_location_successful"
    assert kept.subentry.data == kept.right


async def test_working_key_aborts_reauth(kept: Kept) -> None:
    """A key that was corrected elsewhere aborts the flow."""
    await kept.asked()
    kept.hass.config_entries.async_update_subentry(
        kept.entry, kept.subentry, data=kept.right
    )
    await until(lambda: not kept.flows())


async def test_removed_location_aborts_reauth(kept: Kept) -> None:
    """Removing the location aborts the flow."""
    await kept.asked()
    kept.hass.config_entries.async_remove_subentry(
        kept.entry, kept.subentry.subentry_id
    )
    await kept.hass.async_block_till_done()
    assert kept.flows() == []


async def test_submit_for_removed_location_aborts(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, garage: Garage
) -> None:
    """A submit for a removed location aborts."""
    flow = await kept.asked()
    monkeypatch.setattr(
        "custom_components.s3_backup_agent.location.reauth.subentry_of",
        lambda entry, location_id: None,
    )
    result = await kept.answer(
        flow, access_key_id=garage.key_id, secret_access_key=garage.secret_key
    )
    assert result["reason"] == "location_removed"


async def test_token_reauth_replaces_key_reauth(kept: Kept, agent: Agent) -> None:
    """A rejected token replaces the flow for the key, which starts again afterwards."""
    await kept.asked()
    await agent.stop()
    agent.token = TOKEN
    await agent.start()
    await until(
        lambda: [flow["step_id"] for flow in kept.flows()] == ["reauth_confirm"]
    )
    result = await kept.answer(kept.flows()[0], token=TOKEN)
    assert result["reason"] == "reauth_successful"
    await kept.hass.async_block_till_done()
    assert kept.entry.data[CONF_TOKEN] == TOKEN
    assert (await kept.asked())["step_id"] == "reauth_location"


async def test_token_reauth_replaces_key_reauth_at_setup(
    kept: Kept, agent: Agent
) -> None:
    """The same while the entry is set up."""
    await kept.asked()
    assert await kept.hass.config_entries.async_unload(kept.entry.entry_id)
    assert kept.flows()
    await agent.stop()
    agent.token = TOKEN
    await agent.start()
    assert not await kept.hass.config_entries.async_setup(kept.entry.entry_id)
    await kept.hass.async_block_till_done()
    assert [flow["step_id"] for flow in kept.flows()] == ["reauth_confirm"]
