"""A large backup with new content for each transfer, and many small ones."""

from __future__ import annotations

import io
import json
import mmap
import os
from pathlib import Path
import secrets
import tarfile
from typing import Any, override

RECORD_BYTES = tarfile.RECORDSIZE
# Garage cuts objects into blocks of 1 MiB and stores equal blocks once; a part may begin anywhere.
RENEW_EVERY_BYTES = 256 << 10
RENEWED_BYTES = 16
SLUG_PLACEHOLDER = "0" * 32


def agent_backup(
    backup_id: str, name: str, size: int, addons: int = 12
) -> dict[str, Any]:
    """Describe a backup as Home Assistant does to a backup agent, `AgentBackup.as_dict()`."""
    return {
        "addons": [
            {
                "name": f"An app with number {number}",
                "slug": f"core_app_{number}",
                "version": f"1.{number}.0",
            }
            for number in range(addons)
        ],
        "backup_id": backup_id,
        "date": "2026-11-20T04:45:12.345678+00:00",
        "database_included": True,
        "extra_metadata": {
            "instance_id": "f" * 32,
            "with_automatic_settings": True,
            "supervisor.addon_update": None,
        },
        "folders": ["share", "ssl", "media"],
        "homeassistant_included": True,
        "homeassistant_version": "2026.11.0",
        "name": name,
        "protected": False,
        "size": size,
    }


class LargeBackup:
    """A complete backup tar of about the given size in a file."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        """Write the tar: one large member of random bytes, then `backup.json`, as Supervisor does."""
        self.path = path
        described = json.dumps(
            {
                "slug": SLUG_PLACEHOLDER,
                "version": 2,
                "name": "Benchmark",
                "date": "2026-11-20T04:45:12.345678+00:00",
                "type": "full",
                "protected": False,
                "compressed": True,
                "homeassistant": {"version": "2026.11.0", "exclude_database": False},
                "folders": [],
                "addons": [],
                "extra": {},
            }
        ).encode()
        content_bytes = size_bytes // RECORD_BYTES * RECORD_BYTES - RECORD_BYTES
        with tarfile.open(path, "w") as tar:
            large = tarfile.TarInfo("homeassistant.tar.gz")
            large.size = content_bytes
            with _RandomFile() as content:
                tar.addfile(large, content)
            small = tarfile.TarInfo("./backup.json")
            small.size = len(described)
            tar.addfile(small, io.BytesIO(described))
        self.size = path.stat().st_size
        self._renewable = range(RECORD_BYTES, content_bytes, RENEW_EVERY_BYTES)
        self._slug_at = path.read_bytes()[-2 * RECORD_BYTES :].index(
            SLUG_PLACEHOLDER.encode()
        ) + max(0, self.size - 2 * RECORD_BYTES)

    def renew(self) -> dict[str, Any]:
        """Replace its content and its id, so that no server has stored any of its blocks."""
        backup_id = secrets.token_hex(len(SLUG_PLACEHOLDER) // 2)
        with self.path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
            content[self._slug_at : self._slug_at + len(SLUG_PLACEHOLDER)] = (
                backup_id.encode()
            )
            for at in self._renewable:
                content[at : at + RENEWED_BYTES] = os.urandom(RENEWED_BYTES)
        # Flush dirty pages now, so that neither write-back nor disk reads disturb a measurement.
        os.sync()
        with self.path.open("rb", buffering=0) as tar:
            while tar.read(RENEW_EVERY_BYTES):
                pass
        return agent_backup(backup_id, f"Benchmark {backup_id[:8]}", self.size)


class _RandomFile(io.RawIOBase):
    @override
    def read(self, size: int = -1) -> bytes:
        return os.urandom(size)


def many_backups(count: int) -> list[tuple[str, dict[str, Any], bytes]]:
    """Name, description and tiny content of the backups that fill a bucket."""
    tar = b"\0" * 2048
    return [
        (
            f"Nightly_{number:05}",
            agent_backup(f"{number:032x}", f"Nightly {number:05}", len(tar)),
            tar,
        )
        for number in range(count)
    ]
