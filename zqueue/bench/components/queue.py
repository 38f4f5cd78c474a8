"""`MemoryQueue`, beside the two queues of the standard library.

A *pair* is one put and one get. Rates include the loop around them, some 10 ns in CPython 3.11.
Single latencies are taken with the clock before and after; what two looks at the clock cost, by
themselves, is measured in the same run and taken off.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from itertools import repeat
from time import perf_counter, perf_counter_ns
from typing import Any

from ...core.memory_queue import MemoryQueue
from ..allocations import Operation
from ..lab import Contest, Lab
from ..measure import percentile, percentiles
from ..scale import Scale

OURS, SIMPLE, STANDARD = "MemoryQueue", "queue.SimpleQueue", "queue.Queue"
BOUND = 65_536
BATCHES = (64, 512, 4096)
HELD_ITEMS = 10_000
HAND_OVER_GAP_S = 0.0005
"""Pause before an item is handed over: by then the other thread waits for it."""

ITEM = object()

Sample = dict[str, float]


def make(subject: str) -> Any:
    """A queue, bounded where it can be."""
    if subject == OURS:
        return MemoryQueue[object](BOUND)
    return queue.SimpleQueue() if subject == SIMPLE else queue.Queue(BOUND)


def measure(lab: Lab) -> None:
    """All of it."""
    scale = lab.scale
    batches = [
        _contest(f"batches of {batch}", "task", in_batches, scale, batch,
                 family="batch", x=float(batch))
        for batch in BATCHES
    ]  # fmt: skip
    lab.hold(
        _contest("pair", "pair", pairs, scale),
        _contest("put", "put", puts, scale),
        *batches,
        _contest("threads 1 to 1", "item", through_threads, scale, 1),
        _contest("threads 4 to 4", "item", through_threads, scale, 4),
        _contest("contended, 4 threads", "pair", contended, scale, 4),
        _contest("hand-over", "item", hand_overs, scale),
    )
    lab.note(f"bound of {BOUND:,} items where there is a bound; queue.SimpleQueue has none")
    for subject in (OURS, SIMPLE, STANDARD):
        lab.add_allocations("pair", subject, make_pair, subject)
        lab.add_held("put", subject, _filler(make(subject), HELD_ITEMS), HELD_ITEMS)
    for batch in BATCHES:
        lab.add_allocations(f"batches of {batch}", OURS, make_batch, OURS, batch, by=batch)


def _contest(
    name: str, operation: str, work: Callable[..., Sample], scale: Scale, *arguments: Any,
    family: str = "", x: float | None = None,
) -> Contest:  # fmt: skip
    def do(subject: str) -> Callable[[], Sample]:
        return lambda: work(subject, scale, *arguments)

    subjects = {subject: do(subject) for subject in (OURS, SIMPLE, STANDARD)}
    return Contest(name, operation, subjects, family, x)


def _rate(operations: int, elapsed_s: float) -> Sample:
    return {
        "rate": operations / elapsed_s,
        "cost": elapsed_s * 1e9 / operations,
        "operations": float(operations),
    }


# --- one thread ---


def pairs(subject: str, scale: Scale) -> Sample:
    """Put one, get one."""
    q = make(subject)
    put, get = q.put, q.get
    loop = repeat(None, scale.operations)
    began = perf_counter()
    for _ in loop:
        put(ITEM)
        get()
    elapsed_s = perf_counter() - began
    return {**_rate(scale.operations, elapsed_s), **single_pairs(q, scale.samples)}


def single_pairs(q: Any, samples: int) -> Sample:
    """Percentiles of pairs timed one by one, less what the clock takes."""
    put, get, clock = q.put, q.get, perf_counter_ns
    taken, empty = [0] * samples, [0] * samples
    for i in range(samples):
        began = clock()
        put(ITEM)
        get()
        taken[i] = clock() - began
    for i in range(samples):
        began = clock()
        empty[i] = clock() - began
    empty.sort()
    clock_ns = percentile(empty, 50)
    return {
        **percentiles(max(0.0, ns - clock_ns) for ns in taken),
        "clock": clock_ns,
    }


def puts(subject: str, scale: Scale) -> Sample:
    """Put only, into a queue with room."""
    q = make(subject)
    operations = min(scale.operations, BOUND)
    put = q.put
    loop = repeat(None, operations)
    began = perf_counter()
    for _ in loop:
        put(ITEM)
    return _rate(operations, perf_counter() - began)


def in_batches(subject: str, scale: Scale, batch: int) -> Sample:
    """Put many, get many: in one call each if there is such a call, else one by one."""
    q = make(subject)
    turns = max(1, scale.operations // batch)
    turn = batch_operation(q, batch)
    began = perf_counter()
    for _ in repeat(None, turns):
        turn()
    return _rate(turns * batch, perf_counter() - began)


def batch_operation(q: Any, batch: int) -> Operation:
    """Puts so many and gets so many."""
    items = [ITEM] * batch
    if isinstance(q, MemoryQueue):

        def whole() -> None:
            q.put_batch(items)
            q.get_batch(batch)

        return whole

    def singly() -> None:
        for item in items:
            q.put(item)
        for _ in items:
            q.get()

    return singly


def make_pair(subject: str) -> Operation:
    """One pair, to be called again and again."""
    q = make(subject)

    def pair() -> None:
        q.put(ITEM)
        q.get()

    return pair


def make_batch(subject: str, batch: int) -> Operation:
    """One batch in and out, to be called again and again."""
    return batch_operation(make(subject), batch)


def _filler(q: Any, items: int) -> Operation:
    def fill() -> None:
        for _ in repeat(None, items):
            q.put(ITEM)

    return fill


# --- several threads ---


def through_threads(subject: str, scale: Scale, each: int) -> Sample:
    """So many threads put, as many get."""
    q = make(subject)
    share = scale.threaded // each

    def produce() -> None:
        put = q.put
        for _ in repeat(None, share):
            put(ITEM)

    def consume() -> None:
        get = q.get
        for _ in repeat(None, share):
            get()

    return _rate(share * each, _run_together([produce, consume] * each))


def contended(subject: str, scale: Scale, threads: int) -> Sample:
    """So many threads, each of which puts and gets."""
    q = make(subject)
    share = scale.threaded // threads

    def work() -> None:
        put, get = q.put, q.get
        for _ in repeat(None, share):
            put(ITEM)
            get()

    return _rate(share * threads, _run_together([work] * threads))


def _run_together(work: list[Callable[[], None]]) -> float:
    """Seconds from a common start to the end of the last."""
    start = threading.Barrier(len(work) + 1)

    def begin(do: Callable[[], None]) -> None:
        start.wait()
        do()

    threads = [threading.Thread(target=begin, args=(do,), daemon=True) for do in work]
    for thread in threads:
        thread.start()
    start.wait()
    began = perf_counter()
    for thread in threads:
        thread.join()
    return perf_counter() - began


def hand_overs(subject: str, scale: Scale) -> Sample:
    """From before `put` to after the `get` of a thread that was waiting for it."""
    there, back = make(subject), make(subject)
    latencies: list[int] = []

    def wait() -> None:
        while (began := there.get()) is not None:
            latencies.append(perf_counter_ns() - began)
            back.put(ITEM)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    gap = threading.Event()
    for _ in range(scale.hand_overs):
        gap.wait(HAND_OVER_GAP_S)
        there.put(perf_counter_ns())
        back.get()
    there.put(None)
    thread.join()
    return {**percentiles(latencies), "operations": float(scale.hand_overs)}
