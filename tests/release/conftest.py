"""The content of the scratch repository after `tests/release/scratch`."""

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
    """The result of one command."""

    code: int
    output: str
    is_unchanged: bool


@dataclass(frozen=True)
class Tree:
    """A commit's files in the form of GitHub's archive: a ZIP with one folder around everything."""

    archive: bytes

    @property
    def files(self) -> dict[str, bytes]:
        """Return the files by path."""
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
    """The results of the releases."""

    folder: Path

    def attempt(self, name: str) -> Attempt:
        """Return the result of an attempt."""
        return Attempt(
            int(self.text(f"{name}.code")),
            self.text(f"{name}.output"),
            (self.folder / f"{name}.unchanged").exists(),
        )

    def text(self, name: str) -> str:
        """Return a recorded text."""
        return (self.folder / name).read_text().strip()

    def tree(self, name: str) -> Tree:
        """Return the files of a commit."""
        return Tree((self.folder / f"{name}.zip").read_bytes())

    @property
    def next(self) -> str:
        """Return the released version."""
        return self.text("next")


@pytest.fixture(scope="session")
def scratch() -> Scratch:
    """Return the results of `tests/release/run`."""
    return Scratch(Path(os.environ["RELEASE_SCRATCH"]))


@pytest.fixture
def tag(scratch: Scratch) -> Tree:
    """Return the tree of the release's tag."""
    return scratch.tree("tag")


@pytest.fixture
def main(scratch: Scratch) -> Tree:
    """Return the tree of main after the release."""
    return scratch.tree("main")
