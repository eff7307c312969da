"""Makes the pictures of the documents from the screenshots of the browser tests."""

from pathlib import Path
import sys

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
SHOTS = REPOSITORY / "target" / "screenshots"
PICTURES = REPOSITORY / "docs" / "pictures"

# Name of the picture: the screenshot, and its cropped part (left, upper, right, lower).
CHOSEN = {
    "add-bucket": ("06-settings", (305, 35, 895, 485)),
    "corrected": ("08-corrected", (300, 255, 900, 713)),
    "progress": ("21-progress", (384, 84, 1074, 610)),
    "restore": ("23-backup", (383, 60, 1075, 588)),
}
COLOURS = 128
MAX_BYTES = 100_000


def main() -> None:
    """Write the pictures."""
    PICTURES.mkdir(exist_ok=True)
    for name, (shot, part) in CHOSEN.items():
        path = PICTURES / f"{name}.png"
        image = Image.open(SHOTS / f"{shot}.png").convert("RGB").crop(part)
        image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size > MAX_BYTES:
            sys.exit(f"{path} is larger than {MAX_BYTES} bytes; choose less of it.")


if __name__ == "__main__":
    main()
