"""The heatmap: how many tasks took how long, from being sent to their end, in every five seconds.

Theory of operation. A column is five seconds and a row a range of durations, four to each power of
ten. The last row also counts what is slower. A histogram that was coarsened has fewer edges: its
rows end at the nearest one. The growth of several seconds is spread evenly over their columns, but
for the remainder of the division.
"""

from __future__ import annotations

import functools
from collections import deque
from math import floor

from ..stats.histogram import Histogram, nearest_edge
from .series import Json, Step

COLUMN_S = 5
COLUMNS = 60

ROWS = 25
BOUNDS_S = tuple(nearest_edge(1e-4 * 10 ** (row / 4)) for row in range(ROWS))
"""Upper bounds: 0.1 ms to 100 s."""


class Heatmap:
    """Columns of counts, the oldest first."""

    __slots__ = ("_began", "_columns")

    def __init__(self, now: float) -> None:
        self._began = floor(now / COLUMN_S)
        self._columns: deque[tuple[int, list[int]]] = deque(maxlen=COLUMNS + 1)
        """Number and counts of each column; empty columns are left out."""

    def feed(self, grown: list[Histogram], step: Step) -> None:
        """Count the tasks that ended since the last answer: how long each took."""
        counts = [0] * ROWS
        for counted in grown:
            for row, count in enumerate(_rows_of(counted)):
                counts[row] += count
        if not any(counts):
            return
        first = floor((step.now - max(1, step.seconds)) / COLUMN_S)
        last = floor((step.now - 1) / COLUMN_S)
        first = max(first, last - COLUMNS)
        parts = last - first + 1
        for part in range(parts):
            share = [n * (part + 1) // parts - n * part // parts for n in counts]
            self._add(first + part, share)

    def _add(self, number: int, counts: list[int]) -> None:
        if self._columns and self._columns[-1][0] == number:
            before = self._columns[-1][1]
            before[:] = [a + b for a, b in zip(before, counts, strict=True)]
        else:
            self._columns.append((number, counts))

    def snapshot(self, at: float) -> Json:
        """For the snapshot: all columns but the one in progress."""
        current = floor(at / COLUMN_S)
        known = dict(self._columns)
        numbers = range(max(self._began, current - COLUMNS), current)
        return {
            "bounds_ms": [round(bound * 1000, 4) for bound in BOUNDS_S],
            "column_s": COLUMN_S,
            "columns": [known.get(number) or [0] * ROWS for number in numbers],
        }


@functools.cache
def _edges(schema: int) -> list[float]:
    """Upper bounds of all rows but the last, in a histogram of that schema."""
    return [nearest_edge(bound, schema) for bound in BOUNDS_S[:-1]]


def _rows_of(counted: Histogram) -> list[int]:
    edges = _edges(counted.schema)
    below = [*counted.cumulative(edges), counted.count]
    return [n - before for n, before in zip(below, [0, *below], strict=False)]
