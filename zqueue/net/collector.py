"""The garbage collector: kept out of the way, and watched."""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

YOUNG_OBJECTS = 50_000
"""Allocations, less deallocations, before the youngest generation is looked at. Unpacking a
batch of 512 small maps makes 513 containers at once; Python's 700 (3.11) would look through
them, in vain, with nearly every batch. Reference counting frees what is not a cycle anyway."""


class PauseSink(Protocol):
    """Takes the two ends of each pause."""

    def begin(self, now: float) -> None: ...

    def end(self, now: float) -> None: ...


def tame_collector() -> None:
    """Call once, when a long-running process has loaded all it needs: what exists now will stay,
    so the collector need never look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 100)


def watch_collector(pauses: PauseSink) -> Callable[[], None]:
    """Feed every pause of this process's collector into ``pauses``. Returns the undoing."""

    def on_collection(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            pauses.begin(perf_counter())
        else:
            pauses.end(perf_counter())

    gc.callbacks.append(on_collection)
    return lambda: gc.callbacks.remove(on_collection)
