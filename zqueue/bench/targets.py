"""What is aimed at, and what is to be beaten.

The baseline is the performance report of the system whose work zqueue does anew; its targets are
ours. The wanted ratios are to raw pyzmq in the same run.
"""

from __future__ import annotations

from typing import NamedTuple

from .measure import HIGHER, LOWER, Figure
from .result import Result

MET, MISSED, NOT_MEASURED = "met", "missed", "not measured"


class Target(NamedTuple):
    """A figure, and what it should be."""

    text: str
    component: str
    case: str
    subject: str
    figure: str
    baseline: float | None
    wanted: float


class WantedRatio(NamedTuple):
    """A ratio of ours to raw pyzmq, and what it should be."""

    text: str
    ratio: str
    wanted: float
    better: str


_PAIR = ("queue", "pair", "MemoryQueue")
_LOAD = ("gc", "full load, send_many", "zqueue")

TARGETS = (
    Target("MemoryQueue, pairs of put and get", *_PAIR, "rate", 2.66e6, 10e6),
    Target("MemoryQueue, time of a pair", *_PAIR, "cost", 376.0, 100.0),
    Target("MemoryQueue, p50 of a pair", *_PAIR, "p50", None, 100.0),
    Target("MemoryQueue, p95 of a pair", *_PAIR, "p95", None, 200.0),
    Target("MemoryQueue, bytes allocated by a pair", *_PAIR, "bytes_allocated", 152.0, 50.0),
    Target("MemoryQueue, allocations of a pair", *_PAIR, "allocations", 4.0, 1.0),
    Target("MemoryQueue, time between collections", *_PAIR, "gc_interval:process", 50.0, 200.0),
    Target("broker, time between collections", *_LOAD, "gc_interval:broker", 50.0, 200.0),
    Target("worker, time between collections", *_LOAD, "gc_interval:worker", 50.0, 200.0),
)

RATIOS = (
    WantedRatio("`send`, beside raw pyzmq one in a frame", "send: zqueue / raw pyzmq, rate",
                2.0, HIGHER),
    WantedRatio("`send_many`, beside raw pyzmq packed by hand",
                "send_many: zqueue / raw pyzmq, rate", 0.9, HIGHER),
    WantedRatio("p50 of the latency at 200 tasks/s", "200 tasks/s: zqueue / raw pyzmq, p50",
                1.5, LOWER),
    WantedRatio("p99 of the latency at 200 tasks/s", "200 tasks/s: zqueue / raw pyzmq, p99",
                2.0, LOWER),
)  # fmt: skip


def verdict(figure: Figure | None, wanted: float, better: str) -> str:
    """Whether a figure's median is as good as was wanted."""
    if figure is None:
        return NOT_MEASURED
    good = figure.median >= wanted if better == HIGHER else figure.median <= wanted
    return MET if good else MISSED


def find(result: Result, target: Target) -> Figure | None:
    """The figure that a target is about, if it was measured."""
    return result.figure(target.component, target.case, target.subject, target.figure)


def had_no_collection(result: Result, target: Target) -> bool:
    """Whether there is no time between collections because there was none in any run."""
    name, _, role = target.figure.partition(":")
    if name != "gc_interval":
        return False
    count = result.figure(target.component, target.case, target.subject, f"gc_count:{role}")
    return count is not None and not count.highest


def judge(result: Result, target: Target) -> str:
    """Whether a target is met."""
    if had_no_collection(result, target):
        return MET
    figure = find(result, target)
    return verdict(figure, target.wanted, figure.better if figure else LOWER)


def find_ratio(result: Result, wanted: WantedRatio) -> Figure | None:
    """The ratio that is wanted, if it was measured."""
    pool = result.components.get("pool")
    return pool.ratios.get(wanted.ratio) if pool else None
