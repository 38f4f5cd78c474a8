"""Running handlers: one after the other, side by side in an event loop, or many bodies at once."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import signal
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from itertools import islice, starmap
from typing import Any

from .errors import TaskTimeout
from .handlers import Handler, to_arguments
from .protocol.worker import LeasedBatch
from .results import Failure


@dataclasses.dataclass(slots=True, eq=False)
class Work:
    """A batch that was leased and not settled, and what is left of its lease."""

    lease: int
    index: int
    offset: int
    """Position of its first task in the lease."""
    batch: LeasedBatch
    left: list[int]
    """Tasks of the lease that are not settled; shared by its batches."""


class Calls:
    """The tasks of one batch, while they run one after the other.

    They are run from one shared iterator, which is also how tasks are claimed: whoever takes
    the next element has it. So the loop that runs a no-op task needs no bookkeeping per task,
    it can be stopped between any two tasks by emptying the iterator, and after an exception it
    goes on where it was.
    """

    def __init__(self, handler: Handler, bodies: list[Any], *, named: bool, keep: bool) -> None:
        function = handler.function
        self.total = len(bodies)
        self.failures: list[Failure] = []
        self.values: list[Any] | None = [] if keep else None
        self.completed = 0
        self.given_up = 0
        """Tasks at the end that were taken out and will not run here."""
        self._bodies: Iterator[Any]
        self._call: Callable[..., Any] = function
        if not named:
            self._bodies = iter(list(zip(bodies, strict=True)))
        elif set(map(type, bodies)) <= {list}:
            self._bodies = iter(bodies)
        else:
            self._bodies = iter(list(zip(bodies, strict=True)))
            self._call = lambda body: _call(function, body)

    @property
    def position(self) -> int:
        """Tasks that have run, or begun to. Exact while nobody gives up tasks."""
        left = self._bodies.__length_hint__()  # type: ignore[attr-defined]
        return self.total - self.given_up - int(left)

    def run(self, count: int) -> None:
        """Run up to so many more tasks. An exception of one of them ends this call early.

        So does a StopIteration, but without a trace, since that is how iterators end: `missing`
        tells afterwards.
        """
        tasks = starmap(self._call, islice(self._bodies, count))
        if self.values is None:
            counter = itertools.count()
            try:
                deque(zip(tasks, counter, strict=False), maxlen=0)
            finally:
                self.completed += next(counter)
        else:
            before = len(self.values)
            try:
                self.values.extend(tasks)
            finally:
                self.completed += len(self.values) - before

    def missing(self, begun: int) -> int:
        """Of so many tasks that have begun, those that neither completed nor failed."""
        return begun - self.completed - len(self.failures)

    def next_task(self) -> Callable[[], Any] | None:
        """Claim one task, to be run by the caller with a clock at hand."""
        for arguments in self._bodies:
            return lambda: self._call(*arguments)
        return None

    def fail(self, position: int, error: BaseException) -> None:
        """The task at a position raised."""
        self.failures.append((position, error))
        if self.values is not None:
            self.values.append(None)

    def give_up(self) -> int:
        """Take all tasks that nobody has begun out of the row. Returns how many."""
        taken = len(list(self._bodies))
        self.given_up += taken
        return taken


def _call(function: Callable[..., Any], body: Any) -> Any:
    args, kwargs = to_arguments(body)
    return function(*args, **kwargs)


@dataclasses.dataclass(slots=True)
class Gathered:
    """Bodies that wait to fill up a call of a batch handler."""

    handler: Handler
    since: float
    parts: list[tuple[Work, int, list[Any]]] = dataclasses.field(default_factory=list)
    """``(work, position of the first, bodies)``"""
    bodies: int = 0

    @property
    def due(self) -> float:
        """When they have waited long enough."""
        return self.since + self.handler.batch_wait

    def add(self, work: Work, bodies: list[Any]) -> None:
        """The bodies of a batch join the row."""
        self.parts.append((work, 0, bodies))
        self.bodies += len(bodies)

    def cut(self) -> list[tuple[Work, int, list[Any]]]:
        """Remove what the next call gets."""
        taken: list[tuple[Work, int, list[Any]]] = []
        most = self.handler.batch_max
        while most and self.parts:
            work, first, bodies = self.parts.pop(0)
            if len(bodies) > most:
                self.parts.insert(0, (work, first + most, bodies[most:]))
                bodies = bodies[:most]
            taken.append((work, first, bodies))
            most -= len(bodies)
            self.bodies -= len(bodies)
        return taken


class Loop:
    """A thread with an event loop, for ``async`` handlers."""

    def __init__(self, concurrency: int, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(concurrency)
        self._tasks: set[asyncio.Task[None]] = set()
        self.running = 0
        """Tasks started and not settled; counted by whoever has the worker's lock."""
        self.done: deque[tuple[Work, int, Any, BaseException | None]] = deque()
        """``(work, position, value, error)`` of tasks that are over."""
        threading.Thread(target=self._loop.run_forever, name="zqueue-loop", daemon=True).start()

    def start(self, handler: Handler, work: Work, bodies: list[Any]) -> None:
        """Run the tasks of a batch side by side."""
        self.running += len(bodies)
        self._loop.call_soon_threadsafe(self._start, handler, work, bodies)

    def call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run one coroutine and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _start(self, handler: Handler, work: Work, bodies: list[Any]) -> None:
        for position, body in enumerate(bodies):
            task = self._loop.create_task(self._run(handler, work, position, body))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, handler: Handler, work: Work, position: int, body: Any) -> None:
        value: Any = None
        failure: BaseException | None = None
        try:
            async with self._slots:
                if work.batch.task:
                    args, kwargs = to_arguments(body)
                else:
                    args, kwargs = [body], {}
                limit_s = handler.soft_timeout or handler.timeout
                async with asyncio.timeout(limit_s) as limit:
                    value = await handler.function(*args, **kwargs)
        except TimeoutError as error:
            failure = error
            if limit.expired():
                failure = TaskTimeout(text=f"ran longer than {limit_s:g} s")
        except BaseException as error:
            failure = error
        self.done.append((work, position, value, failure))
        self._wake()


def call_with_alarm(task: Callable[[], Any], limit_s: float) -> Any:
    """Call something in the main thread, raising `TaskTimeout` inside it after a while."""
    running = True

    def ring(number: int, frame: object) -> None:
        if running:
            raise TaskTimeout(text=f"ran longer than {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        value = task()
        running = False
        return value
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def call_in_time(handler: Handler, bodies: list[Any]) -> None:
    """Call an ``async`` batch handler, raising `TaskTimeout` when it runs too long."""
    limit_s = handler.soft_timeout or handler.timeout
    try:
        async with asyncio.timeout(limit_s) as limit:
            await handler.function(bodies)
    except TimeoutError:
        if limit.expired():
            raise TaskTimeout(text=f"ran longer than {limit_s:g} s") from None
        raise
