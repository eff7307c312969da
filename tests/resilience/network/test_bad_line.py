"""Backups over a line that is slow, loses packets, is cut, or forgets connections."""

import asyncio
import os
import time

import pytest

from .far_bucket import BUCKET, MIB, far_bucket

# A typical uplink, with the deep queue of a cheap router.
LINE = {"rtt_ms": 40, "mbit": 20, "queue_bytes": 250_000}
# The kernel gives up a connection after half a minute; a new one needs ten seconds.
OUTAGE_S = int(os.environ.get("S3_BACKUP_AGENT_TEST_OUTAGE_SECONDS", "55"))
BACKUP_ID = "5a1c0de5"


async def test_backups_survive_packet_loss() -> None:
    """Two of a hundred packets are lost, in each direction."""
    async with far_bucket(**LINE, loss_percent=2) as far:
        sha256 = await far.upload(BACKUP_ID, 24 * MIB)
        far.holds(sha256, BACKUP_ID)
        assert await far.listed() == [BACKUP_ID]
        assert await far.download(BACKUP_ID) == sha256
    assert far.link.counters["near_to_far"]["dropped_segments"] > 100


async def test_addresses_that_swallow_packets_are_passed() -> None:
    """The name has two addresses of a dead host before the server's own; transfers and checks try the next one soon."""
    dead = ["198.18.0.9", "198.18.0.10"]
    async with far_bucket(dead, **LINE) as far:
        report = await far.check()
        assert report["ok"], report
        sha256 = await far.upload(BACKUP_ID, 8 * MIB)
        far.holds(sha256, BACKUP_ID)
        assert await far.download(BACKUP_ID) == sha256
        waits = {step["step"]: step["duration_ms"] for step in report["steps"]}
        # The next address is tried after 250 ms; the kernel would give up after two minutes, a step after 20 seconds.
        assert 2 * 250 <= waits["connect"] < 15_000, report


@pytest.mark.timeout(300 + OUTAGE_S)
async def test_upload_survives_a_cut_line() -> None:
    """Neither end notices the cut. The upload waits, shows it, and resumes; stored parts are not sent again."""
    size = 48 * MIB
    async with far_bucket(**LINE) as far:
        uploading = asyncio.create_task(far.upload(BACKUP_ID, size))
        await far.until(lambda upload: upload["stored_bytes"] >= 16 * MIB, 60)
        far.link.toggle_cut()
        cut_at = time.monotonic()
        shown = await far.until(lambda upload: upload["waiting"], OUTAGE_S)
        assert shown["waiting"]["code"] in {"storage_timeout", "storage_unreachable"}
        assert shown["state"] == "receiving"
        assert await far.status() == "error"
        await asyncio.sleep(cut_at + OUTAGE_S - time.monotonic())
        assert not uploading.done()
        far.link.toggle_cut()
        far.holds(await uploading, BACKUP_ID)
        assert await far.status() == "ok"
    # Four parts were in flight at the cut.
    assert far.link.counters["near_to_far"]["wire_bytes"] < size * 1.1 + 4 * 8 * MIB


async def test_backups_survive_a_forgetful_router() -> None:
    """All connections are dead without notice, used and idle ones: new ones are opened."""
    async with far_bucket(**LINE) as far:
        uploading = asyncio.create_task(far.upload(BACKUP_ID, 40 * MIB))
        await far.until(lambda upload: upload["stored_bytes"] >= 16 * MIB, 60)
        far.link.forget()
        sha256 = await uploading
        far.holds(sha256, BACKUP_ID)

        # A list meets a dead connection, and is retried on a new one.
        far.link.forget()
        assert await far.listed() == [BACKUP_ID]

        forgotten = False

        def forget(received: int) -> None:
            nonlocal forgotten
            if received > 16 * MIB and not forgotten:
                forgotten = True
                far.link.forget()

        assert await far.download(BACKUP_ID, at=forget) == sha256
        assert forgotten
        assert far.garage.bucket_objects(BUCKET)
