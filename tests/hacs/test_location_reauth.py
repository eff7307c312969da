"""A location whose key is not accepted any more: another one is asked for, tried and kept."""

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
        """The location."""
        subentry: ConfigSubentry
        (subentry,) = self.entry.subentries.values()
        return subentry

    def flows(self) -> list[Any]:
        """Return what is asked."""
        return [
            flow
            for flow in self.hass.config_entries.flow.async_progress()
            if flow["context"]["source"] == SOURCE_REAUTH
        ]

    async def list(self) -> None:
        """Let the agent ask the bucket, whatever comes of it."""
        client: AgentClient = self.entry.runtime_data.client
        with suppress(AgentError):
            await client.backups("cellar", refresh=True)

    async def asked(self) -> Any:
        """Return the question that comes once the agent asked the bucket."""
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


async def test_asks_for_another_key(kept: Kept, garage: Garage) -> None:
    """The location is named, the key is tried, and nothing else of the location changes."""
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


async def test_asks_once(kept: Kept) -> None:
    """However often the bucket refuses."""
    flow = await kept.asked()
    await kept.list()
    await kept.list()
    assert [again["flow_id"] for again in kept.flows()] == [flow["flow_id"]]


async def test_says_what_else_is_wrong(kept: Kept, garage: Garage) -> None:
    """A trouble that is none of the key's is shown, and the key is not kept."""
    flow = await kept.asked()
    subentry = kept.subentry
    kept.hass.config_entries.async_update_subentry(
        kept.entry, subentry, data={**subentry.data, "endpoint": "http://127.0.0.1:1"}
    )
    form = await kept.answer(
        flow, access_key_id=garage.key_id, secret_access_key=garage.secret_key
    )
    assert form["errors"] == {"base": "storage_unreachable"}


async def test_does_not_need_the_entry_to_be_loaded(
    kept: Kept, garage: Garage, agent: Agent
) -> None:
    """An agent that is away says so, and can be asked again."""
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


async def test_temporary_key_has_a_token(kept: Kept, garage: Garage) -> None:
    """The token is asked for with the key, and does not outlast it."""
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


async def test_question_goes_away_when_the_key_works_again(kept: Kept) -> None:
    """Somebody changed it elsewhere."""
    await kept.asked()
    kept.hass.config_entries.async_update_subentry(
        kept.entry, kept.subentry, data=kept.right
    )
    await until(lambda: not kept.flows())


async def test_question_goes_away_with_the_location(kept: Kept) -> None:
    """A location that was removed needs no key."""
    await kept.asked()
    kept.hass.config_entries.async_remove_subentry(
        kept.entry, kept.subentry.subentry_id
    )
    await kept.hass.async_block_till_done()
    assert kept.flows() == []


async def test_answer_for_a_removed_location(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, garage: Garage
) -> None:
    """Whoever was just answering is told."""
    flow = await kept.asked()
    monkeypatch.setattr(
        "custom_components.s3_backup_agent.location.reauth.subentry_of",
        lambda entry, location_id: None,
    )
    result = await kept.answer(
        flow, access_key_id=garage.key_id, secret_access_key=garage.secret_key
    )
    assert result["reason"] == "location_removed"


async def test_agents_token_comes_first(kept: Kept, agent: Agent) -> None:
    """Nothing can be tried before the agent accepts the token; then the key is asked for again."""
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


async def test_agents_token_comes_first_at_the_start(kept: Kept, agent: Agent) -> None:
    """Also when the entry is only being set up while a key is asked for."""
    await kept.asked()
    assert await kept.hass.config_entries.async_unload(kept.entry.entry_id)
    assert kept.flows()
    await agent.stop()
    agent.token = TOKEN
    await agent.start()
    assert not await kept.hass.config_entries.async_setup(kept.entry.entry_id)
    await kept.hass.async_block_till_done()
    assert [flow["step_id"] for flow in kept.flows()] == ["reauth_confirm"]
