"""Earlier results: those of what an earlier process of a producer's name submitted.

The broker keeps each of them until it hears that somebody took it, and sends it again after every
reconnect. So what is dropped here is not lost: it comes to the next process.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..wire.results import unpack_outcomes

EARLIER_BYTES_MAX = 64 << 20
"""What is kept until somebody takes it, bytes: four times what a broker holds for one producer."""

OVERHEAD_BYTES = 200
"""What one costs beside its frame."""

TAKEN_MAX = 100_000
"""Results that are remembered as taken, in case they come again: as many as a broker can hold."""

Key = tuple[int, int]
"""The number of a batch, and the position of the first task of a result."""


class EarlierResult(NamedTuple):
    """What became of a task that an earlier process of the same name submitted."""

    id: str
    """The task's, as its future had it (`TaskFuture.id`)."""
    value: Any
    """What it returned; None if it failed."""
    error: Exception | None
    """Why it failed; None if it did not."""


class EarlierRun(NamedTuple):
    """Some tasks of a batch that ended alike."""

    origin: int
    sequence: int
    first: int
    tasks: int
    status: int
    frame: bytes

    @property
    def key(self) -> Key:
        """What the broker keeps it under."""
        return self.sequence, self.first

    def results(self) -> list[EarlierResult]:
        """Unpacked, one for each task."""
        results = []
        outcomes = unpack_outcomes(self.status, self.tasks, self.frame)
        for position, (ok, value) in enumerate(outcomes, self.first):
            name = task_id(self.origin, self.sequence, position)
            results.append(EarlierResult(name, value if ok else None, None if ok else value))
        return results


def task_id(origin: int, sequence: int, position: int) -> str:
    """A task's id: `Current.id` where it runs."""
    return f"{origin:012x}-{sequence}-{position}"


class EarlierResults:
    """Those of one connection, the oldest first."""

    def __init__(self) -> None:
        self._waiting: dict[Key, EarlierRun] = {}
        self._given: set[Key] = set()
        """Somebody has them, and has not said that they are dealt with."""
        self._taken: dict[Key, None] = {}
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<EarlierResults: {len(self)} wait, {len(self._given)} given>"

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, run: EarlierRun) -> bool:
        """One came, perhaps not for the first time. Says whether it was taken already."""
        key, nbytes = run.key, len(run.frame) + OVERHEAD_BYTES
        if key in self._taken:
            return True
        is_known = key in self._waiting or key in self._given
        if not is_known and self._bytes + nbytes <= EARLIER_BYTES_MAX:
            self._waiting[key] = run
            self._bytes += nbytes
        return False

    def give(self) -> EarlierRun | None:
        """The oldest that waits; `took` or `give_back` it."""
        if not self._waiting:
            return None
        key = next(iter(self._waiting))
        self._given.add(key)
        return self._waiting.pop(key)

    def took(self, run: EarlierRun) -> None:
        """One is dealt with."""
        self._given.discard(run.key)
        self._bytes -= len(run.frame) + OVERHEAD_BYTES
        self._taken[run.key] = None
        if len(self._taken) > TAKEN_MAX:
            del self._taken[next(iter(self._taken))]

    def give_back(self, run: EarlierRun) -> None:
        """One is not dealt with: it waits, in front of the others."""
        self._given.discard(run.key)
        self._waiting = {run.key: run, **self._waiting}
