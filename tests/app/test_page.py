"""The app's page in a browser, on a phone."""

from __future__ import annotations

import asyncio
import json
import re
import signal

from lab.app import App
from lab.garage import Garage
from playwright.async_api import Browser, expect
import pytest

from .page import DESKTOP, PHONE, Upload, opened

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


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
        await page.backup("Automatic backup 12").locator("summary").first.click()
        await page.shot(f"page-{name}")
        assert await page.violations() == []
        assert await page.overhang() == 0
        assert page.foreign_requests(app.page_url) == []


async def test_invalid_options_are_shown_first(app: App, browser: Browser) -> None:
    """Invalid options are shown at the top."""
    async with opened(browser) as page:
        await page.show(app.page_url)
        await expect(page.region("Overview")).to_contain_text("Something is wrong")
        first = page.root.get_by_role("region").nth(1)
        await expect(first).to_contain_text("locations[2].endpoint")
        await expect(first).to_contain_text("locations[2].upload_limit")
        await expect(first).to_contain_text(
            "Correct them on the app's configuration page"
        )


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


async def test_without_javascript(app: App, browser: Browser) -> None:
    """Content is readable, a check works, the log is filterable."""
    async with opened(browser, PHONE, java_script_enabled=False) as page:
        await page.show(app.page_url)
        cellar = page.card("Garage in the cellar")
        await expect(page.backup("Automatic backup 12")).to_be_visible()
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


async def test_empty_page_guides_to_a_first_backup(browser: Browser) -> None:
    """A new app shows three steps; those that are done have a tick."""
    async with (
        App({"locations": []}, page_from=["127.0.0.1"]) as app,
        opened(browser, PHONE) as page,
    ):
        await page.show(app.page_url)
        guide = page.region("Set up in three steps")
        await expect(guide).to_contain_text("Install the integration: to do")
        # As in the README: a repository that neither lists by itself.
        await expect(guide).to_contain_text("Settings > Marketplace > Add from link")
        await expect(guide).to_contain_text("⋮ > Custom repositories")
        url = "https://github.com/s3-backup-agent/s3-backup-agent"
        await expect(guide.locator("code")).to_have_text(url)
        async with app.client() as client, client.get("/v1/events"):
            await page.page.reload()
            await expect(guide).to_contain_text("Install the integration: done")
            await expect(guide).to_contain_text("Connect Home Assistant: done")
            await expect(guide).to_contain_text("Add a bucket: to do")
            await page.shot("page-guide")
        locations = page.region("Backup locations")
        await expect(locations).to_contain_text("No backup location yet")
        await expect(locations).to_contain_text("On the configuration page of the app")
        await page.shot("page-empty")
        assert await page.violations() == []


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
        await expect(page.region_of("problems")).to_contain_text("log_level")
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
        size = page.region_of("backups").locator(".size data").first
        point = r"\." if language == "zh-CN" else ","
        await expect(size).to_have_text(re.compile(rf"^\d+{point}\d [KM]iB$"))
        words = await page.page.locator("body").inner_text()
        assert not re.findall(r"\{\w+\}", words)
        assert await page.overhang() == 0
        assert await page.violations() == []
        await page.shot(f"page-{language}")
