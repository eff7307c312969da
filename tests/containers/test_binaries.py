"""The static binaries: independent of libraries and page size."""

from __future__ import annotations

from pathlib import Path
import struct

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# elf(5)
MACHINES = {"amd64": 62, "arm64": 183}
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED = 1
# The kernel of a Raspberry Pi 5 has pages of 16 KiB; some others for arm64 have 64 KiB.
PAGES = {"amd64": 4 << 10, "arm64": 64 << 10}


class Elf:
    """The program headers of a binary."""

    def __init__(self, path: Path) -> None:
        """Read it."""
        self._bytes = path.read_bytes()
        assert self._bytes[:6] == b"\x7fELF\x02\x01", "no 64-bit little-endian ELF"
        (self.machine,) = struct.unpack_from("<H", self._bytes, 18)
        (offset,) = struct.unpack_from("<Q", self._bytes, 32)
        size, count = struct.unpack_from("<HH", self._bytes, 54)
        # type, flags, offset, address, physical address, size in file, size in memory, alignment
        self.headers = [
            struct.unpack_from("<IIQQQQQQ", self._bytes, offset + number * size)
            for number in range(count)
        ]

    def of_type(self, kind: int) -> list[tuple[int, ...]]:
        """Return the headers of a type."""
        return [header for header in self.headers if header[0] == kind]

    def needed(self) -> int:
        """Return the number of libraries loaded at start."""
        entries = [
            struct.unpack_from("<QQ", self._bytes, at)
            for header in self.of_type(PT_DYNAMIC)
            for at in range(header[2], header[2] + header[5], 16)
        ]
        return sum(tag == DT_NEEDED for tag, _ in entries)


@pytest.fixture(params=["amd64", "arm64"])
def built(request: pytest.FixtureRequest) -> tuple[str, Elf]:
    """Return the architecture, and the binary for it built by tests/containers/run."""
    arch: str = request.param
    return arch, Elf(REPOSITORY / "target" / f"dist-{arch}" / "s3-backup-agent")


def test_needs_no_loader_and_no_library(built: tuple[str, Elf]) -> None:
    """It runs on an empty system."""
    arch, elf = built
    assert elf.machine == MACHINES[arch]
    assert elf.of_type(PT_INTERP) == []
    assert elf.needed() == 0


def test_can_be_loaded_with_large_pages(built: tuple[str, Elf]) -> None:
    """Each segment starts on its own page, even for large pages."""
    arch, elf = built
    loaded = elf.of_type(PT_LOAD)
    assert len(loaded) >= 2
    assert min(header[7] for header in loaded) >= PAGES[arch]
    for _, _, offset, address, *_, alignment in loaded:
        assert offset % alignment == address % alignment
