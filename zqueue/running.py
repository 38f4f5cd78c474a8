"""Running handlers otherwise than one after the other: side by side in an event loop, many bodies
at once, or with a clock at hand. (One after the other: see `calls`.)"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import signal
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic
from typing import Any, NamedTuple

from .current import Current, in_loop
from .errors import TaskTimeout
from .handlers import Handler, to_arguments
from .protocol.traced import untraced
from .protocol.worker import LeasedBatch
from .tracing import Tracer

TellProgress = Callable[["Work", int, int, int], None]
"""Tells how far a task has come: its batch, its position there, steps done, steps in all."""


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
    contexts: dict[int, str] = dataclasses.field(default_factory=dict)
    """Trace contexts of bodies for a batch handler, by position."""

    @property
    def kind(self) -> tuple[str, str]:
        """What tasks these are."""
        return self.batch.queue, self.batch.task

    def contexts_of(self, first: int, tasks: int) -> Iterator[str]:
        """Those of some tasks."""
        for position, traceparent in self.contexts.items():
            if first <= position < first + tasks:
                yield traceparent


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


class Done(NamedTuple):
    """A task of the event loop that is over."""

    handler: Handler
    work: Work
    position: int
    current: Current | None
    took_s: float
    value: Any
    error: BaseException | None


class Loop:
    """A thread with an event loop, for ``async`` handlers."""

    def __init__(
        self,
        concurrency: int,
        wake: Callable[[], None],
        tell: TellProgress,
        tracer: Tracer | None,
    ) -> None:
        self._wake = wake
        self._tell = tell
        self._tracer = tracer
        self._currents: dict[Current, float] = {}
        """What runs, and since when; the oldest first."""
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(concurrency)
        self._tasks: set[asyncio.Task[None]] = set()
        self.running = 0
        """Tasks started and not settled; counted by whoever has the worker's lock."""
        self.done: deque[Done] = deque()
        """Tasks that are over."""
        threading.Thread(target=self._loop.run_forever, name="zqueue-loop", daemon=True).start()

    def oldest(self) -> tuple[float, Current] | None:
        """What has run longest, and since when. From any thread."""
        try:
            current = next(iter(self._currents))
            return self._currents[current], current
        except (StopIteration, KeyError, RuntimeError):
            return None  # There is none, or it ended just now.

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
        limit_s = handler.soft_timeout or handler.timeout
        limit = asyncio.timeout(limit_s)
        current: Current | None = None
        try:
            body, traceparent = untraced(body)
            current = current_of(handler, work, position, traceparent, self._tell)
            async with self._slots:
                began = self._currents[current] = monotonic()
                in_loop.set(current)
                args, kwargs = to_arguments(body) if work.batch.task else ([body], {})
                with self._span(current, began - work.sent_at):
                    async with limit:
                        value = await handler.function(*args, **kwargs)
        except TimeoutError as error:
            failure = error
            if limit.expired():
                failure = TaskTimeout(text=f"ran longer than {limit_s:g} s")
        except BaseException as error:
            failure = error
        finally:
            if current is not None:
                self._currents.pop(current, None)
        took_s = monotonic() - began
        self.done.append(Done(handler, work, position, current, took_s, value, failure))
        self._wake()

    def _span(self, current: Current, waited_s: float) -> AbstractContextManager[object]:
        return nullcontext() if self._tracer is None else self._tracer.run(current, waited_s)


def current_of(
    handler: Handler, work: Work, position: int, traceparent: str, tell: TellProgress
) -> Current:
    """What is to be known of the task at a position of a batch."""
    batch = work.batch
    task_id = ""  # An earlier broker does not say which tasks these are.
    if batch.sequence:
        task_id = f"{batch.origin:012x}-{batch.sequence}-{batch.first + position}"
    return Current(
        handler.name,
        batch.queue,
        task_id,
        batch.attempt,
        traceparent,
        functools.partial(tell, work, position),
    )


RING_AGAIN_S = 0.001

_is_shielded = False


@contextmanager
def shielded() -> Iterator[None]:
    """No alarm rings in here; it rings afterwards. For the main thread."""
    global _is_shielded
    before, _is_shielded = _is_shielded, True
    try:
        yield
    finally:
        _is_shielded = before


def call_with_alarm(task: Callable[[], Any], limit_s: float) -> Any:
    """Call something in the main thread, raising `TaskTimeout` inside it after a while."""
    running = True

    def ring(number: int, frame: object) -> None:
        if _is_shielded:
            signal.setitimer(signal.ITIMER_REAL, RING_AGAIN_S)
        elif running:
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


async def call_in_time(handler: Handler, bodies: list[Any], current: Current) -> None:
    """Call an ``async`` batch handler, raising `TaskTimeout` when it runs too long."""
    in_loop.set(current)
    limit_s = handler.soft_timeout or handler.timeout
    try:
        async with asyncio.timeout(limit_s) as limit:
            await handler.function(bodies)
    except TimeoutError:
        if limit.expired():
            raise TaskTimeout(text=f"ran longer than {limit_s:g} s") from None
        raise
