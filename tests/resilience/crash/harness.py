"""The processes under test, and the rounds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
import hashlib
import json
import os
from pathlib import Path
from random import Random
import sys
import time
from typing import Any

from lab.agent import Agent, Location
from lab.garage import Garage

from . import plan
from .checker import Look
from .older import Older

BUCKET = "crash"
KEPT = 10
ROUND_TIMEOUT_S = 150
SWEPT_WITHIN_S = 60
A_DAY_S = 25 * 3600


class CrashError(Exception):
    """An invariant is violated."""


@dataclass
class Figures:
    """The figures printed at the end."""

    rounds: int = 0
    deletions: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    anew: int = 0
    attempts: int = 0
    resumed: int = 0
    restarted: int = 0
    not_sent_again_bytes: int = 0
    sent_bytes: int = 0
    unnoted: int = 0


class Sender:
    """The sending process and its messages."""

    def __init__(self, job: dict[str, Any]) -> None:
        """Keep the job; nothing runs yet."""
        self._job = job
        self._child: asyncio.subprocess.Process | None = None
        self.was_killed = False

    async def steps(self) -> AsyncIterator[dict[str, Any]]:
        """Start it, and yield its steps until it ends."""
        self.was_killed = False
        self._child = await asyncio.create_subprocess_exec(
            "setpriv",
            "--pdeathsig=KILL",
            sys.executable,
            "-m",
            "resilience.crash.sender",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._child.stdin and self._child.stdout
        self._child.stdin.write(json.dumps(self._job).encode())
        self._child.stdin.close()
        yield {"step": "begun"}
        async for line in self._child.stdout:
            if line.endswith(b"\n"):
                yield json.loads(line)
        await self._child.wait()

    def kill(self) -> None:
        """Kill it, if it runs."""
        if self._child and self._child.returncode is None:
            self._child.kill()
            self.was_killed = True


class Harness:
    """One agent on one bucket, shared by all rounds."""

    def __init__(self, seed: int, garage: Garage, agent: Agent, folder: Path) -> None:
        """Use running parts."""
        self._seed = seed
        self._garage, self._agent, self._folder = garage, agent, folder
        self._location = agent.locations[0]
        self._there: dict[str, plan.Backup] = {}
        # By backup id: the acknowledged SHA-256, and those of all attempts.
        self._acknowledged: dict[str, str] = {}
        self._sent: dict[str, set[str]] = {}
        self.figures = Figures()
        self.steps: list[str] = []

    async def round(self, number: int) -> None:
        """Upload a backup and delete the oldest one, while a process is killed."""
        self.steps = []
        random = Random(f"{self._seed} {number}")
        backup = plan.make(random, number, self._folder)
        size = backup.backup["size"]
        async with asyncio.timeout(ROUND_TIMEOUT_S):
            anew = number % 2 == 1
            kills = plan.kills(random, number, size)
            await self._do("upload", backup, kills, anew=anew)
            self._there[backup.id] = backup
            self.figures.rounds += 1
            self.figures.anew += anew
            if len(self._there) > KEPT:
                oldest = self._there.pop(next(iter(self._there)))
                kills = [
                    kill
                    for kill in plan.kills(random, number + 1, size)
                    if kill.moment is plan.Moment.BEGINNING
                ]
                await self._do("delete", oldest, kills)
                self._acknowledged.pop(oldest.id)
                self.figures.deletions += 1
                oldest.tar.unlink()

    async def _do(
        self,
        what: str,
        backup: plan.Backup,
        kills: list[plan.Kill],
        *,
        anew: bool = False,
    ) -> None:
        size = backup.backup["size"]
        each = ", another byte in each attempt" if anew else ""
        self._note(f"{what} {backup.id}, {size} bytes{each}")
        for kill in kills:
            self._note(str(kill))
        sender = Sender(
            {
                "do": what,
                "socket": str(self._agent.socket),
                "location": self._location.id,
                "backup": backup.backup,
                "filename": backup.filename,
                "tar": str(backup.tar),
                "anew": anew,
            }
        )
        striking: list[asyncio.Task[None]] = []
        waiting, stored = list(kills), []
        is_done = False
        while not is_done:
            async for step in sender.steps():
                self._note_step(step)
                if step["step"] == "created":
                    stored.append(step["stored"])
                    if what == "upload":
                        self._sent.setdefault(backup.id, set()).add(step["sha256"])
                if step["step"] == "done":
                    is_done = True
                    if what == "upload":
                        self._acknowledge(backup, step, anew=anew)
                for kill in [kill for kill in waiting if kill.is_at(step)]:
                    waiting.remove(kill)
                    striking.append(asyncio.create_task(self._strike(kill, sender)))
            if not is_done and not sender.was_killed:
                raise CrashError("the sender gave up")
        await asyncio.gather(*striking)
        if what == "upload":
            self._count(stored, size, anew=anew)

    def _acknowledge(
        self, backup: plan.Backup, step: dict[str, Any], *, anew: bool
    ) -> None:
        if step["sha256"] != step["sent"] or (
            not anew and step["sent"] != backup.sha256
        ):
            raise CrashError("the agent acknowledged another backup")
        self._acknowledged[backup.id] = step["sha256"]

    async def _strike(self, kill: plan.Kill, sender: Sender) -> None:
        await asyncio.sleep(kill.delay_s)
        self._note(f"the {kill.victim} is killed")
        self.figures.kills[kill.victim] += 1
        if kill.victim == "sender":
            sender.kill()
            return
        part = self._agent if kill.victim == "agent" else self._garage
        await part.kill()
        await asyncio.sleep(kill.away_s)
        await part.start()
        self._note(f"the {kill.victim} is back")

    def _count(self, stored: list[int], size: int, *, anew: bool) -> None:
        self.figures.attempts += len(stored)
        self.figures.sent_bytes += size
        for bytes_known in stored[1:]:
            self.figures.resumed += bytes_known > 0
            self.figures.restarted += bytes_known == 0
        # If the stream differs, the changed part is sent again.
        if len(stored) > 1 and not anew:
            self.figures.not_sent_again_bytes += stored[-1]

    def _note(self, line: str) -> None:
        self.steps.append(f"{time.strftime('%H:%M:%S')} {line}")

    def _note_step(self, step: dict[str, Any]) -> None:
        if step["step"] != "sent":
            self._note("the sender: " + json.dumps(step))

    async def _look(self) -> Look:
        client, expected = self._garage.client(), self._acknowledged
        return await asyncio.to_thread(Look, client, BUCKET, expected, self._sent)

    async def check(self) -> Look:
        """Check the bucket, and compare the agent's list with it."""
        found = await self._look()
        found.wrong += [
            f"{key} without metadata is of no backup that was uploaded or deleted here"
            for key, sha256 in found.alone.items()
            if sha256 not in set().union(*self._sent.values())
        ]
        path = f"/v1/locations/{self._location.id}/backups"
        listing = await self._agent.get(f"{path}?refresh=true")
        listed = {
            backup["backup_id"]: backup["s3_backup_agent"]["sha256"]
            for backup in listing["backups"]
        }
        if listing["stale"] or listed != self._acknowledged:
            found.wrong.append(
                f"the agent lists {listed}, there are {self._acknowledged}"
            )
        if found.wrong:
            raise CrashError("\n".join(found.wrong))
        return found

    async def download_all(self) -> None:
        """Download every backup through the agent, and compare."""
        for backup in self._there.values():
            path = f"/v1/locations/{self._location.id}/backups/{backup.id}/content"
            digest = hashlib.sha256()
            async with (
                self._agent.client() as client,
                client.get(path, raise_for_status=True) as answer,
            ):
                async for piece in answer.content.iter_chunked(1 << 20):
                    digest.update(piece)
            if digest.hexdigest() != self._acknowledged[backup.id]:
                raise CrashError(f"{backup.id} comes back as something else")

    async def a_day_later(self) -> None:
        """Make all leftovers more than a day old, and wait until the agent has swept them."""
        await self._agent.kill()
        yesterday = time.time() - A_DAY_S
        for journal in self._journals():
            os.utime(journal, (yesterday, yesterday))
        await self._agent.start()
        await self._until_gone("journals", self._journals)
        # Uploads without a journal are found in the server's list, by their start time.
        self.figures.unnoted = len(self._garage.unfinished_uploads(BUCKET))
        endpoint = self._location.endpoint
        await self._agent.kill()
        async with Older(int(endpoint.rpartition(":")[2])) as older:
            self._location.endpoint = older.endpoint
            await self._agent.start()
            await self._until_gone(
                "unfinished uploads", lambda: self._garage.unfinished_uploads(BUCKET)
            )
            await self._agent.kill()
        self._location.endpoint = endpoint
        await self._agent.start()

    def _journals(self) -> list[Path]:
        return list((self._agent.folder / "state" / "uploads").glob("*"))

    @staticmethod
    async def _until_gone(what: str, left: Callable[[], Sequence[object]]) -> None:
        try:
            async with asyncio.timeout(SWEPT_WITHIN_S):
                while left():
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise CrashError(f"{what} are left after a day: {left()}") from None


async def run(seed: int, rounds: int, say: Any, folder: Path) -> tuple[Figures, Look]:
    """Run the rounds; return figures and final content."""
    async with Garage() as garage:
        await garage.create_bucket(BUCKET)
        location = Location.on(
            garage, BUCKET, outage_seconds=20, part_size="5 MiB", idle_seconds=10
        )
        async with Agent([location]) as agent:
            harness = Harness(seed, garage, agent, folder)
            for number in range(rounds):
                try:
                    await harness.round(number)
                    if number % 25 == 24:
                        await harness.check()
                        say(f"  {number + 1} rounds")
                except (CrashError, TimeoutError) as error:
                    steps = "\n".join(harness.steps)
                    log = "\n".join(agent.log_path.read_text().splitlines()[-60:])
                    raise CrashError(
                        f"seed {seed}, round {number}: {error!r}\n{error}\n{steps}\n"
                        f"The end of the agent's log:\n{log}"
                    ) from error
            await harness.a_day_later()
            found = await harness.check()
            await harness.download_all()
            return harness.figures, found
