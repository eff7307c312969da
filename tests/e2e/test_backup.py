"""Upload, listing, download and deletion from Home Assistant."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import tarfile
from typing import Any

from lab.backups import LOCAL
from lab.process import LabError
from lab.websocket import CallError
import pytest

from .home import MIB, Home, members, sha256_of

AGENT_LIMIT = 96 * MIB
# Limit of Home Assistant's growth, its own creation of the backup included.
HOME_ASSISTANT_LIMIT = 16 * MIB
PASSWORD = "Ünter den Linden 7"


async def test_the_locations_are_in_the_picker(home: Home) -> None:
    """Each location is a backup location of Home Assistant, under its own name."""
    agents = await home.ha.backups.agents()
    assert agents.keys() >= {home.agent_id(home.cellar), home.agent_id(home.attic)}
    assert agents[home.agent_id(home.cellar)] == "Cellar"
    assert agents[home.agent_id(home.attic)] == "Attic"


async def test_a_backup_goes_to_the_bucket_and_comes_back(
    home: Home, folder: Path
) -> None:
    """Create, find in bucket and panel, download byte for byte, delete."""
    (home.ha.config / "proof.txt").write_text("It is here.")
    backup_id, outcome = await home.back_up(home.cellar, name="Round trip #1 / ü")
    agent_id = home.agent_id(home.cellar)

    stored = home.stored(home.cellar, backup_id)
    assert home.keys(home.cellar) == sorted([stored.metadata_key, stored.tar_key])
    assert stored.tar_key.startswith("homeassistant/backups/")
    assert stored.metadata["size"] == stored.size
    assert stored.metadata["name"] == "Round trip #1 / ü"
    assert stored.metadata["protected"] is False
    assert stored.metadata["s3_backup_agent"]["size"] == stored.size
    assert stored.metadata["s3_backup_agent"]["sha256"] == stored.sha256
    if home.ha.shows_progress:
        assert outcome.uploaded_bytes(agent_id)[-1] == stored.size

    listed = await home.ha.backups.find(backup_id)
    assert listed["agents"] == {agent_id: {"protected": False, "size": stored.size}}
    assert listed["homeassistant_version"] == home.ha.version

    tar = folder / "back.tar"
    assert await home.ha.backups.download(backup_id, agent_id, tar) == stored.size
    assert sha256_of(tar) == stored.sha256
    assert "data/proof.txt" in members(tar)

    assert await home.ha.backups.delete(backup_id) == {}
    assert await home.ha.backups.find(backup_id) is None
    home.assert_nothing_left(home.cellar)


async def test_two_locations_get_the_same_backup(home: Home) -> None:
    """Both buckets receive equal bytes, and a deletion empties both."""
    backup_id, _ = await home.back_up(home.cellar, home.attic, name="To both")
    first, second = (
        home.stored(home.cellar, backup_id),
        home.stored(home.attic, backup_id),
    )
    assert second.tar_key.startswith("backups/")
    assert (first.size, first.sha256) == (second.size, second.sha256)
    listed = await home.ha.backups.find(backup_id)
    assert listed["agents"].keys() == {
        home.agent_id(home.cellar),
        home.agent_id(home.attic),
    }
    assert listed["failed_agent_ids"] == []

    assert await home.ha.backups.delete(backup_id) == {}
    home.assert_nothing_left(home.cellar)
    home.assert_nothing_left(home.attic)


async def test_an_encrypted_backup_comes_back_decrypted(
    home: Home, folder: Path
) -> None:
    """With Home Assistant's encryption: unreadable in the bucket, readable with the password."""
    (home.ha.config / "secret.txt").write_text("A secret text.")
    backup_id, _ = await home.back_up(home.cellar, name="Encrypted", password=PASSWORD)
    agent_id = home.agent_id(home.cellar)
    stored = home.stored(home.cellar, backup_id)
    assert stored.metadata["protected"] is True
    assert stored.metadata["size"] == stored.size

    as_stored, decrypted = folder / "stored.tar", folder / "decrypted.tar"
    await home.ha.backups.download(backup_id, agent_id, as_stored)
    assert sha256_of(as_stored) == stored.sha256
    with pytest.raises(tarfile.ReadError):
        members(as_stored)
    await home.ha.backups.download(backup_id, agent_id, decrypted, password=PASSWORD)
    assert "data/secret.txt" in members(decrypted)

    check: dict[str, Any] = {"backup_id": backup_id, "agent_id": agent_id}
    await home.ha.socket.call(
        "backup/can_decrypt_on_download", password=PASSWORD, **check
    )
    with pytest.raises(CallError, match="password_incorrect"):
        await home.ha.socket.call(
            "backup/can_decrypt_on_download", password="wrong", **check
        )
    assert await home.ha.backups.delete(backup_id) == {}
    home.assert_nothing_left(home.cellar)


@pytest.mark.heavy
async def test_a_large_backup_stays_small_in_memory(
    home: Home, folder: Path, figure: Callable[[str], None]
) -> None:
    """A configuration folder of 1 GiB round-trips; the memory of agent and Home Assistant stays bounded."""
    # Memory that Home Assistant needs for any backup is in use by then.
    warm, _ = await home.back_up(home.cellar, name="Small")
    await home.ha.backups.download(
        warm, home.agent_id(home.cellar), folder / "small.tar"
    )
    assert await home.ha.backups.delete(warm) == {}
    home.ha.process.forget_peak()
    before = home.ha.process.rss_bytes()
    with home.files("large", 1024 * MIB) as files:
        backup_id, outcome = await home.back_up(home.cellar, name="Large")
        expected = {f"data/large/{file.name}" for file in files.iterdir()}
    uploaded = home.ha.process.peak_rss_bytes() - before
    agent_id = home.agent_id(home.cellar)
    stored = home.stored(home.cellar, backup_id)
    assert stored.size > 1024 * MIB
    assert stored.metadata["s3_backup_agent"]["sha256"] == stored.sha256
    if home.ha.shows_progress:
        reported = outcome.uploaded_bytes(agent_id)
        assert reported == sorted(reported)
        assert any(0 < size < stored.size for size in reported)

    tar = folder / "large.tar"
    assert await home.ha.backups.download(backup_id, agent_id, tar) == stored.size
    assert sha256_of(tar) == stored.sha256
    assert expected <= members(tar)
    tar.unlink()

    agent_peak = home.agent.process.peak_rss_bytes()
    grown = home.ha.process.peak_rss_bytes() - before
    figure(
        f"{home.ha.version}, 1 GiB: agent {agent_peak / MIB:.0f} MiB at most, "
        f"Home Assistant {before / MIB:.0f} MiB before, {uploaded / MIB:.1f} more while it made and sent the backup, "
        f"{grown / MIB:.1f} with the download"
    )
    assert agent_peak <= AGENT_LIMIT
    assert grown < HOME_ASSISTANT_LIMIT
    assert await home.ha.backups.delete(backup_id) == {}
    home.assert_nothing_left(home.cellar)


async def test_an_unknown_backup_is_not_found(home: Home, folder: Path) -> None:
    """Home Assistant receives "not found" rather than an error."""
    with pytest.raises(LabError, match="404"):
        await home.ha.backups.download(
            "0badc0de", home.agent_id(home.cellar), folder / "none.tar"
        )
    assert await home.ha.backups.delete("0badc0de") == {}


async def test_backup_encrypted_during_upload_restores(
    home: Home, folder: Path
) -> None:
    """Plain at home and encrypted in the bucket: Home Assistant encrypts during the upload."""
    await home.ha.socket.call(
        "backup/config/update", agents={LOCAL: {"protected": False}}
    )
    agent_id = home.agent_id(home.cellar)
    outcome = await home.ha.backups.create(
        [LOCAL, agent_id], name="On its way", password=PASSWORD
    )
    assert outcome.state == "completed"
    assert outcome.backup_id is not None
    stored = home.stored(home.cellar, outcome.backup_id)
    assert stored.metadata["protected"] is True
    assert stored.metadata["size"] == stored.size
    listed = await home.ha.backups.find(outcome.backup_id)
    assert listed["agents"][LOCAL]["protected"] is False
    assert listed["agents"][agent_id] == {"protected": True, "size": stored.size}

    at_home, decrypted = folder / "local.tar", folder / "decrypted.tar"
    await home.ha.backups.download(outcome.backup_id, LOCAL, at_home)
    await home.ha.backups.download(
        outcome.backup_id, agent_id, decrypted, password=PASSWORD
    )
    assert members(decrypted) == members(at_home)
    assert await home.ha.backups.delete(outcome.backup_id) == {}
    home.assert_nothing_left(home.cellar)


async def test_backup_decrypted_during_upload_restores(
    home: Home, folder: Path
) -> None:
    """Encrypted at home and plain in the bucket: Home Assistant decrypts during the upload."""
    agent_id = home.agent_id(home.cellar)
    await home.ha.socket.call(
        "backup/config/update", agents={agent_id: {"protected": False}}
    )
    try:
        backup_id, _ = await home.back_up(
            home.cellar, home.attic, name="Plain and not", password=PASSWORD
        )
    finally:
        await home.ha.socket.call(
            "backup/config/update", agents={agent_id: {"protected": True}}
        )
    plain, encrypted = (
        home.stored(home.cellar, backup_id),
        home.stored(home.attic, backup_id),
    )
    assert (plain.metadata["protected"], encrypted.metadata["protected"]) == (
        False,
        True,
    )
    assert (plain.metadata["size"], encrypted.metadata["size"]) == (
        plain.size,
        encrypted.size,
    )
    tar = folder / "plain.tar"
    await home.ha.backups.download(backup_id, agent_id, tar)
    assert "data/configuration.yaml" in members(tar)
    assert await home.ha.backups.delete(backup_id) == {}
    home.assert_nothing_left(home.cellar)
    home.assert_nothing_left(home.attic)


async def test_backups_of_another_writer_work(home: Home, folder: Path) -> None:
    """A backup of another tool, under a name that only S3 allows, works like ours."""
    backup_id, _ = await home.back_up(home.cellar, name="Original")
    stored = home.stored(home.cellar, backup_id)
    foreign_key = home.cellar.key('a/b_#1 + 100% [x] "q" ü 🎒.tar')
    metadata = {
        name: value
        for name, value in stored.metadata.items()
        if name != "s3_backup_agent"
    }
    client, bucket = home.garage.client(), home.cellar.bucket
    client.copy_object(
        Bucket=bucket,
        Key=foreign_key,
        CopySource={"Bucket": bucket, "Key": stored.tar_key},
    )
    client.put_object(
        Bucket=bucket,
        Key=foreign_key[:-4] + ".metadata.json",
        Body=json.dumps(metadata).encode(),
    )
    client.delete_object(Bucket=bucket, Key=stored.tar_key)
    client.delete_object(Bucket=bucket, Key=stored.metadata_key)
    await home.agent.get("/v1/locations/cellar/backups?refresh=true")

    agent_id = home.agent_id(home.cellar)
    listed = await home.ha.backups.find(backup_id)
    assert listed["agents"] == {agent_id: {"protected": False, "size": stored.size}}
    tar = folder / "foreign.tar"
    assert await home.ha.backups.download(backup_id, agent_id, tar) == stored.size
    assert sha256_of(tar) == stored.sha256
    assert await home.ha.backups.delete(backup_id) == {}
    home.assert_nothing_left(home.cellar)
