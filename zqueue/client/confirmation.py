"""A confirmation: the future of a batch that was published."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future
from typing import Any, Protocol

from ..errors import TimedOut, ZQueueError
from .mailbox import wait_in_loop
from .replies import FutureReply, Origin, Reply, TaskFuture, void


class Promise(Protocol):
    """Who waits for the confirm of a batch."""

    runs_no_callbacks: bool
    """As `Reply.runs_no_callbacks`."""

    def reply(self) -> Reply | None:
        """Where results go; None if they are not wanted."""

    def numbered(self, origin: int, sequence: int) -> None:
        """The batch is on its way, and these make the ids of its tasks."""

    def end(self, error: ZQueueError | None = None) -> None:
        """It is confirmed, or will not be."""

    def forked(self, error: Exception) -> None:
        """`end` in a child process, where the threads are gone that held locks or waited."""


class Confirmation(Future[None]):
    """Done once the broker has confirmed a batch, durably if it has a store: see
    `Producer.publish`. It cannot be cancelled: the batch is on its way."""

    runs_no_callbacks = False

    def __init__(self, origin: Origin, tasks: list[TaskFuture[Any]]) -> None:
        super().__init__()
        self._origin = origin
        self.tasks = tasks
        """A future of each task's result, in the order of the bodies, if results are wanted."""

    def cancel(self) -> bool:
        """Does nothing, and returns False: cancel its tasks (`App.cancel`)."""
        return False

    def result(self, timeout: float | None = None) -> None:
        """Return once the batch is confirmed.

        Parameters:
            timeout: seconds to wait at most; None waits as long as it takes.

        Raises:
            TimedOut: it is not confirmed within the time.
            QueueFull, Refused, BrokerLost, Closed: it will not be, see `Producer.publish`.
        """
        self._wait(timeout)
        super().result()

    def __await__(self) -> Generator[Any, None, None]:
        """Return once the batch is confirmed, in a loop of asyncio. Raises as `result` does."""
        return wait_in_loop(self)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Why it is not confirmed, or None if it is. Waits as `result` does."""
        self._wait(timeout)
        return super().exception()

    def _wait(self, timeout: float | None) -> None:
        if self.done():
            return
        self._origin.step_aside()
        try:
            super().exception(timeout)
        except TimeoutError:
            if not self.done():
                raise TimedOut(f"not confirmed within {timeout:g} s") from None

    def reply(self) -> Reply | None:
        """Called by whoever sends it."""
        return FutureReply(self.tasks) if self.tasks else None

    def numbered(self, origin: int, sequence: int) -> None:
        """Called by whoever sent it."""

    def end(self, error: Exception | None = None) -> None:
        """Called by whoever heard of it: confirmed, or not. The first word counts."""
        if self.done():
            return
        if error is None:
            self.set_result(None)
        else:
            self.set_exception(error)

    def forked(self, error: Exception) -> None:
        """`end` in a child process, where the threads are gone that held its lock or waited."""
        void(self)
        self.end(error)
