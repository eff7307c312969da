"""Home Assistant encrypts or decrypts while it sends, and what it reads ends in the middle.

Its worker then ends the stream as if it were complete, so that only the number of bytes and the tar itself tell.
Source: `_CipherBackupStreamer` and `encrypt_backup` in `homeassistant/components/backup/util.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import os
from pathlib import Path

from lab.agent import Location
from lab.backups import LOCAL, Outcome
import pytest

from .events import call_when_storing
from .home import MIB, Home, Log

SIZE = 256 * MIB
PASSWORD = "Hinter den Linden 8"


@pytest.fixture
async def unlike(home: Home, request: pytest.FixtureRequest) -> AsyncIterator[Location]:
    """Configure one encrypted and one plain location; return the cellar."""
    is_encrypted_away: bool = request.param
    agent_id = home.agent_id(home.cellar)
    protected = {LOCAL: not is_encrypted_away, agent_id: is_encrypted_away}
    await home.ha.socket.call(
        "backup/config/update",
        agents={id_: {"protected": value} for id_, value in protected.items()},
    )
    yield home.cellar
    for tar in local_tars(home):
        tar.unlink()
    await home.ha.socket.call(
        "backup/config/update",
        agents={id_: {"protected": True} for id_ in protected},
    )


async def cut_while_sending(home: Home, location: Location, name: str) -> Outcome:
    """Create a backup, and truncate the tar at home once the bucket has some of it."""

    async def cut() -> None:
        (tar,) = local_tars(home)
        os.truncate(tar, tar.stat().st_size // 2)

    called = asyncio.create_task(call_when_storing(home.agent, location.id, cut, 1))
    try:
        outcome = await home.ha.backups.create(
            [LOCAL, home.agent_id(location)], name=name, password=PASSWORD
        )
        await asyncio.wait_for(called, 10)
    finally:
        called.cancel()
    return outcome


def local_tars(home: Home) -> list[Path]:
    """Return the local backups."""
    return list((home.ha.config / "backups").glob("*.tar"))


@pytest.mark.parametrize("unlike", [True, False], indirect=True)
async def test_truncated_cipher_stream_makes_no_backup(
    home: Home, unlike: Location
) -> None:
    """The upload fails with an error, and the bucket keeps nothing of it."""
    # Home Assistant caches its local list, and cannot read a truncated tar.
    await home.ha.backups.info()
    log = Log(home.ha.folder / "homeassistant.log")
    agent_id = home.agent_id(unlike)
    with home.files("ballast", SIZE):
        outcome = await cut_while_sending(home, unlike, "Cut on its way")
    text = log.new_text()
    assert "crypting backup: " in text, "the test would prove nothing"
    assert (outcome.state, outcome.reason) == ("failed", "upload_failed")
    failures = [
        line for line in text.splitlines() if f"Upload failed for {agent_id}" in line
    ]
    assert len(failures) == 1
    assert "arrived incomplete" in failures[0]

    async with asyncio.timeout(10):  # the parts go in the background
        while home.garage.unfinished_uploads(unlike.bucket):
            await asyncio.sleep(0.2)
    home.assert_nothing_left(unlike)
    listed = await home.agent.get(f"/v1/locations/{unlike.id}/backups?refresh=true")
    assert (listed["backups"], listed["skipped"]) == ([], [])
    assert outcome.backup_id is not None
    found = await home.ha.backups.find(outcome.backup_id)
    assert found["agents"].keys() == {LOCAL}
    assert found["failed_agent_ids"] == [agent_id]
    assert await home.ha.backups.delete(outcome.backup_id) == {}
    assert local_tars(home) == []
