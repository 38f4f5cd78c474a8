"""Awaited calls beside calls that wait in a thread, in one run: latency, and calls each second.

    python perf/awaiting.py
    python perf/awaiting.py --runs 9 --calls 1000 --uvloop

call     one call after the other: ``await task.call(x)`` beside ``task.submit(x).result()``
many     so many coroutines that each await one call after the other, in one loop
amap     ``async for … in task.amap(…)`` beside ``for … in task.map(…)``
confirm  ``await task.asend(x)`` beside ``task.send(x)`` and ``app.flush()``

One worker. Ratios are taken between neighbours in time (lab/measure.py); their median counts.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import perf_counter
from typing import Any

import awaiting_app
from lab.measure import Figure, interleave, percentile, ratio
from lab.wording import table

from zqueue.testing import Cluster

SIDE_BY_SIDE = 1000

Run = Callable[[Coroutine[Any, Any, float]], float]


def p50(durations_s: list[float]) -> float:
    """The median, milliseconds."""
    return percentile(sorted(durations_s), 50) * 1e3


def waited(calls: int, call: Callable[[int], object]) -> float:
    """The median of calls that wait."""
    durations = []
    for number in range(calls):
        began = perf_counter()
        call(number)
        durations.append(perf_counter() - began)
    return p50(durations)


async def awaited(calls: int, call: Callable[[int], Coroutine[Any, Any, object]]) -> float:
    """The median of calls that are awaited."""
    durations = []
    for number in range(calls):
        began = perf_counter()
        await call(number)
        durations.append(perf_counter() - began)
    return p50(durations)


async def many(calls: int) -> float:
    """Calls each second, of many coroutines side by side."""
    numbers = iter(range(calls))

    async def one() -> None:
        for number in numbers:
            await awaiting_app.double.call(number)

    began = perf_counter()
    await asyncio.gather(*(one() for _ in range(SIDE_BY_SIDE)))
    return calls / (perf_counter() - began)


def map_rate(calls: int) -> float:
    """Results each second of `map`."""
    began = perf_counter()
    count = sum(1 for _ in awaiting_app.double.map(range(calls)))
    return count / (perf_counter() - began)


async def amap_rate(calls: int) -> float:
    """Results each second of `amap`."""
    began = perf_counter()
    count = 0
    async for _ in awaiting_app.double.amap(range(calls)):
        count += 1
    return count / (perf_counter() - began)


def send_and_flush(number: int) -> None:
    """Send a task, and wait for its confirm."""
    awaiting_app.double.send(number)
    awaiting_app.app.flush()


def measure(runs: int, calls: int, run: Run) -> list[tuple[str, str, str, str]]:
    """Rows of the table: what, awaited, in a thread, ratio."""
    double = awaiting_app.double
    found = interleave(
        {
            "call: p50, ms": {
                "await": lambda: run(awaited(calls, double.call)),
                "thread": lambda: waited(calls, lambda x: double.submit(x).result()),
            },
            "confirm: p50, ms": {
                "await": lambda: run(awaited(calls, double.asend)),
                "thread": lambda: waited(calls, send_and_flush),
            },
            "amap: results/s": {
                "await": lambda: run(amap_rate(200 * calls)),
                "thread": lambda: map_rate(200 * calls),
            },
            f"many: {SIDE_BY_SIDE} side by side, calls/s": {
                "await": lambda: run(many(200 * calls)),
            },
        },
        runs,
    )
    rows = []
    for name, by in found.items():
        ours, theirs = Figure(tuple(by["await"])), by.get("thread")
        if theirs is None:
            rows.append((name, f"{ours.median:,.4g}", "", ""))
            continue
        beside = Figure(tuple(theirs))
        over = ratio(ours, beside)
        shown = f"{over.median:.2f} ({over.lowest:.2f} to {over.highest:.2f})"
        rows.append((name, f"{ours.median:,.4g}", f"{beside.median:,.4g}", shown))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=31, help="alternating runs (default: 31)")
    parser.add_argument("--calls", type=int, default=100, help="one after the other in a run (100)")
    parser.add_argument("--uvloop", action="store_true", help="with uvloop, not asyncio's own")
    options = parser.parse_args()
    factory = None
    if options.uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    with (
        Cluster(Path(__file__).parent / "awaiting_app.py", broker_options=()) as cluster,
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        cluster.connect(awaiting_app.app)
        map_rate(20_000)  # The worker learns how quick they are.
        rows = measure(options.runs, options.calls, runner.run)
    sys.stdout.write(table(("", "awaited", "in a thread", "awaited / in a thread"), rows) + "\n")


if __name__ == "__main__":
    main()
