"""Series: what becomes of figures that are looked at once a second.

Theory of operation. A broker tells totals, and a total's *growth* from one look to the next is what
happened in between. What is heard at an instant happened in the second before it, and is counted
there. If several seconds went by (answers were missing), a counter's growth is spread evenly over
them, so no rate ever shows what piled up in a gap as if it came at once. A histogram cannot be
divided: its growth counts as of the last second. It gives percentiles, and no rate.

At the first look there is nothing to compare with, so nothing has grown. What appears later began
from zero, and so does all when another broker answers (`Step.afresh`). A total that goes back
otherwise is taken as it is, and nothing has grown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..core.histogram import SCHEMA, Histogram
from ..core.window import WIDTHS_S, CounterWindows, HistogramWindows
from .told import histogram

HISTORY_S = 60
"""Seconds of a history."""

SPREAD_S_MAX = max(WIDTHS_S)
"""Seconds over which growth is spread: what happened before them is in no window."""

SLOPE_S = 10.0
"""Seconds over which busy and processor time are averaged."""

COARSE_SCHEMA = 3
"""For windows beyond the first few: 4.4 % off at most, and a quarter of the memory."""

Told = dict[str, Any]


class Step(NamedTuple):
    """One look at a broker, and how it follows the one before."""

    now: float
    """When it answered."""
    elapsed_s: float
    """Since the one before, or since the broker began, if that is less."""
    first: bool
    """There was none before: nothing can have grown."""
    afresh: bool
    """It is another broker than before: all began from zero."""

    @property
    def seconds(self) -> int:
        """The whole seconds that went by: none at the first look, and else at least one."""
        return 0 if self.first else max(1, round(self.elapsed_s))


def short(value: float) -> float:
    """Four digits that count: more would be untrue, and this is sent every second."""
    return float(f"{value:.4g}")


class Counter:
    """A total that only grows: its rates over the windows."""

    __slots__ = ("_before", "_windows", "grown")

    def __init__(self, step: Step) -> None:
        self._before = 0
        self._windows = CounterWindows(step.now - min(step.seconds, SPREAD_S_MAX))
        self.grown = 0
        """By how much, at the last look."""

    def feed(self, total: int, step: Step) -> None:
        """The total at a look."""
        before = 0 if step.afresh else self._before
        self._before = total
        self.grown = 0 if step.first else max(0, total - before)
        if not self.grown:
            return
        seconds = step.seconds
        for part in range(max(0, seconds - SPREAD_S_MAX), seconds):
            share = self.grown * (part + 1) // seconds - self.grown * part // seconds
            self._windows.add(share, step.now - (seconds - part))

    def rates(self, at: float) -> Told:
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
        """The histogram at a look, as it was told. Returns its growth, if it grew."""
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
        """All that was counted, as it was told last; not to be changed."""
        return self._before

    def over(self, at: float) -> dict[str, Histogram]:
        """What was counted in each window; empty if that is nothing."""
        if self._windows is not None and at > self._grew_at + 2 * SPREAD_S_MAX:
            self._windows = None
        if self._windows is None:
            return {}
        return {str(width): self._windows.over(width, at) for width in WIDTHS_S}

    def percentiles_ms(self, at: float) -> Told:
        """Percentiles by window."""
        return percentiles_ms(self.over(at))


def _growth(before: Histogram, after: Histogram) -> Histogram | None:
    """None if it went back: then it cannot be known."""
    if after.schema > before.schema:
        after = after.coarsened(before.schema)
    try:
        return after.since(before)
    except ValueError:
        return None


NOTHING = {"count": 0, "p50": None, "p95": None, "p99": None, "max": None}


def percentiles(counted: Histogram | None, unit: float) -> Told:
    """Percentiles of a histogram; ``unit`` is what they are multiplied with."""
    if counted is None or not counted.count:
        return dict(NOTHING)
    return {
        "count": counted.count,
        "p50": short(counted.percentile(50) * unit),
        "p95": short(counted.percentile(95) * unit),
        "p99": short(counted.percentile(99) * unit),
        "max": short(counted.max * unit),
    }


def percentiles_ms(over: dict[str, Histogram]) -> Told:
    """Percentiles by window, milliseconds."""
    return {str(width): percentiles(over.get(str(width)), 1000) for width in WIDTHS_S}


def add_over(parts: Iterable[dict[str, Histogram]]) -> dict[str, Histogram]:
    """The windows of several as one."""
    total: dict[str, Histogram] = {}
    for part in parts:
        for width, counted in part.items():
            total.setdefault(width, Histogram(counted.schema)).add(counted)
    return total


class Slope:
    """How fast a figure grew lately, a second: cores for processor time."""

    __slots__ = ("_points",)

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque()

    def feed(self, value: float, now: float) -> None:
        """The figure at a look. If it went back, another process tells it."""
        points = self._points
        if points and (value < points[-1][1] or now <= points[-1][0]):
            points.clear()
        points.append((now, value))
        while len(points) > 2 and points[1][0] <= now - SLOPE_S:
            points.popleft()

    @property
    def per_s(self) -> float:
        """Zero while it was seen less than twice."""
        if not self._points:
            return 0.0
        (began, low), (ended, high) = self._points[0], self._points[-1]
        return short((high - low) / (ended - began)) if ended > began else 0.0


class History:
    """What comes in, goes out and is ready in a queue, a value for each of the last seconds."""

    __slots__ = ("_in", "_out", "_ready")

    def __init__(self) -> None:
        self._in, self._out, self._ready = (
            deque([0.0] * HISTORY_S, maxlen=HISTORY_S) for _ in range(3)
        )

    def feed(self, taken: int, done: int, ready: int, step: Step) -> None:
        """What happened since the last look. While there was none, ready was what it was."""
        seconds = min(max(1, step.seconds), HISTORY_S)
        elapsed_s = max(step.elapsed_s, 0.5)
        self._in.extend([short(taken / elapsed_s)] * seconds)
        self._out.extend([short(done / elapsed_s)] * seconds)
        self._ready.extend([self._ready[-1]] * (seconds - 1) + [float(ready)])

    def told(self) -> Told:
        """Oldest first."""
        return {"in": list(self._in), "out": list(self._out), "ready": list(self._ready)}
