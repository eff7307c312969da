"""Home Assistant's frontend in a browser, addressed by its visible text."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import re
from typing import Any

from lab.homeassistant import INTEGRATION, PASSWORD, USER
from playwright.async_api import Locator, Page, expect

HERE = Path(__file__).parent
WORDS = (HERE / "words.js").read_text()
SETTLED = (HERE / "settled.js").read_text()

# Texts that must never be visible: translation keys, unfilled placeholders, missing values.
RAW = re.compile(
    r"component\.s3_backup_agent\S*|\{\w+\}|MISSING_VALUE|\[object Object\]|Translation error"
)

FINISH = re.compile("^(Skip and finish|Finish)$")


class Frontend:
    """A page of the frontend, used by one person."""

    def __init__(self, page: Page, shots: Path) -> None:
        """Use a page of the browser, and keep screenshots in a folder."""
        self.page = page
        self._shots = shots
        # English texts, which must not appear in another language.
        self._english: set[str] = set()

    async def sign_in(self) -> None:
        """Sign in with the form, in any language."""
        await self.page.goto("/")
        await self.page.locator("input[name=username]").fill(USER)
        await self.page.locator("input[name=password]").fill(PASSWORD)
        await self.page.keyboard.press("Enter")
        await expect(self.page.locator("home-assistant-main")).to_be_attached()

    async def open(self, path: str) -> None:
        """Open a page."""
        await self.page.goto(path)

    async def speak(self, language: str) -> None:
        """Choose the language, as the profile page does."""
        await self.page.evaluate(
            "language => localStorage.setItem('selectedLanguage', JSON.stringify(language))",
            language,
        )
        own, english = texts(language), texts("en")
        self._english = {text for key, text in english.items() if own[key] != text}

    async def shot(self, name: str, *, of: Locator | None = None) -> None:
        """Keep a screenshot, and assert that it shows neither keys nor placeholders."""
        await self.page.wait_for_function(SETTLED)
        if of is not None:
            await of.scroll_into_view_if_needed()
            await expect(of).to_be_in_viewport()
        self._shots.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(
            path=self._shots / f"{name}.png", animations="disabled"
        )
        words = await self.words()
        assert not RAW.findall(words)
        assert not self._english & set(words.splitlines())

    async def words(self) -> str:
        """Return all visible text of the page."""
        words: str = await self.page.evaluate(WORDS)
        return words

    def text(self, text: str | re.Pattern[str]) -> Locator:
        """Find an element by its text."""
        return self.page.get_by_text(text).first

    def button(self, name: str, *, exact: bool = False) -> Locator:
        """Find a button by its name."""
        return self.page.get_by_role("button", name=name, exact=exact).first

    def row(self, text: str, *, of: str = "") -> Locator:
        """Find a list item by its text; `of` is the element of the list."""
        return self.page.locator(f"{of} ha-list-item-base", has_text=text).first

    async def press_in_menu(self, opener: Locator, item: str) -> None:
        """Open a menu and choose an item."""
        await opener.click()
        items = self.page.locator("ha-dropdown-item:visible", has_text=item)
        await items.first.click()

    async def confirm(self, button: str) -> None:
        """Confirm the dialog on the page."""
        await self.page.locator("dialog-box").get_by_role("button", name=button).click()

    @property
    def flow(self) -> Flow:
        """The dialog of a flow."""
        return Flow(self.page)


def texts(language: str) -> dict[str, str]:
    """Return the integration's texts in a language, by key."""

    def read(node: Any, key: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, str):
            yield key, node
        else:
            for name, inner in node.items():
                yield from read(inner, f"{key}.{name}")

    path = INTEGRATION / "translations" / f"{language}.json"
    return dict(read(json.loads(path.read_text()), ""))


class Flow:
    """The dialog of a config flow, a subentry flow or a repair."""

    def __init__(self, page: Page) -> None:
        """Use the dialog on the page."""
        self.root = page.locator("dialog-data-entry-flow")

    def field(self, label: str) -> Locator:
        """Find a text field by its label; required fields have a star behind it."""
        name = re.compile(rf"^{re.escape(label)}\s?\*?$")
        return self.root.get_by_role("textbox", name=name).first

    async def fill(self, fields: dict[str, str]) -> None:
        """Fill in fields."""
        for label, text in fields.items():
            await self.field(label).fill(text)

    async def choose(self, label: str, text: str) -> None:
        """Search a list that takes other values, too; choose what it finds, or add it."""
        await self.root.get_by_role("button", name=label).click()
        await (
            self.root.get_by_role("dialog", name=label)
            .get_by_role("textbox")
            .fill(text)
        )
        found = self.root.get_by_role("option", name=text, exact=True)
        added = self.root.get_by_role("option", name=f'"{text}"')
        await found.or_(added).first.click()

    async def press(self, name: str) -> None:
        """Press a button, or choose an item of the dialog's menu."""
        button = self.root.get_by_role("button", name=name)
        await button.or_(self.root.get_by_text(name, exact=True)).first.click()

    async def submit(self) -> None:
        """Press the button below the form, in any language."""
        await self.root.locator("ha-button[slot=primaryAction]").last.click()

    async def finish(self) -> None:
        """Close the success dialog without naming devices."""
        button = self.root.get_by_role("button", name=FINISH)
        await button.click()
        await expect(button).to_be_hidden()

    async def close(self, *, name: str = "Close") -> None:
        """Close the dialog."""
        await self.root.get_by_role("button", name=name).last.click()
        await expect(self.root.locator("dialog[open]")).to_have_count(0)

    async def shows(self, text: str | re.Pattern[str], **options: Any) -> None:
        """Wait until the dialog shows a text."""
        await expect(self.root.get_by_text(text).first).to_be_visible(**options)
