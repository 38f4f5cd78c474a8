"""Replies: where the results of a submitted batch go, and who waits for them."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from .results import Outcome, unpack_outcomes


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


class FutureReply(Reply):
    """A future for each task."""

    def __init__(self, futures: list[Future[Any]]) -> None:
        self._futures = futures

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
