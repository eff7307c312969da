"""Medians, ratios, targets, and the printed table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

OURS, PEER, BARE = "ours", "peer", "bare"


@dataclass(frozen=True)
class Run:
    """One job of one client in one network."""

    network: str
    job: str
    way: str
    wall_s: float
    cpu_s: dict[str, float]
    peak_bytes: dict[str, int]
    requests: dict[str, int] = field(default_factory=dict)
    others_cpu_s: float = 0

    @property
    def own_cpu_s(self) -> float:
        """The processes on the user's machine: the client, and the agent for ours."""
        return self.cpu_s["client"] + self.cpu_s.get("agent", 0)


@dataclass(frozen=True)
class Verdict:
    """A figure and its target."""

    what: str
    figure: float
    target: float
    at_least: bool

    @property
    def is_met(self) -> bool:
        """Whether the target is reached."""
        return (
            self.figure >= self.target if self.at_least else self.figure <= self.target
        )

    def cells(self) -> list[str]:
        """One row."""
        bound = "≥" if self.at_least else "≤"
        return [
            self.what,
            f"{self.figure:.2f}",
            f"{bound} {self.target:g}",
            "met" if self.is_met else "**missed**",
        ]


class Results:
    """All runs of one benchmark."""

    def __init__(
        self,
        runs: Iterable[Run],
        size_bytes: int,
        backups: int,
        bits_per_second: int | None,
    ) -> None:
        """Store the runs and their conditions; the rate is the link's."""
        self.runs = list(runs)
        self._size_bytes, self._backups, self._bits_per_second = (
            size_bytes,
            backups,
            bits_per_second,
        )

    def of(self, network: str, job: str, way: str) -> list[Run]:
        """Return the repetitions of one measurement."""
        return [
            run
            for run in self.runs
            if (run.network, run.job, run.way) == (network, job, way)
        ]

    def middle(
        self, network: str, job: str, way: str, figure: Callable[[Run], float]
    ) -> float | None:
        """Return the median of a figure over the repetitions."""
        found = self.of(network, job, way)
        return median(figure(run) for run in found) if found else None

    def verdicts(self) -> list[Verdict]:
        """Every measured figure with a target."""
        found: list[Verdict] = []

        def add(
            what: str, figure: float | None, target: float, *, at_least: bool = True
        ) -> None:
            if figure is not None:
                found.append(Verdict(what, figure, target, at_least))

        for network in dict.fromkeys(run.network for run in self.runs):
            on_link = network == "link"
            add(
                f"{network}: upload, times faster",
                self._faster(network, "upload"),
                2.4 if on_link else 1.5,
            )
            if on_link and self._bits_per_second:
                wall_s = self.middle(network, "upload", OURS, lambda run: run.wall_s)
                limit_s = self._size_bytes * 8 / self._bits_per_second
                add(
                    f"link: upload, times its limit of {limit_s:.1f} s",
                    wall_s and wall_s / limit_s,
                    1.2,
                    at_least=False,
                )
            add(
                f"{network}: download, times faster",
                self._faster(network, "download"),
                1.1,
            )
            add(
                f"{network}: cold listing, times faster",
                self._faster(network, "cold listing"),
                20 if on_link else 5,
            )
            add(
                f"{network}: refresh with one changed, times fewer requests",
                self._fewer_requests(network),
                50,
            )
            add(
                f"{network}: CPU of upload and download, ours / peer",
                self._cpu_ratio(network),
                0.8,
                at_least=False,
            )
        return found

    def _faster(self, network: str, job: str) -> float | None:
        ours = self.middle(network, job, OURS, lambda run: run.wall_s)
        peer = self.middle(network, job, PEER, lambda run: run.wall_s)
        return peer / ours if ours and peer else None

    def _fewer_requests(self, network: str) -> float | None:
        ours = self.middle(
            network, "refresh", OURS, lambda run: sum(run.requests.values())
        )
        peer = self.middle(
            network, "refresh", PEER, lambda run: sum(run.requests.values())
        )
        return peer / ours if ours and peer else None

    def _cpu_ratio(self, network: str) -> float | None:
        def both(way: str) -> float | None:
            parts = [
                self.middle(network, job, way, lambda run: run.own_cpu_s)
                for job in ("upload", "download")
            ]
            return None if None in parts else sum(part for part in parts if part)

        ours, peer = both(OURS), both(PEER)
        return ours / peer if ours and peer else None

    def to_markdown(self) -> str:
        """Return the tables: measurements and targets."""
        rows = []
        for network, job, way in dict.fromkeys(
            (run.network, run.job, run.way) for run in self.runs
        ):
            found = self.of(network, job, way)
            walls = [run.wall_s for run in found]
            processes = list(found[0].cpu_s)
            rows.append(
                [
                    network,
                    job,
                    way,
                    f"{median(walls):.2f} ({min(walls):.2f}–{max(walls):.2f})",
                    *(
                        _cell(median(run.cpu_s[name] for run in found), ".2f")
                        if name in processes
                        else ""
                        for name in ("client", "agent", "garage", "link")
                    ),
                    f"{median(run.others_cpu_s for run in found):.2f}",
                    *(
                        _cell(
                            median(run.peak_bytes[name] for run in found) / 2**20, ".0f"
                        )
                        if name in processes
                        else ""
                        for name in ("client", "agent")
                    ),
                    " ".join(
                        f"{count} {kind}"
                        for kind, count in sorted(found[-1].requests.items())
                    ),
                ]
            )
        head = [
            "network",
            "job",
            "way",
            "wall s",
            "client CPU s",
            "agent CPU s",
            "Garage CPU s",
            "link CPU s",
            "other CPU s",
        ]
        head += ["client MiB", "agent MiB", "requests"]
        return "\n".join(
            [
                *_table(head, rows),
                "",
                *_table(
                    ["figure", "measured", "target", ""],
                    [verdict.cells() for verdict in self.verdicts()],
                ),
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "size_bytes": self._size_bytes,
            "backups": self._backups,
            "runs": [asdict(run) for run in self.runs],
            "verdicts": [
                {**asdict(verdict), "is_met": verdict.is_met}
                for verdict in self.verdicts()
            ],
        }


def _cell(value: float, form: str) -> str:
    return format(value, form)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    widths = [
        max(len(row[column]) for row in [head, *rows]) for column in range(len(head))
    ]

    def line(cells: list[str]) -> str:
        return (
            "| "
            + " | ".join(
                cell.ljust(width) for cell, width in zip(cells, widths, strict=True)
            )
            + " |"
        )

    return [line(head), line(["-" * width for width in widths]), *map(line, rows)]
