"""What the scratch repository holds after `tests/release/scratch`."""

from __future__ import annotations

from dataclasses import dataclass
import io
import json
import os
from pathlib import Path
from typing import Any
import zipfile

import pytest

DOMAIN = "s3_backup_agent"


@dataclass(frozen=True)
class Attempt:
    """How one command ended."""

    code: int
    output: str
    is_unchanged: bool


@dataclass(frozen=True)
class Tree:
    """A commit's files, as GitHub hands them out: a ZIP with one folder around everything."""

    archive: bytes

    @property
    def files(self) -> dict[str, bytes]:
        """The files by their paths."""
        with zipfile.ZipFile(io.BytesIO(self.archive)) as archive:
            return {
                info.filename.partition("/")[2]: archive.read(info)
                for info in archive.infolist()
                if not info.is_dir()
            }

    def json(self, path: str) -> Any:
        """Return the content of a JSON file."""
        return json.loads(self.files[path])


@dataclass(frozen=True)
class Scratch:
    """What the releases left."""

    folder: Path

    def attempt(self, name: str) -> Attempt:
        """Return how an attempt ended."""
        return Attempt(
            int(self.text(f"{name}.code")),
            self.text(f"{name}.output"),
            (self.folder / f"{name}.unchanged").exists(),
        )

    def text(self, name: str) -> str:
        """Return what was noted."""
        return (self.folder / name).read_text().strip()

    def tree(self, name: str) -> Tree:
        """Return the files of a commit."""
        return Tree((self.folder / f"{name}.zip").read_bytes())

    @property
    def next(self) -> str:
        """The version that was released."""
        return self.text("next")


@pytest.fixture(scope="session")
def scratch() -> Scratch:
    """Return what `tests/release/run` had made."""
    return Scratch(Path(os.environ["RELEASE_SCRATCH"]))


@pytest.fixture
def tag(scratch: Scratch) -> Tree:
    """Return the tree of the release's tag."""
    return scratch.tree("tag")


@pytest.fixture
def main(scratch: Scratch) -> Tree:
    """Return the tree of main after the release."""
    return scratch.tree("main")
