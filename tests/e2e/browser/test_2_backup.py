"""The life of a backup in Home Assistant's panel."""

from __future__ import annotations

from collections.abc import AsyncIterator
import os
from pathlib import Path
import re
import tarfile

from lab.homeassistant import DOMAIN
from playwright.async_api import Locator, expect
import pytest

from .frontend import Frontend
from .stage import CELLAR_BUCKET, Stage

NAME = "S3 Backup Agent: Cellar"
OVERVIEW = "/config/backup/overview"
SIZE = 48 << 20


@pytest.fixture
async def ballast(stage: Stage) -> AsyncIterator[None]:
    """Make backups large enough to watch their upload."""
    file = stage.ha.config / "ballast.bin"
    file.write_bytes(os.urandom(SIZE))
    yield
    file.unlink()


async def test_automatic_backups_go_to_the_location(
    stage: Stage, frontend: Frontend
) -> None:
    """Home Assistant's own dialog lists the location with our icon."""
    cellar = await stage.cellar()
    await frontend.open(OVERVIEW)
    await frontend.button("Set up backups").click()
    dialog = frontend.page.locator("ha-dialog-backup-onboarding")
    await dialog.get_by_role("button", name="Next").click()
    await dialog.get_by_text("Recommended").click()
    await expect(frontend.text("Backed up")).to_be_visible()

    await frontend.open("/config/backup/settings")
    row = frontend.row(NAME, of="ha-backup-config-agents")
    await row.locator("ha-switch").click()
    await expect(row.get_by_role("switch")).to_be_checked()
    await assert_our_icon(row)
    await frontend.shot("20-automatic", of=row)
    await stage.wait_for_automatic_backups_at(cellar)


@pytest.mark.usefixtures("ballast")
async def test_backup_progress_is_shown(stage: Stage, frontend: Frontend) -> None:
    """*Backup now* shows the upload's progress and its end."""
    cellar = await stage.cellar()
    await stage.use_for_automatic_backups(cellar)
    await frontend.open(OVERVIEW)
    await frontend.button("Backup now").click()
    await (
        frontend.page.locator("ha-dialog-new-backup")
        .get_by_text("Automatic backup", exact=True)
        .click()
    )
    row = frontend.row(NAME, of="ha-backup-overview-progress")
    await expect(row).to_contain_text(re.compile(r"[1-9]\d\s*%"))
    await frontend.shot("21-progress")
    await expect(frontend.text("Backed up")).to_be_visible()
    await expect(frontend.text(re.compile("stored in 2 locations"))).to_be_visible()
    await frontend.shot("22-backed-up")


async def test_backup_is_viewed_downloaded_and_deleted(
    stage: Stage, frontend: Frontend, tmp_path: Path
) -> None:
    """The backup's page names the location; its download is complete; deletion empties the bucket."""
    cellar = await stage.cellar()
    outcome = await stage.ha.backups.create([cellar], name="Before the move")
    assert len(stage.garage.bucket_keys(CELLAR_BUCKET)) >= 2
    await frontend.open("/config/backup/backups")
    await frontend.text("Before the move").click()
    await frontend.page.wait_for_url(f"**/details/{outcome.backup_id}")
    row = frontend.row("Cellar", of="ha-config-backup-details")
    await assert_our_icon(row)
    await frontend.shot("23-backup")

    async with frontend.page.expect_download() as download:
        await frontend.press_in_menu(row.get_by_role("button"), "Download")
    file = tmp_path / "downloaded.tar"
    await (await download.value).save_as(file)
    with tarfile.open(file, "r:") as tar:
        assert "homeassistant.tar.gz" in tar.getnames()

    menu = frontend.page.locator("ha-config-backup-details ha-dropdown").first
    await frontend.press_in_menu(menu.get_by_role("button").first, "Delete")
    await frontend.shot("24-delete")
    await frontend.confirm("Delete")
    await frontend.page.wait_for_url(f"**{OVERVIEW}")
    assert outcome.backup_id is not None
    assert await stage.ha.backups.find(outcome.backup_id) is None
    keys = stage.garage.bucket_keys(CELLAR_BUCKET)
    assert not [key for key in keys if "Before_the_move" in key]


async def assert_our_icon(row: Locator) -> None:
    """Assert that a list item shows the integration's icon."""
    picture = row.locator(f"img[src*='{DOMAIN}']").first
    await expect(picture).to_be_visible()
    await expect(picture).to_have_js_property("complete", True)
    assert await picture.evaluate("picture => picture.naturalWidth") > 0
