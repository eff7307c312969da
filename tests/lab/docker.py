"""Docker's client, and a container of the agent's image."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
import json
import os
from pathlib import Path
import secrets
import shutil
import tempfile
import time
from typing import Any, Self

import aiohttp

from .process import LabError

COMMAND_TIMEOUT_S = 240
START_TIMEOUT_S = 20
STATE, RUN = "/var/lib/s3-backup-agent", "/run/s3-backup-agent"
# As in docs/guides/containers.md: only the volumes are writable, and root has no capabilities.
LOCKED_DOWN = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges:true",
)


async def outside(
    *command: str | Path,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command beside Docker's client, assert success, and return the output."""
    # tests/containers/run runs there: its own root and mounts.
    namespaces = ("nsenter", f"--target={os.environ['LAB_OUTSIDE']}", "--mount")
    child = await asyncio.create_subprocess_exec(
        *(*namespaces, "--root", f"--wdns={folder or '/'}"),
        *(str(part) for part in command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    async with asyncio.timeout(COMMAND_TIMEOUT_S):
        out, err = await child.communicate()
    if child.returncode:
        said = (out + err).decode(errors="replace")
        raise LabError(f"{command} ended with {child.returncode}:\n{said[-3000:]}")
    return out.decode()


async def docker(*arguments: str | Path) -> str:
    """Run `docker` with arguments, and return the output."""
    return await outside("docker", *arguments)


async def inspect(name: str) -> Any:
    """Return Docker's description of a container or an image."""
    (found,) = json.loads(await docker("inspect", name))
    return found


def image() -> str:
    """Return the name of the agent's image, built by tests/containers/run."""
    return os.environ["LAB_IMAGE"]


def resident_bytes(pid: int) -> int:
    """Return the current resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LabError(f"process {pid} has ended")


class Container:
    """A hardened container of the agent's image, with its state and its socket in folders.

    Used as `async with Container(...) as agent:`. It is in the machine's own network, where the lab's servers are.
    """

    def __init__(
        self, *options: str, settings: Mapping[str, str] | None = None
    ) -> None:
        """Prepare a container; `settings` are environment variables of the agent."""
        self.name = f"agent-lab-{secrets.token_hex(4)}"
        self.folder = Path(tempfile.mkdtemp(prefix="container-"))
        self.state, self.run = self.folder / "state", self.folder / "run"
        for folder in (self.state, self.run):
            folder.mkdir(mode=0o700)
        self.socket = self.run / "agent.sock"
        self.healthy_after_s = 0.0
        variables = {
            "S3_BACKUP_AGENT__LISTEN__SOCKET": f"{RUN}/agent.sock",
            **(settings or {}),
        }
        self._options = [
            *LOCKED_DOWN,
            "--network=host",
            f"--volume={self.state}:{STATE}",
            f"--volume={self.run}:{RUN}",
            *(f"--env={name}={value}" for name, value in variables.items()),
            *options,
        ]

    async def __aenter__(self) -> Self:
        """Start the agent."""
        try:
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Remove the container, if it exists, and the folders."""
        await outside("sh", "-c", f"docker rm --force {self.name} >/dev/null 2>&1 || :")
        shutil.rmtree(self.folder, ignore_errors=True)

    async def start(self) -> None:
        """Create and start the container, and measure the time from the start of the agent to its first answer."""
        await docker("create", f"--name={self.name}", *self._options, image())
        starting = asyncio.create_task(docker("start", self.name))
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await self._answers():
                await asyncio.sleep(0.005)
        healthy = time.time()
        await starting
        self.healthy_after_s = healthy - _started(await self.pid())

    async def command(self, *arguments: str) -> str:
        """Run a command of the agent in another container, and return the output."""
        return await docker("run", "--rm", *self._options, image(), *arguments)

    async def pid(self) -> int:
        """Return the id of the agent's process on this machine."""
        pid: int = (await inspect(self.name))["State"]["Pid"]
        return pid

    async def log(self) -> str:
        """Return the agent's log."""
        return await outside("sh", "-c", f"docker logs {self.name} 2>&1")

    def client(self) -> aiohttp.ClientSession:
        """Return an HTTP client on the socket."""
        connector = aiohttp.UnixConnector(path=str(self.socket))
        return aiohttp.ClientSession("http://agent", connector=connector)

    async def get(self, path: str) -> Any:
        """Return the agent's answer to a GET."""
        async with (
            self.client() as client,
            client.get(path, raise_for_status=True) as response,
        ):
            return await response.json()

    async def _answers(self) -> bool:
        try:
            await self.get("/v1/health")
        except aiohttp.ClientError, OSError:
            return False
        return True


def _started(pid: int) -> float:
    """Return when a process began, in seconds since the epoch: proc_pid_stat(5), field 22."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    ticks = int(stat.rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")
