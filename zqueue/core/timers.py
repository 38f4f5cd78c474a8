"""Timers: what is due at which instant.

One heap for everything that waits for time to pass, so the next deadline is its front. Setting a
timer again, or cancelling it, leaves its old entry in the heap, to be passed over when it comes to
the front; entries like that never outnumber the others by much, for then the heap is made anew.

Nothing here is moved at each sign of life of a peer. Its timer stays; when that is due, whoever set
it looks when the peer was last heard, and sets it again for later.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

STALE_MAX = 64
"""Old entries in a heap that is otherwise nearly empty."""


class Timers(Generic[Key]):
    """Instants by key; each key has one at most."""

    __slots__ = ("_heap", "_number", "_set")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Key]] = []
        self._set: dict[Key, int] = {}
        """The number of each key's entry: any other is an old one."""
        self._number = 0

    def __len__(self) -> int:
        return len(self._set)

    def __contains__(self, key: Key) -> bool:
        return key in self._set

    def __repr__(self) -> str:
        return f"<Timers, {len(self)} set>"

    def set(self, key: Key, at: float) -> None:
        """It is due at that instant, and not when it was before."""
        self._number += 1
        self._set[key] = self._number
        heapq.heappush(self._heap, (at, self._number, key))
        self._drop_old()

    def cancel(self, key: Key) -> None:
        """It is not due any more."""
        if self._set.pop(key, None) is not None:
            self._drop_old()

    def next_deadline(self) -> float | None:
        """When the next one is due; None if none is set."""
        heap = self._heap
        while heap:
            at, number, key = heap[0]
            if self._set.get(key) == number:
                return at
            heapq.heappop(heap)
        return None

    def due(self, now: float) -> list[Key]:
        """Remove and return those that are due, the earliest first."""
        keys: list[Key] = []
        while (at := self.next_deadline()) is not None and at <= now:
            key = heapq.heappop(self._heap)[2]
            del self._set[key]
            keys.append(key)
        return keys

    def _drop_old(self) -> None:
        if len(self._heap) > 2 * len(self._set) + STALE_MAX:
            self._heap = [entry for entry in self._heap if self._set.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)
