"""A Home Assistant with agent and bucket, and views of them."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path
import re
import shutil
import tarfile
from typing import Any

from lab.agent import Agent, Location
from lab.backups import Outcome
from lab.garage import Garage
from lab.homeassistant import HomeAssistant

MIB = 1 << 20
CHUNK = 4 * MIB

# Log entries about a faulty integration: unexpected exception types, a blocked event loop, and our own
# errors, all of which are bugs. The agent's records use another logger.
_BUG = re.compile(
    r"Unexpected error for s3_backup|blocking call.*s3_backup_agent|ERROR .*\[custom_components\.s3_backup_agent(?!\.agent\])"
)


def bugs(log: str) -> list[str]:
    """Return the bug reports in a log of Home Assistant."""
    return [line for line in log.splitlines() if _BUG.search(line)]


@dataclass(frozen=True)
class Stored:
    """A backup as stored in the bucket."""

    tar_key: str
    metadata_key: str
    metadata: dict[str, Any]
    size: int
    sha256: str


@dataclass(frozen=True)
class Home:
    """One Home Assistant, its agent with two locations, and their S3 server."""

    ha: HomeAssistant
    agent: Agent
    garage: Garage
    cellar: Location
    attic: Location

    @staticmethod
    def agent_id(location: Location) -> str:
        """Return the id of a location in Home Assistant."""
        return f"s3_backup_agent.{location.id}"

    async def back_up(
        self, *locations: Location, name: str, password: str | None = None
    ) -> tuple[str, Outcome]:
        """Create a backup, assert its success, and return its id."""
        agent_ids = [self.agent_id(location) for location in locations]
        outcome = await self.ha.backups.create(agent_ids, name=name, password=password)
        assert (outcome.state, outcome.reason) == ("completed", None)
        assert outcome.backup_id is not None
        return outcome.backup_id, outcome

    def keys(self, location: Location) -> list[str]:
        """Return every key in the location's bucket."""
        return self.garage.bucket_keys(location.bucket)

    def assert_nothing_left(self, location: Location) -> None:
        """Assert that the bucket holds neither objects nor unfinished uploads."""
        assert self.keys(location) == []
        assert self.garage.unfinished_uploads(location.bucket) == []

    async def clear(self) -> None:
        """Restart stopped parts and empty the buckets, to isolate tests."""
        for part in (self.garage, self.agent):
            if not part.is_running:
                await part.start()
        for location in (self.cellar, self.attic):
            self.garage.empty(location.bucket)
            await self.agent.get(f"/v1/locations/{location.id}/backups?refresh=true")

    def stored(self, location: Location, backup_id: str) -> Stored:
        """Read a backup from the bucket, without the agent."""
        return stored(self.garage, location.bucket, backup_id)

    @contextlib.contextmanager
    def files(self, name: str, size: int) -> Iterator[Path]:
        """Add random files of `size` bytes to the configuration folder, temporarily."""
        folder = self.ha.config / name
        folder.mkdir()
        try:
            for number in range(size // CHUNK):
                (folder / f"{number:04}.bin").write_bytes(os.urandom(CHUNK))
            yield folder
        finally:
            shutil.rmtree(folder)


def stored(garage: Garage, bucket: str, backup_id: str) -> Stored:
    """Find a backup in a bucket, and read it."""
    client, keys = garage.client(), garage.bucket_keys(bucket)
    for key in keys:
        if key.endswith(".metadata.json"):
            metadata = json.load(client.get_object(Bucket=bucket, Key=key)["Body"])
            if metadata["backup_id"] == backup_id:
                return _read(client, bucket, key, metadata)
    raise AssertionError(f"no metadata of {backup_id} in {keys}")


def _read(client: Any, bucket: str, key: str, metadata: dict[str, Any]) -> Stored:
    tar_key = key.removesuffix(".metadata.json") + ".tar"
    body = client.get_object(Bucket=bucket, Key=tar_key)["Body"]
    digest, size = hashlib.sha256(), 0
    while chunk := body.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return Stored(tar_key, key, metadata, size, digest.hexdigest())


class Log:
    """A log file, from now on."""

    def __init__(self, path: Path) -> None:
        """Remember its current end."""
        self._path = path
        self._start = path.stat().st_size

    def new_text(self) -> str:
        """Return the text since then."""
        with self._path.open("rb") as file:
            file.seek(self._start)
            return file.read().decode(errors="replace")


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def members(tar: Path) -> set[str]:
    """Return the names inside the Home Assistant part of an unencrypted backup."""
    with tarfile.open(tar, "r:") as outer:
        inner = outer.extractfile("homeassistant.tar.gz")
        assert inner is not None
        with tarfile.open(fileobj=inner, mode="r:gz") as files:
            return {member.name for member in files}
