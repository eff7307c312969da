"""The documents' buttons open pages that Home Assistant's frontend has."""

from __future__ import annotations

from pathlib import Path
import re
from urllib.parse import parse_qs, urlsplit

from lab.homeassistant import NEWEST, OLDEST, REPOSITORY
from lab.parts import part
import pytest

BUTTON = re.compile(r"\((https://my\.home-assistant\.io/redirect/[^)\s]+)\)")
BADGE = re.compile(r"\(https://my\.home-assistant\.io/badges/(\w+)\.svg\)")
LINK = "https://github.com/s3-backup-agent/s3-backup-agent"


def parameters(frontend: Path, name: str) -> set[str]:
    """Return the parameters of a page that My Home Assistant may open."""
    # src/panels/my/ha-panel-my.ts in home-assistant/frontend, minified.
    page = re.compile(rf"\b{name}:\{{((?:[^{{}}]|\{{[^{{}}]*\}})*)\}}")
    for script in (frontend / "frontend_latest").glob("*.js"):
        found = page.search(script.read_text())
        if found and "redirect:" in found[1]:
            given = re.search(r"\bparams:\{(.*?)\}", found[1])
            return set(re.findall(r"(\w+):", given[1])) if given else set()
    raise AssertionError(f"the frontend has no page {name}")


@pytest.mark.parametrize("version", [NEWEST, OLDEST])
@pytest.mark.parametrize("name", ["README.md", "addon/DOCS.md"])
def test_buttons_lead_to_pages(version: str, name: str) -> None:
    """Each button's page exists in the frontend, with the parameters that the button gives."""
    home_assistant = part(f"ha-{version}", "homeassistant")
    (frontend,) = home_assistant.glob("lib/python*/site-packages/hass_frontend")
    text = (REPOSITORY / name).read_text()
    buttons = [urlsplit(url) for url in BUTTON.findall(text)]
    pages = [button.path.strip("/").removeprefix("redirect/") for button in buttons]
    assert pages == BADGE.findall(text)
    assert pages[-3:] == ["hacs_repository", "config_flow_start", "backup_config"]
    for page, button in zip(pages, buttons, strict=True):
        given = parse_qs(button.query, strict_parsing=bool(button.query))
        assert given.keys() == parameters(frontend, page), page
        assert given.get("repository_url", [LINK]) == [LINK]
