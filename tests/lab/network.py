"""Networks for tests and benchmarks: loopback, and a link with a round-trip time, a rate and faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import signal
import subprocess
from tempfile import NamedTemporaryFile
from typing import Any, Self

from .parts import part
from .process import LabError

# Addresses reserved for network benchmarks (RFC 2544).
NEAR_ADDRESS, FAR_ADDRESS = "198.18.0.1", "198.18.0.2"
LOOPBACK_ADDRESS = "127.0.0.1"


def leave_the_machines_network() -> None:
    """Enter a new network namespace for the server: the far end."""
    os.unshare(os.CLONE_NEWNET)
    _ip("link", "set", "lo", "up")
    _sysctl("net.ipv4.tcp_no_metrics_save", "1")


@contextmanager
def names(*lines: str) -> Iterator[None]:
    """Make these lines the machine's `/etc/hosts`, for this process and those that it starts."""
    os.unshare(os.CLONE_NEWNS)
    # Fails in a chroot, whose root is no mount point, and which only the tests use.
    subprocess.run(["mount", "--make-rprivate", "/"], check=False)
    with NamedTemporaryFile("w", prefix="hosts-", suffix=".txt") as hosts:
        hosts.write("".join(f"{line}\n" for line in lines))
        hosts.flush()
        Path(hosts.name).chmod(0o644)
        subprocess.run(["mount", "--bind", hosts.name, "/etc/hosts"], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "/etc/hosts"], check=True)


class Loopback:
    """Clients and server share a network namespace."""

    name = "loopback"
    server_address = LOOPBACK_ADDRESS
    pid: int | None = None

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Make the processes started in this block clients."""
        yield


class Link:
    """Clients run in their own namespace, at the near end of the link."""

    name = "link"
    server_address = FAR_ADDRESS

    def __init__(
        self,
        *,
        rtt_ms: int,
        mbit: int,
        queue_bytes: int,
        mtu: int = 1500,
        loss_percent: int = 0,
    ) -> None:
        """Set the link's properties; nothing runs yet."""
        self.rtt_ms, self.mbit, self.queue_bytes = rtt_ms, mbit, queue_bytes
        self.mtu, self.loss_percent = mtu, loss_percent
        self.counters: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Start the link and configure the addresses of both ends."""
        options = {
            "--rtt-ms": self.rtt_ms,
            "--mbit": self.mbit,
            "--queue-bytes": self.queue_bytes,
            "--loss-percent": self.loss_percent,
        }
        arguments = [str(part) for option in options.items() for part in option]
        self._process = subprocess.Popen(
            [
                "setpriv",
                "--pdeathsig=KILL",
                part("link-target/release/link", "link"),
                *arguments,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise LabError("the link did not start: root and /dev/net/tun are needed")
        self._far = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._near = os.open(f"/proc/{self._process.pid}/ns/net", os.O_RDONLY)
        self._set_up(FAR_ADDRESS, NEAR_ADDRESS)
        with self.inside():
            _ip("link", "set", "lo", "up")
            _sysctl("net.ipv4.tcp_no_metrics_save", "1")
            self._set_up(NEAR_ADDRESS, FAR_ADDRESS)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the link and keep its counters."""
        self._process.terminate()
        output = self._process.communicate(timeout=10)[0]
        self.counters = json.loads(output)
        os.close(self._far)
        os.close(self._near)

    @property
    def pid(self) -> int:
        """The process that carries the packets."""
        return self._process.pid

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Put the processes started in this block at the near end."""
        os.setns(self._near, os.CLONE_NEWNET)
        try:
            yield
        finally:
            os.setns(self._far, os.CLONE_NEWNET)

    def swallow(self, *addresses: str) -> None:
        """Lead these addresses into the line: the far end lacks them, and drops their packets silently."""
        for address in addresses:
            _ip("route", "add", address, "dev", "link0")

    def toggle_cut(self) -> None:
        """Cut the line, or restore it: a cut line drops packets silently."""
        self._process.send_signal(signal.SIGUSR1)

    def forget(self) -> None:
        """Drop all packets of existing connections, as a restarted router does."""
        self._process.send_signal(signal.SIGUSR2)

    def to_json(self) -> dict[str, Any]:
        """Describe the link and its counters."""
        return {
            "rtt_ms": self.rtt_ms,
            "mbit": self.mbit,
            "queue_bytes": self.queue_bytes,
            "mtu": self.mtu,
            "loss_percent": self.loss_percent,
            "counters": self.counters,
        }

    def _set_up(self, own: str, other: str) -> None:
        _ip("address", "add", own, "peer", other, "dev", "link0")
        _ip("link", "set", "link0", "mtu", str(self.mtu), "up")


type Network = Loopback | Link


def tcp_settings() -> dict[str, str]:
    """Return the kernel settings that limit one TCP connection on a long link."""
    names = (
        "tcp_congestion_control",
        "tcp_rmem",
        "tcp_wmem",
        "tcp_slow_start_after_idle",
    )
    return {
        name: " ".join(Path(f"/proc/sys/net/ipv4/{name}").read_text().split())
        for name in names
    }


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _sysctl(name: str, value: str) -> None:
    Path("/proc/sys", *name.split(".")).write_text(value)
