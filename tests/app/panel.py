"""The requests of Home Assistant's backup panel, as plain calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import json
from typing import Any
import zlib

import aiohttp
from lab.app import App
from lab.sample import make_sample

CHUNK = 1024 * 1024
NAME = "Before the update"
DATE = "2026-11-20T04:47:12.345678+01:00"


class Panel:
    """The backup panel, with one location of an app."""

    def __init__(self, app: App, location: str) -> None:
        """Use the socket and the token of the app."""
        self._app = app
        self._location = f"/v1/locations/{location}"
        self.tars: dict[str, bytes] = {}

    def client(self) -> aiohttp.ClientSession:
        """Return a client of the running agent."""
        return aiohttp.ClientSession(
            "http://agent",
            connector=aiohttp.UnixConnector(path=str(self._app.socket)),
            headers={"Authorization": f"Bearer {self._app.token}"},
            raise_for_status=True,
        )

    async def back_up(self, backup_id: str, size: int) -> int:
        """Upload a backup of about this size, and return the bytes stored by an earlier attempt."""
        async with self.client() as client:
            begun, tar = await self._begin(client, backup_id, size)
            upload = f"/v1/uploads/{begun['upload_id']}"
            ours = {"size": len(tar), "crc32": f"{zlib.crc32(tar):08x}"}
            async with client.put(f"{upload}/content", data=_chunks(tar)) as response:
                assert ours.items() <= (await response.json()).items()
            await client.post(f"{upload}/complete", json=ours)
            stored: int = begun["stored_bytes"]
            return stored

    async def begin(self, backup_id: str, size: int) -> asyncio.Task[None]:
        """Upload a backup until some of it is stored; the returned task runs until the agent ends."""
        client = self.client()
        begun, tar = await self._begin(client, backup_id, size)

        async def send() -> None:
            body = _chunks(tar[:-CHUNK], then=asyncio.Event())
            async with client:
                await client.put(f"/v1/uploads/{begun['upload_id']}/content", data=body)

        sending = asyncio.create_task(send())
        async with asyncio.timeout(30):
            while not (await self.get("/v1/uploads"))["uploads"][0]["stored_bytes"]:
                await asyncio.sleep(0.05)
        return sending

    async def _begin(
        self, client: aiohttp.ClientSession, backup_id: str, size: int
    ) -> tuple[dict[str, Any], bytes]:
        backup, tar = make_sample(backup_id, size, NAME, DATE)
        self.tars[backup_id] = tar
        body = {"backup": backup, "filename": f"{backup_id}.tar"}
        async with client.post(f"{self._location}/uploads", json=body) as response:
            return await response.json(), tar

    async def get(self, path: str) -> Any:
        """Return the agent's answer."""
        async with self.client() as client, client.get(path) as response:
            return await response.json()

    async def verify(self, backup_id: str) -> Any:
        """Return the result of a full verification."""
        path = f"{self._location}/backups/{backup_id}/verify"
        async with (
            self.client() as client,
            client.post(path, json={"mode": "full"}) as response,
        ):
            return json.loads((await response.text()).splitlines()[-1])

    async def content(self, backup_id: str) -> bytes:
        """Download a backup."""
        path = f"{self._location}/backups/{backup_id}/content"
        async with self.client() as client, client.get(path) as response:
            return await response.read()

    async def delete(self, backup_id: str) -> None:
        """Delete a backup."""
        async with self.client() as client:
            await client.delete(f"{self._location}/backups/{backup_id}")

    async def backups(self) -> set[str]:
        """Return the ids of the backups."""
        listing = await self.get(f"{self._location}/backups?refresh=true")
        return {backup["backup_id"] for backup in listing["backups"]}


async def _chunks(
    tar: bytes, *, then: asyncio.Event | None = None
) -> AsyncIterator[bytes]:
    """Yield a tar as Home Assistant reads it."""
    for start in range(0, len(tar), CHUNK):
        yield tar[start : start + CHUNK]
    if then is not None:
        await then.wait()
