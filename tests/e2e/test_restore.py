"""A system that is gone comes back from the bucket, in a second, fresh Home Assistant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
import tempfile

from lab.backups import LOCAL
from lab.homeassistant import HomeAssistant
import pytest

from .home import Home

PASSWORD = "a password that only its owner knows"
PROOF = "The first system was here.\n"


@dataclass(frozen=True)
class Gone:
    """A system that is no more, and its backups in the cellar."""

    port: int
    plain_id: str
    encrypted_id: str
    tar: Path


@pytest.fixture(scope="module")
async def gone(system: Home) -> AsyncIterator[Gone]:
    """Make a system, back it up twice, download one backup, and end the system."""
    agent_id = system.agent_id(system.cellar)
    with tempfile.TemporaryDirectory(prefix="e2e-") as folder:
        tar = Path(folder) / "plain.tar"
        async with HomeAssistant(system.ha.version) as first:
            await first.add_agent(system.agent.address)
            await first.backups.wait_for_agents(2)
            (first.config / "proof.txt").write_text(PROOF)
            plain = await first.backups.create([agent_id], name="Before the fire")
            locked = await first.backups.create(
                [agent_id], name="Locked, before the fire", password=PASSWORD
            )
            assert plain.backup_id is not None
            assert locked.backup_id is not None
            await first.backups.download(plain.backup_id, agent_id, tar)
        yield Gone(first.port, plain.backup_id, locked.backup_id, tar)
    await system.clear()


async def assert_first_system_is_back(second: HomeAssistant, gone: Gone) -> None:
    """Check that the second system has the first one's file, agent and backups."""
    assert (second.config / "proof.txt").read_text() == PROOF
    await second.backups.wait_for_agents(2)
    for backup_id in (gone.plain_id, gone.encrypted_id):
        listed = await second.backups.find(backup_id)
        assert "s3_backup_agent.cellar" in listed["agents"]


async def test_a_downloaded_tar_restores_another_system(
    system: Home, gone: Gone
) -> None:
    """Downloaded through the agent, uploaded to a second system, restored there."""
    async with HomeAssistant(system.ha.version) as second:
        assert not (second.config / "proof.txt").exists()
        assert await second.backups.upload(gone.tar, [LOCAL]) == gone.plain_id
        await second.backups.restore(gone.plain_id, LOCAL)
        await second.come_back_from_restore(gone.port)
        await assert_first_system_is_back(second, gone)


async def test_the_bucket_restores_another_system(system: Home, gone: Gone) -> None:
    """Restored straight from the location: only the agent and the password are needed."""
    async with HomeAssistant(system.ha.version) as second:
        await second.add_agent(system.agent.address)
        await second.backups.wait_for_agents(2)
        assert not (second.config / "proof.txt").exists()
        await second.backups.restore(
            gone.encrypted_id, system.agent_id(system.cellar), password=PASSWORD
        )
        await second.come_back_from_restore(gone.port)
        await assert_first_system_is_back(second, gone)
