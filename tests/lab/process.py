"""A child process with its output in a file, which ends with its parent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
import itertools
import os
from pathlib import Path
import random
import signal
import socket


class LabError(Exception):
    """A part of the lab failed."""


class Process:
    """A running child; its standard output and error are appended to `log_path`."""

    def __init__(self, child: asyncio.subprocess.Process, log_path: Path) -> None:
        """Wrap a child; use `Process.start` to create one."""
        self._child = child
        self.log_path = log_path

    @classmethod
    async def start(
        cls,
        log_path: Path,
        *command: str | Path,
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Start the command; the kernel kills it when the test run dies."""
        with log_path.open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                "setpriv",
                "--pdeathsig=KILL",
                *(str(part) for part in command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
        return cls(child, log_path)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._child.returncode

    def log_text(self) -> str:
        """Return its output so far."""
        return self.log_path.read_text(errors="replace")

    def peak_rss_bytes(self) -> int:
        """Return the peak resident memory (VmHWM)."""
        return self._memory_bytes("VmHWM")

    def rss_bytes(self) -> int:
        """Return the current resident memory (VmRSS)."""
        return self._memory_bytes("VmRSS")

    def forget_peak(self) -> None:
        """Reset `peak_rss_bytes` to the current value; see proc(5), clear_refs."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _memory_bytes(self, field: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024
        raise LabError(f"process {self.pid} has no {field}: it has ended")

    async def wait(self, timeout_s: float | None) -> int:
        """Wait until it exits, and return the exit code."""
        async with asyncio.timeout(timeout_s):
            return await self._child.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._child.send_signal(number)

    async def stop(self, timeout_s: float = 30) -> int:
        """Stop it (SIGTERM) and return the exit code; kill it and raise after a timeout."""
        if self._child.returncode is None:
            self._child.send_signal(signal.SIGTERM)
        try:
            return await self.wait(timeout_s)
        except TimeoutError:
            await self.kill()
            raise LabError(
                f"process {self.pid} ignored SIGTERM, log: {self.log_path}"
            ) from None

    async def kill(self) -> None:
        """Kill it (SIGKILL)."""
        if self._child.returncode is None:
            self._child.kill()
        await self._child.wait()

    def require_alive(self) -> None:
        """Raise with the end of the log if it has exited."""
        if self._child.returncode is not None:
            tail = "\n".join(self.log_text().splitlines()[-30:])
            raise LabError(f"the process ended with {self._child.returncode}:\n{tail}")


# Starts at a random number in each run.
_NEXT = itertools.count(random.randrange(20_000))


def free_port() -> int:
    """Return a TCP port without a listener.

    The kernel gives out none of these itself (net.ipv4.ip_local_port_range), so none is taken again before its
    server has started, or between a server's end and its next start.
    """
    while True:
        port = 10_000 + next(_NEXT) % 20_000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
