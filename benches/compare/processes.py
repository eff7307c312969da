"""The measured processes: CPU time and peak memory from /proc, and the clients."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any, Self

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# proc_pid_status(5) and proc_pid_clear_refs(5): 5 resets the peak resident set size.
RESET_PEAK = "5"


@dataclass(frozen=True)
class Cost:
    """Resources that a process used during a job."""

    cpu_s: float
    peak_bytes: int


def touch_memory(size_bytes: int) -> None:
    """Allocate the memory that a job will use, and free it.

    A virtual machine gets a page from its host only when it first uses it, and may have to give it back when idle.
    Without this, a server that stores a gibibyte spends seconds on waiting for that, now more, now less.
    """
    code = f"import mmap; mmap.mmap(-1, {size_bytes}, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)"
    subprocess.run([sys.executable, "-c", code], check=True)


class Meter:
    """Measures processes from its creation on."""

    def __init__(self, pids: dict[str, int]) -> None:
        """Record the CPU time and reset the peak memory."""
        self._pids = pids
        for pid in pids.values():
            Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK)
        self._before = {name: _cpu_s(pid) for name, pid in pids.items()}
        self._busy_before = _busy_s()

    def read(self) -> dict[str, Cost]:
        """Return the resources that each process used since."""
        return {
            name: Cost(round(_cpu_s(pid) - self._before[name], 3), _peak_bytes(pid))
            for name, pid in self._pids.items()
        }

    def others_s(self, costs: dict[str, Cost]) -> float:
        """Return the CPU time of all other work on this machine, the kernel's included."""
        busy_s = _busy_s() - self._busy_before
        return round(max(0, busy_s - sum(cost.cpu_s for cost in costs.values())), 2)


def _cpu_s(pid: int) -> float:
    # The process's name, in parentheses, may contain any character.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user_ticks, system_ticks = int(fields[11]), int(fields[12])
    return (user_ticks + system_ticks) / TICKS_PER_SECOND


def _busy_s() -> float:
    # proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal.
    ticks = [
        int(field)
        for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    ]
    return (sum(ticks) - ticks[3] - ticks[4]) / TICKS_PER_SECOND


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} is gone")


class Client:
    """A worker process (worker.py) for one client."""

    def __init__(self, python: Path, settings: dict[str, Any]) -> None:
        """Start it in the caller's network namespace, and wait until it is connected."""
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", python, "-m", "compare.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ask(settings)

    def __enter__(self) -> Self:
        """Do nothing: it already runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """Make it close its connections."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def do(self, **job: Any) -> dict[str, Any]:
        """Run one job."""
        return await asyncio.to_thread(self._ask, job)

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the client ended with {self._process.wait()}")
        result: dict[str, Any] = json.loads(answer)
        return result
