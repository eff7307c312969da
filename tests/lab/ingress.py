"""An imitation of Home Assistant's ingress: its core and Supervisor as one proxy.

Paths, headers, and what is compressed are as in `homeassistant/components/hassio/ingress.py` and `http.py`, and in
Supervisor's `api/ingress.py`; the login and the session before that are left out.
"""

from __future__ import annotations

from typing import Any, Self

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict

TOKEN = "ingress-token-that-only-supervisor-knows"
PATH = f"/api/hassio_ingress/{TOKEN}"
# Supervisor's address, in place of 172.30.32.2.
ADDRESS = "127.0.0.9"
# A host name without https, as most users open Home Assistant. The tests resolve it for the browser.
HOST = "homeassistant.test"

_NOT_PASSED_ON = {
    hdrs.ACCEPT_ENCODING,
    hdrs.CONTENT_ENCODING,
    hdrs.CONTENT_LENGTH,
    hdrs.TRANSFER_ENCODING,
}
_NOT_PASSED_BACK = {
    hdrs.CONTENT_ENCODING,
    hdrs.CONTENT_LENGTH,
    hdrs.CONTENT_TYPE,
    hdrs.TRANSFER_ENCODING,
}
_SIMPLE_BYTES = 4_194_000
_PANEL = '<!doctype html><title>Home Assistant</title><iframe src="{path}/" width="100%" height="900"></iframe>'


class Ingress:
    """Serves an app's page below a secret path, as Supervisor does.

    Used as `async with Ingress(port) as ingress:`; `ingress.url` is the page, `ingress.panel` Home Assistant with the
    page in a frame.
    """

    def __init__(self, port: int, *, user: str = "admin") -> None:
        """Forward requests to this port of the app; `user` is the id of who is logged in."""
        self.panel = ""
        self._user = user
        self._port = port
        self._runner: web.AppRunner | None = None
        self._client: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """URL of the page."""
        return f"{self.panel.rstrip('/')}{PATH}/"

    async def __aenter__(self) -> Self:
        """Start to listen."""
        connector = aiohttp.TCPConnector(local_addr=(ADDRESS, 0), limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        self._client = aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        )
        app = web.Application()
        app.router.add_get("/", self._show_panel)
        app.router.add_get("/favicon.ico", _nothing)
        app.router.add_route("*", PATH + "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.panel = f"http://{HOST}:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        if self._client is not None:
            await self._client.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _show_panel(self, _request: web.Request) -> web.Response:
        return web.Response(text=_PANEL.format(path=PATH), content_type="text/html")

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        assert self._client is not None
        async with self._client.request(
            request.method,
            f"http://127.0.0.1:{self._port}/{request.match_info['path']}",
            headers=_passed_on(request, self._user),
            params=request.query,
            allow_redirects=False,
            data=request.content if request.method != "GET" else None,
            skip_auto_headers={hdrs.CONTENT_TYPE},
        ) as answer:
            return await _passed_back(request, answer)


async def _nothing(_request: web.Request) -> web.Response:
    return web.Response(status=204)


def _passed_on(request: web.Request, user: str) -> CIMultiDict[str]:
    headers = CIMultiDict(
        (name, value)
        for name, value in request.headers.items()
        if name not in _NOT_PASSED_ON
    )
    headers["X-Hass-Source"] = "core.ingress"
    headers["X-Remote-User-Id"] = user
    headers["X-Ingress-Path"] = PATH
    headers[hdrs.X_FORWARDED_FOR] = str(request.remote)
    headers.setdefault(hdrs.X_FORWARDED_HOST, request.host)
    headers.setdefault(hdrs.X_FORWARDED_PROTO, request.scheme)
    return headers


async def _passed_back(
    request: web.Request, answer: aiohttp.ClientResponse
) -> web.StreamResponse:
    headers = CIMultiDict(
        (name, value)
        for name, value in answer.headers.items()
        if name not in _NOT_PASSED_BACK
    )
    content_type = answer.headers.get(hdrs.CONTENT_TYPE, "application/octet-stream")
    content_type = content_type.partition(";")[0].strip()
    response: Any
    if int(answer.headers.get(hdrs.CONTENT_LENGTH, _SIMPLE_BYTES + 1)) <= _SIMPLE_BYTES:
        response = web.Response(
            headers=headers,
            status=answer.status,
            content_type=content_type,
            body=await answer.read(),
        )
        if _is_compressed(content_type):
            response.enable_compression()
        return response  # type: ignore[no-any-return]
    response = web.StreamResponse(status=answer.status, headers=headers)
    response.content_type = content_type
    if _is_compressed(content_type):
        response.enable_compression()
    await response.prepare(request)
    async for data, _ in answer.content.iter_chunks():
        await response.write(data)
    return response  # type: ignore[no-any-return]


def _is_compressed(content_type: str) -> bool:
    if content_type.startswith("text/event-stream"):
        return False
    if content_type.startswith("image/"):
        return "svg" in content_type
    if content_type.startswith("application/"):
        return any(kind in content_type for kind in ("json", "xml", "javascript"))
    return not content_type.startswith(("video/", "audio/", "font/"))
