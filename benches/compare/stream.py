"""Home Assistant's end of a backup agent's streams (its `backup/manager.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

CHUNK_BYTES = 2**20


async def home_assistants_stream(path: Path) -> AsyncIterator[bytes]:
    """Yield a backup agent's chunks: 1 MiB each, read in the executor."""
    loop = asyncio.get_running_loop()
    file = await loop.run_in_executor(None, path.open, "rb")
    try:
        while chunk := await loop.run_in_executor(None, file.read, CHUNK_BYTES):
            yield chunk
    finally:
        await loop.run_in_executor(None, file.close)


async def home_assistants_file(path: Path, chunks: AsyncIterator[bytes]) -> int:
    """Write chunks to a file as a restore does: one by one, in the executor. Return the number of bytes."""
    loop = asyncio.get_running_loop()
    size = 0
    file = await loop.run_in_executor(None, path.open, "wb")
    try:
        async for chunk in chunks:
            size += await loop.run_in_executor(None, file.write, chunk)
    finally:
        await loop.run_in_executor(None, file.close)
    return size
