"""Makes the images that Home Assistant shows of the integration and of the app from brand/."""

import io
from pathlib import Path

from PIL import Image
import resvg_py

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "brand"
INTEGRATION = REPOSITORY / "custom_components" / "s3_backup_agent" / "brand"
APP = REPOSITORY / "addon"

# The icon is legible on dark backgrounds, the name is not; an app has one logo for both.
DARK = ".name { fill: #e8edf2 }"
BOTH = ".name { fill: #718296 }"
COLOURS = 64


def main() -> None:
    """Write the images."""
    # Sizes: https://developers.home-assistant.io/docs/core/integration/brand_images
    _write("icon", INTEGRATION / "icon.png", 256)
    _write("icon", INTEGRATION / "icon@2x.png", 512)
    _write("logo", INTEGRATION / "logo.png", 640)
    _write("logo", INTEGRATION / "logo@2x.png", 1280)
    _write("logo", INTEGRATION / "dark_logo.png", 640, DARK)
    _write("logo", INTEGRATION / "dark_logo@2x.png", 1280, DARK)
    # Sizes for an app: https://developers.home-assistant.io/docs/apps/presentation
    _write("icon", APP / "icon.png", 128)
    _write("logo", APP / "logo.png", 250, BOTH)


def _write(name: str, path: Path, width: int, style: str | None = None) -> None:
    """Write one image, with few colours to be small."""
    source = str(SOURCE / f"{name}.svg")
    drawn = resvg_py.svg_to_bytes(svg_path=source, width=width, style_sheet=style)
    image = Image.open(io.BytesIO(drawn))
    path.parent.mkdir(exist_ok=True)
    image.quantize(COLOURS, Image.Quantize.FASTOCTREE).save(path, optimize=True)


if __name__ == "__main__":
    main()
