"""Chromium, as Playwright starts it for the tests."""

from pathlib import Path
from typing import Any

_CHROMIUM = Path(__file__).with_name("chromium")


def launch_options(*arguments: str) -> Any:
    """Return the arguments of `playwright.chromium.launch`, with more for Chromium."""
    return {
        "executable_path": _CHROMIUM,
        "args": ["--disable-gpu", "--disable-quic", *arguments],
    }
