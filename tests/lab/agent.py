"""The agent: the release binary with a configuration of its own, listening on a Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
import json
import os
from pathlib import Path
import shutil
import tempfile
from typing import Any, Self

import aiohttp

from .garage import Garage
from .process import LabError, Process

REPOSITORY = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 20


def agent_binary() -> Path:
    """Return the binary under test: S3_BACKUP_AGENT_BINARY, else the release build of this checkout."""
    chosen = os.environ.get("S3_BACKUP_AGENT_BINARY")
    binary = (
        Path(chosen)
        if chosen
        else REPOSITORY / "target" / "release" / "s3-backup-agent"
    )
    if not binary.exists():
        raise LabError(f"{binary} is missing, run cargo build --release")
    return binary


@dataclass(kw_only=True)
class Directory:
    """A `[[locations]]` table of agent.toml: a directory."""

    id: str
    name: str
    endpoint: str

    def to_toml(self) -> str:
        """Return the table for agent.toml."""
        # A JSON string is a TOML string, unless it has a surrogate pair.
        settings = {
            key: value for key, value in asdict(self).items() if value is not None
        }
        lines = [
            f"{key} = {json.dumps(value, ensure_ascii=False)}"
            for key, value in settings.items()
        ]
        return "\n".join(["[[locations]]", *lines, ""])


@dataclass(kw_only=True)
class Location(Directory):
    """A `[[locations]]` table of agent.toml: a bucket."""

    region: str
    bucket: str
    prefix: str
    access_key_id: str
    secret_access_key: str
    provider: str = "garage"
    outage_seconds: int | None = None
    idle_seconds: int | None = None
    part_size: str | None = None

    @classmethod
    def on(
        cls,
        garage: Garage,
        bucket: str,
        *,
        id: str = "garage",  # its id in agent.toml
        name: str = "Garage in the cellar",
        prefix: str = "homeassistant",
        outage_seconds: int | None = None,
        idle_seconds: int | None = None,
        part_size: str | None = None,
    ) -> Location:
        """Return a location in a bucket of this server."""
        return cls(
            id=id,
            name=name,
            endpoint=garage.endpoint,
            region=garage.region,
            bucket=bucket,
            prefix=prefix,
            access_key_id=garage.key_id,
            secret_access_key=garage.secret_key,
            outage_seconds=outage_seconds,
            idle_seconds=idle_seconds,
            part_size=part_size,
        )

    def key(self, name: str) -> str:
        """Return the key of the object `name` among this location's backups."""
        return "/".join(part for part in (self.prefix, "backups", name) if part)


class Agent[T: Directory = Location]:
    """The agent with a state folder and a socket of its own.

    Used as `async with Agent([location]) as agent:`. `stop`, `kill` and `start` keep state and socket path.
    """

    def __init__(self, locations: Sequence[T], *, log_level: str = "info") -> None:
        """Write the configuration; nothing runs yet."""
        self.folder = Path(tempfile.mkdtemp(prefix="agent-"))
        self.socket = self.folder / "agent.sock"
        self.locations = list(locations)
        self.log_path = self.folder / "agent.log"
        self._configuration = self.folder / "agent.toml"
        self._log_level = log_level
        self._process: Process | None = None

    @property
    def address(self) -> str:
        """The address that a user enters in the integration's form."""
        return f"unix://{self.socket}"

    @property
    def is_running(self) -> bool:
        """Whether the agent was started and not stopped."""
        return self._process is not None

    @property
    def process(self) -> Process:
        """The running agent."""
        if self._process is None:
            raise LabError("the agent does not run")
        return self._process

    async def __aenter__(self) -> Self:
        """Start the agent."""
        try:
            await self.start()
        except BaseException:
            await self._remove()
            raise
        return self

    async def __aexit__(self, failure: type[BaseException] | None, *_: object) -> None:
        """Stop the agent, assert exit code 0, and remove its folder."""
        try:
            if self._process is not None and failure is None:
                await self.stop()
        finally:
            await self._remove()

    async def _remove(self) -> None:
        await self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def start(self) -> None:
        """Start the agent and wait until it is healthy."""
        self._configuration.write_text(self._toml())
        command = (agent_binary(), "--config", self._configuration, "serve")
        self._process = await Process.start(self.log_path, *command)
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await self._is_healthy():
                self._process.require_alive()
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Shut the agent down gracefully (SIGTERM), and assert exit code 0."""
        process, self._process = self.process, None
        if exit_code := await process.stop():
            raise LabError(
                f"the agent ended with {exit_code}:\n{process.log_text()[-3000:]}"
            )

    async def kill(self) -> None:
        """Kill the agent (SIGKILL)."""
        if self._process is not None:
            await self._process.kill()
            self._process = None

    def client(self) -> aiohttp.ClientSession:
        """Return an HTTP client on the socket, with the protocol's paths relative to it."""
        connector = aiohttp.UnixConnector(path=str(self.socket), limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        return aiohttp.ClientSession(
            "http://agent", connector=connector, timeout=timeout
        )

    async def get(self, path: str) -> Any:
        """Return the agent's JSON answer to a GET."""
        async with (
            self.client() as client,
            client.get(path, raise_for_status=True) as response,
        ):
            return await response.json()

    async def _is_healthy(self) -> bool:
        try:
            await self.get("/v1/health")
        except aiohttp.ClientError, OSError:
            return False
        return True

    def _toml(self) -> str:
        head = (
            f"state_dir = {json.dumps(str(self.folder / 'state'))}\n"
            f"[listen]\nsocket = {json.dumps(str(self.socket))}\n"
            f"[log]\nlevel = {json.dumps(self._log_level)}\n"
        )
        return head + "".join(location.to_toml() for location in self.locations)
