"""An agent and its bucket at opposite ends of a line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
import hashlib
import time
from typing import Any
import zlib

from lab.agent import Agent, Location
from lab.garage import Garage
from lab.network import FAR_ADDRESS, Link, names
from lab.sample import make_sample

MIB = 1 << 20
CHUNK = MIB // 4
BUCKET = "far"
NAME = "far.test"

type State = dict[str, Any]


class FarBucket:
    """The agent, its only location, and the line."""

    def __init__(self, link: Link, garage: Garage, agent: Agent) -> None:
        """Use running parts."""
        self.link, self.garage, self.agent = link, garage, agent
        self.location = f"/v1/locations/{agent.locations[0].id}"

    async def upload(self, backup_id: str, size: int) -> str:
        """Upload a backup as Home Assistant does; return its SHA-256."""
        backup, tar = make_sample(
            backup_id, size, "Far away", "2026-11-20T04:47:12+01:00"
        )
        sha256 = hashlib.sha256(tar).hexdigest()
        ours = {"size": len(tar), "crc32": f"{zlib.crc32(tar):08x}"}
        async with self.agent.client() as client:
            announced = {"backup": backup, "filename": f"{backup_id}.tar"}
            answer = await client.post(f"{self.location}/uploads", json=announced)
            assert answer.ok, await answer.text()
            upload = f"/v1/uploads/{(await answer.json())['upload_id']}"
            answer = await client.put(f"{upload}/content", data=_chunks(tar))
            assert answer.ok, await answer.text()
            assert await answer.json() == ours | {"sha256": sha256}
            answer = await client.post(f"{upload}/complete", json=ours)
            assert answer.ok, await answer.text()
        return sha256

    async def download(
        self, backup_id: str, *, at: Callable[[int], None] | None = None
    ) -> str:
        """Download a backup and report the progress; return its SHA-256."""
        digest, received = hashlib.sha256(), 0
        path = f"{self.location}/backups/{backup_id}/content"
        async with self.agent.client() as client, client.get(path) as answer:
            assert answer.ok, await answer.text()
            async for piece in answer.content.iter_any():
                digest.update(piece)
                received += len(piece)
                if at:
                    at(received)
        return digest.hexdigest()

    async def listed(self) -> list[str]:
        """Return the ids of a fresh list; a stale list counts as none."""
        found = await self.agent.get(f"{self.location}/backups?refresh=true")
        assert not found["stale"], found["error"]
        return [backup["backup_id"] for backup in found["backups"]]

    async def uploads(self) -> list[State]:
        """Return the uploads in progress."""
        found: list[State] = (await self.agent.get("/v1/uploads"))["uploads"]
        return found

    async def check(self) -> State:
        """Return the report of a check."""
        async with (
            self.agent.client() as client,
            client.post(f"{self.location}/check") as answer,
        ):
            assert answer.ok, await answer.text()
            report: State = await answer.json()
            return report

    async def status(self) -> str:
        """Return the location's status."""
        status: str = (await self.agent.get(self.location))["status"]
        return status

    async def until(self, what: Callable[[State], bool], timeout_s: float) -> State:
        """Wait for a state of the only upload."""
        started = time.monotonic()
        while True:
            uploads = await self.uploads()
            if uploads and what(uploads[0]):
                return uploads[0]
            assert time.monotonic() - started < timeout_s, uploads
            await asyncio.sleep(0.1)

    def holds(self, sha256: str, backup_id: str) -> None:
        """Assert with boto3 that the bucket holds only this backup."""
        tar, metadata = (
            self.agent.locations[0].key(f"{backup_id}.{kind}")
            for kind in ("tar", "metadata.json")
        )
        assert self.garage.bucket_keys(BUCKET) == sorted([tar, metadata])
        content = self.garage.client().get_object(Bucket=BUCKET, Key=tar)["Body"].read()
        assert hashlib.sha256(content).hexdigest() == sha256
        assert self.garage.unfinished_uploads(BUCKET) == []


async def _chunks(tar: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(tar), CHUNK):
        yield tar[at : at + CHUNK]


@asynccontextmanager
async def far_bucket(
    swallowed: Sequence[str] = (), /, **line: int
) -> AsyncIterator[FarBucket]:
    """Start a line with these qualities, and what is at its ends.

    With `swallowed` addresses, the agent knows the server by a name, which has these before the server's own.

    The tests are at the far end, and look into the bucket without the line. A Unix socket belongs to no network.
    """
    async with AsyncExitStack() as stack:
        link = stack.enter_context(Link(**line))
        garage = await stack.enter_async_context(Garage(host=FAR_ADDRESS))
        await garage.create_bucket(BUCKET)
        location = Location.on(garage, BUCKET)
        if swallowed:
            endpoint = location.endpoint.replace(FAR_ADDRESS, NAME)
            location = replace(location, endpoint=endpoint)
            addresses = (*swallowed, FAR_ADDRESS)
            lines = [f"{address} {NAME}" for address in addresses]
            stack.enter_context(names(*lines))
        agent = Agent([location], log_level="debug")
        with link.inside():
            link.swallow(*swallowed)
            await stack.enter_async_context(agent)
        yield FarBucket(link, garage, agent)
