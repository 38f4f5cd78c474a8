"""Overflow: what of long queues stays in the store until its turn.

Theory of operation. A queue has its next tasks in memory, ready to be handed out; behind them is a
row of entries that only say where their batches are (`core.far`). Once anything of a queue is
there, what is new goes there, too, so that order holds. When less than half of what should be in
memory is left, the next entries are read, a little at a time, by whoever hands out tasks.

What waits for its time is in the store only, too, unless that comes soon. Then it joins the row: it
stands at the end of its queue, and its body is read when it is its turn.

At a start the store tells how many tasks of each queue there are, and then finds them, the oldest
first. What is published meanwhile to a queue of which some are to be found waits behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..core.batch import OVERHEAD_BYTES, Batch
from ..core.lease import runs_of
from ..core.ready import Budget
from ..core.records import PUT, Entry, Found, Held, Run
from ..wire.codec import array_length, pack
from .journal import Journal, of_batch, of_tasks
from .peers import Queue

NEAR_BYTES = 16 << 20
"""Of a queue, in memory: a tenth of a second of work for the quickest workers there are."""

NEAR_LEAST_BYTES = 1 << 20
"""The same while half of what the broker may hold is taken."""

READ_BYTES = 1 << 20
READ_ENTRIES = 256
"""Read at once."""

DUE_MS = 1
"""A time that has come, whatever the wall clock says, milliseconds since 1970."""

TURN_BYTES = 1 << 20
TURN_ENTRIES = 256
"""Read in one turn of the broker, and everybody waits for it: some 3 ms, also from disk."""


class Overflow:
    """Decides what is in memory."""

    def __init__(self, budget: Budget, journal: Journal) -> None:
        self.load: Callable[[Found], None] = _cannot_load
        """Makes what is left of an entry ready."""
        self.outline: Callable[[Found], list[Batch]] = _cannot_outline
        """What is left of an entry, without the bodies."""
        self.read: Callable[[int], bytes] = _cannot_read
        """Reads the body of an entry from the store, by its number."""
        self.to_find: dict[str, int] = {}
        """By queue: tasks that the store has and that were not found yet."""
        self.near_bytes = NEAR_BYTES
        """Of a queue, in memory."""
        self.is_pausing = False
        """Enough was read in this turn: `go_on` in the next one."""
        self._turn_bytes = self._turn_entries = 0
        self._budget = budget
        self._journal = journal
        self._starved: dict[Queue, None] = {}
        """Queues whose next entry is not stored or found yet."""

    def __repr__(self) -> str:
        return f"<Overflow, {len(self.to_find)} queues to be found>"

    def is_far(self, queue: Queue) -> bool:
        """Whether what is put now is not to be kept in memory."""
        ready = queue.ready
        if ready.far_tasks or (self.to_find and ready.name in self.to_find):
            return True
        return ready.ready_bytes >= self._near_bytes()

    def _near_bytes(self) -> int:
        is_tight = 2 * self._budget.bytes >= self._budget.bytes_max
        return min(NEAR_LEAST_BYTES, self.near_bytes) if is_tight else self.near_bytes

    def put(self, queue: Queue, entry: Entry) -> None:
        """An entry that was just noted is in its queue, and not in memory."""
        number, kind, name, tasks, meta, body = entry
        runs = [Run(0, tasks, b"")]
        queue.ready.put_far(Found(number, kind, name, tasks, meta, len(body), runs))

    def put_due(self, queue: Queue, batch: Batch, at_ms: int) -> None:
        """The time of tasks has come that are in the store only; the wall clock says ``at_ms``."""
        frame = batch.frame
        run = Run(batch.first, batch.count, pack(of_tasks(batch, DUE_MS)))
        nbytes = batch.nbytes - OVERHEAD_BYTES
        meta = pack(of_batch(frame, at_ms))
        queue.ready.put_far(Found(frame.entry, PUT, frame.queue, frame.count, meta, nbytes, [run]))

    def with_body(self, batch: Batch) -> Batch:
        """As `Book.with_body`."""
        frame = batch.frame
        if frame.body or frame.entry > self._journal.stored_entry:
            return batch
        body = self.read(frame.entry)
        whole = frame.copy(body, 0, array_length(body))
        return Batch(whole, batch.first, batch.count, attempt=batch.attempt)

    def refill(self, queue: Queue, *, further: bool = False) -> bool:
        """Bring the next tasks of a queue into memory if little is left there, or ``further``
        ones though there is. Says whether any came."""
        ready = queue.ready
        least_bytes = self._near_bytes()
        if further and 2 * self._budget.bytes < self._budget.bytes_max:
            least_bytes = ready.ready_bytes + READ_BYTES
        elif 2 * ready.ready_bytes >= least_bytes:
            return False
        is_full = self._budget.bytes >= self._budget.bytes_max
        if is_full and ready.tasks > ready.far_tasks:
            self._starved[queue] = None  # Until some of what is in memory has left it.
            return False
        if self._turn_bytes >= TURN_BYTES or self._turn_entries >= TURN_ENTRIES:
            self._starved[queue] = None
            self.is_pausing = True
            return False
        nbytes = entries = 0
        while ready.far_tasks and nbytes < READ_BYTES and entries < READ_ENTRIES:
            if not self._can_read(queue):
                self._starved[queue] = None
                break
            found = ready.take_far()
            self.load(found)
            nbytes += found.nbytes
            entries += 1
            if ready.ready_bytes >= least_bytes:
                break
        self._turn_bytes += nbytes
        self._turn_entries += entries
        return entries > 0

    def go_on(self) -> None:
        """The next turn has come."""
        self.is_pausing = False
        self._turn_bytes = self._turn_entries = 0

    def _can_read(self, queue: Queue) -> bool:
        far = queue.ready.far
        if queue.ready.name in self.to_find and not far.has_older:
            return False  # There are some that come before.
        return far.first() <= self._journal.stored_entry

    def sift(
        self, queue: Queue, choose: Callable[[Batch], int], end: Callable[[Queue, Batch], None]
    ) -> int:
        """End tasks that are far, those that are chosen: a bit each, from a batch's first on.
        Returns how many. The others keep their places."""
        ended = 0

        def left_of(found: Found) -> Found | None:
            nonlocal ended
            left: list[Run] = []
            for batch, run in zip(self.outline(found), found.runs, strict=True):
                everything = (1 << batch.count) - 1
                chosen = choose(batch) & everything
                for first, tasks in runs_of(chosen):
                    part = batch.part(first, tasks)
                    queue.ready.lease_over(part)
                    end(queue, part)
                    ended += tasks
                rest = runs_of(~chosen & everything)
                left += [Run(run.first + first, tasks, run.meta) for first, tasks in rest]
            return found._replace(runs=left) if left else None

        queue.ready.sift_far(left_of)
        return ended

    def begin_to_find(self, held: Iterable[Held]) -> None:
        """The store has so many tasks, which are about to be found."""
        for one in held:
            if one.kind == PUT and one.tasks:
                self.to_find[one.queue] = one.tasks

    def found(self, queue: Queue, found: Found) -> None:
        """One of them is here: it waits until its turn."""
        queue.ready.put_far(found, older=True)
        self.was_found(found.queue, sum(run.tasks for run in found.runs))

    def was_found(self, name: str, tasks: int) -> None:
        """So many tasks of a queue are to be found no more."""
        left = self.to_find.get(name, 0) - tasks
        if left > 0:
            self.to_find[name] = left
        else:
            self.to_find.pop(name, None)

    def take_starved(self) -> list[Queue]:
        """Queues that may have something to hand out, now that more is stored or found."""
        starved, self._starved = list(self._starved), {}
        return starved


def _cannot_read(entry: int) -> bytes:
    raise RuntimeError(f"entry {entry} is wanted, and nobody reads the store")


def _cannot_outline(found: Found) -> list[Batch]:
    raise RuntimeError(f"entry {found.number} is far, and nobody knows what it is")


def _cannot_load(found: Found) -> None:
    raise RuntimeError(f"entry {found.number} is far, and nobody reads the store")
