"""Replies: where the results of a submitted batch go, and who waits for them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from .results import Outcome, unpack_outcomes

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Reply:
    """Where the results of one batch go.

    Runs of tasks arrive in any order, from one thread at a time. A task that another broker ran
    again may have two results: the first one counts.
    """

    def take(self, first: int, tasks: int, status: int, frame: bytes, *, last: bool) -> None:
        """Some tasks are over; with ``last``, all are."""
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """Whatever has no result yet will get none."""
        raise NotImplementedError

    def progress(self, position: int, done: int, total: int) -> None:
        """A task has come so far."""


class TaskFuture(Future[T]):
    """A future that also knows how far its task has come."""

    def __init__(self) -> None:
        super().__init__()
        self.progress: tuple[int, int] | None = None
        """``(done, total)`` as its handler said last (`Current.progress`); None if it said
        nothing. A total of 0 is not known."""
        self._progress_callbacks: list[Callable[[TaskFuture[T]], object]] = []

    def add_progress_callback(self, function: Callable[[TaskFuture[T]], object]) -> None:
        """Call ``function(future)`` whenever there is news, in the thread that gives out results.
        What it raises is logged."""
        self._progress_callbacks.append(function)

    def set_progress(self, done: int, total: int) -> None:
        """Called by whoever heard of it."""
        self.progress = (done, total)
        for function in list(self._progress_callbacks):
            try:
                function(self)
            except Exception:
                logger.exception("a callback for the progress of a task failed")


class FutureReply(Reply):
    """A future for each task."""

    def __init__(self, futures: list[TaskFuture[Any]]) -> None:
        self._futures = futures

    def progress(self, position: int, done: int, total: int) -> None:
        if position < len(self._futures) and not self._futures[position].done():
            self._futures[position].set_progress(done, total)

    def take(self, first: int, tasks: int, status: int, frame: bytes, *, last: bool) -> None:
        run = self._futures[first : first + tasks]
        for future, (ok, value) in zip(run, unpack_outcomes(status, tasks, frame), strict=False):
            if future.done():
                continue
            if ok:
                future.set_result(value)
            else:
                future.set_exception(value)

    def fail(self, error: Exception) -> None:
        for future in self._futures:
            if not future.done():
                future.set_exception(error)


class BatchReply(Reply):
    """All outcomes of a batch, kept packed until somebody wants them."""

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks
        self._runs: list[tuple[int, int, int, bytes]] = []
        self._error: Exception | None = None
        self._done = threading.Event()

    def take(self, first: int, tasks: int, status: int, frame: bytes, *, last: bool) -> None:
        self._runs.append((first, tasks, status, frame))
        if last:
            self._done.set()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._done.set()

    def wait(self) -> list[Outcome]:
        """The outcomes in order, once all are there."""
        self._done.wait()
        outcomes: list[Outcome] = [(False, self._error)] * self._tasks
        for first, tasks, status, frame in reversed(self._runs):
            outcomes[first : first + tasks] = unpack_outcomes(status, tasks, frame)
        return outcomes
