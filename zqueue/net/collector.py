"""The garbage collector: kept out of the way, and watched.

Reference counting frees what is not part of a cycle. The collector looks for cycles, and to do so
it visits every object that may be in one, which takes about 0.1 µs each where it is not in a cache.
So a pause is as long as the number of objects visited, and that is what is bounded here.

A worker runs anybody's code, with whatever cycles there are: it keeps the collector, with bounds
that suit it (`tame_collector`). A broker runs our own, which makes no cycles: after 18 million
tasks, and after 20,000 messages of garbage, there was not one. What a broker holds for long are
the tasks that wait, any number of them, and visiting those took up to 240 ms. So it collects when
it says so (`stop_collector`, `sweep`): only what is new, never more than `YOUNG_OBJECTS`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

YOUNG_OBJECTS = 10_000
"""New objects that are looked at together, about 1 ms. Also how many there may be before a worker
looks: a batch of 4096 bodies that hold a list each makes 8193 at once. With Python's 700 (3.11)
two million such tasks meet 5,000 collections, all in vain, and with this none."""

GENERATIONS = (YOUNG_OBJECTS, 10, 100)
"""For workers. The middle one then looks at some 100,000 objects that handlers kept, about 15 ms;
all are looked at when ten million were kept, not seventy thousand as with Python's own bounds."""

SWEEP_EVERY_S = 1.0
"""How often to `sweep`, seconds."""


class PauseSink(Protocol):
    """Takes the two ends of each pause: its generation, and the instant."""

    def begin(self, generation: int, now: float) -> None: ...

    def end(self, generation: int, now: float) -> None: ...


def tame_collector() -> None:
    """Call once, when a long-running process has loaded all it needs: what exists now will stay,
    so the collector need never look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GENERATIONS)


def stop_collector() -> None:
    """The same for a process that makes no cycles. From then on it must `sweep` now and then."""
    gc.collect()
    gc.freeze()
    gc.disable()


def sweep() -> None:
    """Look for cycles in what is new, and never again at what stays.

    If much is new, a queue grows: then nothing is looked at, since that would only take time.
    """
    if gc.get_count()[0] <= YOUNG_OBJECTS:
        gc.collect(0)
    gc.freeze()


def watch_collector(pauses: PauseSink) -> Callable[[], None]:
    """Feed every pause of this process's collector into ``pauses``. Returns the undoing."""

    def on_collection(phase: str, info: dict[str, int]) -> None:
        now = perf_counter()
        if phase == "start":
            pauses.begin(info["generation"], now)
        else:
            pauses.end(info["generation"], now)

    gc.callbacks.append(on_collection)
    return lambda: gc.callbacks.remove(on_collection)
