"""Paths of the parts that `scripts/parts/*` store in the cache."""

from __future__ import annotations

import os
from pathlib import Path

from .process import LabError


def part(path: str, script: str) -> Path:
    """Return a file in the cache; if it is missing, the error names the script that creates it."""
    home_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    chosen = os.environ.get("S3_BACKUP_AGENT_CACHE")
    found = Path(chosen or home_cache / "s3-backup-agent") / path
    if not found.exists():
        raise LabError(f"{found} is missing, run scripts/parts/{script}")
    return found
