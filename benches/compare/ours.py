"""The integration's own client module, over the agent's Unix socket, as Home Assistant runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
import importlib.util
from pathlib import Path
import sys
from types import ModuleType
from typing import Any, Self

from .stream import home_assistants_stream

CLIENT = Path(__file__).parents[2] / "custom_components" / "s3_backup_agent" / "client"


def _load_client() -> ModuleType:
    # Loaded by path: its package imports Home Assistant, whose memory is not measured here.
    spec = importlib.util.spec_from_file_location(
        "agent_client", CLIENT / "__init__.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its modules import each other by this name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Ours:
    """The calls of the integration's backup agent to its client."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Create the client; each call opens a connection."""
        self._client = _load_client().AgentClient(settings["address"])
        self._location: str = settings["location"]
        self._has_listed = False

    async def open(self) -> Self:
        """Assert that the agent answers."""
        await self._client.info()
        return self

    async def upload(self, backup: dict[str, Any], filename: str, path: Path) -> None:
        """Announce, send, complete."""

        async def open_stream() -> AsyncIterator[bytes]:
            return home_assistants_stream(path)

        await self._client.upload(
            self._location, backup, f"{filename}.tar", open_stream
        )

    async def download(
        self, backup: dict[str, Any], filename: str
    ) -> AsyncIterator[bytes]:
        """Yield the content as it arrives."""
        download: AsyncIterator[bytes] = await self._client.download(
            self._location, backup["backup_id"]
        )
        return download

    async def list(self) -> list[str]:
        """Return the ids of all backups; listings after an agent's first one bypass its cache."""
        listing = await self._client.backups(self._location, refresh=self._has_listed)
        self._has_listed = True
        if listing["stale"] or listing["skipped"]:
            raise RuntimeError(
                f"not a good listing: {listing['error']} {listing['skipped'][:3]}"
            )
        return [backup["backup_id"] for backup in listing["backups"]]

    async def close(self) -> None:
        """Close the session."""
        await self._client.close()


async def open_way(settings: dict[str, Any]) -> Ours:
    """Create the client."""
    return await Ours(settings).open()
