"""The agent's page in a browser, addressed by visible and accessible text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from lab.app import App
from lab.garage import Garage
from lab.sample import make_sample
from playwright.async_api import Browser, Frame, Locator, Page

SHOTS = Path(__file__).resolve().parents[2] / "target" / "screenshots"
PHONE, DESKTOP = (390, 844), (1280, 900)
TIMEOUT_MS = 30_000
BUCKET = "page"
WATCHED_BYTES = 30 << 20


class AgentPage:
    """The page, used by one person. Records foreign requests and script errors."""

    def __init__(self, page: Page) -> None:
        """Watch a page of the browser."""
        self.page = page
        self.root: Page | Frame = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._note)

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    async def show(self, url: str) -> None:
        """Open the page."""
        await self.page.goto(url)
        self.root = self.page

    async def show_framed(self, panel: str) -> None:
        """Open Home Assistant with the page in a frame."""
        await self.page.goto(panel)
        handle = await self.page.wait_for_selector("iframe")
        frame = await handle.content_frame()
        assert frame is not None
        await frame.wait_for_selector("main")
        self.root = frame

    def region(self, name: str) -> Locator:
        """Find a section of the page by its heading."""
        return self.root.get_by_role("region", name=name, exact=True)

    def region_of(self, anchor: str) -> Locator:
        """Find a section of the page in any language."""
        return self.root.locator(f"#{anchor}")

    @property
    def said(self) -> Locator:
        """What the page says about the last action."""
        return self.root.locator("#said")

    def backup(self, name: str) -> Locator:
        """Find the row of a backup by its name."""
        rows = self.region_of("backups").get_by_role("listitem")
        return rows.filter(has=self.root.get_by_text(name, exact=True))

    def card(self, name: str) -> Locator:
        """Find a location or an upload by its name."""
        return self.root.get_by_role("article", name=name, exact=True)

    def button(self, name: str) -> Locator:
        """Find a button by its name."""
        return self.root.get_by_role("button", name=name, exact=True)

    async def shot(self, name: str) -> None:
        """Save a screenshot of the whole page."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(
            path=SHOTS / f"{name}.png", full_page=True, animations="disabled"
        )

    async def violations(self) -> list[str]:
        """Return accessibility violations: screen readers, keyboard, contrast."""
        found = (await Axe().run(self.page)).response["violations"]
        return [
            f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]
        ]

    async def overhang(self) -> int:
        """Return the horizontal overflow in pixels."""
        width: int = await self.root.evaluate(
            "document.documentElement.scrollWidth - window.innerWidth"
        )
        return max(0, width)

    def foreign_requests(self, origin: str) -> list[str]:
        """Return the requests to other hosts."""
        own = urlsplit(origin)[:2]
        return [url for url in self.requests if urlsplit(url)[:2] != own]


class Upload:
    """An upload of some seconds, in the background."""

    def __init__(self, app: App, backup_id: str, name: str) -> None:
        """Start it."""
        self._app, self._id = app, backup_id
        date = "2026-11-26T04:47:12.345678+01:00"
        backup, tar = make_sample(backup_id, WATCHED_BYTES, name, date)
        self.status = asyncio.create_task(app.upload("cellar", backup, tar))

    async def __aenter__(self) -> Self:
        """Continue while a test watches."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel it, if it still runs."""
        for upload in (await self._app.get("/v1/uploads"))["uploads"]:
            if upload["backup_id"] == self._id:
                async with self._app.client() as client:
                    await client.delete(f"/v1/uploads/{upload['upload_id']}")
        await asyncio.wait([self.status])


@asynccontextmanager
async def opened(
    browser: Browser, size: tuple[int, int] = DESKTOP, **options: Any
) -> AsyncIterator[AgentPage]:
    """Open a browser window; the options describe the user."""
    viewport = {"width": size[0], "height": size[1]}
    options = {"viewport": viewport, "locale": "en-GB", **options}
    context = await browser.new_context(**options)
    context.set_default_timeout(TIMEOUT_MS)
    page = AgentPage(await context.new_page())
    try:
        yield page
        # The page's own script must not report anything.
        assert page.complaints == [], page.complaints
    finally:
        await context.close()


async def until_gone(garage: Garage, bucket: str, name: str) -> None:
    """Wait until the bucket holds nothing of an upload."""
    async with asyncio.timeout(30):
        while garage.unfinished_uploads(bucket) or any(
            name in key for key in garage.bucket_keys(bucket)
        ):
            await asyncio.sleep(0.1)
