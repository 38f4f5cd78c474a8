"""What each role of a soak holds over time, and whether that grows."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

MIB = 1 << 20


class Sample(NamedTuple):
    """What a role held at a time: the largest of its processes for each figure."""

    at_s: float
    """Since the begin of the soak."""
    figures: dict[str, float]


class Growth(NamedTuple):
    """A figure of a role: its median in the second third of a soak and in the last."""

    role: str
    figure: str
    before: float
    after: float
    allowed: float

    @property
    def is_flat(self) -> bool:
        """Whether it grew no more than it may."""
        return self.after - self.before <= self.allowed


MAY_GROW = {
    "rss MiB": (8.0, 0.1),
    "pss MiB": (8.0, 0.1),
    "descriptors": (8.0, 0.0),
    "threads": (1.0, 0.0),
    "disk MiB": (3 * 64.0, 0.0),
}
"""What counts as flat: so much, or this part of what it was. A store keeps three segments more
than it needs, of 64 MiB each."""


def figures_of(pid: int) -> dict[str, float]:
    """What a process holds; empty if it is gone."""
    proc = Path(f"/proc/{pid}")
    try:
        memory = dict(_kilobytes((proc / "smaps_rollup").read_text()))
        return {
            "rss MiB": memory["Rss"] / 1024,
            "pss MiB": memory["Pss"] / 1024,
            "descriptors": float(len(os.listdir(proc / "fd"))),
            "threads": float(len(os.listdir(proc / "task"))),
        }
    except (OSError, KeyError):
        return {}


def _kilobytes(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines()[1:]:
        name, _, rest = line.partition(":")
        yield name, int(rest.split()[0])


def disk_mib(folder: Path) -> float:
    """What a directory takes on the disk."""
    blocks = 0
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):  # Removed meanwhile.
                blocks += entry.stat().st_blocks
    return blocks * 512 / MIB


class Samples:
    """All samples, by role."""

    def __init__(self) -> None:
        self.by_role: dict[str, list[Sample]] = {}

    def take(self, at_s: float, roles: Mapping[str, int], data: Path) -> None:
        """Look at one process of each role, and at the data dir of the broker."""
        for role, pid in roles.items():
            figures = figures_of(pid)
            if figures and role == "broker":
                figures["disk MiB"] = disk_mib(data)
            if figures:
                self.by_role.setdefault(role, []).append(Sample(at_s, figures))

    def growth(self, lasted_s: float) -> Iterator[Growth]:
        """How each figure went from the second third to the last; the first is the warm-up."""
        for role, samples in self.by_role.items():
            for figure in samples[0].figures:
                thirds = [
                    [s.figures[figure] for s in samples if k <= 3 * s.at_s / lasted_s < k + 1]
                    for k in (1, 2)
                ]
                if not all(thirds):
                    continue
                before, after = map(statistics.median, thirds)
                amount, part = MAY_GROW[figure]
                yield Growth(role, figure, before, after, max(amount, part * before))
