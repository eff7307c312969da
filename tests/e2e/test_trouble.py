"""Failures as shown in Home Assistant, and their traces in the bucket."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import aiohttp
from lab.process import LabError
import pytest

from .events import back_up_until, wait_until_listed
from .home import MIB, Home, Log, sha256_of

SIZE = 256 * MIB


@pytest.fixture
async def log(home: Home) -> Log:
    """Follow Home Assistant's log during the test."""
    return Log(home.ha.folder / "homeassistant.log")


async def test_upload_survives_an_outage(home: Home) -> None:
    """The S3 server dies in the middle of an upload and returns: the backup is complete."""

    async def outage() -> None:
        await home.garage.kill()
        # The agent tells of an outage once it lasts five seconds.
        await asyncio.sleep(8)
        await home.garage.start()

    log = Log(home.agent.log_path)
    with home.files("ballast", SIZE):
        outcome = await back_up_until(home, home.cellar, outage, "Outage")
    told = log.new_text()
    assert "retrying for up to" in told
    assert "is reachable again after" in told
    assert (outcome.state, outcome.reason) == ("completed", None)
    assert outcome.backup_id is not None
    stored = home.stored(home.cellar, outcome.backup_id)
    assert stored.metadata["s3_backup_agent"]["sha256"] == stored.sha256
    assert await home.ha.backups.delete(outcome.backup_id) == {}
    home.assert_nothing_left(home.cellar)


async def test_upload_fails_cleanly_after_a_permanent_outage(
    home: Home, log: Log
) -> None:
    """The S3 server dies for good: a clear error, and no partial backup."""
    with home.files("ballast", SIZE):
        outcome = await back_up_until(home, home.attic, home.garage.kill, "Dead server")
    await home.garage.start()
    assert (outcome.state, outcome.reason) == ("failed", "upload_failed")
    failure = [
        line
        for line in log.new_text().splitlines()
        if "Upload failed for s3_backup_agent.attic" in line
    ]
    assert len(failure) == 1
    assert home.attic.bucket in failure[0]
    assert "Check the port" in failure[0]
    await home.agent.get("/v1/locations/attic/backups?refresh=true")
    assert home.keys(home.attic) == []
    async with asyncio.timeout(10):  # the agent aborts the upload as soon as it can
        while home.garage.unfinished_uploads(home.attic.bucket):
            await asyncio.sleep(0.2)
    listed = (await home.ha.backups.info())["backups"]
    assert "Dead server" not in {backup["name"] for backup in listed}


async def test_failed_location_does_not_affect_the_other(home: Home) -> None:
    """One of two buckets is lost: the other has the backup, and the panel names the failed location."""
    client = home.garage.client()
    client.delete_bucket(Bucket=home.attic.bucket)
    try:
        outcome = await home.ha.backups.create(
            [home.agent_id(home.cellar), home.agent_id(home.attic)], name="One of two"
        )
    finally:
        await home.garage.create_bucket(home.attic.bucket)
    assert (outcome.state, outcome.reason) == ("failed", "upload_failed")
    assert outcome.backup_id is not None
    listed = await home.ha.backups.find(outcome.backup_id)
    assert listed["agents"].keys() == {home.agent_id(home.cellar)}
    assert listed["failed_agent_ids"] == [home.agent_id(home.attic)]
    assert await home.ha.backups.delete(outcome.backup_id) == {}
    home.assert_nothing_left(home.cellar)
    home.assert_nothing_left(home.attic)


async def test_panel_shows_an_unreachable_agent(home: Home) -> None:
    """Without the agent, the panel shows one error for all its locations, until the agent returns."""
    await home.agent.stop()
    errors = (await home.ha.backups.info())["agent_errors"]
    assert len(errors) == 1
    assert errors.keys() < {home.agent_id(home.cellar), home.agent_id(home.attic)}
    await home.agent.start()
    await wait_until_listed(home)


async def test_stale_list_is_shown_during_an_outage(home: Home) -> None:
    """During an outage, the panel shows the last list."""
    backup_id, _ = await home.back_up(home.attic, name="Remembered")
    assert await home.ha.backups.find(backup_id)
    await home.garage.stop()
    try:
        listing = await home.agent.get("/v1/locations/attic/backups?refresh=true")
        assert listing["stale"] is True
        assert listing["error"]["code"] == "storage_unreachable"
        assert await home.ha.backups.find(backup_id)
    finally:
        await home.garage.start()
    assert await home.ha.backups.delete(backup_id) == {}
    home.assert_nothing_left(home.attic)


async def test_a_damaged_backup_breaks_the_download(home: Home, folder: Path) -> None:
    """Changed bytes in the bucket never arrive as a complete file."""
    backup_id, _ = await home.back_up(home.cellar, name="Damaged")
    stored = home.stored(home.cellar, backup_id)
    client = home.garage.client()
    whole = client.get_object(Bucket=home.cellar.bucket, Key=stored.tar_key)[
        "Body"
    ].read()
    damaged = whole[:-2000] + bytes([whole[-2000] ^ 1]) + whole[-1999:]
    assert len(damaged) == stored.size
    assert hashlib.sha256(damaged).hexdigest() != stored.sha256
    client.put_object(Bucket=home.cellar.bucket, Key=stored.tar_key, Body=damaged)
    with pytest.raises((aiohttp.ClientPayloadError, LabError)):
        await home.ha.backups.download(
            backup_id, home.agent_id(home.cellar), folder / "damaged.tar"
        )
    assert await home.ha.backups.delete(backup_id) == {}
    home.assert_nothing_left(home.cellar)


async def test_download_survives_an_outage(home: Home, folder: Path) -> None:
    """The S3 server dies in the middle of a download and returns: the file is complete."""
    with home.files("ballast", SIZE):
        backup_id, _ = await home.back_up(home.cellar, name="Outage while downloading")
    stored = home.stored(home.cellar, backup_id)
    tar = folder / "outage.tar"
    downloading = asyncio.create_task(
        home.ha.backups.download(backup_id, home.agent_id(home.cellar), tar)
    )
    while not (tar.exists() and tar.stat().st_size > 0):
        await asyncio.sleep(0.001)
    await home.garage.kill()
    begun = tar.stat().st_size
    await asyncio.sleep(2)
    await home.garage.start()
    assert begun < stored.size
    assert await downloading == stored.size
    assert sha256_of(tar) == stored.sha256
    assert await home.ha.backups.delete(backup_id) == {}
    home.assert_nothing_left(home.cellar)
