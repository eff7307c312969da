"""The events of a round, decided by its seed alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
import hashlib
import json
from pathlib import Path
from random import Random
import tarfile
from typing import Any, override

from lab.sample import pack

MIB = 1 << 20
VICTIMS = ("agent", "sender", "server")


class Moment(StrEnum):
    """Moment of a kill."""

    BEGINNING = "at the beginning"
    SENDING = "while it is sent"
    ARRIVED = "while it is put in place"


STEPS = {
    Moment.BEGINNING: "begun",
    Moment.SENDING: "sent",
    Moment.ARRIVED: "arrived",
}


@dataclass(frozen=True)
class Kill:
    """Victim and time: delay after the moment, and delay of the restart."""

    victim: str
    moment: Moment
    sent: int
    delay_s: float
    away_s: float

    def is_at(self, step: dict[str, Any]) -> bool:
        """Return whether this step of the sender is the moment."""
        is_late_enough: bool = step.get("sent", 0) >= self.sent
        return STEPS[self.moment] == step["step"] and is_late_enough

    @override
    def __str__(self) -> str:
        """Return a one-line description."""
        at = f" at {self.sent} bytes" if self.moment is Moment.SENDING else ""
        return f"kill the {self.victim} {self.moment}{at}, {self.delay_s * 1000:.0f} ms later"


@dataclass(frozen=True)
class Backup:
    """A backup to upload."""

    backup: dict[str, Any]
    filename: str
    tar: Path
    sha256: str

    @property
    def id(self) -> str:
        """Return its id in Home Assistant."""
        backup_id: str = self.backup["backup_id"]
        return backup_id


def sizes(random: Random) -> int:
    """Return the size of a backup's content: half for one request, half for several parts."""
    if random.random() < 0.4:
        return random.randrange(10_000, 5 * MIB)
    return random.randrange(5 * MIB, 26 * MIB)


def kills(random: Random, number: int, size: int) -> list[Kill]:
    """Return one or two kills with rotating victims."""
    count = 1 if random.random() < 0.7 else 2
    moments = random.choices(list(Moment), (1, 4, 3), k=count)
    return [
        Kill(
            victim=VICTIMS[(number + index) % len(VICTIMS)],
            moment=moment,
            sent=random.randrange(1, size) if moment is Moment.SENDING else 0,
            delay_s=random.choice((0, 0.05)) * random.random(),
            away_s=random.random() * 0.3,
        )
        for index, moment in enumerate(moments)
    ]


def make(random: Random, number: int, folder: Path) -> Backup:
    """Write a backup's tar, HA core's part first, `backup.json` last, as Supervisor does."""
    backup_id = f"{random.getrandbits(32):08x}"
    name, size = f"Round {number}", sizes(random)
    manifest = {"slug": backup_id, "name": name, "date": "2026-11-20T04:47:12+01:00"}
    tar = folder / f"{backup_id}.tar"
    content = {
        "./homeassistant.tar.gz": random.randbytes(size),
        "./backup.json": json.dumps(manifest).encode(),
    }
    tar.write_bytes(pack(content, tarfile.GNU_FORMAT))
    backup = {
        "addons": [],
        "backup_id": backup_id,
        "date": manifest["date"],
        "database_included": True,
        "extra_metadata": {},
        "folders": [],
        "homeassistant_included": True,
        "homeassistant_version": "2026.11.0",
        "name": name,
        "protected": False,
        "size": tar.stat().st_size,
    }
    with tar.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Backup(backup, f"Round_{number}.tar", tar, sha256)
