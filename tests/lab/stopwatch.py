"""A clock for upper bounds that stops while the machine is busy with other work."""

from pathlib import Path
import time


def _waited_for_cpu(process: str) -> float:
    """Return the seconds in which a process's threads were runnable but had no CPU.

    Source: `sched-stats.rst` in Linux's `Documentation/scheduler`: the second number of `schedstat`, in nanoseconds.
    Zero without that file.
    """
    waited = 0
    for file in Path("/proc").glob(f"{process}/task/*/schedstat"):
        try:
            waited += int(file.read_text().split()[1])
        except OSError:  # the thread has ended
            continue
    return waited / 1e9


class Stopwatch:
    """Measures time without the part in which this process or others waited for a CPU."""

    def __init__(self, *pids: int) -> None:
        """Start to measure."""
        self._processes = ("self", *map(str, pids))
        self._start = time.monotonic()
        self._waited = self._waits()

    def wall_seconds(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._start

    def seconds(self) -> float:
        """Return the seconds since the start without the waits for a CPU."""
        return max(0.0, self.wall_seconds() - (self._waits() - self._waited))

    def _waits(self) -> float:
        return sum(map(_waited_for_cpu, self._processes))
