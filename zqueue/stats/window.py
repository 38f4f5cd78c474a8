"""Windows: what happened in the last 10 seconds, the last minute and the last 5 minutes.

Theory of operation. Values are added to the second in progress. When it is over, its sum goes into
one ring for each window: ten slots, each a tenth of the window long. Slots are numbered from the
zero of the clock, so after a gap the too old ones are known by number, and nothing moves while no
value comes. A window is the sum of its slots. It ends with the last whole second and begins with a
slot, so it reaches back between nine and ten tenths of its width. A rate is divided by exactly that
time, or by the time since the first value could come.

A peer that reports once a second has one report in every whole second, so a steady rate shows as
steady, not as one report more or less. Memory is bounded by the slots: 31 numbers or histograms
(8 KiB each), however many values come.

Instants are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import floor
from typing import Generic, TypeVar

from .histogram import Histogram

T = TypeVar("T")

WIDTHS_S = (10, 60, 300)

SLOTS = 10
"""Slots of a window. One for every second would be 300 histograms, 2.4 MB, for no visible gain."""


class _Ring(Generic[T]):
    """The slots of one window, as ``(number, value)``, oldest first. Empty ones are left out."""

    __slots__ = ("slot_s", "slots")

    def __init__(self, width_s: int) -> None:
        if width_s < SLOTS or width_s % SLOTS:
            raise ValueError(f"a window of {width_s} s has no {SLOTS} slots of whole seconds")
        self.slot_s = width_s // SLOTS
        self.slots: deque[tuple[int, T]] = deque(maxlen=SLOTS)

    def begin(self, second: int) -> int:
        """The first second of the window that ends with a second."""
        return (second // self.slot_s - SLOTS + 1) * self.slot_s


class _Windows(Generic[T]):
    """The windows of values that can be added up."""

    def __init__(self, now: float, widths_s: Iterable[int] = WIDTHS_S) -> None:
        self._began = self._second = floor(now)
        self._gathered: T | None = None
        """The sum of the second in progress."""
        self._rings: dict[int, _Ring[T]] = {width: _Ring(width) for width in widths_s}

    def add(self, delta: T, now: float) -> None:
        """Add a value."""
        self._advance(now)
        self._gathered = self._plus(self._gathered, delta)

    def over(self, width_s: int, now: float) -> T:
        """The sum of a window. Raises KeyError if there is none of that width."""
        self._advance(now)
        ring = self._rings[width_s]
        begin = ring.begin(self._second - 1)
        total = self._plus(None, None)
        for number, value in ring.slots:
            if number * ring.slot_s >= begin:
                total = self._plus(total, value)
        return total

    def span_s(self, width_s: int, now: float) -> int:
        """The time that a window covers, seconds: zero in the first second."""
        self._advance(now)
        return self._second - max(self._began, self._rings[width_s].begin(self._second - 1))

    def _per_s(self, count: int, width_s: int, now: float) -> float:
        span_s = self.span_s(width_s, now)
        return count / span_s if span_s else 0.0

    def _advance(self, now: float) -> None:
        """When the second in progress is over, add its sum to the slots."""
        if floor(now) <= self._second:
            return
        if self._gathered is not None:
            for ring in self._rings.values():
                number, before = self._second // ring.slot_s, None
                if ring.slots and ring.slots[-1][0] == number:
                    _, before = ring.slots.pop()
                ring.slots.append((number, self._plus(before, self._gathered)))
            self._gathered = None
        self._second = floor(now)

    def _plus(self, total: T | None, more: T | None) -> T:
        """Add to a total, which may be changed in place; None counts as zero."""
        raise NotImplementedError


class CounterWindows(_Windows[int]):
    """The windows of a count of events."""

    def rate(self, width_s: int, now: float) -> float:
        """Events a second."""
        return self._per_s(self.over(width_s, now), width_s, now)

    def _plus(self, total: int | None, more: int | None) -> int:
        return (total or 0) + (more or 0)


class HistogramWindows(_Windows[Histogram]):
    """The windows of a histogram: `over` gives the percentiles of each."""

    def rate(self, width_s: int, now: float) -> float:
        """Values a second."""
        return self._per_s(self.over(width_s, now).count, width_s, now)

    def _plus(self, total: Histogram | None, more: Histogram | None) -> Histogram:
        total = Histogram() if total is None else total
        if more is not None:
            total.add(more)
        return total
