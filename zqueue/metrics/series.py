"""Series: rates and percentiles from totals that are sampled once a second.

Theory of operation. A broker reports totals, and a total's *growth* from one answer to the next is
what happened in between. It is counted in the second before the answer. If several seconds went by
(answers were missing), a counter's growth is spread evenly over them, so that what piled up in a
gap never shows as a burst. A histogram cannot be divided: its growth counts in the last second. It
gives percentiles, and no rate.

The first answer has nothing to compare with, so nothing has grown. A total that appears later began
at zero, and so do all when another broker answers (`Step.afresh`). A total that decreases for any
other reason is the new baseline, and nothing has grown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..stats.histogram import SCHEMA, Histogram
from ..stats.window import WIDTHS_S, CounterWindows, HistogramWindows
from .untrusted import histogram

HISTORY_S = 60
"""Seconds of a history."""

SPREAD_S_MAX = max(WIDTHS_S)
"""Seconds over which growth is spread at most: no window reaches further back."""

SLOPE_S = 10.0
"""Seconds over which busy and processor time are averaged."""

COARSE_SCHEMA = 3
"""For windows beyond the first few: at most 4.4 % off, in a quarter of the memory."""

Json = dict[str, Any]
"""Plain data: a part of the snapshot."""


class Step(NamedTuple):
    """One answer of a broker, and how it follows the one before."""

    now: float
    """When it came."""
    elapsed_s: float
    """Since the one before, or since the broker began, if that is less."""
    first: bool
    """There was none before: nothing can have grown."""
    afresh: bool
    """It is from another broker than before: all its totals began at zero."""

    @property
    def seconds(self) -> int:
        """The whole seconds that went by: none at the first answer, and else at least one."""
        return 0 if self.first else max(1, round(self.elapsed_s))


def short(value: float) -> float:
    """Four significant digits: more would not be accurate, and this is sent every second."""
    return float(f"{value:.4g}")


class Counter:
    """A total that only grows: its rates over the windows."""

    __slots__ = ("_before", "_windows", "grown")

    def __init__(self, step: Step) -> None:
        self._before = 0
        self._windows = CounterWindows(step.now - min(step.seconds, SPREAD_S_MAX))
        self.grown = 0
        """By how much it grew at the last answer."""

    def feed(self, total: int, step: Step) -> None:
        """Add the growth since the last answer."""
        before = 0 if step.afresh else self._before
        self._before = total
        self.grown = 0 if step.first else max(0, total - before)
        if not self.grown:
            return
        seconds = step.seconds
        for part in range(max(0, seconds - SPREAD_S_MAX), seconds):
            share = self.grown * (part + 1) // seconds - self.grown * part // seconds
            self._windows.add(share, step.now - (seconds - part))

    def rates(self, at: float) -> Json:
        """Events a second, by window."""
        return {str(width): short(self._windows.rate(width, at)) for width in WIDTHS_S}


class Durations:
    """A histogram that only grows: its percentiles over the windows."""

    __slots__ = ("_before", "_grew_at", "_schema", "_windows", "_wire")

    def __init__(self, *, fine: bool = True) -> None:
        self._schema = SCHEMA if fine else COARSE_SCHEMA
        self._wire: object = None
        self._before: Histogram | None = None
        self._windows: HistogramWindows | None = None
        """Only while there is something in them: 250 KB, or 60 KB if it is coarse."""
        self._grew_at = 0.0

    def feed(self, wire: object, step: Step) -> Histogram | None:
        """Add the growth of a reported histogram. Returns it, or None if there is none."""
        if step.afresh:
            self._before = self._wire = None
        if wire == self._wire:
            return None
        after = histogram(wire)
        if after is None:
            return None
        before = self._before or Histogram(after.schema)
        self._wire, self._before = wire, after
        grown = None if step.first else _growth(before, after)
        if grown is None or not grown.count:
            return None
        if self._windows is None:
            self._windows = HistogramWindows(step.now - 1)
        self._windows.add(grown.coarsened(min(self._schema, grown.schema)), step.now - 1)
        self._grew_at = step.now
        return grown

    @property
    def total(self) -> Histogram | None:
        """The histogram as it was last reported; not to be changed."""
        return self._before

    def over(self, at: float) -> dict[str, Histogram]:
        """The histogram of each window; empty if all are."""
        if self._windows is not None and at > self._grew_at + 2 * SPREAD_S_MAX:
            self._windows = None
        if self._windows is None:
            return {}
        return {str(width): self._windows.over(width, at) for width in WIDTHS_S}

    def percentiles_ms(self, at: float) -> Json:
        """Percentiles by window."""
        return percentiles_ms(self.over(at))


def _growth(before: Histogram, after: Histogram) -> Histogram | None:
    """None if it decreased: then its growth is unknown."""
    if after.schema > before.schema:
        after = after.coarsened(before.schema)
    try:
        return after.since(before)
    except ValueError:
        return None


NOTHING = {"count": 0, "p50": None, "p95": None, "p99": None, "max": None}


def percentiles(counted: Histogram | None, unit: float) -> Json:
    """Percentiles of a histogram, multiplied by ``unit``."""
    if counted is None or not counted.count:
        return dict(NOTHING)
    return {
        "count": counted.count,
        "p50": short(counted.percentile(50) * unit),
        "p95": short(counted.percentile(95) * unit),
        "p99": short(counted.percentile(99) * unit),
        "max": short(counted.max * unit),
    }


def percentiles_ms(over: dict[str, Histogram]) -> Json:
    """Percentiles by window, milliseconds."""
    return {str(width): percentiles(over.get(str(width)), 1000) for width in WIDTHS_S}


def add_over(parts: Iterable[dict[str, Histogram]]) -> dict[str, Histogram]:
    """The histograms of several, merged by window."""
    total: dict[str, Histogram] = {}
    for part in parts:
        for width, counted in part.items():
            total.setdefault(width, Histogram(counted.schema)).add(counted)
    return total


class Slope:
    """How much a figure grew a second lately: cores, for processor time."""

    __slots__ = ("_points",)

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque()

    def feed(self, value: float, now: float) -> None:
        """Add a sample. If it decreased, another process reports it now: begin anew."""
        points = self._points
        if points and (value < points[-1][1] or now <= points[-1][0]):
            points.clear()
        points.append((now, value))
        while len(points) > 2 and points[1][0] <= now - SLOPE_S:
            points.popleft()

    @property
    def per_s(self) -> float:
        """Zero until there are two samples."""
        if not self._points:
            return 0.0
        (began, low), (ended, high) = self._points[0], self._points[-1]
        return short((high - low) / (ended - began)) if ended > began else 0.0


class History:
    """Tasks in, out and ready of a queue: a value for each of the last seconds."""

    __slots__ = ("_in", "_out", "_ready")

    def __init__(self) -> None:
        self._in, self._out, self._ready = (
            deque([0.0] * HISTORY_S, maxlen=HISTORY_S) for _ in range(3)
        )

    def feed(self, taken: int, done: int, ready: int, step: Step) -> None:
        """Add what happened since the last answer; ready is constant in between."""
        seconds = min(max(1, step.seconds), HISTORY_S)
        elapsed_s = max(step.elapsed_s, 0.5)
        self._in.extend([short(taken / elapsed_s)] * seconds)
        self._out.extend([short(done / elapsed_s)] * seconds)
        self._ready.extend([self._ready[-1]] * (seconds - 1) + [float(ready)])

    def snapshot(self) -> Json:
        """For the snapshot, the oldest first."""
        return {"in": list(self._in), "out": list(self._out), "ready": list(self._ready)}
