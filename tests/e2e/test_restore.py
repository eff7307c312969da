"""A lost system is restored from the bucket into a new Home Assistant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
import tempfile

from lab.homeassistant import HomeAssistant
import pytest

from .home import Home
from .laptop import LAPTOP, Laptop, a_year_later

PASSWORD = "a password that only its owner knows"
PROOF = "The first system was here.\n"


@dataclass(frozen=True)
class Gone:
    """A lost system, and its backups in the cellar."""

    port: int
    plain_id: str
    encrypted_id: str
    laptop: Laptop


@pytest.fixture(scope="module")
async def gone(system: Home) -> AsyncIterator[Gone]:
    """Create a system, back it up twice, and end it."""
    agent_id = system.agent_id(system.cellar)
    with tempfile.TemporaryDirectory(prefix="e2e-") as folder:
        laptop = Laptop(Path(folder), system.cellar)
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
        yield Gone(first.port, plain.backup_id, locked.backup_id, laptop)
    await system.clear()


async def assert_first_system_is_back(second: HomeAssistant, gone: Gone) -> None:
    """Assert that the second system has the first one's file, agent and backups."""
    assert (second.config / "proof.txt").read_text() == PROOF
    await second.backups.wait_for_agents(2)
    for backup_id in (gone.plain_id, gone.encrypted_id):
        listed = await second.backups.find(backup_id)
        assert "s3_backup_agent.cellar" in listed["agents"]


async def test_a_laptop_brings_the_system_back(system: Home, gone: Gone) -> None:
    """docs/guides/disaster-recovery.md: download with the binary alone, restore on a new Home Assistant's first page."""
    printed = await gone.laptop.follow(LAPTOP, gone.encrypted_id)
    assert "Locked, before the fire" in printed
    async with HomeAssistant(system.ha.version, is_new=True) as second:
        assert not (second.config / "proof.txt").exists()
        tar = gone.laptop.folder / "backup.tar"
        await second.backups.restore_at_first_page(tar, gone.encrypted_id, PASSWORD)
        await second.come_back_from_restore(gone.port)
        await assert_first_system_is_back(second, gone)


async def test_the_bucket_restores_another_system(system: Home, gone: Gone) -> None:
    """A restore directly from the location needs only the agent and the password."""
    async with HomeAssistant(system.ha.version) as second:
        await second.add_agent(system.agent.address)
        await second.backups.wait_for_agents(2)
        assert not (second.config / "proof.txt").exists()
        await second.backups.restore(
            gone.encrypted_id, system.agent_id(system.cellar), password=PASSWORD
        )
        await second.come_back_from_restore(gone.port)
        await assert_first_system_is_back(second, gone)


async def test_lost_metadata_comes_back(system: Home, gone: Gone) -> None:
    """docs/guides/disaster-recovery.md: orphaned tars are recovered and listed again, complete."""
    bucket, client = system.cellar.bucket, system.garage.client()
    for key in system.garage.bucket_keys(bucket):
        if key.endswith(".metadata.json"):
            await asyncio.to_thread(client.delete_object, Bucket=bucket, Key=key)
    async with a_year_later(system.garage.endpoint) as endpoint:
        printed = await gone.laptop.follow("The list is empty", endpoint=endpoint)
    assert gone.plain_id in printed.split("list home")[-1]
    for backup_id in (gone.plain_id, gone.encrypted_id):
        await gone.laptop.follow("Is it intact?", backup_id)
