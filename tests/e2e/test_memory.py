"""The agent's memory is independent of the size of transfers and lists."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
import hashlib
import json
import os
import tarfile
from typing import Any
import zlib

from lab.agent import Agent, Location
from lab.garage import Garage
import pytest

from .home import MIB

TRANSFER_LIMIT = 96 * MIB
LIST_LIMIT = 128 * MIB
TRANSFER_SIZE = 4 << 30
BACKUPS = 10_000
WRITERS = 16


def agent_backup(backup_id: str, size: int) -> dict[str, Any]:
    """Return a backup in Home Assistant's form; two KiB, as with a dozen apps."""
    return {
        "addons": [
            {
                "name": f"An app with the number {n}",
                "slug": f"0123abcd_app_number_{n}",
                "version": f"1.{n}.0",
            }
            for n in range(16)
        ],
        "backup_id": backup_id,
        "date": "2026-11-20T03:04:05.678901+01:00",
        "database_included": True,
        "extra_metadata": {
            "instance_id": "5f0c7e8c2f4f4a0e9f5f",
            "with_automatic_settings": True,
        },
        "folders": ["media", "share", "ssl"],
        "homeassistant_included": True,
        "homeassistant_version": "2026.11.0",
        "name": f"Automatic backup {backup_id}",
        "protected": False,
        "size": size,
    }


class LargeTar:
    """A backup's tar, generated while it is sent, without equal mebibytes."""

    def __init__(self, backup_id: str, size: int) -> None:
        """Combine `size` random bytes with a backup.json."""
        self._size = size
        self._head = self._entry(
            "./backup.json",
            json.dumps({"slug": backup_id, "name": "Large", "date": "x"}),
        )
        self._head += self._header("./homeassistant.tar.gz", size)
        self._noise = os.urandom(MIB)
        self.size = len(self._head) + size + 2 * tarfile.BLOCKSIZE
        self.crc32, self._sha256 = 0, hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Return the hash of the sent bytes."""
        return self._sha256.hexdigest()

    async def stream(self) -> AsyncIterator[bytes]:
        """Send the tar, and count it."""
        for chunk in self._chunks():
            self.crc32 = zlib.crc32(chunk, self.crc32)
            self._sha256.update(chunk)
            yield chunk

    def _chunks(self) -> Iterator[bytes]:
        yield self._head
        for number in range(self._size // MIB):
            yield number.to_bytes(8) + self._noise[8:]
        yield bytes(2 * tarfile.BLOCKSIZE)

    @classmethod
    def _entry(cls, name: str, text: str) -> bytes:
        data = text.encode()
        return (
            cls._header(name, len(data)) + data + bytes(-len(data) % tarfile.BLOCKSIZE)
        )

    @staticmethod
    def _header(name: str, size: int) -> bytes:
        member = tarfile.TarInfo(name)
        member.size = size
        return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.heavy
async def test_four_gibibytes_go_up_and_down_in_little_memory(
    garage: Garage, figure: Callable[[str], None]
) -> None:
    """4 GiB up and down: at most 96 MiB of resident memory, and every byte correct."""
    location = Location.on(garage, await garage.create_bucket("large"))
    tar = LargeTar("1a46e01d", TRANSFER_SIZE)
    async with Agent([location]) as agent, agent.client() as client:
        uploads = f"/v1/locations/{location.id}/uploads"
        body = {"backup": agent_backup("1a46e01d", tar.size), "filename": "Large.tar"}
        async with client.post(uploads, json=body, raise_for_status=True) as answer:
            upload_id = (await answer.json())["upload_id"]
        async with client.put(
            f"/v1/uploads/{upload_id}/content", data=tar.stream()
        ) as answer:
            arrived = await answer.json()
        assert arrived == {
            "size": tar.size,
            "crc32": f"{tar.crc32:08x}",
            "sha256": tar.sha256,
        }
        ours = {"size": tar.size, "crc32": f"{tar.crc32:08x}"}
        async with client.post(
            f"/v1/uploads/{upload_id}/complete", json=ours, raise_for_status=True
        ) as answer:
            assert (await answer.json())["s3_backup_agent"]["sha256"] == tar.sha256
        uploaded = agent.process.peak_rss_bytes()

        digest = hashlib.sha256()
        backup = f"/v1/locations/{location.id}/backups/1a46e01d"
        async with client.get(f"{backup}/content", raise_for_status=True) as answer:
            assert answer.content_length == tar.size
            async for chunk in answer.content.iter_chunked(MIB):
                digest.update(chunk)
        assert digest.hexdigest() == tar.sha256
        downloaded = agent.process.peak_rss_bytes()
        async with client.delete(backup, raise_for_status=True):
            pass
    figure(
        f"4 GiB: agent {uploaded / MIB:.0f} MiB at most after the upload, {downloaded / MIB:.0f} after the download"
    )
    assert max(uploaded, downloaded) <= TRANSFER_LIMIT
    assert garage.bucket_keys(location.bucket) == []
    assert garage.unfinished_uploads(location.bucket) == []


def write_backups(garage: Garage, location: Location, count: int) -> None:
    """Write backups like another tool: a metadata object and a tiny tar each."""
    client = garage.client(max_pool_connections=WRITERS)

    def write(number: int) -> None:
        stem = location.key(f"Automatic_backup_2026.11_{number:05}")
        metadata = json.dumps(agent_backup(f"{number:08x}", 1)).encode()
        client.put_object(Bucket=location.bucket, Key=f"{stem}.tar", Body=b"-")
        client.put_object(
            Bucket=location.bucket, Key=f"{stem}.metadata.json", Body=metadata
        )

    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in pool.map(write, range(count)):
            pass


@pytest.mark.heavy
async def test_ten_thousand_backups_are_listed_in_little_memory(
    garage: Garage, figure: Callable[[str], None]
) -> None:
    """10,000 backups are listed within 20 seconds, with at most 128 MiB of resident memory."""
    location = Location.on(garage, await garage.create_bucket("many"))
    write_backups(garage, location, BACKUPS)
    async with Agent([location]) as agent:
        listing = await agent.get(f"/v1/locations/{location.id}/backups")
        once = agent.process.peak_rss_bytes()
        assert {backup["backup_id"] for backup in listing["backups"]} == {
            f"{n:08x}" for n in range(BACKUPS)
        }
        assert listing["skipped"] == []
        again = await agent.get(f"/v1/locations/{location.id}/backups?refresh=true")
        assert len(again["backups"]) == BACKUPS
        peak = agent.process.peak_rss_bytes()
    figure(
        f"{BACKUPS} backups: agent {once / MIB:.0f} MiB at most after one listing, {peak / MIB:.0f} after a refresh"
    )
    assert peak <= LIST_LIMIT
