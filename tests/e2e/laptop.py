"""A laptop on which a user follows docs/guides/disaster-recovery.md literally."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
import hashlib
import os
from pathlib import Path
import re
import shutil

from lab.agent import Location, agent_binary
from lab.document import code, section

DOCUMENT = "disaster-recovery.md"
LAPTOP = "From a laptop"
ONE_COMMAND = "In one command"
NEW_URL = "http://192.168.1.50:8123"
NAME = "s3-backup-agent-amd64"
MODIFIED = re.compile(rb"(?<=<LastModified>)\d{4}")


@dataclass(frozen=True)
class Ran:
    """Commands that ended."""

    code: int | None
    output: str


class Laptop:
    """A folder with the downloads of a release, and nothing else."""

    def __init__(self, folder: Path, location: Location) -> None:
        """Create the folder for this location's bucket."""
        self.folder = folder
        shutil.copy(agent_binary(), folder / NAME)
        checksum = hashlib.sha256((folder / NAME).read_bytes()).hexdigest()
        # In the form of scripts/release-files, including files that the user did not download.
        (folder / "SHA256SUMS").write_text(f"{checksum}  {NAME}\n{'0' * 64}  other\n")
        (settings,) = code(section(DOCUMENT, LAPTOP), "toml")
        (folder / "agent.toml").write_text(settings)
        self._environment = _settings(
            endpoint=location.endpoint,
            region=location.region,
            bucket=location.bucket,
            access_key_id=location.access_key_id,
            secret_access_key=location.secret_access_key,
        )

    async def follow(
        self, heading: str, backup_id: str = "", *, endpoint: str | None = None
    ) -> str:
        """Run all commands of a section, assert their success, and return their output."""
        commands = "".join(code(section(DOCUMENT, heading), "sh"))
        assert commands
        changed = _settings(endpoint=endpoint) if endpoint else {}
        ran = await self._run(commands.replace("BACKUP_ID", backup_id), changed)
        assert ran.code == 0, ran.output
        return ran.output

    async def restore(self, url: str, *more: str, password: str | None = None) -> Ran:
        """Run the command of the section *In one command* with this URL, and more arguments."""
        (command,) = code(section(DOCUMENT, ONE_COMMAND), "sh")
        assert NEW_URL in command
        changed = {"S3_BACKUP_AGENT_PASSWORD": password} if password else {}
        line = " ".join([command.strip().replace(NEW_URL, url), *more])
        return await self._run(f"ln -sf {NAME} s3-backup-agent; {line}", changed)

    async def restore_at_terminal(
        self, url: str, *answers: tuple[str, str], exit_code: int = 0
    ) -> str:
        """Run the same on a terminal, answer each question, and assert its exit code; return what the terminal shows."""
        (command,) = code(section(DOCUMENT, ONE_COMMAND), "sh")
        command = command.strip().replace(NEW_URL, url)
        command = command.replace("./s3-backup-agent", f"./{NAME}")
        child = await asyncio.create_subprocess_exec(
            *("script", "--quiet", "--return", "--command", command, "/dev/null"),
            cwd=self.folder,
            env={**os.environ, **self._environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        shown = b""
        for question, answer in answers:
            seen = len(shown)
            while question.encode() not in shown[seen:]:
                data = await child.stdout.read(4096)
                assert data, shown.decode()
                shown += data
            child.stdin.write(f"{answer}\n".encode())
        shown += await child.stdout.read()
        assert await child.wait() == exit_code, shown.decode()
        return shown.decode()

    async def _run(self, commands: str, changed: dict[str, str]) -> Ran:
        child = await asyncio.create_subprocess_exec(
            "bash",
            "-euxo",
            "pipefail",
            "-c",
            commands,
            cwd=self.folder,
            env={**os.environ, **self._environment, **changed},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await child.communicate()
        return Ran(child.returncode, output.decode())


def _settings(**settings: str) -> dict[str, str]:
    """Return the replacement of placeholder settings in agent.toml."""
    prefix = "S3_BACKUP_AGENT__LOCATIONS__0__"
    return {f"{prefix}{name.upper()}": value for name, value in settings.items()}


@contextlib.asynccontextmanager
async def a_year_later(endpoint: str) -> AsyncIterator[str]:
    """Return an endpoint that shows everything in its buckets as a year old."""
    host, _, port = endpoint.removeprefix("http://").partition(":")
    last_year = f"{datetime.now(UTC).year - 1}".encode()

    async def pump(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, year: bytes
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(1 << 16):
                sink.write(MODIFIED.sub(year, data) if year else data)
                await sink.drain()
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_connection(host, int(port))
        await asyncio.gather(
            pump(reader, to_upstream, b""), pump(upstream, writer, last_year)
        )

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
