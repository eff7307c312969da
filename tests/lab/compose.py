"""docker/compose.yaml as a user starts it, with its Home Assistant."""

from __future__ import annotations

import asyncio
from pathlib import Path
import secrets
import shutil
import tempfile
from typing import Any, Self, override

import aiohttp

from .agent import Location
from .docker import docker, image, inspect, outside
from .garage import REGION, Garage
from .homeassistant import REPOSITORY, HomeAssistant
from .network import LOOPBACK_ADDRESS
from .process import LabError, free_port

OURS = REPOSITORY / "tests" / "containers" / "compose.lab.yaml"
HOME_ASSISTANT_PORT = 8123
UPLOAD_LIMIT = "24 MiB"


class ComposedHome(HomeAssistant):
    """The Home Assistant of the compose file; Docker starts and ends it."""

    @override
    async def start(self) -> None:
        """Wait until Home Assistant answers."""
        async with asyncio.timeout(120):
            while not await self._answers():
                await asyncio.sleep(0.1)

    def move_to(self, folder: Path) -> None:
        """Use an existing configuration folder, and a port of the container."""
        file = self.config / "configuration.yaml"
        text = file.read_text().replace("127.0.0.1", "0.0.0.0")
        file.write_text(text.replace(str(self.port), str(HOME_ASSISTANT_PORT)))
        # The integration comes from docker/up.
        shutil.rmtree(self.config / "custom_components")
        self.config = Path(shutil.move(self.config, folder))


class ComposedGarage(Garage):
    """The Garage of the compose file; Docker starts and ends it. Only its S3 port is published."""

    def __init__(self, port: int) -> None:
        """Set the port; the keys follow later."""
        self.host, self.region = LOOPBACK_ADDRESS, REGION
        self.key_id = self.secret_key = ""
        self._s3_port = port


class Composed:
    """All three containers, from a copy of docker/, under their own project name.

    Used as `async with Composed() as composed:`.
    """

    def __init__(self) -> None:
        """Copy the files."""
        self.project = f"lab{secrets.token_hex(4)}"
        self.folder = Path(tempfile.mkdtemp(prefix="compose-"))
        self.docker = self.folder / "docker"
        ignored = shutil.ignore_patterns("__pycache__", ".env", "homeassistant")
        for name in ("docker", "custom_components"):
            shutil.copytree(REPOSITORY / name, self.folder / name, ignore=ignored)
        self.socket_folder = self.folder / "socket"
        self.socket_folder.mkdir()
        self.ha = ComposedHome()
        self.ha.move_to(self.docker / "homeassistant")
        self.garage = ComposedGarage(free_port())
        self._agent_image = image()

    async def __aenter__(self) -> Self:
        """Start all containers with one command, and sign in to Home Assistant."""
        try:
            await self.run("./up")
            keys = self._keys()
            self.garage.key_id = keys["GARAGE_KEY_ID"]
            self.garage.secret_key = keys["GARAGE_SECRET_KEY"]
            await self.ha.__aenter__()
        except BaseException as error:
            error.add_note(await self.log())
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Remove the containers, their volumes and their network."""
        await self.ha.__aexit__()
        await self.compose("down", "--volumes", "--timeout=1")
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def location(self) -> Location:
        """The location of the agent in the compose file."""
        return Location.on(self.garage, "ha-backups", prefix="", name="Garage")

    def client(self) -> aiohttp.ClientSession:
        """Return an HTTP client on the agent's socket."""
        connector = aiohttp.UnixConnector(path=str(self.socket_folder / "agent.sock"))
        return aiohttp.ClientSession("http://agent", connector=connector)

    async def run(self, *command: str) -> str:
        """Run a command in the copy of docker/, with the tests' additions to compose.yaml."""
        environment = {
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_FILE": f"compose.yaml:{OURS}",
            "HOME_ASSISTANT_PORT": str(self.ha.port),
            "LAB_GARAGE_PORT": self.garage.endpoint.rpartition(":")[2],
            "LAB_SOCKET_FOLDER": str(self.socket_folder),
            "LAB_UPLOAD_LIMIT": UPLOAD_LIMIT,
            "LAB_IMAGE": self._agent_image,
        }
        return await outside(*command, folder=self.docker, environment=environment)

    async def compose(self, *arguments: str) -> str:
        """Run a command with the installed version of compose."""
        script = 'docker compose version >/dev/null 2>&1 && exec docker compose "$@"; exec docker-compose "$@"'
        return await self.run("sh", "-c", script, "compose", *arguments)

    async def upgrade(self, to: str) -> None:
        """Replace the agent's container by one of another image, with the same volumes."""
        self._agent_image = to
        await self.compose("up", "--detach", "--no-deps", "agent")

    async def container(self, service: str) -> Any:
        """Return Docker's description of a service's container."""
        listed = await docker(
            "ps", "--all", "--quiet",
            f"--filter=label=com.docker.compose.project={self.project}",
            f"--filter=label=com.docker.compose.service={service}",
        )  # fmt: skip
        if len(names := listed.split()) != 1:
            raise LabError(f"{service} has {len(names)} containers")
        return await inspect(names[0])

    async def log(self) -> str:
        """Return the containers' logs."""
        return (await self.compose("logs", "--no-color"))[-20_000:]

    def _keys(self) -> dict[str, str]:
        lines = (self.docker / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)
