"""The app in its own root file system, at the paths of its image, traced by strace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import shutil
from typing import Any, override

import psutil

from .agent import REPOSITORY, agent_binary
from .app import TOKEN, App
from .parts import part
from .process import Process

BINARY = "/usr/bin/s3-backup-agent"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# System calls that AppArmor mediates and strace shows.
WATCHED = "%file,%network,%process,flock,fcntl,fchmod,fchown,ftruncate"


class Image(App):
    """A container of the app with real paths: `/data`, `/share` and Docker's files in `/etc`.

    Used as `async with Image(options, hosts={"garage": "127.0.0.1"}) as app:`. It has no capability at all.
    """

    def __init__(
        self,
        options: dict[str, Any] | str,
        *,
        supervisor: str = "127.0.0.1:1",
        hosts: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare the files of the image and of a container; nothing runs yet."""
        super().__init__(options, supervisor=supervisor)
        self._write(BINARY, agent_binary().read_bytes()).chmod(0o755)
        self._write(CERTIFICATES, Path(CERTIFICATES).read_bytes())
        known = {"localhost": "127.0.0.1", **(hosts or {})}
        lines = [f"{address} {name}\n" for name, address in known.items()]
        self._write("/etc/hosts", "".join(lines).encode())
        # Connections to this address fail immediately.
        self._write("/etc/resolv.conf", b"nameserver 127.0.0.1\noptions timeout:1\n")
        (self.folder / "share").mkdir()
        self.traces = self.folder / "traces"
        self.traces.mkdir()
        self._runs = 0

    def _write(self, path: str, content: bytes) -> Path:
        """Put a file into the image."""
        file = self.folder / path.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    @override
    async def run(self, *arguments: str) -> Process:
        """Run the binary in the image."""
        environment = {
            "SUPERVISOR_TOKEN": TOKEN,
            "SUPERVISOR": self.supervisor,
            # Another process of this machine may use the port.
            "S3_BACKUP_AGENT__LISTEN__PAGE": "127.0.0.1:0",
        }
        self._runs += 1
        return await Process.start(
            self.folder / "agent.log",
            REPOSITORY / "scripts" / "in-root",
            part("apparmor", "apparmor"),
            *("strace", "--kill-on-exit", "--seccomp-bpf", "-f", "-ff", "--decode-fds"),
            *("--trace", WATCHED, "--output", self.traces / str(self._runs)),
            REPOSITORY / "tests" / "lab" / "in_image",
            self.folder,
            *arguments,
            environment=environment,
        )

    def agent(self) -> psutil.Process:
        """Return the agent's process, a child of strace."""
        (agent,) = psutil.Process(self.process.pid).children()
        return agent

    @override
    async def stop(self) -> int:
        """Stop the agent, and return its exit code."""
        self.agent().terminate()
        process, self._process = self.process, None
        return await process.wait(10)

    async def kill(self) -> None:
        """Kill the agent, as a power cut does."""
        self.agent().kill()
        process, self._process = self.process, None
        await process.wait(10)

    def remove_share(self, name: str) -> None:
        """Remove a folder of `/share`, as a user might."""
        shutil.rmtree(self.folder / "share" / name)
