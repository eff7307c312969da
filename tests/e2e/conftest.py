"""Shared fixtures: one Home Assistant with its agent per version."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
import tempfile

from lab.agent import Agent, Location
from lab.garage import Garage
from lab.homeassistant import NEWEST, OLDEST, HomeAssistant
import pytest

from .home import Home, Log, bugs

pytest_plugins = ["lab.fixtures"]

LOGS = pytest.StashKey[dict[str, Log]]()
LOG_SHOWN = 20_000


@pytest.fixture(scope="session", params=[NEWEST, OLDEST])
async def system(request: pytest.FixtureRequest, garage: Garage) -> AsyncIterator[Home]:
    """Start a Home Assistant with an agent and two locations, each with its own bucket."""
    version: str = request.param
    buckets = [
        await garage.create_bucket(f"{name}-{version.replace('.', '-')}")
        for name in ("cellar", "attic")
    ]
    cellar = Location.on(garage, buckets[0], id="cellar", name="Cellar")
    attic = Location.on(
        garage, buckets[1], id="attic", name="Attic", prefix="", outage_seconds=5
    )
    async with (
        Agent([cellar, attic], log_level="debug") as agent,
        HomeAssistant(version) as ha,
    ):
        await ha.add_agent(agent.address)
        await ha.backups.wait_for_agents(2)
        yield Home(ha=ha, agent=agent, garage=garage, cellar=cellar, attic=attic)


@pytest.fixture
async def home(system: Home) -> AsyncIterator[Home]:
    """Lend the running system to a test, and clean up after it."""
    yield system
    await system.clear()


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep the logs of a failed test, and fail a test for unexpected errors."""
    if "system" not in request.fixturenames:
        yield
        return
    home: Home = request.getfixturevalue("system")
    home_assistant = Log(home.ha.folder / "homeassistant.log")
    request.node.stash[LOGS] = {
        "Home Assistant": home_assistant,
        "agent": Log(home.agent.log_path),
    }
    yield
    assert not bugs(home_assistant.new_text())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the logs of all parts to a failed test."""
    report = yield
    if report.failed:
        for name, log in item.stash.get(LOGS, {}).items():
            report.sections.append((f"log of {name}", log.new_text()[-LOG_SHOWN:]))
    return report


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder for large downloads, removed after the test."""
    with tempfile.TemporaryDirectory(prefix="e2e-") as folder:
        yield Path(folder)
