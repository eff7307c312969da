"""A client process: runs one job at a time from standard input, and reports its duration.

The parent samples this process's CPU time and peak memory around each job, so nothing else happens meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import hashlib
import importlib
import json
from pathlib import Path
import sys
import time
from typing import Any, Protocol

from .stream import home_assistants_file


class Way(Protocol):
    """A client that keeps backups in a bucket, like a Home Assistant integration."""

    async def upload(self, backup: dict[str, Any], filename: str, path: Path) -> None:
        """Store the backup, whose tar is the file at `path`."""

    async def download(
        self, backup: dict[str, Any], filename: str
    ) -> AsyncIterator[bytes]:
        """Start to download it."""

    async def list(self) -> list[str]:
        """Return the ids of all backups in the bucket."""

    async def close(self) -> None:
        """Close all connections."""


async def do(way: Way, job: dict[str, Any]) -> dict[str, Any]:
    """One job, and its result."""
    match job["do"]:
        case "upload":
            await way.upload(job["backup"], job["filename"], Path(job["path"]))
            return {}
        case "download":
            size = chunks = 0
            async for chunk in await way.download(job["backup"], job["filename"]):
                size += len(chunk)
                chunks += 1
            return {"size": size, "chunks": chunks}
        case "restore":
            content = await way.download(job["backup"], job["filename"])
            return {"size": await home_assistants_file(Path(job["path"]), content)}
        case "hash":
            digest = hashlib.sha256()
            async for chunk in await way.download(job["backup"], job["filename"]):
                digest.update(chunk)
            return {"sha256": digest.hexdigest()}
        case "list":
            return {"backups": len(await way.list())}
        case unknown:
            raise ValueError(unknown)


async def main() -> None:
    """Read settings, then jobs, one JSON object per line; answer each with one line."""
    settings = json.loads(sys.stdin.readline())
    way: Way = await importlib.import_module(f"compare.{settings['way']}").open_way(
        settings
    )
    print(json.dumps({"ready": True}), flush=True)
    # Blocking the loop is harmless between jobs.
    while line := sys.stdin.readline():
        started = time.perf_counter()
        result = await do(way, json.loads(line))
        result["wall_s"] = time.perf_counter() - started
        print(json.dumps(result), flush=True)
    await way.close()


if __name__ == "__main__":
    asyncio.run(main())
