"""A real Home Assistant with its own process, configuration folder and port, used over its API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
import contextlib
import json
from pathlib import Path
import shutil
import tempfile
from typing import Any, Self

import aiohttp

from .backups import Backups
from .parts import part
from .process import LabError, Process, free_port
from .websocket import CallError, WebSocket

NEWEST, OLDEST = "2026.11.0", "2026.3.4"
DOMAIN = "s3_backup_agent"
REPOSITORY = Path(__file__).resolve().parents[2]
INTEGRATION = REPOSITORY / "custom_components" / DOMAIN
START_TIMEOUT_S = 120
RESTART_EXIT_CODE = (
    100  # homeassistant/const.py: requests a restart from the supervisor or container
)
# The sections of the form for a bucket.
SECTIONS = ("connection", "speed", "storage", "verification")
USER, PASSWORD = "lab", "correct horse battery staple"

CONFIGURATION = """\
homeassistant:
  name: Lab
frontend:
config:
api:
backup:
recorder:
http:
  server_host: 127.0.0.1
  server_port: {port}
logger:
  default: info
  logs:
    custom_components.s3_backup_agent: {log_level}
"""

# The step core_config counts as done: it would set up integrations that call services on the internet.
ONBOARDING = {
    "version": 4,
    "key": "onboarding",
    "data": {"done": ["core_config"]},
}


class HomeAssistant:
    """One instance, onboarded and with a signed-in user.

    Used as `async with HomeAssistant(NEWEST) as ha:`. The integration is copied into its configuration folder: a
    restore empties that folder.
    """

    def __init__(
        self,
        version: str = NEWEST,
        *,
        also: Sequence[str] = (),
        log_level: str = "debug",
        is_new: bool = False,
        port: int | None = None,
    ) -> None:
        """Prepare the configuration folder; nothing runs yet.

        `also` are integrations to set up beside the usual; `log_level` is that of ours. One that is new shows its
        first page and has no user. `port` is that of another instance, which it takes the place of.
        """
        self.version = version
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="ha-"))
        self.config = self.folder / "config"
        self.backups = Backups(self)
        self._process: Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._socket: WebSocket | None = None
        self._token = ""
        self._is_new = is_new
        self.config.mkdir()
        (self.config / "configuration.yaml").write_text(
            CONFIGURATION.format(port=self.port, log_level=log_level)
            + "".join(f"{domain}:\n" for domain in also)
        )
        if not is_new:
            (self.config / ".storage").mkdir()
            (self.config / ".storage" / "onboarding").write_text(json.dumps(ONBOARDING))
        if INTEGRATION.exists():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(
                INTEGRATION, self.config / "custom_components" / DOMAIN, ignore=ignored
            )

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def shows_progress(self) -> bool:
        """Whether this version reports the progress of an upload in bytes."""
        return self.version != OLDEST

    @property
    def process(self) -> Process:
        """The running Home Assistant."""
        if self._process is None:
            raise LabError("Home Assistant does not run")
        return self._process

    @property
    def socket(self) -> WebSocket:
        """The websocket of the signed-in user."""
        if self._socket is None:
            raise LabError("no user is signed in to Home Assistant")
        return self._socket

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP client of the lab."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)
            )
        return self._session

    @property
    def headers(self) -> dict[str, str]:
        """The signed-in user's authorization."""
        return {"Authorization": f"Bearer {self._token}"}

    def log_text(self) -> str:
        """Its log over all starts."""
        return (self.folder / "homeassistant.log").read_text(errors="replace")

    async def __aenter__(self) -> Self:
        """Start it, create its first user, and sign in."""
        try:
            await self.start()
            if not self._is_new:
                await self._onboard()
                await self.sign_in()
                await self._confirm_http_configuration()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop it and remove its folder."""
        await self._disconnect()
        if self._process is not None:
            await self._process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def start(self) -> None:
        """Start it and wait until it answers."""
        await self._launch()
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await self._answers():
                self.process.require_alive()
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Stop it gracefully."""
        await self._disconnect()
        await self.process.stop(timeout_s=60)
        self._process = None

    async def kill(self) -> None:
        """Kill it, as a power cut does."""
        await self.process.kill()
        await self._disconnect()
        self._process = None

    async def come_back_from_restore(self, port: int) -> None:
        """Restart it after a restore, as its supervisor does, and sign in again.

        `port` is where it listens now: the restored configuration is that of another instance.
        """
        await self._see_restart_asked()
        await self._launch()  # only restores the files
        await self._see_restart_asked()
        self.port = port
        await self.start()
        await self.sign_in()

    @contextlib.asynccontextmanager
    async def restarted(
        self, before: Callable[[], None] = lambda: None
    ) -> AsyncIterator[None]:
        """Start it again whenever it exits meanwhile, as its container does; `before` is called each time."""

        async def restart() -> None:
            while True:
                await self.process.wait(None)
                before()
                await self._launch()

        restarting = asyncio.create_task(restart())
        try:
            yield
        finally:
            restarting.cancel()
            await asyncio.wait([restarting])
            # A test must not end with an error here unseen.
            if not restarting.cancelled():
                restarting.result()

    async def sign_in(self) -> None:
        """Sign in with user and password, and open the websocket."""
        handler = {
            "client_id": self.url,
            "handler": ["homeassistant", None],
            "redirect_uri": self.url,
        }
        flow = await self._post("/auth/login_flow", handler)
        fields = {"client_id": self.url, "username": USER, "password": PASSWORD}
        done = await self._post(f"/auth/login_flow/{flow['flow_id']}", fields)
        await self._take_token(done["result"])
        self._socket = await WebSocket.connect(self.session, self.url, self._token)
        async with asyncio.timeout(START_TIMEOUT_S):
            while (await self.socket.call("get_config"))["state"] != "RUNNING":
                await asyncio.sleep(0.1)

    async def add_agent(self, address: str, token: str | None = None) -> str:
        """Set up the integration through its form, and return the config entry's id."""
        flow = await self._post(
            "/api/config/config_entries/flow",
            {"handler": DOMAIN, "show_advanced_options": False},
        )
        fields = {"address": address} | ({"token": token} if token else {})
        done = await self._post(
            f"/api/config/config_entries/flow/{flow['flow_id']}", fields
        )
        if done["type"] != "create_entry":
            raise LabError(f"the form was not accepted: {done}")
        entry_id: str = done["result"]["entry_id"]
        await self._wait_until_saved("core.config_entries", entry_id)
        return entry_id

    async def add_location(
        self, entry_id: str, provider: str, fields: dict[str, Any], *answers: Any
    ) -> Any:
        """Add a bucket to an agent through its forms; return the last step of the flow."""
        path = "/api/config/config_entries/subentries/flow"
        shown = await self._post(path, {"handler": [entry_id, "location"]})
        # The frontend sends each section, also a closed one.
        sections: dict[str, Any] = {name: {} for name in SECTIONS}
        filled = {**sections, **fields}
        for fields_or_choice in ({"provider": provider}, filled, *answers):
            shown = await self._post(f"{path}/{shown['flow_id']}", fields_or_choice)
        return shown

    async def remove_location(self, entry_id: str, title: str) -> None:
        """Remove a bucket from an agent."""
        listed = await self.socket.call(
            "config_entries/subentries/list", entry_id=entry_id
        )
        (subentry_id,) = (
            subentry["subentry_id"] for subentry in listed if subentry["title"] == title
        )
        await self.socket.call(
            "config_entries/subentries/delete",
            entry_id=entry_id,
            subentry_id=subentry_id,
        )

    async def remove_agent(self, entry_id: str) -> None:
        """Remove a config entry."""
        url = f"{self.url}/api/config/config_entries/entry/{entry_id}"
        async with self.session.delete(
            url, headers=self.headers, raise_for_status=True
        ):
            pass

    async def _launch(self) -> None:
        # Home Assistant installs no packages at run time, so that missing ones fail the tests.
        script = f"homeassistant {self.version}"
        python = part(f"ha-{self.version}/bin/python", script)
        # -P: the integration is the copy in the configuration folder, not that of the working directory.
        options = ("--config", self.config, "--skip-pip")
        command = (python, "-P", "-m", "homeassistant", *options)
        self._process = await Process.start(self.folder / "homeassistant.log", *command)

    async def _see_restart_asked(self) -> None:
        exit_code = await self.process.wait(START_TIMEOUT_S)
        await self._disconnect()
        if exit_code != RESTART_EXIT_CODE:
            raise LabError(
                f"Home Assistant ended with {exit_code}, not {RESTART_EXIT_CODE}:\n{self.log_text()[-3000:]}"
            )

    async def _wait_until_saved(self, store: str, text: str) -> None:
        """Wait for a store's delayed write, so that a backup contains it."""
        path = self.config / ".storage" / store
        async with asyncio.timeout(START_TIMEOUT_S):
            while not path.exists() or text not in path.read_text():
                await asyncio.sleep(0.1)

    async def _onboard(self) -> None:
        user = {
            "name": "Lab",
            "username": USER,
            "password": PASSWORD,
            "client_id": self.url,
            "language": "en",
        }
        code = (await self._post("/api/onboarding/users", user))["auth_code"]
        await self._take_token(code)
        await self._post("/api/onboarding/analytics", {})
        await self._post(
            "/api/onboarding/integration",
            {"client_id": self.url, "redirect_uri": self.url},
        )

    async def _take_token(self, code: str) -> None:
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self.url,
        }
        async with self.session.post(
            f"{self.url}/auth/token", data=fields, raise_for_status=True
        ) as response:
            self._token = (await response.json())["access_token"]

    async def _confirm_http_configuration(self) -> None:
        """Confirm the port: newer versions try a port from YAML for five minutes."""
        try:
            await self.socket.call("http/config/promote")
        except CallError as error:
            if error.code != "unknown_command":
                raise

    async def _post(self, path: str, fields: Any) -> Any:
        async with self.session.post(
            f"{self.url}{path}", json=fields, headers=self.headers
        ) as response:
            if not response.ok:
                raise LabError(f"{path}: {response.status} {await response.text()}")
            return await response.json()

    async def _answers(self) -> bool:
        try:
            async with self.session.get(f"{self.url}/manifest.json") as response:
                return response.ok
        except aiohttp.ClientError, OSError:
            return False

    async def _disconnect(self) -> None:
        self._token = ""
        if self._socket is not None:
            await self._socket.close()
            self._socket = None
        if self._session is not None:
            await self._session.close()
            self._session = None
