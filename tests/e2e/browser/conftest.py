"""One Home Assistant, its agent, an S3 server and a browser for all stations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator

from lab.agent import Agent
from lab.browser import launch_options
from lab.fixtures import FIGURES
from lab.garage import Garage
from lab.homeassistant import NEWEST, REPOSITORY, HomeAssistant
from playwright.async_api import async_playwright, expect
import pytest

from e2e.conftest import LOGS
from e2e.home import Log, bugs

from .frontend import Frontend
from .stage import Stage

SHOTS = REPOSITORY / "target" / "screenshots"
TIMEOUT_MS = 30_000
FAILED = pytest.StashKey[bool]()

# The parts of `default_config` that these tests need.
ALSO = ("repairs", "system_health", "system_log", "history", "logbook")


@pytest.fixture(scope="session")
async def stage() -> AsyncIterator[Stage]:
    """Start Home Assistant, an agent without buckets, and an S3 server."""
    async with (
        Garage() as garage,
        Agent([]) as agent,
        HomeAssistant(NEWEST, also=ALSO, log_level="info") as ha,
    ):
        yield Stage(ha=ha, agent=agent, garage=garage)


@pytest.fixture(scope="session")
async def signed_in(
    stage: Stage, pytestconfig: pytest.Config
) -> AsyncIterator[Frontend]:
    """Open the browser and sign in."""
    expect.set_options(timeout=TIMEOUT_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**launch_options())
        context = await browser.new_context(
            base_url=stage.ha.url,
            viewport={"width": 1200, "height": 950},
            locale="en-GB",
            reduced_motion="reduce",
        )
        page = await context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        frontend = Frontend(page, SHOTS)
        await frontend.sign_in()
        pytestconfig.stash.setdefault(FIGURES, []).append(f"screenshots: {SHOTS}")
        yield frontend
        await browser.close()


@pytest.fixture
async def frontend(
    signed_in: Frontend, request: pytest.FixtureRequest
) -> AsyncIterator[Frontend]:
    """Lend the browser to a test; keep a screenshot of a failure."""
    yield signed_in
    if request.node.stash.get(FAILED, False):
        await signed_in.page.screenshot(path=SHOTS / f"failed-{request.node.name}.png")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record the failure of a test."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(autouse=True)
def browser_logs(request: pytest.FixtureRequest, stage: Stage) -> Iterator[None]:
    """Keep the logs of a failed test, and fail a test for unexpected errors."""
    home_assistant = Log(stage.ha.folder / "homeassistant.log")
    request.node.stash[LOGS] = {
        "Home Assistant": home_assistant,
        "agent": Log(stage.agent.log_path),
    }
    yield
    assert not bugs(home_assistant.new_text())
