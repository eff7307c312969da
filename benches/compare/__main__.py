"""Runs everything, prints the tables and writes them as JSON."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
import hashlib
import json
import os
from pathlib import Path
import platform
import shutil
import sys
import tempfile
from typing import Any

from lab.agent import Agent, Location
from lab.network import (
    Link,
    Loopback,
    Network,
    leave_the_machines_network,
    tcp_settings,
)

from .processes import Client, Meter, touch_memory
from .report import BARE, OURS, PEER, Results, Run
from .sample import LargeBackup, many_backups
from .server import Server

# A transfer uses about this many times its size in memory: sent, stored and in-flight data.
TOUCHED = 4
BUCKET = "backups"
# Transfers and listings use separate prefixes, so that neither lists the other's backups.
TRANSFER, LISTING = "transfer", "listing"


class Benchmark:
    """One run over all networks, jobs and clients."""

    def __init__(self, options: argparse.Namespace, server: Server) -> None:
        """Store the options and the running server."""
        self._options = options
        self._server = server
        self._folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self.runs: list[Run] = []

    async def run(self, networks: list[Network]) -> None:
        """Measure everything."""
        try:
            if "transfer" in self._options.jobs:
                large = LargeBackup(
                    self._folder / "backup.tar", self._options.size_mib << 20
                )
                for network in networks:
                    await self._repeat(
                        network, self._transfer, large, [OURS, PEER, BARE]
                    )
            if "listing" in self._options.jobs:
                self._fill()
                for network in networks:
                    await self._repeat(network, self._list, None, [OURS, PEER])
        finally:
            shutil.rmtree(self._folder)

    async def _repeat(
        self, network: Network, measure: Any, argument: Any, ways: list[str]
    ) -> None:
        """Run all clients in turn; every other round in reverse order."""
        chosen = [way for way in ways if way in self._options.ways]
        for number in range(self._options.rounds):
            for way in reversed(chosen) if number % 2 else chosen:
                await measure(network, way, argument, is_first=number == 0)

    async def _transfer(
        self, network: Network, way: str, large: LargeBackup, *, is_first: bool
    ) -> None:
        backup = large.renew()
        named = {"backup": backup, "filename": f"Benchmark_{backup['backup_id']}"}
        async with self._way(network, way, TRANSFER) as (client, pids):
            await self._measure(
                network, "upload", way, client, pids, path=str(large.path), **named
            )
        key = f"{TRANSFER}/backups/{named['filename']}.tar"
        stored = self._server.client().head_object(Bucket=BUCKET, Key=key)[
            "ContentLength"
        ]
        _require(stored == large.size, f"{key} has {stored} bytes, not {large.size}")

        await self._take_back(network, way, large, named, check=is_first)
        for suffix in ("tar", "metadata.json"):
            self._server.client().delete_object(
                Bucket=BUCKET, Key=f"{TRANSFER}/backups/{named['filename']}.{suffix}"
            )

    async def _take_back(
        self,
        network: Network,
        way: str,
        large: LargeBackup,
        named: dict[str, Any],
        *,
        check: bool,
    ) -> None:
        for job in ["download", "restore"] if self._options.restore else ["download"]:
            if job == "restore" and way == BARE:
                continue
            os.sync()
            copy = self._folder / "restored.tar"
            async with self._way(network, way, TRANSFER) as (client, pids):
                answer = await self._measure(
                    network, job, way, client, pids, path=str(copy), **named
                )
                _require(
                    answer["size"] == large.size,
                    f"{way} brought {answer['size']} bytes back, not {large.size}",
                )
                if check and job == "download":
                    answer = await client.do(do="hash", **named)
                    with large.path.open("rb") as file:
                        expected = hashlib.file_digest(file, "sha256").hexdigest()
                    _require(
                        answer["sha256"] == expected,
                        f"{way} downloaded other bytes than it uploaded",
                    )
            copy.unlink(missing_ok=True)

    async def _list(
        self, network: Network, way: str, _: None, *, is_first: bool
    ) -> None:
        del is_first
        async with self._way(network, way, LISTING) as (client, pids):
            for job in ("cold listing", "refresh"):
                answer = await self._measure(network, job, way, client, pids)
                _require(
                    answer["backups"] == self._options.backups,
                    f"{way} lists {answer['backups']} backups, not {self._options.backups}",
                )
                name, _, _ = many_backups(self._options.backups)[
                    self._options.backups // 2
                ]
                self._server.change_one(
                    BUCKET, f"{LISTING}/backups/{name}.metadata.json"
                )

    async def _measure(
        self,
        network: Network,
        job: str,
        way: str,
        client: Client,
        pids: dict[str, int],
        **arguments: Any,
    ) -> dict[str, Any]:
        kind = "list" if job in {"cold listing", "refresh"} else job
        if kind != "list":
            touch_memory(TOUCHED * self._options.size_mib << 20)
        position = self._server.log_position()
        meter = Meter(pids)
        answer = await client.do(do=kind, **arguments)
        costs = meter.read()
        others_s = meter.others_s(costs)
        requests = dict(self._server.requests_since(position))
        run = Run(
            network=network.name,
            job=job,
            way=way,
            wall_s=round(answer["wall_s"], 4),
            cpu_s={name: cost.cpu_s for name, cost in costs.items()},
            peak_bytes={name: cost.peak_bytes for name, cost in costs.items()},
            requests=requests,
            others_cpu_s=others_s,
        )
        self.runs.append(run)
        print(
            f"{network.name}, {job}, {way}: {run.wall_s:.2f} s, CPU {run.cpu_s}, others {others_s}, {requests}",
            file=sys.stderr,
        )
        return answer

    @asynccontextmanager
    async def _way(
        self, network: Network, way: str, prefix: str
    ) -> AsyncIterator[tuple[Client, dict[str, int]]]:
        """Start a new client, and a new agent for ours, in this network; return the measured processes."""
        server = self._server
        endpoint = server.endpoint_from(network)
        pids = {"garage": server.process.pid}
        if network.pid:
            pids["link"] = network.pid
        settings = {
            "way": way,
            "endpoint": endpoint,
            "region": server.region,
            "bucket": BUCKET,
            "prefix": prefix,
            "key_id": server.key_id,
            "secret_key": server.secret_key,
        }
        async with AsyncExitStack() as stack:
            with network.inside():
                if way == OURS:
                    location = replace(
                        Location.on(server, BUCKET, id=prefix, prefix=prefix),
                        endpoint=endpoint,
                    )
                    agent = await stack.enter_async_context(
                        Agent([location], log_level=self._options.log_level)
                    )
                    settings |= {"address": agent.address, "location": location.id}
                    pids["agent"] = agent.process.pid
                client = stack.enter_context(Client(self._python(way), settings))
            yield client, {"client": client.pid, **pids}

    def _python(self, way: str) -> Path:
        """Return the Python interpreter: ours runs with Home Assistant's dependencies, such as its faster CRC-32."""
        return (
            self._options.home_assistant / "bin" / "python"
            if way == OURS
            else Path(sys.executable)
        )

    def _fill(self) -> None:
        """Write the small backups like the layout's other writer, without the agent's extra fields."""
        client = self._server.client()
        for name, described, tar in many_backups(self._options.backups):
            client.put_object(
                Bucket=BUCKET, Key=f"{LISTING}/backups/{name}.tar", Body=tar
            )
            body = json.dumps(described).encode()
            client.put_object(
                Bucket=BUCKET, Key=f"{LISTING}/backups/{name}.metadata.json", Body=body
            )


def _require(is_so: bool, problem: str) -> None:
    if not is_so:
        raise RuntimeError(problem)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/run", description=__doc__)
    parser.add_argument(
        "--home-assistant",
        type=Path,
        required=True,
        help="its virtual environment (set by run)",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--backups", type=int, default=1000)
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=["loopback", "link"],
        default=["loopback", "link"],
    )
    parser.add_argument(
        "--jobs",
        nargs="+",
        choices=["transfer", "listing"],
        default=["transfer", "listing"],
    )
    parser.add_argument(
        "--ways", nargs="+", choices=[OURS, PEER, BARE], default=[OURS, PEER, BARE]
    )
    parser.add_argument(
        "--restore",
        action="store_true",
        help="also download as a restore does: each chunk written to a file by itself",
    )
    parser.add_argument("--rtt-ms", type=int, default=50)
    parser.add_argument("--mbit", type=int, default=1000)
    parser.add_argument("--queue-bytes", type=int, default=6_250_000)
    parser.add_argument("--mtu", type=int, default=1500)
    parser.add_argument("--log-level", default="info", help="the agent's")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


async def main() -> int:
    """Set up networks and server, measure, and report; return 1 if a target is missed."""
    options = _options()
    leave_the_machines_network()
    async with AsyncExitStack() as stack:
        networks: list[Network] = []
        link = None
        if "loopback" in options.networks:
            networks.append(Loopback())
        if "link" in options.networks:
            link = stack.enter_context(
                Link(
                    rtt_ms=options.rtt_ms,
                    mbit=options.mbit,
                    queue_bytes=options.queue_bytes,
                    mtu=options.mtu,
                )
            )
            networks.append(link)
        server = await stack.enter_async_context(Server())
        await server.create_bucket(BUCKET)
        benchmark = Benchmark(options, server)
        await benchmark.run(networks)
    results = Results(
        benchmark.runs,
        options.size_mib << 20,
        options.backups,
        link.mbit * 1_000_000 if link else None,
    )
    print(results.to_markdown())
    if options.json:
        about = {
            "kernel": platform.release(),
            "cores": os.cpu_count(),
            "tcp": tcp_settings(),
            "link": link and link.to_json(),
            "rounds": options.rounds,
        }
        options.json.write_text(json.dumps(about | results.to_json(), indent=1) + "\n")
    return 0 if all(verdict.is_met for verdict in results.verdicts()) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
