"""A Home Assistant with its agent and bucket, and what the tests look at in them."""

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

# What Home Assistant logs of an integration that does not do its part: errors of another kind than it should raise, its
# event loop held up by files or sleep, and our own errors, which are all bugs. The agent's records have their own logger.
_BUG = re.compile(
    r"Unexpected error for s3_backup|blocking call.*s3_backup_agent|ERROR .*\[custom_components\.s3_backup_agent(?!\.agent\])"
)


def bugs(log: str) -> list[str]:
    """Return what a log of Home Assistant has of bugs."""
    return [line for line in log.splitlines() if _BUG.search(line)]


@dataclass(frozen=True)
class Stored:
    """A backup as it lies in the bucket."""

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
        """Make a backup that must succeed; gives its id."""
        agent_ids = [self.agent_id(location) for location in locations]
        outcome = await self.ha.backups.create(agent_ids, name=name, password=password)
        assert (outcome.state, outcome.reason) == ("completed", None)
        assert outcome.backup_id is not None
        return outcome.backup_id, outcome

    def keys(self, location: Location) -> list[str]:
        """Every key in the location's bucket."""
        return self.garage.bucket_keys(location.bucket)

    def assert_nothing_left(self, location: Location) -> None:
        """Check that the bucket holds neither objects nor parts of an unfinished upload."""
        assert self.keys(location) == []
        assert self.garage.unfinished_uploads(location.bucket) == []

    async def clear(self) -> None:
        """Bring the parts back and empty the buckets, so that no test sees another's."""
        for part in (self.garage, self.agent):
            if not part.is_running:
                await part.start()
        for location in (self.cellar, self.attic):
            self.garage.empty(location.bucket)
            await self.agent.get(f"/v1/locations/{location.id}/backups?refresh=true")

    def stored(self, location: Location, backup_id: str) -> Stored:
        """Find a backup in the bucket, without the agent's help."""
        return stored(self.garage, location.bucket, backup_id)

    @contextlib.contextmanager
    def files(self, name: str, size: int) -> Iterator[Path]:
        """Put random files of `size` bytes together into the configuration folder, for a while."""
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
        """Remember where it ends now."""
        self._path = path
        self._start = path.stat().st_size

    def new_text(self) -> str:
        """Return what came since."""
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
