"""Round trips on an emulated Raspberry Pi processor, with the static binary for arm64."""

from __future__ import annotations

from collections.abc import Callable
import hashlib
import json
import os
from pathlib import Path
import time
from typing import Any
import zlib

from lab.agent import Agent, Location
from lab.garage import Garage
from lab.process import Process
from lab.sample import pack
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TAR = REPOSITORY / "tests" / "fixtures" / "home-assistant.tar"
BINARY = REPOSITORY / "target" / "dist-arm64" / "s3-backup-agent"
BACKUP_ID, DATE = "1a46e01d", "2026-11-20T03:04:05+01:00"
MIB = 1 << 20


@pytest.fixture
def emulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a command that runs the binary for arm64, used by the lab as the agent."""
    emulator = Path(os.environ["LAB_ARM64_ROOT"]) / "usr" / "bin" / "qemu-aarch64"
    command = tmp_path / "s3-backup-agent"
    command.write_text(f'#!/bin/sh\nexec "{emulator}" "{BINARY}" "$@"\n')
    command.chmod(0o700)
    monkeypatch.setenv("S3_BACKUP_AGENT_BINARY", str(command))
    return command


@pytest.fixture
async def location(garage: Garage, request: pytest.FixtureRequest) -> Location:
    """Create a location with its own bucket."""
    name = request.node.name.replace("_", "-")[:60].strip("-")
    return Location.on(garage, await garage.create_bucket(name))


def large_tar(size: int) -> bytes:
    """Return a multipart backup."""
    about = {"slug": BACKUP_ID, "name": "Large", "date": DATE}
    return pack(
        {
            "./backup.json": json.dumps(about).encode(),
            "./homeassistant.tar.gz": os.urandom(size),
        }
    )


def backup_of(tar: bytes) -> dict[str, Any]:
    """Return the backup in Home Assistant's form."""
    return {
        "addons": [],
        "backup_id": BACKUP_ID,
        "database_included": True,
        "date": DATE,
        "extra_metadata": {},
        "folders": [],
        "homeassistant_included": True,
        "homeassistant_version": "2026.11.0",
        "name": "On a Raspberry Pi",
        "protected": False,
        "size": len(tar),
    }


def sha256(content: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


async def test_command_line(emulated: Path, location: Location, tmp_path: Path) -> None:
    """Upload, list, verify, download byte for byte, delete."""
    configuration = tmp_path / "agent.toml"
    state = json.dumps(str(tmp_path / "state"))
    configuration.write_text(f"state_dir = {state}\n{location.to_toml()}")
    log = tmp_path / "output"

    async def run(*arguments: str | Path) -> Any:
        log.unlink(missing_ok=True)
        command = (emulated, "--config", configuration, "--json", *arguments)
        process = await Process.start(log, *command)
        assert await process.wait(60) == 0, log.read_text()
        lines = [line for line in log.read_text().splitlines() if line[:1] == "{"]
        return json.loads(lines[-1])

    checked = await run("check", location.id)
    assert {step["error"] for step in checked["steps"]} == {None}
    uploaded = await run("upload", location.id, TAR)
    backup_id = uploaded["backup"]["backup_id"]
    (listed,) = (await run("list", location.id))["backups"]
    assert listed["backup_id"] == backup_id
    assert listed["s3_backup_agent"]["sha256"] == sha256(TAR.read_bytes())
    await run("verify", location.id, backup_id, "--full")
    again = tmp_path / "again.tar"
    await run("download", location.id, backup_id, "-o", again)
    assert again.read_bytes() == TAR.read_bytes()
    await run("delete", location.id, backup_id)
    assert (await run("list", location.id))["backups"] == []


async def test_served_to_home_assistant(
    emulated: Path,
    location: Location,
    garage: Garage,
    figure: Callable[[str], None],
) -> None:
    """A multipart backup is uploaded over the socket, listed, downloaded, and deleted."""
    content = large_tar(24 * MIB)
    began = time.monotonic()
    async with Agent([location]) as agent, agent.client() as client:
        started = time.monotonic() - began
        uploads = f"/v1/locations/{location.id}/uploads"
        body = {"backup": backup_of(content), "filename": "Large.tar"}
        async with client.post(uploads, json=body, raise_for_status=True) as answer:
            upload = f"/v1/uploads/{(await answer.json())['upload_id']}"
        arrived = {
            "size": len(content),
            "crc32": f"{zlib.crc32(content):08x}",
            "sha256": sha256(content),
        }
        async with client.put(f"{upload}/content", data=content) as answer:
            assert await answer.json() == arrived
        del arrived["sha256"]
        async with client.post(f"{upload}/complete", json=arrived) as answer:
            assert answer.ok, await answer.text()
        path = f"/v1/locations/{location.id}/backups"
        (listed,) = (await agent.get(path))["backups"]
        assert listed["backup_id"] == BACKUP_ID
        async with client.get(f"{path}/{BACKUP_ID}/content") as answer:
            assert sha256(await answer.read()) == sha256(content)
        async with client.delete(f"{path}/{BACKUP_ID}", raise_for_status=True):
            pass
    took = time.monotonic() - began
    figure(f"arm64 by emulation: healthy after {started * 1000:.0f} ms, 24 MiB up and down in {took:.1f} s")  # fmt: skip
    assert garage.bucket_keys(location.bucket) == []
