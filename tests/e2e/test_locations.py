"""The life of a bucket added in Home Assistant."""

from __future__ import annotations

from lab.agent import Agent
from lab.garage import Garage
from lab.homeassistant import NEWEST, OLDEST, HomeAssistant
import pytest


@pytest.mark.parametrize("version", [NEWEST, OLDEST])
async def test_a_bucket_is_added_used_and_removed(garage: Garage, version: str) -> None:
    """Added and removed through forms; survives restarts of either side."""
    bucket = await garage.create_bucket(f"added-{version.replace('.', '-')}")
    fields = {
        "endpoint": garage.endpoint,
        "bucket": bucket,
        "access_key_id": garage.key_id,
        "secret_access_key": garage.secret_key,
        "name": "Cellar",
        "connection": {"region": "eu-west-1"},
    }
    async with Agent([]) as agent, HomeAssistant(version) as ha:
        entry_id = await ha.add_agent(agent.address)
        # The built-in directory is no backup location.
        assert await ha.backups.wait_for_agents(0) == []
        menu = await ha.add_location(entry_id, "other", fields)
        assert menu["step_id"] == "corrected"
        take = {"next_step_id": "take"}
        added = await ha.add_location(entry_id, "other", fields, take)
        assert added["type"] == "create_entry"
        (agent_id,) = await ha.backups.wait_for_agents(1)
        assert (await ha.backups.agents())[agent_id] == "Cellar"
        outcome = await ha.backups.create([agent_id], name="Before the restarts")
        assert (outcome.state, outcome.reason) == ("completed", None)
        assert outcome.backup_id is not None
        assert len(garage.bucket_keys(bucket)) == 2

        await ha.stop()
        await agent.stop()
        await agent.start()
        await ha.start()
        await ha.sign_in()
        assert await ha.backups.wait_for_agents(1) == [agent_id]
        found = await ha.backups.find(outcome.backup_id)
        assert agent_id in found["agents"]
        assert await ha.backups.delete(outcome.backup_id) == {}
        assert garage.bucket_keys(bucket) == []

        await ha.remove_location(entry_id, "Cellar")
        assert await ha.backups.wait_for_agents(0) == []
        assert (await agent.get("/v1/locations"))["locations"] == []
        assert garage.secret_key not in ha.log_text()
        assert garage.secret_key not in agent.process.log_text()
