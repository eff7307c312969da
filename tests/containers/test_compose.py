"""The three containers of docker/compose.yaml: one command sets up the location."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
import contextlib
import os
from pathlib import Path
import re
import shutil
import stat
import time

from e2e.events import call_when_storing
from e2e.home import members, sha256_of, stored
from lab.backups import Outcome
from lab.compose import Composed
from lab.docker import docker, image, inspect, outside
import pytest

MIB = 1 << 20
CHUNK = 4 * MIB
LARGE, MIDDLE = 160 * MIB, 40 * MIB
STOP_LIMIT_S = 10
AGENT, BUCKET = "s3_backup_agent.garage", "ha-backups"
RESUMED = re.compile(r"resumed_bytes=(\d+)")


@pytest.fixture(scope="module")
async def composed() -> AsyncIterator[Composed]:
    """Start the containers."""
    async with Composed() as composed:
        await composed.ha.backups.wait_for_agents(1)
        yield composed


@pytest.fixture(autouse=True)
async def logs(request: pytest.FixtureRequest, composed: Composed) -> AsyncIterator[None]:  # fmt: skip
    """Keep the containers' logs of a failed test."""
    yield
    request.node.add_report_section("teardown", "containers", await composed.log())


@contextlib.contextmanager
def large_files(composed: Composed) -> Iterator[None]:
    """Add random files to Home Assistant's configuration folder, temporarily."""
    folder = composed.ha.config / "large"
    folder.mkdir()
    try:
        for number in range(LARGE // CHUNK):
            (folder / f"{number:04}.bin").write_bytes(os.urandom(CHUNK))
        yield
    finally:
        shutil.rmtree(folder)


async def back_up_while(
    composed: Composed, name: str, then: Callable[[], Awaitable[None]]
) -> Outcome:
    """Create a large backup, and act in the middle of its upload."""
    happens = asyncio.create_task(call_when_storing(composed, "garage", then, MIDDLE))
    try:
        with large_files(composed):
            outcome = await composed.ha.backups.create([AGENT], name=name)
        await asyncio.wait_for(happens, 10)
    finally:
        happens.cancel()
    return outcome


async def assert_whole_and_resumed(composed: Composed, outcome: Outcome) -> int:
    """Assert that an interrupted backup is complete; return the number of bytes not sent again."""
    assert (outcome.state, outcome.reason) == ("completed", None)
    assert outcome.backup_id is not None
    found = stored(composed.garage, BUCKET, outcome.backup_id)
    assert found.size > LARGE
    assert found.metadata["s3_backup_agent"]["sha256"] == found.sha256
    assert composed.garage.unfinished_uploads(BUCKET) == []
    resumed = [int(size) for size in RESUMED.findall(await composed.log())]
    assert resumed[-1] >= MIDDLE // 2
    assert await composed.ha.backups.delete(outcome.backup_id) == {}
    assert composed.garage.bucket_keys(BUCKET) == []
    return resumed[-1]


async def test_location_is_in_the_picker_after_one_command(composed: Composed) -> None:
    """Home Assistant asks only for its user; every container is healthy and hardened."""
    assert (await composed.ha.backups.agents())[AGENT] == "Garage"
    for service in ("agent", "garage"):
        state = (await composed.container(service))["State"]
        assert state["Health"]["Status"] == "healthy", service
    host = (await composed.container("agent"))["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    mode = stat.S_IMODE((composed.docker / ".env").stat().st_mode)
    assert mode == 0o600


async def test_a_backup_goes_to_the_bucket_and_comes_back(
    composed: Composed, tmp_path: Path
) -> None:
    """Create in Home Assistant, find in the bucket, download byte for byte, delete."""
    (composed.ha.config / "proof.txt").write_text("It is here.")
    backups = composed.ha.backups
    outcome = await backups.create([AGENT], name="From container to container")
    assert (outcome.state, outcome.reason) == ("completed", None)
    assert outcome.backup_id is not None
    found = stored(composed.garage, BUCKET, outcome.backup_id)
    assert found.metadata["s3_backup_agent"]["sha256"] == found.sha256
    listed = await backups.find(outcome.backup_id)
    assert listed["agents"] == {AGENT: {"protected": False, "size": found.size}}
    tar = tmp_path / "back.tar"
    assert await backups.download(outcome.backup_id, AGENT, tar) == found.size
    assert sha256_of(tar) == found.sha256
    assert "data/proof.txt" in members(tar)
    assert await backups.delete(outcome.backup_id) == {}
    assert composed.garage.bucket_keys(BUCKET) == []


@pytest.fixture
async def next_image() -> AsyncIterator[str]:
    """Build another image with the same agent."""
    name = f"{image()}-next"
    await outside("sh", "-euc", f'echo "FROM {image()}" | docker build --quiet --label next=1 --tag {name} -')  # fmt: skip
    yield name
    await docker("image", "rm", "--force", name)


async def test_upgrade_in_the_middle_of_an_upload(
    composed: Composed, next_image: str, figure: Callable[[str], None]
) -> None:
    """A new container replaces the old one during an upload: the backup is complete, and sent once."""
    before = await composed.container("agent")

    async def upgrade() -> None:
        await composed.upgrade(next_image)

    outcome = await back_up_while(composed, "Upgraded", upgrade)
    after = await composed.container("agent")
    assert after["Id"] != before["Id"]
    assert after["Image"] == (await inspect(next_image))["Id"] != before["Image"]
    resumed = await assert_whole_and_resumed(composed, outcome)
    figure(f"agent upgraded during {LARGE / MIB:.0f} MiB: {resumed / MIB:.0f} MiB not sent again")  # fmt: skip


async def test_stopped_in_the_middle_of_an_upload(
    composed: Composed, figure: Callable[[str], None]
) -> None:
    """SIGTERM ends it in time with exit code 0, and the upload resumes after its return."""
    name = (await composed.container("agent"))["Id"]
    took = 0.0

    async def stop_and_start() -> None:
        nonlocal took
        began = time.monotonic()
        await docker("stop", "--time=15", name)
        took = time.monotonic() - began
        state = (await inspect(name))["State"]
        assert (state["Running"], state["ExitCode"]) == (False, 0)
        assert took < STOP_LIMIT_S
        await docker("start", name)

    outcome = await back_up_while(composed, "Stopped", stop_and_start)
    resumed = await assert_whole_and_resumed(composed, outcome)
    figure(f"agent stopped during {LARGE / MIB:.0f} MiB: ended with 0 after {took:.1f} s, {resumed / MIB:.0f} MiB not sent again")  # fmt: skip
