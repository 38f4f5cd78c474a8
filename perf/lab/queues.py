"""Queues within one process: `zqueue.MemoryQueue` and the two of the standard library.

An *operation* makes so many units (pairs of put and get, items); a *block* calls it so many times
and tells the nanoseconds.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from functools import partial
from itertools import repeat
from queue import SimpleQueue
from time import perf_counter_ns
from typing import Any

from zqueue import MemoryQueue

Block = Callable[[int], float]
"""Does its work so many times. Returns the nanoseconds."""

BLOCK_NS = 500_000
"""One turn of a subject or reference: short, so that some turns are not interrupted."""

BODIES = 128
"""In one call: few enough for the processor's nearest cache, so that little depends on its size."""

BOUND = 65_536
GAP_S = 0.0005
"""Pause before an item is handed over: by then the other thread waits for it."""


def timed(operation: Callable[[], object]) -> Block:
    """A block of calls of an operation. The first call fills the caches and does not count."""

    def block(calls: int) -> float:
        operation()
        began = perf_counter_ns()
        for _ in repeat(None, calls):
            operation()
        return perf_counter_ns() - began

    return block


Make = Callable[[int], Any]
"""Makes a queue for so many items."""

QUEUES: dict[str, Make] = {
    "MemoryQueue": MemoryQueue,
    "queue.SimpleQueue": lambda bound: SimpleQueue(),
    "queue.Queue": queue.Queue,
}


def pairs(make: Make, units: int) -> Block:
    """Put one, get one."""
    made = make(BODIES)
    put, get = made.put, made.get

    def operation() -> None:
        for _ in repeat(None, units):
            put(None)
            get()

    return timed(operation)


def batches(make: Make, size: int) -> Block:
    """Put many and get many: in one call each if there is such a call, else one by one."""
    items = [None] * size
    made = make(size)

    def together() -> None:
        made.put_batch(items)
        made.get_batch(size)

    def singly() -> None:
        for item in items:
            made.put(item)
        for _ in items:
            made.get()

    return timed(together if isinstance(made, MemoryQueue) else singly)


def puts(make: Make) -> Block:
    """Put only; what was put is kept until the next block."""
    made = make(BOUND)

    def block(calls: int) -> float:
        nonlocal made
        made = make(BOUND)
        put = made.put
        began = perf_counter_ns()
        for _ in repeat(None, min(calls * BODIES, BOUND)):
            put(None)
        return perf_counter_ns() - began

    return block


def threads(make: Make, putters: int, getters: int, both: int) -> Block:
    """So many threads put, get, or do both; each unit is one item."""

    def block(calls: int) -> float:
        made, share = make(BOUND), calls * BODIES // (putters + both)

        def put() -> None:
            for _ in repeat(None, share):
                made.put(None)

        def get() -> None:
            for _ in repeat(None, share):
                made.get()

        def put_and_get() -> None:
            for _ in repeat(None, share):
                made.put(None)
                made.get()

        return _together([put] * putters + [get] * getters + [put_and_get] * both)

    return block


def _together(work: list[Callable[[], None]]) -> float:
    """Nanoseconds from a common start to the end of the last."""
    start = threading.Barrier(len(work) + 1)

    def begin(do: Callable[[], None]) -> None:
        start.wait()
        do()

    started = [threading.Thread(target=begin, args=(do,), daemon=True) for do in work]
    for thread in started:
        thread.start()
    start.wait()
    began = perf_counter_ns()
    for thread in started:
        thread.join()
    return perf_counter_ns() - began


def hand_overs(make: Make) -> Block:
    """From before `put` to after the `get` of a thread that was waiting for it."""

    def block(calls: int) -> float:
        there, back = make(1), make(1)
        latencies: list[int] = []

        def wait() -> None:
            while (began := there.get()) is not None:
                latencies.append(perf_counter_ns() - began)
                back.put(None)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        gap = threading.Event()
        for _ in range(calls):
            gap.wait(GAP_S)
            there.put(perf_counter_ns())
            back.get()
        there.put(None)
        thread.join()
        return sum(latencies)

    return block


def on_each(work: Callable[..., Block], *arguments: Any) -> dict[str, Callable[[], Block]]:
    """The same work, by each queue."""
    return {name: partial(work, make, *arguments) for name, make in QUEUES.items()}
