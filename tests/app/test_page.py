"""The app's page in a browser, on a phone, and through Home Assistant's ingress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import json
import re
import signal
from typing import Self

from lab.app import App
from lab.browser import launch_options
from lab.garage import Garage
from lab.ingress import ADDRESS, HOST, Ingress
from lab.sample import make_sample
from playwright.async_api import Browser, async_playwright, expect
import pytest
import pytest_asyncio

from .page import DESKTOP, PHONE, TIMEOUT_MS, opened, until_gone

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

BUCKET = "page"
MIB = 1 << 20
UPLOAD_LIMIT = "3 MiB"  # Slow enough to watch a small upload.
WATCHED = 30 * MIB
NIGHTS = 13


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def garage() -> AsyncIterator[Garage]:
    """Start an S3 server with a bucket."""
    async with Garage() as garage:
        await garage.create_bucket(BUCKET)
        yield garage


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def app(garage: Garage) -> AsyncIterator[App]:
    """Start the app: a location with backups, one with a missing bucket, and one with an invalid setting."""
    cellar = {
        "id": "cellar",
        "name": "Garage in the cellar",
        "provider": "garage",
        "endpoint": garage.endpoint,
        "region": garage.region,
        "bucket": BUCKET,
        "prefix": "homeassistant",
        "access_key_id": garage.key_id,
        "secret_access_key": garage.secret_key,
        "part_size": "5 MiB",
        "concurrency": 1,
        "upload_limit": UPLOAD_LIMIT,
    }
    attic = {**cellar, "id": "attic", "name": "Attic", "bucket": "no-such-bucket"}
    wrong = {**cellar, "id": "wrong", "endpoint": "nonsense", "upload_limit": "fast"}
    options = {"log_level": "info", "locations": [cellar, attic, wrong]}
    async with App(options, page_from=["127.0.0.1", ADDRESS]) as app:
        for night in range(NIGHTS):
            date = f"2026-11-{night + 1:02}T04:47:12.345678+01:00"
            backup, tar = make_sample(
                f"night{night}", 20_000 * (night + 1), f"Automatic backup {night}", date
            )
            assert await app.upload("cellar", backup, tar) == 200
        yield app


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Start the browser."""
    expect.set_options(timeout=TIMEOUT_MS)
    options = launch_options(f"--host-resolver-rules=MAP {HOST} 127.0.0.1")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**options)
        yield browser
        await browser.close()


class Upload:
    """An upload of some seconds, in the background."""

    def __init__(self, app: App, backup_id: str, name: str) -> None:
        """Start it."""
        self._app, self._id = app, backup_id
        date = "2026-11-26T04:47:12.345678+01:00"
        backup, tar = make_sample(backup_id, WATCHED, name, date)
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_page_is_accessible(
    app: App, browser: Browser, size: tuple[int, int], scheme: str
) -> None:
    """No overflow, sufficient contrast, accessible names everywhere, and no foreign requests."""
    name = f"{size[0]}-{scheme}"
    async with (
        opened(browser, size, color_scheme=scheme) as page,
        Upload(app, f"look{size[0]}{scheme}", "Before the move"),
    ):
        await page.show(app.page_url)
        await expect(page.card("Before the move").locator(".percent")).to_have_text(
            re.compile(r"^[1-9]\d%")
        )
        for location in ("Garage in the cellar", "Attic"):
            await page.card(location).get_by_role("button", name="Check").click()
        await expect(page.card("Garage in the cellar")).to_contain_text(
            "Everything works"
        )
        await expect(page.card("Attic")).to_contain_text("or create the bucket")
        await page.card("Before the move").get_by_text("Cancel upload…").click()
        await page.shot(f"page-{name}")
        assert await page.grave_violations() == []
        assert await page.overhang() == 0
        assert page.foreign_requests(app.page_url) == []


async def test_invalid_options_are_shown_first(app: App, browser: Browser) -> None:
    """Invalid options are shown at the top."""
    async with opened(browser) as page:
        await page.show(app.page_url)
        first = page.root.get_by_role("region").first
        await expect(first).to_contain_text("locations[2].endpoint")
        await expect(first).to_contain_text("locations[2].upload_limit")
        await expect(first).to_contain_text(
            "Correct them on the app's configuration page"
        )


async def test_upload_progress_updates_to_its_end(app: App, browser: Browser) -> None:
    """Progress updates by itself, and the backup appears in the list without a click."""
    async with opened(browser) as page:
        await page.show(app.page_url)
        async with Upload(app, "watched", "Watched") as upload:
            card = page.card("Watched")
            await expect(card).to_be_visible()
            seen = {await card.locator(".percent").inner_text()}
            while not upload.status.done() and await card.count():
                seen.add(await card.locator(".percent").inner_text(timeout=2000))
                await asyncio.sleep(0.1)
            assert len(seen) >= 4, seen
            assert await upload.status == 200
        said = page.region("Uploads").get_by_role("status")
        await expect(said).to_have_text("Watched was uploaded to Garage in the cellar.")
        await expect(card).to_have_count(0)
        cellar = page.card("Garage in the cellar")
        await expect(cellar.get_by_role("row", name="Watched")).to_be_visible()


async def test_upload_is_cancelled_after_confirmation(
    app: App, garage: Garage, browser: Browser
) -> None:
    """A confirmation comes first; then the upload and its parts are removed."""
    async with opened(browser, PHONE) as page:
        await page.show(app.page_url)
        async with Upload(app, "cancelled", "Cancelled") as upload:
            card = page.card("Cancelled")
            await expect(card.locator(".percent")).not_to_have_text("0%")
            button = card.get_by_role("button", name="Cancel upload", exact=True)
            await expect(button).to_be_hidden()
            await card.get_by_text("Cancel upload…").click()
            # The confirmation stays open while the progress updates.
            percent = await card.locator(".percent").inner_text()
            await expect(card.locator(".percent")).not_to_have_text(percent)
            await button.click()
            assert await upload.status == 409
        await expect(card).to_have_count(0)
        said = page.region("Uploads").get_by_role("status")
        await expect(said).to_have_text("The upload of Cancelled was cancelled.")
        heading = page.root.get_by_role("heading", name="Uploads")
        await expect(heading).to_be_focused()
        await until_gone(garage, BUCKET, "Cancelled")


async def test_check_appears_step_by_step(
    app: App, garage: Garage, browser: Browser
) -> None:
    """Each step appears before the next one ends; a silent server shows the hanging step."""
    async with opened(browser) as page:
        await page.show(app.page_url)
        cellar = page.card("Garage in the cellar")
        button = cellar.get_by_role("button", name="Check")
        garage.process.signal(signal.SIGSTOP)
        try:
            await button.click()
            await expect(cellar).to_contain_text("Host name resolves: OK")
            await expect(cellar).to_contain_text("Checking")
            await expect(cellar).not_to_contain_text("Everything works")
            await expect(button).to_have_attribute("aria-disabled", "true")
        finally:
            garage.process.signal(signal.SIGCONT)
        await expect(cellar.locator(".check .outcome")).to_contain_text(
            "Everything works"
        )
        await expect(cellar).to_contain_text("Delete an object: OK")
        await expect(button).not_to_have_attribute("aria-disabled", "true")


async def test_log_is_live_and_can_be_filtered_and_paused(
    app: App, browser: Browser
) -> None:
    """New records appear by themselves, filtered by level."""
    async with opened(browser) as page:
        await page.show(app.page_url)
        log = page.root.get_by_role("log")
        await expect(log).to_contain_text("listening on unix://")
        await page.root.get_by_label("Level").select_option("debug")
        # Debug records appear once the stream is open.
        async with asyncio.timeout(20):
            while "/v1/providers" not in await log.inner_text():
                await app.get("/v1/providers")
                await asyncio.sleep(0.1)
        await page.root.get_by_label("Level").select_option("error")
        await expect(log.get_by_role("listitem").first).to_contain_text("error")
        assert "listening" not in await log.inner_text()
        await page.root.get_by_label("Level").select_option("info")
        await page.button("Pause").click()
        await app.exit_code("check", "cellar")
        async with app.client() as client:
            await client.post("/v1/locations/attic/check")
        checked = log.get_by_text("checked").last
        before = await log.get_by_text("checked").count()
        await page.button("Pause").click()
        await expect(log.get_by_text("checked")).to_have_count(before + 1)
        await expect(checked).to_be_in_viewport()


async def test_diagnostics_are_copied(app: App, browser: Browser) -> None:
    """The clipboard holds the whole document, without secrets."""
    permissions = ["clipboard-read", "clipboard-write"]
    async with opened(browser, permissions=permissions) as page:
        await page.show(app.page_url)
        await page.button("Copy diagnostics").click()
        await expect(page.root.get_by_text("Copied", exact=True)).to_be_visible()
        copied = json.loads(await page.page.evaluate("navigator.clipboard.readText()"))
        assert copied["info"] == await app.get("/v1/info")
        async with page.page.expect_download() as download:
            await page.root.get_by_role("link", name="Download diagnostics").click()
        file = await (await download.value).path()
        assert json.loads(file.read_text())["info"] == copied["info"]


async def test_page_is_operable_by_keyboard(
    app: App, garage: Garage, browser: Browser
) -> None:
    """Everything is reachable with tab, operable with enter or space, and shows its focus."""
    async with opened(browser) as page:
        await page.show(app.page_url)
        keyboard = page.page.keyboard
        async with Upload(app, "keyboard", "By keyboard"):
            card = page.card("By keyboard")
            await expect(card).to_be_visible()
            await keyboard.press("Tab")
            skip = page.root.get_by_role("link", name="Skip to the backup locations")
            await expect(skip).to_be_focused()
            await expect(skip).to_be_in_viewport(ratio=1)
            await keyboard.press("Tab")
            await expect(card.locator("summary")).to_be_focused()
            outline = await card.locator("summary").evaluate(
                "node => getComputedStyle(node).outlineWidth"
            )
            assert outline == "3px"
            await keyboard.press("Enter")
            await keyboard.press("Tab")
            await keyboard.press("Space")
            await expect(card).to_have_count(0)
            await keyboard.press("Tab")
            await expect(
                page.card("Garage in the cellar").get_by_role("button", name="Check")
            ).to_be_focused()
            await keyboard.press("Enter")
            await expect(page.card("Garage in the cellar")).to_contain_text(
                "Everything works"
            )
        await until_gone(garage, BUCKET, "By_keyboard")


async def test_works_through_ingress(
    app: App, garage: Garage, browser: Browser
) -> None:
    """Below an unknown path, in a frame, over http, from Supervisor's address, streams included."""
    async with Ingress(app.page_port) as ingress, opened(browser) as page:
        await page.show_framed(ingress.panel)
        cellar = page.card("Garage in the cellar")
        await expect(
            cellar.get_by_role("row", name="Automatic backup 12")
        ).to_be_visible()
        await cellar.get_by_role("button", name="Check").click()
        await expect(cellar.locator(".check .outcome")).to_contain_text(
            "Everything works"
        )
        async with Upload(app, "ingress", "Through ingress") as upload:
            card = page.card("Through ingress")
            await expect(card.locator(".percent")).to_have_text("16%")
            await expect(card.locator(".percent")).to_have_text("33%")
            await page.shot("page-ingress")
            await card.get_by_text("Cancel upload…").click()
            await card.get_by_role("button", name="Cancel upload", exact=True).click()
            await expect(card).to_have_count(0)
            assert await upload.status == 409
        await until_gone(garage, BUCKET, "Through_ingress")
        await page.button("Copy diagnostics").click()
        await expect(page.root.get_by_text("Copied", exact=True)).to_be_visible()
        assert page.foreign_requests(ingress.panel) == []
        assert all(
            url == ingress.panel or url.startswith(ingress.url) for url in page.requests
        )


async def test_without_javascript(app: App, browser: Browser) -> None:
    """Content is readable, a check works, the log is filterable."""
    async with opened(browser, PHONE, java_script_enabled=False) as page:
        await page.show(app.page_url)
        cellar = page.card("Garage in the cellar")
        await expect(
            cellar.get_by_role("row", name="Automatic backup 12")
        ).to_be_visible()
        await expect(page.button("Copy diagnostics")).to_be_hidden()
        await cellar.get_by_role("button", name="Check").click()
        await page.page.wait_for_url("**/#location-cellar")
        await expect(cellar).to_contain_text("Everything works")
        await page.root.get_by_label("Level").select_option("error")
        await page.button("Show").click()
        log = page.root.get_by_role("log")
        await expect(log).to_contain_text("ignored in the configuration")
        assert "listening" not in await log.inner_text()
        await page.shot("page-without-javascript")


async def test_empty_page_explains_how_to_add_a_location(browser: Browser) -> None:
    """A new app has no location."""
    async with (
        App({"locations": []}, page_from=["127.0.0.1"]) as app,
        opened(browser, PHONE) as page,
    ):
        await page.show(app.page_url)
        locations = page.region("Backup locations")
        await expect(locations).to_contain_text("No backup location yet")
        await expect(locations).to_contain_text("On the configuration page of the app")
        await page.shot("page-empty")
        assert await page.grave_violations() == []


async def test_page_shows_that_the_agent_is_unreachable_and_recovers(
    browser: Browser,
) -> None:
    """A stale page is marked as stale."""
    async with (
        App({"locations": []}, page_from=["127.0.0.1"]) as app,
        opened(browser) as page,
    ):
        await page.show(app.page_url)
        first = (await app.get("/v1/info"))["instance_id"]
        log = page.root.get_by_role("log")
        await expect(log).to_contain_text("the agent starts")
        await app.stop()
        lost = page.root.get_by_text("The agent does not answer")
        await expect(lost).to_be_visible()
        app.set_options({"locations": [], "log_level": "loud"})
        await app.start()
        await expect(lost).to_be_hidden()
        assert (await app.get("/v1/info"))["instance_id"] != first
        await expect(page.root.get_by_role("region").first).to_contain_text("log.level")
        page.complaints.clear()


@pytest.mark.parametrize(
    "language",
    ["cs", "da", "de", "es", "fr", "it", "nl", "pl", "pt-BR", "sv", "zh-CN"],
)
async def test_page_uses_the_browser_language(
    app: App, browser: Browser, language: str
) -> None:
    """Words, dates and numbers are localised; longer words do not overflow, and none is missing."""
    async with opened(browser, PHONE, locale=language) as page:
        await page.show(app.page_url)
        html = page.root.locator("html")
        await expect(html).to_have_attribute("lang", re.compile(language[:2]))
        size = page.card("Garage in the cellar").locator("td data").first
        point = r"\." if language == "zh-CN" else ","
        await expect(size).to_have_text(re.compile(rf"^\d+{point}\d [KM]iB$"))
        words = await page.page.locator("body").inner_text()
        assert not re.findall(r"\{\w+\}", words)
        assert await page.overhang() == 0
        assert await page.grave_violations() == []
        await page.shot(f"page-{language}")
