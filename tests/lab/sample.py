"""Backups as Home Assistant creates them: the manager's description, and the tar."""

import io
import json
import random
import tarfile
from typing import Any


def pack(content: dict[str, bytes], tar_format: int = tarfile.DEFAULT_FORMAT) -> bytes:
    """Return a tar of these entries, in this order."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tar_format) as tar:
        for path, data in content.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


# By its first bytes, an archive is not encrypted.
GZIP = b"\x1f\x8b\x08"


def make_sample(
    backup_id: str, size: int, name: str, date: str
) -> tuple[dict[str, Any], bytes]:
    """Return a backup with about size bytes of incompressible content, and its tar."""
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
    content = GZIP + random.Random(backup_id).randbytes(size)
    tar = pack(
        {
            "./homeassistant.tar.gz": content[:size],
            "./media.tar.gz": GZIP + b"media",
            "./backup.json": json.dumps(about).encode(),
        }
    )
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
        "size": len(tar),
    }
    return backup, tar
