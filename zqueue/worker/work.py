"""Work: what a worker was leased and has not settled, in rows from which tasks are claimed.

A task waits in a row until somebody claims it, which is one step that no other thread can come
between: for plain handlers, `calls.Calls` counts; for those that run side by side, in an event loop
or in threads, `SideRow` removes it from a deque; for batch handlers, `BatchRow` is cut with the
worker's lock held. What was claimed runs here; only what was not can be returned.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Container, Iterable, Iterator
from typing import Any, NamedTuple

from ..current import Current
from ..errors import ProtocolError
from ..handlers import Handler
from ..wire.unpacking import unpack_each
from .calls import Calls
from .leases import LeasedBatch, Unwanted
from .tally import Account


@dataclasses.dataclass(slots=True)
class LeaseTally:
    """Tasks of one lease that are not settled, and where those are counted that are over."""

    account: Account
    open: int = 0


@dataclasses.dataclass(slots=True, eq=False)
class Work:
    """A batch that was leased and not settled."""

    lease: int
    index: int
    """Which batch of its lease."""
    offset: int
    """Position of its first task in the lease."""
    batch: LeasedBatch
    tally: LeaseTally
    """Shared by the batches of a lease."""
    sent_at: float = 0.0
    """When the oldest of its tasks was sent, by this process's clock, but for the time on the
    network."""

    def unwanted(self, unwanted: Unwanted, first: int = 0, tasks: int = -1) -> range:
        """Which of its tasks, or of some of them, are not wanted, by their places in the batch."""
        if unwanted.lease != self.lease:
            return range(0)
        return unwanted.places(self.offset, first, self.batch.tasks if tasks < 0 else tasks)

    def unpack(self) -> list[Any]:
        """The bodies, and a `ProtocolError` in place of each that is none. Raises one, too."""
        bodies = unpack_each(self.batch.body)
        if len(bodies) != self.batch.tasks:
            raise ProtocolError("malformed", "the batch does not hold what it says")
        return bodies

    @property
    def kind(self) -> tuple[str, str]:
        """What tasks these are."""
        return self.batch.queue, self.batch.task


@dataclasses.dataclass(slots=True, eq=False)
class CallRow:
    """Tasks of a batch that run one after the other."""

    handler: Handler
    work: Work
    calls: Calls


class Part(NamedTuple):
    """Bodies of one batch, for a call of a batch handler."""

    work: Work
    first: int
    """Position of the first in its batch."""
    bodies: list[Any]
    contexts: dict[int, str]
    """Trace contexts, by position in the batch."""

    def has(self, unwanted: Unwanted) -> bool:
        """Whether some of them are not wanted."""
        return bool(self.work.unwanted(unwanted, self.first, len(self.bodies)))

    def contexts_here(self) -> Iterator[str]:
        """The trace contexts of just these bodies."""
        stop = self.first + len(self.bodies)
        for position, traceparent in self.contexts.items():
            if self.first <= position < stop:
                yield traceparent


@dataclasses.dataclass(slots=True, eq=False)
class BatchCall:
    """One call of a batch handler."""

    handler: Handler
    parts: list[Part]

    def bodies(self) -> list[Any]:
        """What the handler is called with."""
        return [body for part in self.parts for body in part.bodies]

    def hardest(self) -> LeasedBatch:
        """The batch whose tasks are tried again least often."""
        return min((part.work.batch for part in self.parts), key=lambda batch: batch.retries_left)


@dataclasses.dataclass(slots=True, eq=False)
class BatchRow:
    """Bodies that wait to fill up a call of a batch handler."""

    handler: Handler
    since: float
    parts: deque[Part] = dataclasses.field(default_factory=deque)
    count: int = 0

    def add(self, part: Part) -> None:
        """Bodies of a batch join the row, if there are any."""
        if part.bodies:
            self.parts.append(part)
            self.count += len(part.bodies)

    def due(self) -> float:
        """When the first of them has waited long enough."""
        full = self.count >= self.handler.batch_max
        return self.since if full else self.since + self.handler.batch_wait

    def claim(self, now: float) -> BatchCall:
        """Take what the next call gets out of the row."""
        taken: list[Part] = []
        most = self.handler.batch_max
        while most and self.parts:
            part = self.parts.popleft()
            if len(part.bodies) > most:
                rest = part._replace(first=part.first + most, bodies=part.bodies[most:])
                self.parts.appendleft(rest)
                part = part._replace(bodies=part.bodies[:most])
            taken.append(part)
            most -= len(part.bodies)
            self.count -= len(part.bodies)
        self.since = now
        return BatchCall(self.handler, taken)

    def take_out(self, unwanted: Unwanted) -> list[Part]:
        """Take the parts out of the row in which some are not wanted."""
        taken = [part for part in self.parts if part.has(unwanted)]
        for part in taken:
            self.parts.remove(part)
            self.count -= len(part.bodies)
        return taken

    def keep_but(self, leases: Container[int]) -> bool:
        """Take out all that is of these leases. Says whether anything is left."""
        self.parts = deque(part for part in self.parts if part.work.lease not in leases)
        self.count = sum(len(part.bodies) for part in self.parts)
        return bool(self.parts)

    def give_up(self) -> list[Part]:
        """Take all that nobody has claimed out of the row."""
        parts = list(self.parts)
        self.parts.clear()
        self.count = 0
        return parts


@dataclasses.dataclass(slots=True, eq=False)
class SideTask:
    """A task that runs beside others."""

    handler: Handler
    work: Work
    position: int
    body: Any
    current: Current | None = None
    """What it knows of itself, once it runs."""
    is_cancelled: bool = False
    is_late: bool = False
    """Its soft time-out is over, and it was told so."""
    is_over: bool = False


class SideEnd(NamedTuple):
    """A task that ran beside others is over."""

    task: SideTask
    took_s: float
    value: Any
    error: BaseException | None


class Running(NamedTuple):
    """A task that runs."""

    what: CallRow | SideTask
    position: int
    """In its batch."""


class SideRow:
    """Tasks that run side by side: those that wait, those that run, those that are over.

    ``places`` is how many may run. The event loop's thread claims and ends them without a lock:
    each of the deques changes in one step. Threads claim and end them with the worker's lock.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.waiting: deque[SideTask] = deque()
        self.running: dict[SideTask, float] = {}
        """Since when; the oldest first."""
        self.over: deque[SideEnd] = deque()
        self.open = 0
        """Tasks that were leased and neither settled nor returned. With the worker's lock."""

    def __repr__(self) -> str:
        return f"<SideRow {len(self.waiting)} waiting, {len(self.running)} running>"

    def claim(self, now: float) -> SideTask | None:
        """The next task to run; None if nothing waits, or every place is taken."""
        if len(self.running) >= self.places:
            return None
        try:
            task = self.waiting.popleft()
        except IndexError:
            return None
        self.running[task] = now
        return task

    def end(self, task: SideTask, took_s: float, value: Any, error: BaseException | None) -> None:
        """A task that was claimed is over."""
        task.is_over = True
        self.over.append(SideEnd(task, took_s, value, error))
        del self.running[task]

    def oldest(self) -> tuple[SideTask, float] | None:
        """The task that has run longest, and since when. From any thread."""
        try:
            return next(iter(self.running.items()))
        except (StopIteration, RuntimeError):
            return None  # There is none, or it ended just now.

    def busy_s(self, now: float) -> float:
        """How long those that run have run, as a share of the places. With the worker's lock."""
        return sum(now - since for since in self.running.values()) / max(1, self.places)

    def now_running(self, now: float) -> list[tuple[str, float]]:
        """The task name of each that runs, and for how long it has. From any thread."""
        return [(task.handler.name, now - since) for task, since in self.running.copy().items()]

    def take_out(self, unwanted: Unwanted) -> list[SideTask]:
        """Take tasks out of the row that are not wanted, as far as nobody has claimed them."""
        return self._take(
            task for task in self.waiting.copy() if task.position in task.work.unwanted(unwanted)
        )

    def drop(self, leases: Container[int]) -> None:
        """Take out all that is of these leases, as far as nobody has claimed it."""
        self._take(task for task in self.waiting.copy() if task.work.lease in leases)

    def _take(self, tasks: Iterable[SideTask]) -> list[SideTask]:
        taken = []
        for task in tasks:
            try:
                self.waiting.remove(task)
            except ValueError:
                continue  # It was claimed just now.
            taken.append(task)
        self.open -= len(taken)
        return taken

    def running_of(self, unwanted: Unwanted) -> list[Running]:
        """Those that run and are not wanted. From any thread."""
        return [
            Running(task, task.position)
            for task in list(self.running)
            if task.position in task.work.unwanted(unwanted)
        ]

    def give_up(self, tasks_max: int) -> list[tuple[Work, int, int]]:
        """Take up to so many that nobody has claimed out of the row: the last ones, as runs.

        Returns ``(work, first, tasks)`` each, the last first.
        """
        runs: list[tuple[Work, int, int]] = []
        for _ in range(tasks_max):
            try:
                task = self.waiting.pop()
            except IndexError:
                break
            if runs and runs[-1][0] is task.work and runs[-1][1] == task.position + 1:
                runs[-1] = (task.work, task.position, runs[-1][2] + 1)
            else:
                runs.append((task.work, task.position, 1))
        self.open -= sum(tasks for _, _, tasks in runs)
        return runs
