"""Replies: where the results of a batch go, and who waits for them."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError
from time import monotonic
from typing import Any, Protocol, TypeVar

from ..current import current
from ..errors import TimedOut
from ..seconds import check_seconds
from ..wire.messages import CANCELLED
from ..wire.results import unpack_outcomes
from .earlier import task_id
from .mailbox import wait_in_loop
from .questions import Cancellation

logger = logging.getLogger(__name__)

NESTED_S = 1.0
"""A handler that waits for a result this long may be waiting for itself: its worker runs nothing
else meanwhile. Longer than the tasks that one would wait for."""

CANCEL_S = 1.0
"""How long `TaskFuture.cancel` waits for the broker's answer."""

T = TypeVar("T")


class Origin(Protocol):
    """Where a task was sent from: its lane."""

    @property
    def queue(self) -> Any:
        """Where it waits."""

    @property
    def task(self) -> Any:
        """Its name; empty for the queue's only handler."""

    def step_aside(self) -> None:
        """The calling thread is about to wait for a result: see `Exchange.step_aside`."""

    def cancel(self, futures: list[TaskFuture[Any]], running: bool, seconds: float) -> Cancellation:
        """See `Exchange.cancel`."""


def wait_for_result(
    wait: Callable[[float | None], bool], origin: Origin | None, timeout: float | None
) -> None:
    """Wait until ``wait``, which is given seconds or None, says that the result is there.

    Warns where a handler waits for another task. Raises `TimedOut`, or `ConfigError`.
    """
    seconds = math.inf if timeout is None else check_seconds(timeout, "timeout")
    if origin is not None and seconds:
        origin.step_aside()
    if wait(min(seconds, NESTED_S)):
        return
    if seconds > NESTED_S:
        _warn_if_nested(origin)
        rest = seconds - NESTED_S
        if wait(rest if rest < threading.TIMEOUT_MAX else None):
            return
    raise no_result(origin, seconds)


def no_result(origin: Origin | None, seconds: float) -> TimedOut:
    """The error if there is no result within so many seconds."""
    hint = "" if origin is None else ": 'zqueue info' shows that queue's tasks and workers"
    return TimedOut(f"no result within {seconds:g} s of {_name_of(origin)}{hint}")


def _name_of(origin: Origin | None) -> str:
    if origin is None:
        return "a task"
    task = f"task {origin.task!r}" if origin.task else "a body"
    return f"{task} in queue {origin.queue!r}"


def _warn_if_nested(origin: Origin | None) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    waiting = current()
    if waiting.task:
        logger.warning(
            "task %r has waited %g s for the result of %s, and its worker runs nothing else "
            "meanwhile: if all workers wait like this, nobody runs it. Make %r an async task, or "
            "let other workers serve that queue",
            waiting.task, NESTED_S, _name_of(origin), waiting.task,
        )  # fmt: skip


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Reply:
    """Where the results of one batch go.

    Runs of tasks arrive in any order, from one thread at a time. A task that another broker ran
    again may have two results: the first one counts.
    """

    runs_no_callbacks = False
    """Whether what is told here is only noted: none of the user's code runs."""

    def take(self, first: int, tasks: int, status: int, frame: bytes, *, last: bool) -> None:
        """Some tasks are over; with ``last``, all are."""
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """Whatever has no result yet will get none."""
        raise NotImplementedError

    def progress(self, position: int, done: int, total: int) -> None:
        """A task has come so far."""

    def numbered(self, origin: int, sequence: int) -> None:
        """The batch is on its way, and these make the ids of its tasks."""

    def forked(self, error: Exception) -> None:
        """`fail` in a child process, where the threads are gone that held locks or waited."""
        raise NotImplementedError


class TaskFuture(Future[T]):
    """A future that also knows how far its task has come."""

    def __init__(self, origin: Origin | None = None) -> None:
        super().__init__()
        self._origin = origin
        """The lane that it was sent by."""
        # Any beside it: a callback for progress need not ask whether it is None.
        self.progress: tuple[int, int] | Any = None
        """``(done, total)`` as its handler said last (`Current.progress`); None if it said
        nothing. A total of 0 is not known."""
        self._progress_callbacks: list[Callable[[TaskFuture[T]], object]] = []
        self.place: tuple[int, int, int] | None = None
        """What `id` is made of: origin, batch, and position in it."""

    @property
    def id(self) -> str | None:
        """The task's id, as `Current.id` in its handler. None until its batch is on its way: that
        is at once if no batch of that queue and task is unconfirmed, and by `Producer.flush`."""
        return None if self.place is None else task_id(*self.place)

    def cancel(self, *, running: bool = False) -> bool:
        """Let the task not run, if no worker has it yet. Returns whether it is cancelled.

        Asks the broker, and waits for the answer, one second at most; not at all where it would
        hold up an event loop of asyncio. If it is False, the task may still be cancelled, if the
        answer comes later: the future says so in the end.

        Parameters:
            running: if a worker has it, end it there: see `Cancelled`.
        """
        if not self.done() and self._origin is not None:
            self._origin.cancel([self], running, 0.0 if _is_in_event_loop() else CANCEL_S)
        return self.cancelled()

    def set_cancelled(self) -> None:
        """Called by whoever heard that it will not run, or was ended."""
        with self._condition:
            if self.done():
                return
            self._state = "CANCELLED_AND_NOTIFIED"
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]

    def result(self, timeout: float | None = None) -> T:
        """The task's result, once it is there.

        Parameters:
            timeout: seconds to wait at most; None waits as long as it takes.

        Raises:
            TimedOut: there is none within the time.
            CancelledError: it was cancelled.
            RemoteError, ResultLost, Refused, Closed: there will be none.
        """
        if not self.done():
            wait_for_result(self._is_done_in, self._origin, timeout)
        return super().result()

    def __await__(self) -> Generator[Any, None, T]:
        """The task's result, in a loop of asyncio. Cancelling the await cancels the task, unless a
        worker has it."""
        return wait_in_loop(self)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The task's error, or None if it has none, once it is over. Waits as `result` does."""
        if not self.done():
            wait_for_result(self._is_done_in, self._origin, timeout)
        return super().exception()

    def _is_done_in(self, seconds: float | None) -> bool:
        try:
            super().exception(seconds)
        except TimeoutError:
            return self.done()
        return True

    def add_progress_callback(self, function: Callable[[TaskFuture[T]], object]) -> None:
        """Call ``function(future)`` whenever there is news, in the thread that gives out results;
        and at once, in this one, if there has been some. What it raises is logged."""
        with self._condition:
            self._progress_callbacks.append(function)
            is_late = self.progress is not None
        if is_late:
            self._tell(function)

    def set_progress(self, done: int, total: int) -> None:
        """Called by whoever heard of it."""
        with self._condition:
            self.progress = (done, total)
            functions = list(self._progress_callbacks)
        for function in functions:
            self._tell(function)

    def _tell(self, function: Callable[[TaskFuture[T]], object]) -> None:
        try:
            function(self)
        except Exception:
            logger.exception("a callback for the progress of a task failed")

    def forked(self, error: Exception) -> None:
        """In a child process: nobody here will set a result, or is waiting.

        Callbacks are not called: they are the parent's business, where the result still comes.
        """
        void(self)
        if not self.done():
            self.set_exception(error)


def void(future: Future[Any]) -> None:
    """In a child process: nobody holds a future's lock, waits for it or wants to be called."""
    future._condition = threading.Condition()
    future._waiters = []
    future._done_callbacks = []  # type: ignore[attr-defined]


def cancel_futures(futures: list[TaskFuture[Any]], running: bool, seconds: float) -> Cancellation:
    """Cancel the tasks of futures, those of one lane together, within so many seconds."""
    deadline = monotonic() + seconds
    counts, by_origin = Cancellation(), dict[Origin, list[TaskFuture[Any]]]()
    for future in futures:
        if future._origin is None:
            counts = counts.plus(Cancellation(unknown=1))
        else:
            by_origin.setdefault(future._origin, []).append(future)
    for origin, theirs in by_origin.items():
        left = 0.0 if _is_in_event_loop() else max(0.0, deadline - monotonic())
        counts = counts.plus(origin.cancel(theirs, running, left))
    return counts


class FutureReply(Reply):
    """A future for each task."""

    def __init__(self, futures: list[TaskFuture[Any]]) -> None:
        self._futures = futures

    def progress(self, position: int, done: int, total: int) -> None:
        if position < len(self._futures) and not self._futures[position].done():
            self._futures[position].set_progress(done, total)

    def numbered(self, origin: int, sequence: int) -> None:
        for position, future in enumerate(self._futures):
            future.place = (origin, sequence, position)

    def take(self, first: int, tasks: int, status: int, frame: bytes, *, last: bool) -> None:
        run = self._futures[first : first + tasks]
        for future, (ok, value) in zip(run, unpack_outcomes(status, tasks, frame), strict=False):
            if future.done():
                continue
            try:
                if status == CANCELLED:
                    future.set_cancelled()
                elif ok:
                    future.set_result(value)
                else:
                    future.set_exception(value)
            except InvalidStateError:
                pass  # Another thread has just heard that it is cancelled.

    def fail(self, error: Exception) -> None:
        for future in self._futures:
            if not future.done():
                future.set_exception(error)

    def forked(self, error: Exception) -> None:
        for future in self._futures:
            future.forked(error)


class SharedReply(Reply):
    """The replies of two batches of one task each, which has the result of the first."""

    def __init__(self, first: Reply, second: Reply) -> None:
        self._both = (first, second)
        self.runs_no_callbacks = first.runs_no_callbacks and second.runs_no_callbacks

    def progress(self, position: int, done: int, total: int) -> None:
        for reply in self._both:
            reply.progress(position, done, total)

    def take(self, first: int, tasks: int, status: int, frame: bytes, *, last: bool) -> None:
        for reply in self._both:
            reply.take(first, tasks, status, frame, last=last)

    def fail(self, error: Exception) -> None:
        for reply in self._both:
            reply.fail(error)

    def forked(self, error: Exception) -> None:
        for reply in self._both:
            reply.forked(error)
