"""Shared state of the stations, and their preconditions."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from lab.agent import Agent
from lab.backups import LOCAL
from lab.garage import Garage
from lab.homeassistant import DOMAIN, HomeAssistant
from lab.websocket import CallError

CELLAR_BUCKET = "ha-cellar"
FOLDER = "homeassistant"
PAGE = f"/config/integrations/integration/{DOMAIN}"
# Slow enough, and in steps so small, that a test sees a small upload go on.
UPLOAD_LIMIT, PART_SIZE = "8 MiB", "5 MiB"


@dataclass(frozen=True)
class Stage:
    """One Home Assistant with its agent, and the S3 server."""

    ha: HomeAssistant
    agent: Agent
    garage: Garage

    async def bucket(self, name: str) -> str:
        """Create a bucket, unless it exists."""
        names = [found["Name"] for found in self._buckets()]
        return name if name in names else await self.garage.create_bucket(name)

    async def entry_id(self) -> str:
        """Return the id of the integration's entry; where no station has made one, make it."""
        entries = await self.ha.socket.call("config_entries/get", domain=DOMAIN)
        if entries:
            entry_id: str = entries[0]["entry_id"]
            return entry_id
        return await self.ha.add_agent(self.agent.address)

    async def cellar(self) -> str:
        """Return the id of the location Cellar in Home Assistant; where no station has made it, make it."""
        entry_id = await self.entry_id()
        agents = await self.ha.backups.agents()
        if "Cellar" not in agents.values():
            fields = {
                "endpoint": self.garage.endpoint,
                "bucket": await self.bucket(CELLAR_BUCKET),
                "prefix": FOLDER,
                "access_key_id": self.garage.key_id,
                "secret_access_key": self.garage.secret_key,
                "name": "Cellar",
                "connection": {"region": self.garage.region},
                "speed": {"upload_limit": UPLOAD_LIMIT, "part_size": PART_SIZE},
            }
            await self.ha.add_location(entry_id, "garage", fields)
            await self.ha.backups.wait_for_agents(2)
            agents = await self.ha.backups.agents()
        return next(key for key, name in agents.items() if name == "Cellar")

    async def speak(self, language: str) -> None:
        """Set Home Assistant's own language, which names new entities."""
        await self.ha.socket.call("config/core/update", language=language)
        await self.ha.socket.call(
            "call_service",
            domain="homeassistant",
            service="reload_config_entry",
            service_data={"entry_id": await self.entry_id()},
        )

    async def use_for_automatic_backups(self, agent_id: str) -> None:
        """Configure automatic backups to a location and to Home Assistant's own folder."""
        await self.ha.socket.call(
            "backup/config/update",
            create_backup={"agent_ids": [LOCAL, agent_id]},
            automatic_backups_configured=True,
        )

    async def wait_for_automatic_backups_at(self, agent_id: str) -> None:
        """Wait until Home Assistant has saved the locations of automatic backups."""
        async with asyncio.timeout(30):
            while True:
                kept = await self.ha.socket.call("backup/config/info")
                if agent_id in kept["config"]["create_backup"]["agent_ids"]:
                    return
                await asyncio.sleep(0.1)

    async def forget_everything(self, language: str) -> None:
        """Remove the integration's entries, all backups and their settings; Home Assistant speaks another language then."""
        for entry in await self.ha.socket.call("config_entries/get", domain=DOMAIN):
            await self.ha.remove_agent(entry["entry_id"])
        for backup in (await self.ha.backups.info())["backups"]:
            await self.ha.backups.delete(backup["backup_id"])
        await self.ha.socket.call(
            "backup/config/update",
            automatic_backups_configured=False,
            create_backup={"agent_ids": [], "password": None},
            schedule={"recurrence": "never"},
        )
        await self.ha.socket.call("config/core/update", language=language)

    async def refresh(self, name: str) -> None:
        """Press the button that asks the storage for its list; it says when that fails."""
        with contextlib.suppress(CallError):
            await self.ha.socket.call(
                "call_service",
                domain="button",
                service="press",
                service_data={
                    "entity_id": f"button.{name.lower()}_refresh_backup_list"
                },
            )

    async def wait_for_status(self, name: str, status: str) -> None:
        """Wait for a status of a location."""
        async with asyncio.timeout(30):
            while await self._state(f"sensor.{name.lower()}_status") != status:
                await asyncio.sleep(0.1)

    async def _state(self, entity_id: str) -> str:
        states = await self.ha.socket.call("get_states")
        found: str = next(
            state["state"] for state in states if state["entity_id"] == entity_id
        )
        return found

    def _buckets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.garage.client().list_buckets()["Buckets"]
        return found
