"""A pytest plugin with fixtures of several test folders: an S3 server, and figures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from .garage import Garage

FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
async def garage() -> AsyncIterator[Garage]:
    """Start an S3 server."""
    async with Garage() as garage:
        yield garage


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Record a measured figure for the summary of the run."""
    figures: list[str] = request.config.stash.setdefault(FIGURES, [])
    return figures.append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show the figures."""
    if figures := config.stash.get(FIGURES, []):
        terminalreporter.section("measured")
        for line in figures:
            terminalreporter.write_line(line)
