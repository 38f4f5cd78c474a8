"""The book of a broker's queues: what they hold together, and when a task is over.

Intake writes tasks in, dispatch hands them out, settlements take them away. All of them share this
book; that a task is over is written in one place, `Book.over`, and that it is not, in `Book.again`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from math import inf
from typing import Any

from ..config import Limits
from ..core.batch import Batch, Published
from ..core.counters import Counters
from ..core.ready import Budget, ReadyQueue
from ..core.timers import Timers
from ..errors import ProtocolError
from ..stats.histogram import Histogram
from ..wire.codec import array_header
from ..wire.headers import NAME
from ..wire.messages import BAD_NAME, DRAIN, PAUSE, RESUME, TOO_MANY_QUEUES
from ..wire.unpacking import index_bodies
from .journal import Journal, of_queue
from .outcomes import Outcome
from .overflow import Overflow
from .peers import Queue

METERED_QUEUES_MAX = 500
"""Queues with histograms of their own: they take 16 KiB."""


QUEUE_UNUSED_S = 60.0
"""How often the book looks for queues that nobody uses, seconds. One that holds nothing, has no
worker, is neither paused nor draining, and took nothing since the last look ends: after one to two
of these. A worker or producer that restarts is back sooner, and a name made for one user or one day
does not stay for the broker's life."""


ACTIONS = frozenset({PAUSE, DRAIN, RESUME})
"""What may be done to a queue (`Control`)."""


class Timer(enum.Enum):
    """What a broker waits for; the key of a timer is one of these and what it is about."""

    SILENT = "a peer, by routing id, has not been heard"
    AWAY = "a producer, by id, has not come back"
    UNUSED = "queues that nobody has used for a while end"
    KEYS = "keys may be taken again"
    SUSPECTS = "suspects of a queue, by name, found no worker that holds nothing"
    DELAYED = "tasks of a queue, by name, are due or come near"
    READ = "more is to be read of a store, in the next turn"
    STORE = "what is to be stored, and nobody waits for, has waited for company"
    SKILLS = "nobody in a queue, by name, has had these tasks for a while"


def _sent_at(frame: Published) -> float:
    """When the oldest task of a frame was sent, by the broker's clock."""
    sent_at: float = frame.at - frame.age_us / 1e6
    return sent_at


def _due_of(frame: Published, wall_s: float) -> float:
    """From when on tasks of a frame may run, as far as they ask for it; ``wall_s`` is what the wall
    clock says at 0 of the broker's."""
    options = frame.options
    if options.at_ms is not None:
        due: float = options.at_ms / 1000 - wall_s
        return due
    return -inf if options.delay_ms is None else _sent_at(frame) + options.delay_ms / 1000


class Book:
    """All queues, by name, and the bytes that they may hold together."""

    def __init__(
        self, limits: Limits, counters: Counters, egress: frozenset[str] = frozenset(),
        journal: Journal | None = None,
    ) -> None:  # fmt: skip
        self.queues: dict[str, Queue] = {}
        self.timers: Timers[tuple[Timer, Any]] = Timers()
        self.budget = Budget(limits.bytes_max)
        self.journal = journal
        """Where it is noted what must survive; None while nothing does."""
        self.overflow = None if journal is None else Overflow(self.budget, journal)
        self.store_full = ""
        """Why there is no room for anything new to be stored; empty while there is."""
        self.counters = counters
        """Of what belongs to no queue."""
        self.now = 0.0
        """When the message came that is being dealt with."""
        self.wall_s = 0.0
        """What the wall clock says when ``now`` is 0, seconds since 1970."""
        self.with_work: dict[Queue, None] = {}
        """Queues that got tasks or room since the dispatcher last looked."""
        self.other_wait = Histogram()
        self.other_batches = Histogram()
        """What queues beyond `METERED_QUEUES_MAX` have in common."""
        self.has_unused = False
        """There may be queues that will have to end: call `end_unused` in `QUEUE_UNUSED_S`."""
        self._limits = limits
        self._egress = egress
        for name in egress:
            self.queue(name)

    def __repr__(self) -> str:
        return f"<Book of {len(self.queues)} queues, {self.budget!r}>"

    def queue(self, name: str) -> Queue:
        """The queue of that name, made at first use.

        Raises `ProtocolError`: no such name can be, or there are too many queues.
        """
        queue = self.queues.get(name)
        return self.open([name])[0] if queue is None else queue

    def open(self, names: list[str]) -> list[Queue]:
        """The queues of these names, all or none. Raises as `queue` does."""
        new = 0
        for name in names:
            if name not in self.queues:
                new += 1
                if not NAME.match(name):
                    text = "a queue name must be 1 to 128 of A-Z a-z 0-9 _ . -"
                    raise ProtocolError(BAD_NAME, text)
        queues_max = self._limits.queues_max
        if new and len(self.queues) + new > queues_max:
            raise ProtocolError(TOO_MANY_QUEUES, f"there are {queues_max} queues already")
        return [self.queues.get(name) or self._make(name) for name in names]

    def _make(self, name: str) -> Queue:
        ready = ReadyQueue(
            name,
            tasks_max=self._limits.queue_tasks_max,
            bytes_max=self._limits.queue_bytes_max,
            budget=self.budget,
            index=index_bodies,
            array_header=array_header,
        )
        self.has_unused = True
        is_other = len(self.queues) >= METERED_QUEUES_MAX
        queue = self.queues[name] = Queue(
            ready,
            egress=name in self._egress,
            wait=self.other_wait if is_other else Histogram(),
            batches=self.other_batches if is_other else Histogram(),
        )
        return queue

    def end_unused(self) -> None:
        """End the queues that nobody used since this was called last; what they counted stays."""
        self.has_unused = False
        for name, queue in list(self.queues.items()):
            counters = queue.counters
            taken = counters.published + counters.ingested
            if queue.is_needed() or queue.taken != taken:
                queue.taken = taken
                self.has_unused = True
                continue
            del self.queues[name]
            self.with_work.pop(queue, None)
            self.counters.add(counters)
            if queue.wait is not self.other_wait:
                self.other_wait.add(queue.wait)
                self.other_batches.add(queue.batches)

    def put(self, queue: Queue, batch: Batch) -> None:
        """New tasks are ready, at the end."""
        queue.batches.record(batch.count)
        self.with_work[queue] = None
        journal, overflow = self.journal, self.overflow
        entry = None if journal is None else journal.put(batch.frame, self.wall_ms())
        if batch.frame.options is not None:
            due = _due_of(batch.frame, self.wall_s)
            if due > self.now:
                self._delay(queue, batch, due)
                return
        if overflow is not None and entry is not None and overflow.is_far(queue):
            overflow.put(queue, entry)
        else:
            queue.ready.put(batch)

    def refill(self, queue: Queue, *, further: bool = False) -> bool:
        """Bring tasks of a queue that are in the store only into memory, if it is their turn.
        Says whether any came."""
        overflow = self.overflow
        if overflow is None:
            return False
        has_come = overflow.refill(queue, further=further)
        if overflow.is_pausing and (Timer.READ, None) not in self.timers:
            self.timers.set((Timer.READ, None), self.now)
        return has_come

    def sift(
        self, queue: Queue, choose: Callable[[Batch], int], end: Callable[[Queue, Batch], None]
    ) -> int:
        """End tasks of a queue that are in the store only, those that are chosen. How many."""
        if self.overflow is None or not queue.ready.far_tasks:
            return 0
        return self.overflow.sift(queue, choose, end)

    def with_body(self, batch: Batch) -> Batch:
        """The same tasks; what is in the store only is read, unless it is on its way there."""
        return batch if self.overflow is None else self.overflow.with_body(batch)

    def read_on(self) -> None:
        """A turn has come, after one in which enough was read of a store."""
        if self.overflow is not None:
            self.overflow.go_on()
            self.wake_starved()

    def wake_starved(self) -> None:
        """More is stored, or found: queues that waited for that may go on."""
        if self.overflow is not None:
            self.with_work.update(dict.fromkeys(self.overflow.take_starved()))

    def recall(self, name: str) -> Queue:
        """A queue that a broker before this one had, however many those are."""
        return self.queues.get(name) or self._make(name)

    def due_of(self, batch: Batch, due_ms: int) -> float:
        """From when on tasks of a broker before this one may run; ``due_ms``: as `of_tasks` has it
        in the journal."""
        if due_ms:
            return due_ms / 1000 - self.wall_s
        if batch.attempt > 1 or batch.frame.options is None:
            return -inf
        return _due_of(batch.frame, self.wall_s)

    def restore(self, queue: Queue, batch: Batch, due: float) -> None:
        """Tasks of a broker before this one are ready, at the end, or will be when they are due."""
        self.with_work[queue] = None
        if due > self.now:
            self._delay(queue, batch, due)
        else:
            queue.ready.restore(batch)

    def delay(self, queue: Queue, batch: Batch, due: float) -> None:
        """Leased tasks are to run again, not before ``due``. Then they stand at the end."""
        if self.journal is not None:
            self.journal.state(batch, int(1000 * (due + self.wall_s)))
        queue.ready.settle(batch.count)
        self._delay(queue, batch, due)

    def _delay(self, queue: Queue, batch: Batch, due: float) -> None:
        before = queue.ready.delayed.next_look()
        queue.ready.delay(batch, due, self.now)
        after = queue.ready.delayed.next_look()
        if after is not None and after != before:
            self.timers.set((Timer.DELAYED, queue.ready.name), after)

    def wake(self, name: str) -> None:
        """Tasks of a queue are due, or come near."""
        queue = self.queues.get(name)
        if queue is None:
            return
        for due, batch in queue.ready.take_due(self.now):
            self.with_work[queue] = None
            frame = batch.frame
            if batch.fresh and due > frame.at:  # From now on it waits.
                frame.age_us += int((due - frame.at) * 1e6)
                frame.at = due
            if frame.body or self.overflow is None:
                queue.ready.restore(batch)
            else:
                self.overflow.put_due(queue, batch, self.wall_ms())
        after = queue.ready.delayed.next_look()
        if after is not None:
            self.timers.set((Timer.DELAYED, name), after)

    def is_expired(self, frame: Published) -> bool:
        """Whether tasks of a frame with options are too old to be run."""
        expires_ms = frame.options.expires_ms
        return expires_ms is not None and self.now >= _sent_at(frame) + expires_ms / 1000

    def over(self, queue: Queue, batch: Batch, first: int, count: int, outcome: Outcome) -> None:
        """Tasks ``first .. first + count`` of a leased batch are over for good.

        Once all of a batch are over or given back, `ReadyQueue.release` it.
        """
        if self.journal is not None:
            self.journal.over(batch.frame.entry, batch.first + first, count)
        queue.ready.settle(count)
        queue.counters.count(outcome.counter, count)

    def again(self, queue: Queue, parts: list[Batch]) -> None:
        """Leased tasks are ready again, at the front, in this order."""
        for part in parts:
            queue.ready.settle(part.count)
        queue.ready.give_back(parts)
        self.with_work[queue] = None

    def control(self, queue: Queue, action: str) -> None:
        """Pause, drain or resume a queue."""
        if action == PAUSE:
            queue.paused = True
        elif action == DRAIN:
            queue.draining = True
        else:
            queue.paused = queue.draining = False
            self.with_work[queue] = None
        if self.journal is not None:
            self.journal.fact(of_queue(queue))

    def wall_ms(self) -> int:
        """What the wall clock says, milliseconds since 1970."""
        return int(1000 * (self.now + self.wall_s))

    def totals(self) -> Counters:
        """What was counted, in all queues and beside them."""
        totals = Counters()
        totals.add(self.counters)
        for queue in self.queues.values():
            totals.add(queue.counters)
        return totals

    def leased(self) -> int:
        """Tasks that workers have."""
        return sum(queue.ready.leased_tasks for queue in self.queues.values())

    def tasks(self) -> int:
        """Tasks that are ready, delayed or leased."""
        return sum(queue.ready.tasks for queue in self.queues.values())

    def tasks_before(self, deadline: float) -> int:
        """Tasks that are ready or leased, and those of a queue that are delayed if the first of
        them is due by then: nobody need wait for the others."""
        tasks = self.tasks()
        for queue in self.queues.values():
            due = queue.ready.delayed.next_due()
            if due is not None and due > deadline:
                tasks -= queue.ready.delayed_tasks
        return tasks

    def is_empty(self) -> bool:
        """Whether no task is ready, delayed or leased."""
        return not any(queue.ready.tasks for queue in self.queues.values())
