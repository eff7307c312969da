"""Recovery from restarts, without user interaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
import contextlib
import re
import signal
import time
from typing import Any

import aiohttp
from lab.homeassistant import DOMAIN
import pytest

from .events import back_up_until, call_when_storing
from .home import MIB, Home, Log

PANEL_LIMIT_S = 25
HALFWAY = 256 * MIB
STOP_LIMIT_S = 30
RESUMED = re.compile(r"resumed_bytes=(\d+)")


@pytest.mark.heavy
async def test_upload_resumes_after_agent_kill(
    home: Home, figure: Callable[[str], None]
) -> None:
    """Killed in the middle of 1 GiB and restarted: the backup is complete, and sent only once."""
    log = Log(home.agent.log_path)

    async def die() -> None:
        await home.agent.kill()
        await asyncio.sleep(2)
        await home.agent.start()

    with home.files("ballast", 1024 * MIB):
        outcome = await back_up_until(
            home, home.cellar, die, "Reborn", at_bytes=HALFWAY
        )
    assert (outcome.state, outcome.reason) == ("completed", None)
    assert outcome.backup_id is not None
    stored = home.stored(home.cellar, outcome.backup_id)
    assert stored.metadata["s3_backup_agent"]["sha256"] == stored.sha256
    assert home.garage.unfinished_uploads(home.cellar.bucket) == []
    resumed = [int(size) for size in RESUMED.findall(log.new_text())]
    assert resumed[-1] >= HALFWAY // 2
    figure(
        f"{home.ha.version}, agent killed during 1 GiB: {resumed[-1] / MIB:.0f} MiB not sent again"
    )
    assert await home.ha.backups.delete(outcome.backup_id) == {}
    home.assert_nothing_left(home.cellar)


async def test_panel_opens_while_the_bucket_hangs(home: Home) -> None:
    """The S3 server hangs during a list: the panel opens in time, with a stale list."""
    backup_id, _ = await home.back_up(home.attic, name="Remembered")
    assert await home.ha.backups.find(backup_id)
    server = home.garage.process
    server.signal(signal.SIGSTOP)
    try:
        refreshing = asyncio.create_task(_refresh(home))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        listed = await home.ha.backups.info()
        took = time.monotonic() - began
    finally:
        server.signal(signal.SIGCONT)
    await refreshing
    assert took < PANEL_LIMIT_S
    assert backup_id in {backup["backup_id"] for backup in listed["backups"]}
    assert await home.ha.backups.delete(backup_id) == {}
    home.assert_nothing_left(home.attic)


async def test_home_assistant_comes_back_without_a_click(home: Home) -> None:
    """After a restart, locations, backups and states are the same, without a question."""
    backup_id, _ = await home.back_up(home.cellar, name="Before the restart")
    agents = await home.ha.backups.agents()
    before = await _states(home, "cellar")
    assert before["sensor.cellar_status"] == "ok"
    assert before["sensor.cellar_backups"] == "1"
    await home.ha.stop()
    await home.ha.start()
    await home.ha.sign_in()
    await home.ha.backups.wait_for_agents(2)
    assert await home.ha.backups.agents() == agents
    assert await home.ha.backups.find(backup_id)
    async with asyncio.timeout(30):
        while await _states(home, "cellar") != before:
            await asyncio.sleep(0.2)
    flows = await home.ha.socket.call("config_entries/flow/progress")
    assert not [flow for flow in flows if flow["handler"] == DOMAIN]
    assert await home.ha.backups.delete(backup_id) == {}
    home.assert_nothing_left(home.cellar)


@pytest.mark.parametrize("ending", ["killed", "stopped"])
async def test_home_assistant_ends_during_an_upload(home: Home, ending: str) -> None:
    """The backup is invisible afterwards, no upload is shown in progress, and the next backup succeeds."""
    storing = asyncio.Event()

    async def note() -> None:
        storing.set()

    agent_id = home.agent_id(home.cellar)
    noting = asyncio.create_task(call_when_storing(home.agent, "cellar", note, 1))
    with home.files("ballast", HALFWAY):
        making = asyncio.create_task(home.ha.backups.create([agent_id], name="Cut"))
        try:
            await asyncio.wait_for(storing.wait(), 60)
        finally:
            noting.cancel()
        began = time.monotonic()
        await (home.ha.kill() if ending == "killed" else home.ha.stop())
        assert time.monotonic() - began < STOP_LIMIT_S
        # No request is answered any more.
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
    await home.ha.start()
    await home.ha.sign_in()
    await home.ha.backups.wait_for_agents(2)
    async with asyncio.timeout(30):
        while (await _states(home, "cellar"))["sensor.cellar_upload_progress"] != (
            "unknown"
        ):
            await asyncio.sleep(0.2)
    names = {backup["name"] for backup in (await home.ha.backups.info())["backups"]}
    assert "Cut" not in names
    backup_id, _ = await home.back_up(home.cellar, name="After")
    assert await home.ha.backups.delete(backup_id) == {}
    assert home.keys(home.cellar) == []
    # Parts of the interrupted upload are kept for a day, for a resume; nothing of the other one is.
    unfinished = home.garage.unfinished_uploads(home.cellar.bucket)
    assert all("Cut" in key for key in unfinished)


async def _refresh(home: Home) -> None:
    """Make the agent list the bucket, with any result."""
    with contextlib.suppress(aiohttp.ClientError):
        await home.agent.get("/v1/locations/attic/backups?refresh=true")


async def _states(home: Home, location: str) -> dict[str, Any]:
    """Return the states of a location's sensors."""
    states = await home.ha.socket.call("get_states")
    return {
        state["entity_id"]: state["state"]
        for state in states
        if state["entity_id"].startswith(f"sensor.{location}_")
    }
