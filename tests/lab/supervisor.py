"""An imitation of Home Assistant's Supervisor: the calls for the discovery of apps.

What it answers, and what it refuses, is as in Supervisor's `api/discovery.py` and `api/middleware/security.py`; Home
Assistant's half is in the form that aiohasupervisor reads.
"""

from __future__ import annotations

from typing import Any, Self
from uuid import uuid4

from aiohttp import web

# Services that the app may announce.
_DISCOVERY = ["s3_backup_agent"]
# Supervisor's description of an installed app; Home Assistant reads only the name and the slug.
_APP = {
    "advanced": False,
    "apparmor": "profile",
    "arch": ["aarch64", "amd64"],
    "audio": False,
    "audio_input": None,
    "audio_output": None,
    "auth_api": False,
    "auto_update": False,
    "available": True,
    "boot": "auto",
    "boot_config": "auto",
    "build": False,
    "changelog": True,
    "description": "Keeps backups in S3-compatible storage",
    "detached": False,
    "devices": [],
    "devicetree": False,
    "discovery": _DISCOVERY,
    "dns": [],
    "docker_api": False,
    "documentation": True,
    "full_access": False,
    "gpio": False,
    "hassio_api": False,
    "hassio_role": "default",
    "homeassistant": "2026.3.0",
    "homeassistant_api": False,
    "host_dbus": False,
    "host_ipc": False,
    "host_network": False,
    "host_pid": False,
    "host_uts": False,
    "hostname": "s3-backup-agent",
    "icon": True,
    "ingress": True,
    "ingress_entry": None,
    "ingress_panel": False,
    "ingress_port": 8099,
    "ingress_url": None,
    "ip_address": "172.30.33.5",
    "kernel_modules": False,
    "logo": True,
    "long_description": None,
    "machine": [],
    "network": None,
    "network_description": None,
    "options": {},
    "privileged": [],
    "protected": True,
    "rating": 8,
    "repository": "local",
    "schema": None,
    "services": [],
    "signed": False,
    "stage": "stable",
    "startup": "services",
    "state": "started",
    "stdin": False,
    "system_managed": False,
    "system_managed_config_entry": None,
    "translations": {},
    "uart": False,
    "udev": False,
    "update_available": False,
    "url": None,
    "usb": False,
    "version": "0.1.0",
    "version_latest": "0.1.0",
    "video": False,
    "watchdog": True,
    "webui": None,
}


class Supervisor:
    """Answers as Supervisor does, over HTTP on loopback.

    Used as `async with Supervisor() as supervisor:`; `supervisor.host` is what Home Assistant finds in SUPERVISOR.
    """

    def __init__(self, *, port: int = 0, tokens: dict[str, str] | None = None) -> None:
        """Start without messages; tokens are those of apps, with the app's slug."""
        self.host = ""
        self.tokens = dict(tokens or {})
        # Posted messages with the status of the answer.
        self.posts: list[tuple[dict[str, Any], int]] = []
        self._port = port
        self.messages: list[dict[str, Any]] = []
        self.names: dict[str, str] = {}
        self.is_broken = False
        # While Home Assistant starts, Supervisor tells it of no message.
        self.is_home_assistant_up = True
        # The content of messages that Home Assistant was told of.
        self.told: list[dict[str, Any]] = []
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Start to listen."""
        app = web.Application(middlewares=[self._fail])
        app.router.add_get("/discovery", self._list)
        app.router.add_post("/discovery", self._post)
        app.router.add_get("/discovery/{uuid}", self._get)
        app.router.add_delete("/discovery/{uuid}", self._delete)
        app.router.add_get("/addons", self._installed)
        app.router.add_get("/addons/{slug}/info", self._info)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self.host = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        if self._runner is not None:
            await self._runner.cleanup()

    def announce(
        self,
        service: str,
        config: dict[str, Any],
        *,
        slug: str = "local_s3_backup_agent",
        name: str = "S3 Backup Agent",
    ) -> str:
        """Replace an app's discovery message; return its id, which Home Assistant receives."""
        self.messages = [
            message
            for message in self.messages
            if (message["addon"], message["service"]) != (slug, service)
        ]
        self.names[slug] = name
        return self._keep(slug, service, config)

    def _keep(self, slug: str, service: str, config: dict[str, Any]) -> str:
        """Store a message. An app has one for each service, which keeps its id when its content changes."""
        for message in self.messages:
            if (message["addon"], message["service"]) == (slug, service):
                if message["config"] != config:
                    message["config"] = config
                    self._tell(config)
                return str(message["uuid"])
        uuid = uuid4().hex
        self.messages.append(
            {"addon": slug, "service": service, "uuid": uuid, "config": config}
        )
        self._tell(config)
        return uuid

    def _tell(self, config: dict[str, Any]) -> None:
        """Tell Home Assistant of a new or changed message: `_push_discovery` in `discovery/__init__.py`."""
        if self.is_home_assistant_up:
            self.told.append(config)

    @web.middleware
    async def _fail(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.is_broken:
            return _error("System is not ready with state: setup", 400)
        response: web.StreamResponse = await handler(request)
        return response

    async def _list(self, request: web.Request) -> web.Response:
        services: dict[str, list[str]] = {}
        for message in self.messages:
            services.setdefault(message["service"], []).append(message["addon"])
        return _ok({"discovery": self.messages, "services": services})

    async def _post(self, request: web.Request) -> web.Response:
        body = await request.json()
        response = self._take(request, body)
        self.posts.append((body, response.status))
        return response

    def _take(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        if (slug := self._app(request)) is None:
            return web.Response(text="403: Forbidden", status=403)
        wanted = {"service": str, "config": dict}
        if {key: type(value) for key, value in body.items()} != wanted:
            return _error("extra keys not allowed", 400)
        if body["service"] not in _DISCOVERY:
            return _error("Apps must list services they provide via discovery", 403)
        return _ok({"uuid": self._keep(slug, body["service"], body["config"])})

    async def _delete(self, request: web.Request) -> web.Response:
        for message in self.messages:
            if message["uuid"] == request.match_info["uuid"]:
                if message["addon"] != self._app(request):
                    return _error("Can't remove discovery message", 403)
                self.messages.remove(message)
                return _ok({})
        return _error("Discovery message not found", 404)

    def _app(self, request: web.Request) -> str | None:
        """Return the slug of the app whose token the request carries."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return self.tokens.get(token) if scheme == "Bearer" else None

    async def _get(self, request: web.Request) -> web.Response:
        for message in self.messages:
            if message["uuid"] == request.match_info["uuid"]:
                return _ok(message)
        return _error("Discovery message not found", 404)

    async def _installed(self, request: web.Request) -> web.Response:
        apps = [{**_APP, "slug": slug, "name": it} for slug, it in self.names.items()]
        return _ok({"addons": apps})

    def remove(self, slug: str) -> None:
        """Remove an app, with its messages."""
        self.names.pop(slug)
        self.messages = [it for it in self.messages if it["addon"] != slug]

    async def _info(self, request: web.Request) -> web.Response:
        slug = request.match_info["slug"]
        return _ok({**_APP, "slug": slug, "name": self.names[slug]})


def _ok(data: dict[str, Any]) -> web.Response:
    """Return an answer in Supervisor's envelope."""
    return web.json_response({"result": "ok", "data": data})


def _error(message: str, status: int) -> web.Response:
    """Return a refusal in Supervisor's envelope."""
    return web.json_response({"result": "error", "message": message}, status=status)
