"""The agent under test, as a process with its own socket and directories."""

import asyncio
from collections.abc import Mapping
import json
import os
from pathlib import Path
import shutil
import tempfile
from typing import Self

import aiohttp

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 20
# The id of a directory that the agent's configuration names, and of its embedded location.
LOCATION = "local"
TOKEN = "a token of more than sixteen characters"


def binary() -> Path:
    """Return the binary under test: S3_BACKUP_AGENT_BINARY, or this checkout's release build."""
    default = REPOSITORY / "target" / "release" / "s3-backup-agent"
    return Path(os.environ.get("S3_BACKUP_AGENT_BINARY", default))


def toml_of(location: Mapping[str, str]) -> str:
    """Return the agent's configuration of a location."""
    lines = [f"{key} = {json.dumps(text)}" for key, text in location.items()]
    return "\n".join(["[[locations]]", *lines])


class Agent:
    """An agent that can be stopped and restarted with its state and socket."""

    def __init__(
        self,
        *,
        token: str | None = None,
        tcp_port: int | None = None,
        tls: tuple[Path, Path] | None = None,
        locations: Mapping[str, str] | None = None,
        is_embedded: bool = False,
        more: str = "",
    ) -> None:
        """Initialize the agent; without locations (names by id) it has a directory, or only its embedded one.

        More is appended to its configuration.
        """
        # A socket's path is limited to about 100 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="s3-backup-agent-"))
        self.socket = self.folder / "agent.sock"
        self.address = f"unix://{self.socket}"
        self.token = token
        self.tcp_port = tcp_port
        # The certificate and its key.
        self.tls = tls
        self.locations = dict(locations or {})
        self.is_embedded = is_embedded
        self.more = more
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Start the agent."""
        try:
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Kill the agent and remove its files."""
        await self.kill()
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def start(self) -> None:
        """Start the agent and wait until it is ready."""
        configuration = self.folder / "agent.toml"
        configuration.write_text(self._toml())
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("S3_BACKUP_AGENT")
        }
        with (self.folder / "agent.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(binary(), "--config", configuration, "serve"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        async with asyncio.timeout(START_SECONDS):
            while not await self._is_ready():
                assert self._process.returncode is None, self.log()
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Stop the agent gracefully."""
        process, self._process = self._process, None
        assert process is not None
        process.terminate()
        async with asyncio.timeout(30):
            assert await process.wait() == 0, self.log()

    async def kill(self) -> None:
        """Kill the agent."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to the agent."""
        assert self._process is not None
        self._process.send_signal(number)

    def log(self) -> str:
        """Return the agent's log."""
        return (self.folder / "agent.log").read_text(errors="replace")

    def files(self) -> list[Path]:
        """Return the files of all locations."""
        return sorted(
            path
            for folder in ("local", "locations")
            for path in (self.folder / "state" / folder).rglob("*")
            if path.is_file()
        )

    async def wait_until_empty(self) -> None:
        """Wait until the locations are empty; an upload is cancelled asynchronously."""
        try:
            async with asyncio.timeout(5):
                while self.files():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"left behind: {self.files()}") from None

    async def _is_ready(self) -> bool:
        connector = aiohttp.UnixConnector(str(self.socket))
        try:
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get("http://agent/v1/health") as response,
            ):
                return response.status == 200
        except aiohttp.ClientError, OSError:
            return False

    def _toml(self) -> str:
        lines = [
            f"state_dir = {json.dumps(str(self.folder / 'state'))}",
            "[listen]",
            f"socket = {json.dumps(str(self.socket))}",
        ]
        if self.token:
            lines.append(f"token = {json.dumps(self.token)}")
        if self.tcp_port:
            lines.append(f'tcp = "127.0.0.1:{self.tcp_port}"')
        if self.tls:
            for key, file in zip(("tls_cert", "tls_key"), self.tls, strict=True):
                lines.append(f"{key} = {json.dumps(str(file))}")
        is_named = self.locations or "[[locations]]" in self.more
        if not is_named and not self.is_embedded:
            endpoint = f"file://{self.folder}/state/local"
            names = {"id": LOCATION, "name": "Local directory"}
            lines.append(toml_of({**names, "endpoint": endpoint}))
        for location_id, name in self.locations.items():
            folder = self.folder / "state" / "locations" / location_id
            folder.mkdir(parents=True, exist_ok=True)
            endpoint = f"file://{folder}"
            location = {"id": location_id, "name": name, "endpoint": endpoint}
            lines.append(toml_of(location))
        return "\n".join([*lines, self.more, ""])
