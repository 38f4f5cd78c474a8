"""Running handlers otherwise than one after the other: side by side in an event loop, many bodies
at once, or with a clock at hand. (One after the other: see `calls`.)"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from .errors import TaskTimeout
from .handlers import Handler, to_arguments
from .protocol.worker import LeasedBatch


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
    sent_at: float = 0.0
    """When the oldest of its tasks was sent, by this process's clock, but for the time on the
    network."""


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
        self.done: deque[tuple[Handler, Work, int, float, Any, BaseException | None]] = deque()
        """``(handler, work, position, seconds, value, error)`` of tasks that are over."""
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
        began = monotonic()
        try:
            async with self._slots:
                began = monotonic()
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
        self.done.append((handler, work, position, monotonic() - began, value, failure))
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
