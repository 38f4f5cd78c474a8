"""The method: alternating runs, medians, ratios run by run, and a flag for noise.

Theory of operation. One machine's speed drifts, so neighbours in time are compared and nothing
else. `interleave` does each thing once a run, and within a run lets those that compete go in an
order that changes from run to run, so that none is always the one that comes first. A `Figure` is
one number of each run; `ratio` divides two figures run by run, and its median is what to believe.

Nothing here has a clock: what is timed is the caller's.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

NOISY_SPREAD = 0.5
"""A figure whose runs differ by more than this part of their median is marked as noisy."""

Sample = dict[str, float]
"""What one run of one thing gave: name to value."""


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One number, measured once in every run that gave it."""

    values: tuple[float, ...]
    """In the order of the runs; at least one."""
    unit: str = ""

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a figure needs at least one value")

    @property
    def median(self) -> float:
        """The middle one; the mean of the middle two."""
        return statistics.median(self.values)

    @property
    def lowest(self) -> float:
        """The lowest of all runs."""
        return min(self.values)

    @property
    def highest(self) -> float:
        """The highest of all runs."""
        return max(self.values)

    @property
    def spread(self) -> float:
        """How far apart the runs are, as a part of their median; 0 for one run."""
        distance = self.highest - self.lowest
        if not distance:
            return 0.0
        return distance / abs(self.median) if self.median else float("inf")

    @property
    def is_noisy(self) -> bool:
        """Whether the runs differ too much to believe the median."""
        return self.spread > NOISY_SPREAD


def ratio(over: Figure, under: Figure) -> Figure:
    """One figure divided by another, run by run.

    Raises ValueError if they come from different numbers of runs, ZeroDivisionError if a value
    below the line is 0.
    """
    pairs = zip(over.values, under.values, strict=True)
    return Figure(tuple(a / b for a, b in pairs), "×")


def orders(names: Iterable[str], runs: int) -> Iterator[list[str]]:
    """The order of each run: turned by one every second run, and backwards every second run.

    Of two, A B and B A follow one another; of more, everybody comes first and last in turn.
    """
    row = list(names)
    for run in range(runs):
        turn = (run // 2) % len(row) if row else 0
        order = row[turn:] + row[:turn]
        yield order[::-1] if run % 2 else order


def interleave(
    contests: Mapping[str, Mapping[str, Callable[[], T]]],
    runs: int,
    on_run: Callable[[int, str], None] = lambda run, contest: None,
) -> dict[str, dict[str, list[T]]]:
    """Let those that compete do their work in turn. Returns what each gave, run by run.

    ``contests`` maps the name of a contest to those who take part, ``{"pair": {"ours": f,
    "theirs": g}}``. In every run all contests are held once; ``on_run`` is called before each.
    """
    gathered: dict[str, dict[str, list[T]]] = {
        name: {who: [] for who in subjects} for name, subjects in contests.items()
    }
    turns = {name: list(orders(subjects, runs)) for name, subjects in contests.items()}
    for run in range(runs):
        for name, subjects in contests.items():
            on_run(run, name)
            for who in turns[name][run]:
                gathered[name][who].append(subjects[who]())
    return gathered


def percentile(ordered: Sequence[float], percent: float) -> float:
    """A percentile of values in rising order, between neighbours in proportion."""
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    if below + 1 >= len(ordered):
        return float(ordered[-1])
    part = position - below
    return ordered[below] * (1 - part) + ordered[below + 1] * part


def percentiles(values: Iterable[float]) -> Sample:
    """``p50``, ``p95``, ``p99`` and ``max``, from every single value, in the values' unit."""
    ordered = sorted(values)
    if not ordered:
        return {}
    found = {f"p{p}": percentile(ordered, p) for p in (50, 95, 99)}
    return {**found, "max": float(ordered[-1])}
