"""The ready queue: tasks that wait for a worker, in order, bounded by tasks and by bytes.

Theory of operation. A queue answers for a task from the moment it takes it until the task is
settled, so both bounds count what is ready *and* what is leased: leased tasks still occupy
memory and may come back. New work is taken while there is room (high water is the bound, low
water is 7/8 of it); what comes back from a lost worker goes to the front and is never refused.

A batch that was in a worker when it died is a *suspect*: one of its tasks may be what killed
the worker. Suspects are handed out in small pieces and alone, so that only the culprit and a few
neighbours crash again, and at last one task at a time, so that only the culprit crashes for good.
"""

from __future__ import annotations

from collections import deque

from .batch import Batch

SUSPECTS_MAX = 64
"""Suspects handed out together. A worker may hold thousands of quick tasks when it dies, nearly
always for a reason that is none of them: one at a time, they took 0.1 ms each."""


class Budget:
    """Bytes that several queues may hold together."""

    __slots__ = ("bytes", "bytes_max")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0

    def __repr__(self) -> str:
        return f"<Budget {self.bytes} of {self.bytes_max} bytes>"


class ReadyQueue:
    """A named, bounded queue of batches. Not for threads: the broker's loop owns it."""

    __slots__ = (
        "_new",
        "_returned",
        "budget",
        "bytes_max",
        "leased_bytes",
        "leased_tasks",
        "name",
        "ready_bytes",
        "ready_tasks",
        "tasks_max",
    )

    def __init__(self, name: str, *, tasks_max: int, bytes_max: int, budget: Budget) -> None:
        self.name = name
        self.budget = budget
        self.tasks_max = tasks_max
        self.bytes_max = bytes_max
        self.ready_tasks = 0
        self.ready_bytes = 0
        self.leased_tasks = 0
        self.leased_bytes = 0
        self._new: deque[Batch] = deque()
        self._returned: deque[Batch] = deque()

    def __repr__(self) -> str:
        return f"<ReadyQueue {self.name}: {self.ready_tasks} ready, {self.leased_tasks} leased>"

    @property
    def tasks(self) -> int:
        """Tasks the queue answers for: ready and leased."""
        return self.ready_tasks + self.leased_tasks

    @property
    def bytes(self) -> int:
        """Bytes the queue answers for, overhead included."""
        return self.ready_bytes + self.leased_bytes

    def is_full(self) -> bool:
        """At or above high water: new work should wait."""
        return (
            self.ready_tasks + self.leased_tasks >= self.tasks_max
            or self.ready_bytes + self.leased_bytes >= self.bytes_max
            or self.budget.bytes >= self.budget.bytes_max
        )

    def is_over(self, tasks: int, nbytes: int) -> bool:
        """Whether taking this much more would go beyond the bound by more than a quarter.

        Between the bound and this, work is taken but its confirm is withheld. A batch that is
        itself larger than the quarter is taken while the queue is not above its bound.
        """
        budget = self.budget
        all_tasks = self.ready_tasks + self.leased_tasks + tasks
        all_bytes = self.ready_bytes + self.leased_bytes + nbytes
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

    def oldest(self) -> float | None:
        """When the batch came that waits longest in front; None if nothing waits."""
        came = [source[0].frame.at for source in (self._returned, self._new) if source]
        return min(came, default=None)

    def has_suspect(self) -> bool:
        """Whether the next task must run alone."""
        return bool(self._returned) and self._returned[0].crashes > 0

    def take(self, tasks_max: int, cut_min: int, bytes_max: int, batches_max: int) -> list[Batch]:
        """Lease out up to so many tasks, in order, none of them suspect.

        Only the first batch may be cut, and only to ``cut_min`` tasks or more: cutting costs, so
        a batch that will fit a little later is not cut now. Hence the answer may be empty.
        """
        taken: list[Batch] = []
        while len(taken) < batches_max:
            source = self._returned or self._new
            if not source or source[0].crashes > 0:
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

    def take_next(self, bytes_max: int) -> Batch:
        """Lease out the batch at the front, suspect or not, or as much of it as fits."""
        source = self._returned or self._new
        batch = source[0]
        share = batch.nbytes // batch.count + 1
        return self._lease(self._cut(source, max(1, bytes_max // share)))

    def take_suspects(self, tasks_max: int, crashes_max: int) -> Batch:
        """Lease out suspects at the front: a single one if its next crash is its last."""
        if self._returned[0].crashes + 1 >= crashes_max:
            tasks_max = 1
        return self._lease(self._cut(self._returned, min(tasks_max, SUSPECTS_MAX)))

    def _cut(self, source: deque[Batch], tasks: int) -> Batch:
        """Remove up to so many tasks from the batch at the front."""
        batch = source.popleft()
        self._discount_ready(batch)
        if batch.count > tasks:
            rest = batch.part(tasks, batch.count - tasks)
            source.appendleft(rest)
            self._count_ready(rest)
            batch = batch.part(0, tasks)
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
            self._returned.appendleft(part)
            self._count_ready(part)

    def _count_ready(self, batch: Batch) -> None:
        self.ready_tasks += batch.count
        self.ready_bytes += batch.nbytes
        self.budget.bytes += batch.nbytes

    def _discount_ready(self, batch: Batch) -> None:
        self.ready_tasks -= batch.count
        self.ready_bytes -= batch.nbytes
        self.budget.bytes -= batch.nbytes
