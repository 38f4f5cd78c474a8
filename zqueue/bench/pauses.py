"""The garbage collector of a process: when it ran, and for how long."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from time import perf_counter
from typing import Any


class Collections:
    """Keeps the two ends of every collection of this process, from `begin` to `end`."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []
        """Begin and end of each, seconds of `perf_counter`."""
        self._began = 0.0

    def begin(self) -> None:
        """Look on from now on."""
        gc.callbacks.append(self._on_collection)

    def end(self) -> None:
        """Look on no more."""
        gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, info: dict[str, int]) -> None:
        now = perf_counter()
        if phase == "start":
            self._began = now
        elif self._began:  # Without a beginning (we came in the middle) it does not count.
            self.spans.append((self._began, now))
            self._began = 0.0


def figures_of(spans: Sequence[Sequence[float]], elapsed_s: float, role: str) -> dict[str, float]:
    """Figures of a role's collections. Where there was none there is no interval, and no pause."""
    figures: dict[str, float] = {f"gc_count:{role}": float(len(spans))}
    if spans:
        pauses_ms = [(end - begin) * 1e3 for begin, end in spans]
        figures[f"gc_interval:{role}"] = elapsed_s * 1e3 / len(spans)
        figures[f"gc_pause_max:{role}"] = max(pauses_ms)
        figures[f"gc_pause_mean:{role}"] = sum(pauses_ms) / len(pauses_ms)
        figures[f"gc_share:{role}"] = sum(pauses_ms) / 1e3 / elapsed_s
    if len(spans) > 1:
        begins = [begin for begin, _ in spans]
        gaps = [later - earlier for earlier, later in pairwise(begins)]
        figures[f"gc_shortest:{role}"] = min(gaps) * 1e3
    return figures


def figures_between(
    before: Mapping[str, Any], after: Mapping[str, Any], elapsed_s: float, role: str
) -> dict[str, float]:
    """The same from two looks at a process's `core.pauses.PauseStats`, as far as they tell.

    Its longest pause and its shortest interval are those since the process began to serve.
    """
    count = after["count"] - before["count"]
    figures: dict[str, float] = {f"gc_count:{role}": float(count)}
    if count > 0:
        total_ms = after["total"] - before["total"]
        figures[f"gc_interval:{role}"] = elapsed_s * 1e3 / count
        figures[f"gc_pause_max:{role}"] = after["max"]
        figures[f"gc_pause_mean:{role}"] = total_ms / count
        figures[f"gc_share:{role}"] = total_ms / 1e3 / elapsed_s
        if "interval_min" in after:
            figures[f"gc_shortest:{role}"] = after["interval_min"]
    return figures


@contextmanager
def watching() -> Iterator[Collections]:
    """This process's collections while the block runs."""
    seen = Collections()
    seen.begin()
    try:
        yield seen
    finally:
        seen.end()
