"""Kept results: what was asked for and not fetched yet. Time is an argument.

Each is kept for `KEPT_S` after it is there. There are at most so many of them, and so many bytes:
beyond that the oldest go, whether they are there or not.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

KEPT_S = 600.0
RESULTS_MAX = 100_000
BYTES_MAX = 64 << 20

F = TypeVar("F")


class Entry(Generic[F]):
    """One result, or the future of it."""

    __slots__ = ("done_at", "future", "nbytes", "queue")

    def __init__(self, queue: str, future: F) -> None:
        self.queue = queue
        self.future = future
        self.done_at: float | None = None
        self.nbytes = 0


class Kept(Generic[F]):
    """Results by their ids."""

    def __init__(
        self, kept_s: float = KEPT_S, results_max: int = RESULTS_MAX, bytes_max: int = BYTES_MAX
    ) -> None:
        self._kept_s = kept_s
        self._results_max = results_max
        self._bytes_max = bytes_max
        self._entries: OrderedDict[str, Entry[F]] = OrderedDict()
        self._done: OrderedDict[str, Entry[F]] = OrderedDict()
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Kept: {len(self._entries)} results, {self._bytes} bytes>"

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, id: str, queue: str, future: F) -> None:
        """A result is to come."""
        self._entries[id] = Entry(queue, future)
        while len(self._entries) > self._results_max:
            self._drop(next(iter(self._entries)))

    def done(self, id: str, nbytes: int, now: float) -> None:
        """It is there, and takes so many bytes."""
        entry = self._entries.get(id)
        if entry is None or entry.done_at is not None:
            return
        entry.done_at, entry.nbytes = now, nbytes
        self._done[id] = entry
        self._bytes += nbytes
        self.tick(now)
        while self._bytes > self._bytes_max:
            self._drop(next(iter(self._done)))

    def get(self, id: str, now: float) -> Entry[F] | None:
        """None: it is kept no more, or never was."""
        self.tick(now)
        return self._entries.get(id)

    def tick(self, now: float) -> None:
        """Drop what was kept for its time."""
        while self._done:
            oldest, entry = next(iter(self._done.items()))
            if entry.done_at is None or entry.done_at + self._kept_s > now:
                return
            self._drop(oldest)

    def _drop(self, id: str) -> None:
        entry = self._entries.pop(id)
        if self._done.pop(id, None) is not None:
            self._bytes -= entry.nbytes
