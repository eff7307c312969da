"""The agent's page in a browser, addressed by visible and accessible text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from lab.garage import Garage
from playwright.async_api import Browser, Frame, Locator, Page

SHOTS = Path(__file__).resolve().parents[2] / "target" / "screenshots"
# Severe enough to make the page unusable for some users.
GRAVE = ("serious", "critical")
PHONE, DESKTOP = (390, 844), (1280, 900)
TIMEOUT_MS = 30_000


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

    async def grave_violations(self) -> list[str]:
        """Return severe accessibility violations: screen readers, keyboard, contrast."""
        found = (await Axe().run(self.page)).response["violations"]
        return [
            f"{one['id']}: {node['html']}"
            for one in found
            if one["impact"] in GRAVE
            for node in one["nodes"]
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
