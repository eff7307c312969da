"""A person who sets everything up for the first time, with each click counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any, override

from lab.homeassistant import NEWEST
from lab.parts import part
from playwright.async_api import Browser, Locator, expect

from .frontend import HERE, Frontend, texts

CLICKS = (HERE / "clicks.js").read_text()
CLIPPED = (HERE / "clipped.js").read_text()
SIZES = {"desktop": (1200, 950), "phone": (390, 844)}


@dataclass(frozen=True)
class Person:
    """A language and a device."""

    language: str
    device: str

    @override
    def __str__(self) -> str:
        """Return a name for screenshots and figures."""
        return f"{self.language}-{self.device}"


class Tour:
    """The way of one person through the frontend."""

    def __init__(self, person: Person, frontend: Frontend) -> None:
        """Begin; nothing is clicked yet."""
        self.person = person
        self.frontend = frontend
        # Whether each click was in a dialog of ours.
        self.clicks: list[bool] = []
        self._own = texts(person.language)
        self._home_assistants = _texts_of_the_frontend(person.language)
        self._stations = 0

    @property
    def ours(self) -> int:
        """The number of clicks in our dialogs."""
        return sum(self.clicks)

    def own(self, key: str) -> str:
        """Return a text of the integration in the person's language."""
        return self._own[f".{key}"]

    def its(self, key: str) -> str:
        """Return a text of Home Assistant's frontend in the person's language."""
        return self._home_assistants[f"ui.panel.config.{key}"]

    @property
    def its_next(self) -> str:
        """Home Assistant's word for the next step."""
        return self._home_assistants["ui.common.next"]

    @property
    def backed_up(self) -> Locator:
        """The heading of a system that is backed up."""
        heading = self.its("backup.overview.summary.backup_success_heading")
        return self.frontend.text(heading)

    def count(self, is_ours: bool) -> None:
        """Count a click."""
        self.clicks.append(is_ours)

    async def click(self, element: Locator) -> None:
        """Click an element."""
        await element.first.click()

    async def station(self, name: str, *, of: Locator | None = None) -> None:
        """Keep a screenshot, and assert that nothing on it is cut off."""
        self._stations += 1
        await self.frontend.shot(
            f"tour-{self.person}-{self._stations:02}-{name}", of=of
        )
        clipped = await self.frontend.page.evaluate(CLIPPED)
        assert not clipped, clipped


@asynccontextmanager
async def touring(
    browser: Browser, url: str, person: Person, shots: Path
) -> AsyncIterator[Tour]:
    """Open a window for a person, who signs in."""
    width, height = SIZES[person.device]
    is_phone = person.device == "phone"
    options: dict[str, Any] = {"is_mobile": is_phone, "has_touch": is_phone}
    context = await browser.new_context(
        base_url=url,
        viewport={"width": width, "height": height},
        locale={"en": "en-GB", "de": "de-DE"}[person.language],
        reduced_motion="reduce",
        **options,
    )
    try:
        page = await context.new_page()
        tour = Tour(person, Frontend(page, shots))
        await context.expose_function("countClick", tour.count)
        await context.add_init_script(CLICKS)
        await tour.frontend.sign_in()
        await tour.frontend.speak(person.language)
        await page.goto("/")
        await expect(page.locator("home-assistant-main")).to_be_visible()
        tour.clicks.clear()
        yield tour
    finally:
        await context.close()


def _texts_of_the_frontend(language: str) -> dict[str, str]:
    """Return the texts of Home Assistant's frontend and of its settings in a language, by key."""
    python = part(f"ha-{NEWEST}/bin/python", f"homeassistant {NEWEST}")
    packages = python.parents[1] / "lib" / "python3.14" / "site-packages"
    found: dict[str, str] = {}
    for folder in (".", "config"):
        path = packages / "hass_frontend" / "static" / "translations" / folder
        (file,) = path.glob(f"{language}-[0-9a-f]*.json")
        found |= json.loads(file.read_text())
    return found
