"""Backups as Home Assistant makes them: what its manager knows of one, and its tar."""

import io
import json
import random
import tarfile
from typing import Any


def make_sample(
    backup_id: str, size: int, name: str, date: str
) -> tuple[dict[str, Any], bytes]:
    """Return a backup with about size bytes of content that does not compress, and its tar."""
    extra = {"instance_id": "abc", "with_automatic_settings": False}
    about = {
        "slug": backup_id,
        "name": name,
        "date": date,
        "type": "partial",
        "version": 2,
        "compressed": True,
        "folders": ["homeassistant", "media"],
        "addons": [],
        "extra": extra,
        "homeassistant": {"version": "2026.11.0", "exclude_database": False},
        "protected": False,
    }
    content = {
        "./homeassistant.tar.gz": random.Random(backup_id).randbytes(size),
        "./media.tar.gz": b"media",
        "./backup.json": json.dumps(about).encode(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, data in content.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    backup = {
        "addons": [],
        "backup_id": backup_id,
        "date": date,
        "database_included": True,
        "extra_metadata": extra,
        "folders": ["media"],
        "homeassistant_included": True,
        "homeassistant_version": "2026.11.0",
        "name": name,
        "protected": False,
        "size": len(buffer.getvalue()),
    }
    return backup, buffer.getvalue()
