"""The agent as Supervisor runs it: its options in a file, everything else from the environment."""

import asyncio
from collections.abc import Sequence
import json
from pathlib import Path
import shutil
import tempfile
from typing import Any, Self
import zlib

import aiohttp

from .agent import agent_binary
from .process import Process, free_port

START_TIMEOUT_S = 20
TOKEN = "Supervisor's token for this app"
SLUG = "local_s3_backup_agent"


class App:
    """A container of the app, with folders in place of /data and /share, and a Supervisor.

    Used as `async with App(options) as app:`; options that are a text are written as they are.
    """

    def __init__(
        self,
        options: dict[str, Any] | str,
        *,
        supervisor: str = "127.0.0.1:1",
        page_from: Sequence[str] = (),
    ) -> None:
        """Prepare a container; nothing runs yet."""
        self.folder = Path(tempfile.mkdtemp(prefix="app-"))
        self.data = self.folder / "data"
        self.data.mkdir()
        self.socket = self.folder / "share" / "s3_backup_agent" / "agent.sock"
        self.supervisor = supervisor
        self.page_port = free_port()
        self._page_from = page_from
        self.set_options(options)
        self._process: Process | None = None

    @property
    def page_url(self) -> str:
        """Return the page's own address."""
        return f"http://127.0.0.1:{self.page_port}/"

    @property
    def process(self) -> Process:
        """The running agent."""
        assert self._process is not None
        return self._process

    def set_options(self, options: dict[str, Any] | str) -> None:
        """Write the options as Supervisor does after a change."""
        text = options if isinstance(options, str) else json.dumps(options)
        (self.data / "options.json").write_text(text)

    @property
    def token(self) -> str:
        """The token of the agent's API."""
        return (self.data / "token").read_text().strip()

    async def __aenter__(self) -> Self:
        """Start the app."""
        try:
            await self.start()
        except BaseException:
            await self._remove()
            raise
        return self

    async def __aexit__(self, failure: type[BaseException] | None, *_: object) -> None:
        """Stop the app, and assert exit code 0."""
        try:
            if self._process is not None and failure is None:
                assert await self.stop() == 0, self.log()
        finally:
            await self._remove()

    async def _remove(self) -> None:
        if self._process is not None:
            await self._process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def start(self) -> None:
        """Start the agent and wait until it is healthy."""
        self._process = await self.run("serve")
        await self.until_healthy()

    async def until_healthy(self) -> None:
        """Wait until the agent's own health check succeeds."""
        async with asyncio.timeout(START_TIMEOUT_S):
            while await self.exit_code("healthcheck"):
                self.process.require_alive()

    async def stop(self) -> int:
        """Stop the agent as Supervisor does, and return its exit code."""
        process, self._process = self.process, None
        return await process.stop(10)

    async def run(self, *arguments: str) -> Process:
        """Run the binary as in the container."""
        environment = {
            "SUPERVISOR_TOKEN": TOKEN,
            "SUPERVISOR": self.supervisor,
            "S3_BACKUP_AGENT_OPTIONS": str(self.data / "options.json"),
            "S3_BACKUP_AGENT__STATE_DIR": str(self.data),
            "S3_BACKUP_AGENT__LISTEN__SOCKET": str(self.socket),
            "S3_BACKUP_AGENT__LISTEN__PAGE": f"127.0.0.1:{self.page_port}",
        }
        for number, address in enumerate(self._page_from):
            environment[f"S3_BACKUP_AGENT__LISTEN__PAGE_FROM__{number}"] = address
        log = self.folder / "agent.log"
        return await Process.start(
            log, agent_binary(), *arguments, environment=environment
        )

    async def exit_code(self, *arguments: str) -> int:
        """Run a command, and return its exit code."""
        return await (await self.run(*arguments)).wait(30)

    def log(self) -> str:
        """Return the log of the agent and of its commands."""
        return (self.folder / "agent.log").read_text(errors="replace")

    def client(self) -> aiohttp.ClientSession:
        """Return an HTTP client on the socket, with the token."""
        connector = aiohttp.UnixConnector(path=str(self.socket))
        headers = {"Authorization": f"Bearer {self.token}"}
        return aiohttp.ClientSession(
            "http://agent",
            connector=connector,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def get(self, path: str) -> Any:
        """Return the agent's answer to a GET with the token."""
        async with (
            self.client() as client,
            client.get(path, raise_for_status=True) as response,
        ):
            return await response.json()

    async def upload(self, location: str, backup: dict[str, Any], tar: bytes) -> int:
        """Upload a backup as Home Assistant does; return the last status, 200 on success."""
        async with self.client() as client:
            announced = {"backup": backup, "filename": f"{backup['backup_id']}.tar"}
            async with client.post(
                f"/v1/locations/{location}/uploads",
                json=announced,
                raise_for_status=True,
            ) as response:
                upload = f"/v1/uploads/{(await response.json())['upload_id']}"
            async with client.put(f"{upload}/content", data=tar) as response:
                if not response.ok:
                    return response.status
            counted = {"size": len(tar), "crc32": f"{zlib.crc32(tar):08x}"}
            async with client.post(f"{upload}/complete", json=counted) as response:
                return response.status
