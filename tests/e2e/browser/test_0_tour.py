"""From nothing to the first backup in the bucket, with the mouse alone.

The agent runs and the integration is installed, but not set up. Fields are filled in as by pasting; each click is counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from lab.agent import Agent
from lab.browser import launch_options
from lab.garage import Garage
from lab.homeassistant import DOMAIN, NEWEST, HomeAssistant
from playwright.async_api import Browser, async_playwright, expect
import pytest

from e2e.home import stored

from .conftest import ALSO, SHOTS, TIMEOUT_MS
from .stage import Stage
from .tour import SIZES, Person, Tour, touring

BUCKET = "ha-backups"
# Of our own; Home Assistant's are counted apart.
MAX_CLICKS = 6
USUAL_SOCKET = "/run/s3-backup-agent/agent.sock"
LOCATION = "config_subentries.location"


@pytest.fixture(scope="module")
async def stage() -> AsyncIterator[Stage]:
    """Start Home Assistant, an agent at the path where it looks for one, and an S3 server."""
    ha = HomeAssistant(NEWEST, also=ALSO, log_level="info")
    async with Garage() as garage, Agent([]) as agent:
        constants = ha.config / "custom_components" / DOMAIN / "const.py"
        text = constants.read_text()
        assert USUAL_SOCKET in text
        constants.write_text(text.replace(USUAL_SOCKET, str(agent.socket)))
        await garage.create_bucket(BUCKET)
        async with ha:
            yield Stage(ha=ha, agent=agent, garage=garage)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Start the browser."""
    expect.set_options(timeout=TIMEOUT_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**launch_options())
        yield browser
        await browser.close()


@pytest.fixture(
    params=[Person(language, device) for language in ("en", "de") for device in SIZES],
    ids=str,
)
async def tour(
    request: pytest.FixtureRequest, stage: Stage, browser: Browser
) -> AsyncIterator[Tour]:
    """Let a person begin with nothing."""
    person: Person = request.param
    await stage.forget_everything(person.language)
    stage.garage.empty(BUCKET)
    async with touring(browser, stage.ha.url, person, SHOTS) as tour:
        try:
            yield tour
        finally:
            name = f"tour-{person}-99-end.png"
            await tour.frontend.page.screenshot(path=SHOTS / name)


async def test_from_nothing_to_the_first_backup(
    stage: Stage, tour: Tour, figure: Callable[[str], None]
) -> None:
    """Six clicks of ours lead to a backup in the bucket, encrypted with the key of Home Assistant's own setup."""
    await find_the_integration(tour)
    await connect_and_add_a_bucket(stage, tour)
    await set_up_backups(tour)
    await turn_on_the_location(stage, tour)
    await back_up(tour)
    (backup,) = [
        backup
        for backup in (await stage.ha.backups.info())["backups"]
        if len(backup["agents"]) == 2
    ]
    assert stored(stage.garage, BUCKET, backup["backup_id"]).metadata["protected"]
    await look_at_the_device(tour)

    its = len(tour.clicks) - tour.ours
    figure(f"clicks of {tour.person}: {tour.ours} ours, {its} Home Assistant's")
    assert tour.ours <= MAX_CLICKS


async def find_the_integration(tour: Tour) -> None:
    """Open *Devices & services*, and search for the integration."""
    page = tour.frontend.page
    if tour.person.device == "phone":
        await tour.click(page.locator("ha-menu-button"))
    await tour.click(page.locator("ha-sidebar a[href='/config']"))
    await tour.click(page.locator("ha-config-dashboard a[href='/config/integrations']"))
    add = tour.its("integrations.add_integration")
    await tour.click(page.get_by_role("button", name=add))
    search = page.get_by_placeholder(tour.its("integrations.search_brand"))
    await search.fill("S3 Backup")
    found = page.locator("dialog-add-integration").get_by_text("S3 Backup Agent")
    await expect(found).to_be_visible()
    await tour.station("search")
    await tour.click(found)


async def connect_and_add_a_bucket(stage: Stage, tour: Tour) -> None:
    """Connect to the agent that was found, choose the provider, and fill in the form."""
    flow = tour.frontend.flow
    await flow.shows(f"unix://{stage.agent.socket}")
    await tour.station("found")
    await flow.press(tour.own("config.step.user.menu_options.found"))

    await flow.shows(tour.own(f"{LOCATION}.step.user.title"))
    await tour.station("provider")
    label = tour.own(f"{LOCATION}.step.user.data.provider")
    await flow.root.get_by_role("button", name=label).click()
    providers = flow.root.get_by_role("dialog", name=label)
    await expect(providers.get_by_role("option").first).to_be_visible()
    await tour.station("providers")
    await providers.get_by_role("textbox").fill("Garage")
    await tour.click(flow.root.get_by_role("option", name="Garage", exact=True))
    await flow.submit()

    form = f"{LOCATION}.step.location"
    await flow.shows(tour.own(f"{form}.title").format(provider="Garage"))
    await tour.station("bucket")
    fields = {
        "endpoint": stage.garage.endpoint,
        "bucket": BUCKET,
        "access_key_id": stage.garage.key_id,
        "secret_access_key": stage.garage.secret_key,
    }
    await flow.fill(
        {tour.own(f"{form}.data.{name}"): text for name, text in fields.items()}
    )
    await tour.station("filled-in")
    await flow.submit()
    await expect(flow.root.get_by_role("link").first).to_be_visible()
    await expect(flow.root.locator("a[href='/config/backup/settings']")).to_be_visible()
    await tour.station("added")
    assert stage.garage.secret_key not in await tour.frontend.words()


async def set_up_backups(tour: Tour) -> None:
    """Follow the link to Home Assistant's own setup, which creates the key, and take what it recommends."""
    page = tour.frontend.page
    await tour.click(
        tour.frontend.flow.root.locator("a[href='/config/backup/overview']")
    )
    setup = tour.its("backup.overview.onboarding.setup")
    await expect(page.get_by_role("button", name=setup)).to_be_visible()
    await tour.station("overview")
    await tour.click(page.get_by_role("button", name=setup))
    dialog = page.locator("ha-dialog-backup-onboarding")
    await tour.click(dialog.get_by_role("button", name=tour.its_next))
    recommended = tour.its("backup.dialogs.onboarding.setup.recommended_heading")
    await tour.click(dialog.get_by_text(recommended, exact=True))
    await expect(tour.backed_up).to_be_visible()


async def turn_on_the_location(stage: Stage, tour: Tour) -> None:
    """Turn the location on in the settings of automatic backups."""
    page = tour.frontend.page
    configure = tour.its("backup.overview.settings.configure")
    await tour.click(page.get_by_role("button", name=configure))
    row = page.locator("ha-backup-config-agents ha-list-item-base", has_text="S3")
    await tour.click(row.locator("ha-switch"))
    await expect(row.get_by_role("switch")).to_be_checked()
    await tour.station("location", of=row.first)
    (ours,) = [key for key in await stage.ha.backups.agents() if key.startswith(DOMAIN)]
    await stage.wait_for_automatic_backups_at(ours)


async def back_up(tour: Tour) -> None:
    """Back up now."""
    page = tour.frontend.page
    await tour.click(page.locator("ha-icon-button-arrow-prev"))
    new = tour.its("backup.overview.new_backup")
    await tour.click(page.get_by_role("button", name=new))
    dialog = page.locator("ha-dialog-new-backup")
    automatic = tour.its("backup.dialogs.new.automatic.title")
    await tour.click(dialog.get_by_text(automatic, exact=True))
    await expect(page.locator("ha-backup-overview-progress")).to_be_visible()
    await expect(tour.backed_up).to_be_visible()
    await tour.station("backed-up")


async def look_at_the_device(tour: Tour) -> None:
    """Look at what the location shows."""
    page = tour.frontend.page
    await tour.frontend.open("/config/devices/dashboard")
    await page.get_by_text(BUCKET).first.click()
    progress = tour.own("entity.sensor.upload_progress.name")
    await expect(tour.frontend.text(progress)).to_be_visible()
    await tour.station("device")
