"""Held results: those whose producers are away, until they come back.

They count against the bytes that the broker may hold, and are the first to go: where room is wanted
the oldest of them are dropped, whoever they are for, and counted. Whoever returns learns from the
answers to its `Await` that they are lost.

Results for a producer that has a name are sent and kept all the same, until it says that it has
them: they are sent again when it returns, be it as another process. That one has no future for what
an earlier one submitted, and says that it has such a result once somebody took it.

With a store each held result is an entry of the journal, until it is held no more. It is noted
before its task is over, so one of the two survives.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..core.counters import Counters
from ..core.ready import Budget
from ..core.records import RESULT
from ..wire.messages import Result
from .journal import Journal
from .peers import ProducerPeer

HELD_BYTES_MAX = 16 << 20
"""Results kept for one producer that is away, bytes. It comes back within seconds or not at all."""

OVERHEAD_BYTES = 200
"""What a held result costs beside its frame."""

STALE_MAX = 64
"""Numbers of results that were taken or dropped, in a row that is otherwise nearly empty."""

Key = tuple[int, int]
"""The number of a batch, and the position of the first task of a result."""


class Held(NamedTuple):
    """A result that is held."""

    number: int
    """Those that came later have a greater one."""
    result: Result
    frame: bytes
    entry: int
    """Its number in the journal; 0: it is not there."""


class HeldResults:
    """Results by producer, and the order in which they came."""

    def __init__(self, budget: Budget, counters: Counters, journal: Journal | None = None) -> None:
        self.results = 0
        self._journal = journal
        self._budget = budget
        self._counters = counters
        self._number = 0
        self._order: deque[tuple[int, ProducerPeer, Key]] = deque()

    def __repr__(self) -> str:
        return f"<HeldResults: {self.results} of {self._budget.held} bytes>"

    def hold(self, producer: ProducerPeer, result: Result, frame: bytes) -> None:
        """Keep a result for its producer's return, if there is room for it."""
        key = (result.sequence, result.first)
        if key in producer.held:
            return
        nbytes = len(frame) + OVERHEAD_BYTES
        if producer.held_bytes + nbytes > HELD_BYTES_MAX:
            if producer.peer is None:
                self._counters.results_lost += result.tasks
            return
        entry = 0
        if self._journal is not None:
            meta = [producer.id, result.sequence, result.first, result.tasks, result.status]
            entry = self._journal.entry(RESULT, "", 1, meta, frame)
        self.restore(producer, result, frame, entry)
        self.shrink(self._budget.bytes_max)

    def restore(self, producer: ProducerPeer, result: Result, frame: bytes, entry: int) -> None:
        """Keep a result that is in the journal, or in none."""
        key = (result.sequence, result.first)
        self._number += 1
        producer.held[key] = Held(self._number, result, frame, entry)
        self._order.append((self._number, producer, key))
        self._count(producer, 1, len(frame) + OVERHEAD_BYTES)

    def take(self, producer: ProducerPeer) -> list[tuple[Result, bytes]]:
        """What is to be sent to a producer that is back. It is kept no more, unless the producer
        will say that it has it."""
        held = [(one.result, one.frame) for one in producer.held.values()]
        if not producer.first:
            for result, _ in held:
                self.drop(producer, result.sequence, result.first)
        return held

    def drop(self, producer: ProducerPeer, sequence: int, first: int) -> Result | None:
        """Keep a result no more, if it is there."""
        held: Held | None = producer.held.pop((sequence, first), None)
        if held is None:
            return None
        self._count(producer, -1, -len(held.frame) - OVERHEAD_BYTES)
        if held.entry and self._journal is not None:
            self._journal.over(held.entry, 0, 1)
        if len(self._order) > 2 * self.results + STALE_MAX:
            self._order = deque(entry for entry in self._order if _is_held(entry))
        return held.result

    def forget(self, producer: ProducerPeer) -> None:
        """A producer will not come back."""
        for key in list(producer.held):
            self._lose(producer, key)

    def shrink(self, bytes_max: int) -> None:
        """Drop the oldest until the broker holds no more than that in all, or none is left."""
        while self._budget.bytes > bytes_max and self.results:
            entry = self._order.popleft()
            if _is_held(entry):
                self._lose(*entry[1:])

    def _lose(self, producer: ProducerPeer, key: Key) -> None:
        lost = self.drop(producer, *key)
        if lost is not None and (producer.peer is None or lost.sequence < producer.first):
            self._counters.results_lost += lost.tasks

    def _count(self, producer: ProducerPeer, results: int, nbytes: int) -> None:
        self.results += results
        producer.held_bytes += nbytes
        self._budget.held += nbytes
        self._budget.bytes += nbytes


def _is_held(entry: tuple[int, ProducerPeer, Key]) -> bool:
    """Whether a result of the row is still held."""
    number, producer, key = entry
    held = producer.held.get(key)
    return held is not None and held.number == number
