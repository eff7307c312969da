"""Home Assistant's backup panel, as a user works with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from .process import LabError
from .websocket import DisconnectedError

if TYPE_CHECKING:
    from .homeassistant import HomeAssistant

START_TIMEOUT_S = 120
BACKUP_TIMEOUT_S = 600
LOCAL = "backup.local"
READ_SIZE = 1 << 20

type Event = dict[str, Any]


@dataclass
class Outcome:
    """The result of creating a backup."""

    backup_id: str | None
    state: str
    reason: str | None
    events: list[Event] = field(default_factory=list)

    def uploaded_bytes(self, agent_id: str) -> list[int]:
        """Return the progress that one location reported, in order."""
        return [
            event["uploaded_bytes"]
            for event in self.events
            if event.get("agent_id") == agent_id
        ]


class Backups:
    """The backup panel of one instance."""

    def __init__(self, home: HomeAssistant) -> None:
        """Use the signed-in user of `home`."""
        self._home = home

    async def agents(self) -> dict[str, str]:
        """Return the names of all backup locations, by agent id."""
        found = await self._home.socket.call("backup/agents/info")
        return {agent["agent_id"]: agent["name"] for agent in found["agents"]}

    async def wait_for_agents(self, count: int, timeout_s: float = 30) -> list[str]:
        """Wait for `count` locations of the agent, and return their ids."""
        async with asyncio.timeout(timeout_s):
            while True:
                ours = [
                    agent
                    for agent in await self.agents()
                    if agent.startswith("s3_backup_agent.")
                ]
                if len(ours) == count:
                    return sorted(ours)
                await asyncio.sleep(0.1)

    async def create(
        self,
        agent_ids: list[str],
        *,
        name: str = "Lab backup",
        password: str | None = None,
        on_event: Callable[[Event], None] | None = None,
        timeout_s: float = BACKUP_TIMEOUT_S,
    ) -> Outcome:
        """Create a backup, and wait until Home Assistant reports its end."""
        socket = self._home.socket
        async with socket.subscribe("backup/subscribe_events") as events:
            started = await socket.call(
                "backup/generate", agent_ids=agent_ids, name=name, password=password
            )
            outcome = Outcome(None, "in_progress", None)
            async with asyncio.timeout(timeout_s):
                while outcome.state == "in_progress":
                    event = await events.get()
                    self._note(outcome, event)
                    if on_event:
                        on_event(event)
                await self._wait_until_idle(events)
        outcome.backup_id = await self._id_of_job(started, name)
        return outcome

    async def info(self) -> Any:
        """Return the panel's list: `backups`, `agent_errors`, `state` and more."""
        return await self._home.socket.call("backup/info")

    async def find(self, backup_id: str) -> Any:
        """One backup of the list, or None."""
        listed = (await self.info())["backups"]
        return next(
            (backup for backup in listed if backup["backup_id"] == backup_id), None
        )

    async def download(
        self, backup_id: str, agent_id: str, to: Path, *, password: str | None = None
    ) -> int:
        """Download into a file, decrypted with a password if given; return the size in bytes."""
        query = {"agent_id": agent_id} | ({"password": password} if password else {})
        url = f"{self._home.url}/api/backup/download/{backup_id}"
        async with self._home.session.get(
            url, params=query, headers=self._home.headers
        ) as response:
            if not response.ok:
                raise LabError(f"download: {response.status} {await response.text()}")
            with to.open("wb") as file:
                async for chunk in response.content.iter_chunked(READ_SIZE):
                    file.write(chunk)
                return file.tell()

    async def delete(self, backup_id: str) -> dict[str, str]:
        """Delete a backup everywhere; return the errors by agent id."""
        errors: dict[str, str] = (
            await self._home.socket.call("backup/delete", backup_id=backup_id)
        )["agent_errors"]
        return errors

    async def restore(
        self, backup_id: str, agent_id: str, *, password: str | None = None
    ) -> None:
        """Start a restore; Home Assistant then exits, see `HomeAssistant.come_back_from_restore`."""
        fields: dict[str, Any] = {"password": password} if password else {}
        # Home Assistant may exit before it answers; it always answers a refusal.
        with contextlib.suppress(DisconnectedError):
            await self._home.socket.call(
                "backup/restore", backup_id=backup_id, agent_id=agent_id, **fields
            )

    async def restore_at_first_page(
        self, tar: Path, backup_id: str, password: str
    ) -> None:
        """Upload a backup as *Upload backup* on the page *Welcome!* does, without a user."""
        base = f"{self._home.url}/api/onboarding/backup"
        await self.wait_until_idle()
        with tar.open("rb") as file:
            form = aiohttp.FormData({"file": file})
            await self._post(f"{base}/upload?agent_id={LOCAL}", data=form)
        fields = {"backup_id": backup_id, "agent_id": LOCAL, "password": password}
        await self._post(f"{base}/restore", json=fields)

    async def wait_until_idle(self) -> None:
        """Wait until a new system takes a backup."""
        async with asyncio.timeout(START_TIMEOUT_S):
            while (await self.first_page())["state"] != "idle":
                await asyncio.sleep(0.1)

    async def first_page(self) -> Any:
        """Return what a new system tells about its backups to anyone."""
        url = f"{self._home.url}/api/onboarding/backup/info"
        async with self._home.session.get(url) as response:
            return await response.json() if response.ok else {"state": "starting"}

    async def _post(self, url: str, **content: Any) -> None:
        async with self._home.session.post(url, **content) as response:
            if not response.ok:
                raise LabError(f"{url}: {response.status} {await response.text()}")

    @staticmethod
    def _note(outcome: Outcome, event: Event) -> None:
        outcome.events.append(event)
        if event.get("manager_state") == "create_backup" and "state" in event:
            outcome.state, outcome.reason = event["state"], event["reason"]

    @staticmethod
    async def _wait_until_idle(events: asyncio.Queue[Event]) -> None:
        while (await events.get()).get("manager_state") != "idle":
            pass

    async def _id_of_job(self, started: dict[str, str], name: str) -> str | None:
        named = [
            backup
            for backup in (await self.info())["backups"]
            if backup["name"] == name
        ]
        newest = max(named, key=lambda backup: str(backup["date"]), default=None)
        return newest["backup_id"] if newest else None
