#!/usr/bin/env python3
"""Writes tests/fixtures/securetar.json and the encrypted backups beside it, with the Python library `securetar`.

    scripts/in-python "$(scripts/parts/hacs-env)/bin/python" tests/lab/securetar_vectors.py

The salts are random, so each run writes other files.
"""

from hashlib import sha256
from io import BytesIO
import json
from pathlib import Path
import sys
import tarfile

from securetar import SecureTarArchive, SecureTarEncryptStream, SecureTarRootKeyContext

PASSWORD = "ABCD-efgh-1234"
MIB = 1024 * 1024
SIZES = [0, 1, 15, 16, 17, 511, 512, 513, 65_535, 65_536, 65_537]
SIZES += [MIB - 1, MIB, MIB + 1, 2 * MIB - 17, 2 * MIB, 3 * MIB + 5]
FIXTURES = Path(__file__).parent.parent / "fixtures"


def plain(size: int) -> bytes:
    """Return bytes that begin like gzip."""
    noise = bytes(range(251)) * (size // 251 + 1)
    return (b"\x1f\x8b\x08" + noise)[:size]


def vector(version: int, size: int) -> dict[str, int | str]:
    """Return the header of an encrypted archive, and the SHA-256 of all of it."""
    stream = SecureTarEncryptStream(
        BytesIO(plain(size)),
        create_version=version,
        derived_key_id=None,
        plaintext_size=size,
        root_key_context=SecureTarRootKeyContext(PASSWORD),
    )
    with stream as encrypted:
        data = encrypted.read(encrypted.ciphertext_size)
    header = data[: 136 if version == 3 else 48]
    return {
        "version": version,
        "size": size,
        "header": header.hex(),
        "sha256": sha256(data).hexdigest(),
    }


def add(tar: tarfile.TarFile, name: str, data: bytes | str) -> None:
    """Add a file, or a symbolic link to `data`."""
    info = tarfile.TarInfo(name)
    info.mtime = 1_795_000_000
    if isinstance(data, str):
        info.type, info.linkname = tarfile.SYMTYPE, data
        tar.addfile(info)
        return
    info.size = len(data)
    tar.addfile(info, BytesIO(data))


def folder(tar: tarfile.TarFile, name: str) -> None:
    """Add a folder."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, 1_795_000_000
    tar.addfile(info)


def manifest(is_protected: bool) -> bytes:
    """Return a `backup.json` as Supervisor writes it."""
    return json.dumps(
        {
            "version": 2,
            "slug": "5ec12e7a",
            "name": "Encrypted",
            "date": "2026-11-20T01:00:00+00:00",
            "type": "partial",
            "compressed": True,
            "protected": is_protected,
            "crypto": "aes128" if is_protected else None,
            "folders": ["addons/local"],
            "homeassistant": {"version": "2026.11.0", "exclude_database": False},
            "addons": [
                {"slug": "core_ssh", "name": "Terminal", "version": "9", "size": 0.1}
            ],
            "extra": {"instance_id": "i"},
        }
    ).encode()


def backup(file: Path, version: int | None) -> None:
    """Write a backup, encrypted with a version or not at all."""
    with SecureTarArchive(
        file, "w", create_version=version, password=PASSWORD if version else None
    ) as archive:
        with archive.create_tar("./homeassistant.tar.gz") as inner:
            folder(inner, "data")
            folder(inner, "data/.storage")
            entries = (
                b'{"version": 1, "key": "core.config_entries", "data": {"entries": []}}'
            )
            add(inner, "data/.storage/core.config_entries", entries)
            add(inner, "data/.HA_VERSION", b"2026.11.0")
            add(inner, "data/home-assistant_v2.db", plain(200_000))
            add(inner, "data/" + "long/" * 40 + "Küche.yaml", b"light:\n")
            add(inner, "data/link", "/etc/passwd")
            add(inner, "data/last.yaml", b"last\n")
        with archive.create_tar("./core_ssh.tar.gz") as inner:
            add(inner, "addon.json", b"{}")
            add(inner, "data/options.json", b'{"password": "secret"}')
        with archive.create_tar("./addons_local.tar", gzip=False) as inner:
            add(inner, "hello/config.yaml", b"name: Hello\n")
        add(archive.tar, "./backup.json", manifest(version is not None))


def main() -> None:
    """Write all files."""
    folder_ = Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURES
    vectors = [vector(version, size) for version in (2, 3) for size in SIZES]
    text = json.dumps({"password": PASSWORD, "vectors": vectors}, indent=1)
    (folder_ / "securetar.json").write_text(text + "\n")
    for name, version in (("v2", 2), ("v3", 3), ("plain", None)):
        backup(folder_ / f"securetar-{name}.tar", version)


main()
