"""Actions in the middle of an upload, triggered by the agent's events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
import json
from typing import Any, Protocol

import aiohttp
from lab.agent import Location
from lab.backups import Outcome

from .home import Home


class Reachable(Protocol):
    """An agent, on any host."""

    def client(self) -> aiohttp.ClientSession:
        """Return an HTTP client on its socket."""


async def back_up_until(
    home: Home,
    location: Location,
    begun: Callable[[], Awaitable[None]],
    name: str,
    *,
    at_bytes: int = 1,
) -> Outcome:
    """Create a backup, and call `begun` once the agent has stored this many bytes."""
    called = asyncio.create_task(
        call_when_storing(home.agent, location.id, begun, at_bytes)
    )
    try:
        outcome = await home.ha.backups.create([home.agent_id(location)], name=name)
        await asyncio.wait_for(called, 10)
    finally:
        called.cancel()
    return outcome


async def call_when_storing(
    agent: Reachable, location: str, then: Callable[[], Awaitable[None]], at_bytes: int
) -> None:
    """Follow the agent's events until this many bytes are stored, then act."""
    async for event in events(agent):
        if (
            event["type"] == "upload"
            and event["location"] == location
            and event["stored_bytes"] >= at_bytes
        ):
            await then()
            return


async def events(agent: Reachable) -> AsyncIterator[dict[str, Any]]:
    """Follow the agent's events."""
    async with agent.client() as client, client.get("/v1/events") as response:
        async for line in response.content:
            yield json.loads(line)


async def wait_until_listed(home: Home) -> None:
    """Wait until no location has an error."""
    async with asyncio.timeout(60):
        while (await home.ha.backups.info())["agent_errors"]:
            await asyncio.sleep(0.5)
