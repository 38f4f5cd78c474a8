"""A confirmation: the future of a batch that was published."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from ..errors import TimedOut
from .replies import Origin, TaskFuture, void


class Confirmation(Future[None]):
    """Done once the broker has confirmed a batch, durably if it has a store: see
    `Producer.publish`. It cannot be cancelled: the batch is on its way."""

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
