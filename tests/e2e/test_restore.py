"""A system that is gone comes back from the bucket, in a second, fresh Home Assistant."""

from __future__ import annotations

from pathlib import Path

from lab.backups import LOCAL
from lab.homeassistant import HomeAssistant

from .home import Home

PASSWORD = "a password that only its owner knows"
PROOF = "The first system was here.\n"


async def test_a_downloaded_tar_restores_another_system(
    home: Home, folder: Path
) -> None:
    """Downloaded through the agent, uploaded to a second system, restored: a file of the first is in the second."""
    tar = folder / "restore.tar"
    agent_id = home.agent_id(home.cellar)
    async with HomeAssistant(home.ha.version) as first:
        await first.add_agent(home.agent.address)
        await first.backups.wait_for_agents(2)
        (first.config / "proof.txt").write_text(PROOF)
        outcome = await first.backups.create([agent_id], name="Before the fire")
        assert outcome.state == "completed"
        assert outcome.backup_id is not None
        await first.backups.download(outcome.backup_id, agent_id, tar)

    async with HomeAssistant(home.ha.version) as second:
        assert not (second.config / "proof.txt").exists()
        assert await second.backups.upload(tar, [LOCAL]) == outcome.backup_id
        await second.backups.restore(outcome.backup_id, LOCAL)
        await second.come_back_from_restore(first.port)
        assert (second.config / "proof.txt").read_text() == PROOF

        # The restored system knows the agent, and with it the backup that it came from.
        await second.backups.wait_for_agents(2)
        listed = await second.backups.find(outcome.backup_id)
        assert listed["agents"].keys() == {LOCAL, agent_id}
        await second.backups.delete(outcome.backup_id)
    home.assert_nothing_left(home.cellar)


async def test_the_bucket_restores_another_system(home: Home) -> None:
    """Restored straight from the location, encrypted: only the agent and the password are needed."""
    agent_id = home.agent_id(home.cellar)
    async with HomeAssistant(home.ha.version) as first:
        await first.add_agent(home.agent.address)
        await first.backups.wait_for_agents(2)
        (first.config / "proof.txt").write_text(PROOF)
        outcome = await first.backups.create(
            [agent_id], name="Encrypted, before the fire", password=PASSWORD
        )
        assert outcome.state == "completed"
        assert outcome.backup_id is not None

    async with HomeAssistant(home.ha.version) as second:
        await second.add_agent(home.agent.address)
        await second.backups.wait_for_agents(2)
        await second.backups.restore(outcome.backup_id, agent_id, password=PASSWORD)
        await second.come_back_from_restore(first.port)
        assert (second.config / "proof.txt").read_text() == PROOF
        await second.backups.wait_for_agents(2)
        assert await second.backups.delete(outcome.backup_id) == {}
    home.assert_nothing_left(home.cellar)
