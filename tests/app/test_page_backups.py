"""Uploads and backups on the app's page: progress, actions, the keyboard, and Home Assistant's ingress."""

from __future__ import annotations

import asyncio
import re

import aiohttp
from lab.app import App
from lab.garage import Garage
from lab.ingress import HOST, Ingress
from lab.sample import make_sample
from playwright.async_api import Browser, expect
import pytest

from .page import BUCKET, PHONE, Upload, opened, until_gone

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


async def tell_administrators(app: App, *user_ids: str) -> None:
    """Tell the agent who is an administrator, as Home Assistant does."""
    schedule = {"next_backup": None, "administrators": user_ids}
    async with (
        app.client() as client,
        client.put("/v1/schedule", json=schedule, raise_for_status=True),
    ):
        pass


async def test_upload_progress_updates_to_its_end(app: App, browser: Browser) -> None:
    """Progress updates by itself, and the backup appears in the list without a click."""
    async with opened(browser) as page:
        await page.show(app.page_url)
        async with Upload(app, "watched", "Watched") as upload:
            card = page.card("Watched")
            await expect(card).to_be_visible()
            seen = {await card.locator(".percent").inner_text()}
            await expect(card.locator(".speed")).to_have_text(
                re.compile(r"^\d+\.\d [KM]iB/s$")
            )
            await expect(card.locator(".left")).to_have_text(
                re.compile(r"^\d+ (sec|min).* left$")
            )
            while not upload.status.done() and await card.count():
                seen.add(await card.locator(".percent").inner_text(timeout=2000))
                await asyncio.sleep(0.1)
            assert len(seen) >= 4, seen
            assert await upload.status == 200
        await expect(page.said).to_have_text(
            "Watched was uploaded to Garage in the cellar."
        )
        await expect(card).to_have_count(0)
        await expect(page.backup("Watched")).to_be_visible()


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
        await expect(page.said).to_have_text("The upload of Cancelled was cancelled.")
        await expect(page.said).to_be_focused()
        await until_gone(garage, BUCKET, "Cancelled")


async def test_backup_is_verified_and_deleted(
    app: App, garage: Garage, browser: Browser
) -> None:
    """A row opens; a verification shows its result; a deletion asks first, and says that it was done."""
    date = "2026-11-27T04:47:12.345678+01:00"
    backup, tar = make_sample("superfluous", 60_000, "Superfluous", date)
    assert await app.upload("cellar", backup, tar) == 200
    await tell_administrators(app, "admin")
    async with Ingress(app.page_port) as ingress, opened(browser, PHONE) as page:
        await page.show(ingress.url)
        row = page.backup("Superfluous")
        await row.locator("summary").first.click()
        await expect(row).to_contain_text("Not verified yet")
        await row.get_by_role("button", name="Verify", exact=True).click()
        await expect(row.locator(".outcome.good")).to_contain_text("Verified")
        async with page.page.expect_download() as download:
            await row.get_by_role("link", name="Download").click()
        file = await download.value
        assert (await file.path()).read_bytes() == tar
        assert file.suggested_filename == "superfluous.tar"
        delete = row.get_by_role("button", name="Delete", exact=True)
        await expect(delete).to_be_hidden()
        await row.get_by_text("Delete…").click()
        await expect(row).to_contain_text("It is the only copy.")
        await page.shot("page-delete")
        await delete.click()
        await expect(row).to_have_count(0)
        await expect(page.said).to_have_text(
            "Superfluous was deleted from Garage in the cellar."
        )
        await expect(page.said).to_be_focused()
    await until_gone(garage, BUCKET, "superfluous")


async def test_only_administrators_download_and_delete(app: App) -> None:
    """Ingress serves every user; the agent knows who is an administrator only from Home Assistant."""
    date = "2026-11-27T04:47:12.345678+01:00"
    backup, tar = make_sample("kept", 60_000, "Kept", date)
    assert await app.upload("cellar", backup, tar) == 200

    async def status(method: str, action: str, user: str) -> int:
        # A name that the browser sends is not passed on.
        headers = {"Sec-Fetch-Site": "same-origin", "X-Remote-User-Id": "admin"}
        async with (
            Ingress(app.page_port, user=user) as ingress,
            aiohttp.ClientSession(headers=headers) as browser,
            browser.request(
                method,
                ingress.url.replace(HOST, "127.0.0.1")
                + f"locations/cellar/backups/kept/{action}",
                allow_redirects=False,
            ) as answer,
        ):
            return answer.status

    for administrators in ([], ["admin"]):
        await tell_administrators(app, *administrators)
        assert await status("GET", "content", "guest") == 403
        assert await status("POST", "delete", "guest") == 403
        assert await status("POST", "verify?mode=quick", "guest") == 303
    assert await status("GET", "content", "admin") == 200
    assert await status("POST", "delete", "admin") == 303


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
            skip = page.root.get_by_role("link", name="Skip to the backups")
            await expect(skip).to_be_focused()
            await expect(skip).to_be_in_viewport(ratio=1)
            # Then come the links of the overview to what is wrong.
            wrong = page.region("Overview").get_by_role("link")
            for number in range(await wrong.count()):
                await keyboard.press("Tab")
                await expect(wrong.nth(number)).to_be_focused()
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
            await expect(page.said).to_be_focused()
            # The rows of the backups follow, and below them the locations.
            first = page.region("Backups").locator("summary").first
            await keyboard.press("Tab")
            await expect(first).to_be_focused()
            await keyboard.press("Enter")
            await keyboard.press("Tab")
            verify = page.region("Backups").get_by_role("button", name="Verify").first
            await expect(verify).to_be_focused()
            await keyboard.press("Enter")
            await expect(page.region("Backups").locator("li").first).to_contain_text(
                "Verified"
            )
            check = page.card("Garage in the cellar").get_by_role(
                "button", name="Check"
            )
            await check.focus()
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
        await expect(page.backup("Automatic backup 12")).to_be_visible()
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


async def test_upload_says_that_it_waits_in_a_known_outage(browser: Browser) -> None:
    """The card shows the wait, and its end, although the outage changes nothing about the location."""
    async with Garage() as garage:
        await garage.create_bucket(BUCKET)
        location = {
            "id": "cellar",
            "name": "Cellar",
            "provider": "garage",
            "endpoint": garage.endpoint,
            "region": garage.region,
            "bucket": BUCKET,
            "access_key_id": garage.key_id,
            "secret_access_key": garage.secret_key,
            "upload_limit": "3 MiB",
        }
        options = {"locations": [location]}
        async with (
            App(options, page_from=["127.0.0.1"]) as app,
            opened(browser) as page,
        ):
            await garage.kill()
            listed = "/v1/locations/cellar/backups?refresh=true"
            async with app.client() as client, client.get(listed):
                pass
            await page.show(app.page_url)
            known = page.card("Cellar").locator(".trouble")
            await expect(known).to_contain_text("reach the storage provider")
            async with Upload(app, "patient", "Patient"):
                waits = page.card("Patient").locator(".trouble")
                await expect(waits).to_contain_text("reach the storage provider")
                await page.shot("page-waiting")
                await garage.start()
                await expect(page.card("Patient")).to_be_visible()
                await expect(waits).to_have_count(0)
