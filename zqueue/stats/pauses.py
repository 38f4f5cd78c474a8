"""Pauses: how long the garbage collector stopped a process, and how often.

Theory of operation. A pause has a begin, an end and a generation. Its length excludes pauses inside
it, so that all lengths add up to the time that was lost. A pause that begins and never ends (after
an exception) is dropped when its generation begins again, and an end without a begin does not
count. The interval of a pause is the time from the begin of the one before to its own.

A process reports its totals since it started. Such a report does not grow with time, and `add_up`
merges those of several processes.
"""

from __future__ import annotations

from math import inf
from typing import NotRequired, TypedDict

from .histogram import Histogram

GENERATIONS = 3

WIRE_NUMBERS_MAX = 160
"""Most numbers in a reported histogram. The pauses of one process fill some 40 buckets; if they
need more numbers than this, the histogram is coarsened."""

FIGURE_MAX = 1e15
"""Greater reported figures count as zero: sums must stay within 64 bits."""


class PauseStats(TypedDict):
    """Pauses of one process, or of several added up. Milliseconds.

    The first three are always there, the others if they were reported.
    """

    count: int
    total: float
    max: float
    generations: NotRequired[list[list[float]]]
    """``[count, total, max]`` of each, the youngest first."""
    lengths: NotRequired[list[int]]
    """A histogram, as `Histogram.to_wire` gives it."""
    intervals: NotRequired[list[int]]
    """Another: its sum divided by its count is the mean interval within a process."""
    interval_min: NotRequired[float]


class Pauses:
    """Counts the pauses of one process. The caller passes begin and end of each, and the time."""

    __slots__ = ("_began", "_last", "counts", "interval_min_s", "intervals", "lengths", "maxima_s",
                 "totals_s")  # fmt: skip

    def __init__(self) -> None:
        self.counts = [0] * GENERATIONS
        self.totals_s = [0.0] * GENERATIONS
        self.maxima_s = [0.0] * GENERATIONS
        self.lengths = Histogram()
        self.intervals = Histogram()
        self.interval_min_s = inf
        self._began: list[tuple[float, float, float] | None] = [None] * GENERATIONS
        self._last = -inf

    @property
    def count(self) -> int:
        """Pauses so far."""
        return sum(self.counts)

    @property
    def total_s(self) -> float:
        """All of them together, seconds."""
        return sum(self.totals_s)

    @property
    def max_s(self) -> float:
        """The longest, seconds."""
        return max(self.maxima_s)

    def begin(self, generation: int, now: float) -> None:
        """The collection of a generation, 0 to 2, begins."""
        self._began[generation] = (now, now - self._last, self.total_s)
        self._last = now

    def end(self, generation: int, now: float) -> None:
        """The collection ends. Without a begin (counting started inside it) it does not count."""
        begun = self._began[generation]
        if begun is None:
            return
        self._began[generation] = None
        began, interval_s, total_s = begun
        pause_s = max(0.0, now - began - (self.total_s - total_s))  # Less the pauses inside it.
        self.counts[generation] += 1
        self.totals_s[generation] += pause_s
        self.maxima_s[generation] = max(self.maxima_s[generation], pause_s)
        self.lengths.record(pause_s)
        if interval_s < inf:
            self.intervals.record(interval_s)
            self.interval_min_s = min(self.interval_min_s, interval_s)

    def stats(self) -> PauseStats:
        """The totals, to be reported."""
        of_each = zip(self.counts, self.totals_s, self.maxima_s, strict=True)
        stats: PauseStats = {
            "count": self.count,
            "total": _ms(self.total_s),
            "max": _ms(self.max_s),
            "generations": [[count, _ms(total), _ms(longest)] for count, total, longest in of_each],
            "lengths": self.lengths.to_wire(WIRE_NUMBERS_MAX),
            "intervals": self.intervals.to_wire(WIRE_NUMBERS_MAX),
        }
        if self.interval_min_s < inf:
            stats["interval_min"] = _ms(self.interval_min_s)
        return stats


def add_up(parts: list[PauseStats]) -> PauseStats:
    """The pauses of several processes, added up."""
    total: PauseStats = {
        "count": sum(part["count"] for part in parts),
        "total": round(sum(part["total"] for part in parts), 3),
        "max": max((part["max"] for part in parts), default=0.0),
    }
    if generations := [part["generations"] for part in parts if "generations" in part]:
        total["generations"] = [_triple(list(same)) for same in zip(*generations, strict=True)]
    if lengths := [part["lengths"] for part in parts if "lengths" in part]:
        total["lengths"] = _merged(lengths)
    if intervals := [part["intervals"] for part in parts if "intervals" in part]:
        total["intervals"] = _merged(intervals)
    if minima := [part["interval_min"] for part in parts if "interval_min" in part]:
        total["interval_min"] = min(minima)
    return total


def from_report(report: object) -> PauseStats | None:
    """The valid part of a process's report of its pauses; None if there is none."""
    if not isinstance(report, dict):
        return None
    stats: PauseStats = {
        "count": int(_figure(report.get("count"))),
        "total": _figure(report.get("total")),
        "max": _figure(report.get("max")),
    }
    if _is_triples(report.get("generations")):
        stats["generations"] = [
            [int(_figure(count)), _figure(total), _figure(longest)]
            for count, total, longest in report["generations"]
        ]
    if _is_histogram(report.get("lengths")):
        stats["lengths"] = report["lengths"]
    if _is_histogram(report.get("intervals")):
        stats["intervals"] = report["intervals"]
    if "interval_min" in report:
        stats["interval_min"] = _figure(report["interval_min"])
    return stats


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _figure(value: object) -> float:
    if isinstance(value, int | float) and 0 <= value < FIGURE_MAX:
        return float(value)
    return 0.0


def _triple(triples: list[list[float]]) -> list[float]:
    counts, totals, maxima = zip(*triples, strict=True)
    return [sum(counts), round(sum(totals), 3), max(maxima)]


def _is_triples(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == GENERATIONS
        and all(isinstance(triple, list) and len(triple) == 3 for triple in value)
    )


def _is_histogram(wire: object) -> bool:
    try:
        Histogram.from_wire(wire)
    except ValueError:
        return False
    return True


def _merged(wires: list[list[int]]) -> list[int]:
    merged = Histogram()
    for wire in wires:
        try:
            merged.add(Histogram.from_wire(wire))
        except ValueError:
            pass  # It would overflow: leave it out, and keep the others.
    return merged.to_wire(WIRE_NUMBERS_MAX)
