"""What Home Assistant hands to a backup agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

CHUNK_BYTES = 2**20


async def home_assistants_stream(path: Path) -> AsyncIterator[bytes]:
    """Yield the chunks that a backup agent gets: 1 MiB each, read in the executor (HA's `backup/manager.py`)."""
    loop = asyncio.get_running_loop()
    file = await loop.run_in_executor(None, path.open, "rb")
    try:
        while chunk := await loop.run_in_executor(None, file.read, CHUNK_BYTES):
            yield chunk
    finally:
        await loop.run_in_executor(None, file.close)
