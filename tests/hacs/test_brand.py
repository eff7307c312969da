"""Brand images: sizes, and how Home Assistant serves them."""

from pathlib import Path
import struct

import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

from .agent import REPOSITORY
from .test_hassfest import INTEGRATION

IMAGES = {
    "icon.png": (256, 256),
    "icon@2x.png": (512, 512),
    "logo.png": (640, 256),
    "logo@2x.png": (1280, 512),
    "dark_logo.png": (640, 256),
    "dark_logo@2x.png": (1280, 512),
}


def size_of(path: Path) -> tuple[int, int]:
    """Return the width and the height of a PNG."""
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", head[16:])
    return width, height


def test_image_sizes() -> None:
    """Each image has its size, and is small."""
    folder = INTEGRATION / "brand"
    assert {path.name: size_of(path) for path in folder.iterdir()} == IMAGES
    assert all(path.stat().st_size < 16 * 1024 for path in folder.iterdir())
    app = REPOSITORY / "addon"
    assert size_of(app / "icon.png") == (128, 128)
    assert size_of(app / "logo.png") == (250, 100)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("icon.png", "icon.png"),
        ("dark_icon.png", "icon.png"),
        ("dark_logo.png", "dark_logo.png"),
    ],
)
async def test_home_assistant_serves_images(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    asked: str,
    answered: str,
) -> None:
    """Home Assistant serves the light and the dark images."""
    assert await async_setup_component(hass, "brands", {})
    client = await hass_client()
    response = await client.get(f"/api/brands/integration/s3_backup_agent/{asked}")
    assert response.status == 200
    assert await response.read() == (INTEGRATION / "brand" / answered).read_bytes()
