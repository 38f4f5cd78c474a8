"""The ready queue: tasks that wait for a worker, in order, bounded by tasks and by bytes.

Theory of operation. A queue answers for a task from the moment it takes it until the task is
settled, so both bounds count what is ready *and* what is leased: leased tasks still occupy
memory and may come back. New work is taken while there is room (high water is the bound, low
water is 7/8 of it); what comes back from a lost worker goes to the front and is never refused.

A batch that was in a worker when it died is a *suspect*: one of its tasks may be what killed
the worker. Suspects are handed out in small pieces and alone, so that only the culprit and a few
neighbours crash again, and at last one task at a time, so that only the culprit crashes for good.
They wait in a row of their own, so that nothing waits behind them.

Where workers have different tasks, the queue is *sorted*: tasks wait in a row for each of the names
that somebody has, and all others in one more, so that none waits behind what its worker lacks.
They are sorted when somebody asks for some, a few at a time, each once.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator

from .batch import Batch, Indexer
from .delayed import Delayed
from .far import FarRow
from .lease import runs_of
from .records import Found

SUSPECTS_MAX = 64
"""Suspects handed out together. A worker may hold thousands of quick tasks when it dies, nearly
always for a reason that is none of them: one at a time, they took 0.1 ms each."""


class Budget:
    """Bytes that a broker may hold: of all its queues, and beside them."""

    __slots__ = ("bytes", "bytes_max", "held", "keys", "unsent")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        """In all."""
        self.held = 0
        """Of these, results that are kept for producers that are away."""
        self.keys = 0
        """Of these, keys whose windows have not ended."""
        self.unsent = 0
        """Of these, messages that wait for room in a peer's pipe."""

    def __repr__(self) -> str:
        return f"<Budget {self.bytes} of {self.bytes_max} bytes>"


class ReadyQueue:
    """A named, bounded queue of batches. Not for threads: the broker's loop owns it."""

    __slots__ = (
        "_array_header", "_index", "_names", "_new", "_returned", "_rows", "_suspects",
        "budget", "bytes_max", "delayed", "delayed_bytes", "delayed_memory",
        "delayed_tasks", "far", "far_tasks", "is_sorted", "leased_bytes", "leased_tasks", "name",
        "ready_bytes", "ready_tasks", "suspect_tasks", "tasks_max",
    )  # fmt: skip

    def __init__(
        self, name: str, *, tasks_max: int, bytes_max: int, budget: Budget, index: Indexer,
        array_header: Callable[[int], bytes],
    ) -> None:  # fmt: skip
        self.name = name
        self.budget = budget
        self.tasks_max = tasks_max
        self.bytes_max = bytes_max
        self.ready_tasks = 0
        self.ready_bytes = 0
        self.leased_tasks = 0
        self.leased_bytes = 0
        self.far = FarRow(name)
        """Behind all others: what waits in a store, and is not in memory."""
        self.far_tasks = 0
        """Tasks in it; they are not among those that are ready."""
        self.delayed = Delayed(name, lambda batch: batch.own(index, array_header, always=True))
        """What waits for its time."""
        self.delayed_tasks = 0
        self.delayed_bytes = 0
        self.delayed_memory = 0
        """What is in it; it is not among what is ready."""
        self.suspect_tasks = 0
        """How many of those that are ready are suspects."""
        self._index = index
        self._array_header = array_header
        self._new: deque[Batch] = deque()
        self._returned: deque[Batch] = deque()
        self._suspects: deque[Batch] = deque()
        self.is_sorted = False
        self._names: frozenset[str] | None = None
        """While it is sorted: the names that have a row of their own."""
        self._rows: dict[str | None, deque[Batch]] = {}
        """What was sorted, by name; None: all that have no row of their own."""

    def __repr__(self) -> str:
        return f"<ReadyQueue {self.name}: {self.ready_tasks} ready, {self.leased_tasks} leased>"

    @property
    def tasks(self) -> int:
        """Tasks the queue answers for: ready, delayed and leased."""
        return self.ready_tasks + self.leased_tasks + self.far_tasks + self.delayed_tasks

    @property
    def bytes(self) -> int:
        """Bytes the queue answers for, overhead included."""
        return self.ready_bytes + self.leased_bytes + self.far.bytes + self.delayed_bytes

    def is_full(self) -> bool:
        """At or above high water: new work should wait."""
        beside_tasks, beside_bytes = self.far_tasks + self.delayed_tasks, self.delayed_bytes
        if self.far_tasks:
            beside_bytes += self.far.bytes
        return (
            self.ready_tasks + self.leased_tasks + beside_tasks >= self.tasks_max
            or self.ready_bytes + self.leased_bytes + beside_bytes >= self.bytes_max
            or self.budget.bytes >= self.budget.bytes_max
        )

    def is_over(self, tasks: int, nbytes: int) -> bool:
        """Whether taking this much more would go beyond the bound by more than a quarter.

        Between the bound and this, work is taken but its confirm is withheld. A batch that is
        itself larger than the quarter is taken while the queue is not above its bound.
        """
        budget = self.budget
        all_tasks = self.ready_tasks + self.leased_tasks + self.far_tasks + tasks
        all_tasks += self.delayed_tasks
        all_bytes = self.ready_bytes + self.leased_bytes + self.delayed_bytes + nbytes
        if self.far_tasks:
            all_bytes += self.far.bytes
        return (
            all_tasks > self.tasks_max + max(self.tasks_max // 4, tasks)
            or all_bytes > self.bytes_max + max(self.bytes_max // 4, nbytes)
            or budget.bytes + nbytes > budget.bytes_max + max(budget.bytes_max // 4, nbytes)
        )

    def is_below_low_water(self) -> bool:
        """Enough has left that withheld confirms may go out."""
        return (
            self.tasks <= self.tasks_max * 7 // 8
            and self.bytes <= self.bytes_max * 7 // 8
            and self.budget.bytes <= self.budget.bytes_max * 7 // 8
        )

    def put(self, batch: Batch) -> None:
        """Add a new batch at the end. The caller has asked `is_over` before."""
        self._new.append(batch)
        self._count_ready(batch)

    def restore(self, batch: Batch) -> None:
        """Add a batch at the end that may have been handed out before."""
        (self._suspects if batch.crashes else self._new).append(batch)
        self._count_ready(batch)

    def put_far(self, found: Found, *, older: bool = False) -> None:
        """Add an entry of a store behind all others, or but before those that are new."""
        self._count_far(-1)
        self.far.put(found, older=older)
        self._count_far(1)

    def take_far(self) -> Found:
        """The first entry of those that are far; its tasks count no more until they are `put`."""
        self._count_far(-1)
        found = self.far.take()
        self._count_far(1)
        return found

    def sift_far(self, left_of: Callable[[Found], Found | None]) -> None:
        """Look at each entry that is far, and keep what is left of it, in their order."""
        kept = FarRow(self.name)
        for _ in range(self.far.entries):
            older = self.far.has_older
            left = left_of(self.take_far())
            if left is not None:
                kept.put(left, older=older)
        self.far = kept
        self._count_far(1)

    def lease_over(self, batch: Batch) -> None:
        """A batch that nobody holds counts as leased: it is about to be over."""
        self._lease(batch)

    def _count_far(self, sign: int) -> None:
        self.far_tasks = self.far.tasks
        self.budget.bytes += sign * self.far.memory_bytes

    # --- delayed ---

    def delay(self, batch: Batch, due: float, now: float) -> None:
        """Tasks that are neither ready nor leased wait until ``due``."""
        self.delayed.put(batch, due, now)
        self._count_delayed()

    def take_due(self, now: float) -> list[tuple[float, Batch]]:
        """What was delayed and is due, with its times: it counts no more until it is `restore`d, or
        `put_far`."""
        taken = self.delayed.take(now)
        self._count_delayed()
        return taken

    def _count_delayed(self) -> None:
        delayed = self.delayed
        self.budget.bytes += delayed.memory_bytes - self.delayed_memory
        self.delayed_memory = delayed.memory_bytes
        self.delayed_tasks, self.delayed_bytes = delayed.tasks, delayed.bytes

    def oldest(self) -> float | None:
        """When the batch came that waits longest in front; None if nothing waits."""
        rows = (self._suspects, self._returned, self._new, *self._rows.values())
        return min((row[0].frame.at for row in rows if row), default=None)

    def take(self, tasks_max: int, cut_min: int, bytes_max: int, batches_max: int) -> list[Batch]:
        """Lease out up to so many tasks, in order, none of them suspect.

        Only the first batch may be cut, and only to ``cut_min`` tasks or more: cutting costs, so
        a batch that will fit a little later is not cut now. Hence the answer may be empty.
        """
        return self._take(self._returned, self._new, tasks_max, cut_min, bytes_max, batches_max)

    def _take(
        self, first: deque[Batch], second: deque[Batch], tasks_max: int, cut_min: int,
        bytes_max: int, batches_max: int,
    ) -> list[Batch]:  # fmt: skip
        taken: list[Batch] = []
        while len(taken) < batches_max:
            source = first or second
            if not source:
                break
            batch = source[0]
            if batch.count > tasks_max or batch.nbytes > bytes_max:
                if taken or tasks_max < min(batch.count, cut_min):
                    break
                share = batch.nbytes // batch.count + 1
                fits = max(1, min(tasks_max, bytes_max // share))
                return [self._lease(self._cut(source, fits))]
            source.popleft()
            self._discount_ready(batch)
            taken.append(self._lease(batch))
            tasks_max -= batch.count
            bytes_max -= batch.nbytes
        return taken

    # --- sorted ---

    def sort(self, names: frozenset[str] | None) -> None:
        """From now on, each of these names has a row of its own; None: all wait in one again."""
        if names != self._names:
            self._unsort()
            self._names = names
            self.is_sorted = names is not None

    def take_of(
        self, names: frozenset[str] | None, rest: bool, tasks_max: int, cut_min: int,
        bytes_max: int, batches_max: int,
    ) -> list[Batch] | None:  # fmt: skip
        """As `take`, of a queue that is sorted: for somebody who has these names, or all (None).

        ``rest``: also what has no row of its own. None: there is nothing for them.
        """
        found = self._oldest_row(names, rest)
        while found is None and (self._returned or self._new):
            self._sort_some(batches_max)
            found = self._oldest_row(names, rest)
        if found is None:
            return None
        name, row = found
        taken = self._take(row, row, tasks_max, cut_min, bytes_max, batches_max)
        if not row:
            del self._rows[name]
        return taken

    def _unsort(self) -> None:
        for row in reversed(self._rows.values()):
            self._returned.extendleft(reversed(row))
        self._rows = {}

    def _oldest_row(
        self, names: frozenset[str] | None, rest: bool
    ) -> tuple[str | None, deque[Batch]] | None:
        found: tuple[str | None, deque[Batch]] | None = None
        for name, row in self._rows.items():
            is_theirs = rest if name is None else names is None or name in names
            if is_theirs and (found is None or row[0].frame.at < found[1][0].frame.at):
                found = name, row
        return found

    def _sort_some(self, batches: int) -> None:
        for _ in range(batches):
            source = self._returned or self._new
            if not source:
                return
            batch = source.popleft()
            self._rows.setdefault(self._row_of(batch), deque()).append(batch)

    def _row_of(self, batch: Batch) -> str | None:
        task: str = batch.frame.task
        return task if self._names is not None and task in self._names else None

    def _is_for(self, batch: Batch, names: frozenset[str] | None, rest: bool) -> bool:
        if self._names is None:
            return True
        name = self._row_of(batch)
        return rest if name is None else names is None or name in names

    # --- suspects, the plain lane ---

    def has_suspect_for(self, names: frozenset[str] | None, rest: bool) -> bool:
        """Whether a suspect is for somebody who has these names."""
        return any(self._is_for(batch, names, rest) for batch in self._suspects)

    def take_suspects(
        self, tasks_max: int, crashes_max: int, names: frozenset[str] | None, rest: bool
    ) -> Batch | None:
        """Lease out the first suspects for somebody who has these names, or all (None).

        A single one if its next crash is its last; of one batch in any case.
        """
        suspects = self._suspects
        for place in range(len(suspects)):
            batch = suspects[place]
            if self._is_for(batch, names, rest):
                if batch.crashes + 1 >= crashes_max:
                    tasks_max = 1
                suspects.rotate(-place)
                batch = self._cut(suspects, min(tasks_max, SUSPECTS_MAX))
                suspects.rotate(place)
                return self._lease(batch)
        return None

    def take_next(self, bytes_max: int) -> Batch:
        """Lease out the batch at the front, suspects first, or as much of it as fits."""
        self._unsort()
        source = self._suspects or self._returned or self._new
        batch = source[0]
        share = batch.nbytes // batch.count + 1
        return self._lease(self._cut(source, max(1, bytes_max // share)))

    # --- out of order ---

    def waiting(self) -> Iterator[Batch]:
        """All that is ready, about as it would be handed out."""
        yield from self._suspects
        yield from heapq.merge(*self._rows.values(), key=_came_at)
        yield from self._returned
        yield from self._new

    def take_out(self, choose: Callable[[Batch], int]) -> list[Batch]:
        """Lease out some tasks, wherever they stand, delayed or not: the others keep their places.

        ``choose`` says which of a batch, a bit each from its first task on.
        """
        taken: list[Batch] = []
        for row in (self._suspects, *self._rows.values(), self._returned, self._new):
            chosen = {place: bits for place, batch in enumerate(row) if (bits := choose(batch))}
            if chosen:
                self._take_out(row, chosen, taken)
        self._rows = {name: row for name, row in self._rows.items() if row}
        if self.delayed_tasks:
            taken += map(self._lease, self.delayed.take_out(choose))
            self._count_delayed()
        return taken

    def _take_out(self, row: deque[Batch], chosen: dict[int, int], taken: list[Batch]) -> None:
        batches = list(row)
        row.clear()
        for place, batch in enumerate(batches):
            bits = chosen.get(place)
            if bits is None:
                row.append(batch)
                continue
            self._discount_ready(batch)
            everything = (1 << batch.count) - 1
            taken += [self._lease(batch.part(*run)) for run in runs_of(bits & everything)]
            for run in runs_of(~bits & everything):
                part = batch.part(*run)
                part.own(self._index, self._array_header)
                row.append(part)
                self._count_ready(part)

    def _cut(self, source: deque[Batch], tasks: int) -> Batch:
        """Remove up to so many tasks from the batch at the front."""
        batch = source.popleft()
        self._discount_ready(batch)
        if batch.count > tasks:
            rest = batch.part(tasks, batch.count - tasks)
            batch = batch.part(0, tasks)
            rest.own(self._index, self._array_header)
            batch.own(self._index, self._array_header)
            source.appendleft(rest)
            self._count_ready(rest)
        return batch

    def _lease(self, batch: Batch) -> Batch:
        self.leased_tasks += batch.count
        self.leased_bytes += batch.nbytes
        self.budget.bytes += batch.nbytes
        return batch

    def settle(self, tasks: int) -> None:
        """So many leased tasks are over, or about to be given back."""
        self.leased_tasks -= tasks

    def release(self, batch: Batch) -> None:
        """All tasks of a leased batch are settled: its bytes are free."""
        self.leased_bytes -= batch.nbytes
        self.budget.bytes -= batch.nbytes

    def give_back(self, parts: list[Batch]) -> None:
        """Settled as not run: ready again, at the front, in this order."""
        for part in reversed(parts):
            part.own(self._index, self._array_header)
            if part.crashes:
                self._suspects.appendleft(part)
            else:
                row = self._rows.get(self._row_of(part)) if self._rows else None
                (self._returned if row is None else row).appendleft(part)
            self._count_ready(part)

    def _count_ready(self, batch: Batch) -> None:
        self.ready_tasks += batch.count
        if batch.crashes:
            self.suspect_tasks += batch.count
        self.ready_bytes += batch.nbytes
        self.budget.bytes += batch.nbytes

    def _discount_ready(self, batch: Batch) -> None:
        self.ready_tasks -= batch.count
        if batch.crashes:
            self.suspect_tasks -= batch.count
        self.ready_bytes -= batch.nbytes
        self.budget.bytes -= batch.nbytes


def _came_at(batch: Batch) -> float:
    return batch.frame.at
