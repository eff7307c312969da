"""Runs the rounds and prints the figures."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
import secrets
import sys
import tempfile
import time

from .harness import CrashError, run

MIB = 1 << 20


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main() -> int:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(prog="scripts/crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    arguments = parser.parse_args()
    say(f"{arguments.rounds} rounds with seed {arguments.seed}")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        try:
            figures, found = await run(
                arguments.seed, arguments.rounds, say, Path(folder)
            )
        except CrashError as error:
            say(f"FAILED\n{error}")
            return 1
    kills = ", ".join(f"{victim} {count}" for victim, count in figures.kills.items())
    say(
        f"{figures.rounds} uploads and {figures.deletions} deletions in "
        f"{time.monotonic() - start:.0f} s\n"
        f"killed: {kills}\n"
        f"{figures.anew} uploads had another byte in each attempt\n"
        f"{figures.attempts} attempts: {figures.resumed} went on where another stopped, "
        f"{figures.restarted} began anew\n"
        f"{figures.not_sent_again_bytes // MIB} MiB of {figures.sent_bytes // MIB} MiB "
        f"were not sent again\n"
        f"{figures.unnoted} uploads that were begun just before a kill were found in the server's list\n"
        f"in the bucket: {len(found.backups)} backups, each with the SHA-256 it was acknowledged with; "
        f"{found.copies} copies, {len(found.alone)} tars of interrupted deletions, "
        f"{len(found.unfinished)} unfinished uploads"
    )
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
