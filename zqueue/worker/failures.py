"""Failures of tasks in a worker's log: told in full as long as they are few."""

from __future__ import annotations

import logging
from time import monotonic

from ..current import Current
from ..errors import Cancelled, ProtocolError, Retry, UnknownTask
from ..handlers import Handler
from ..wire.results import error_text, frames_of
from .leases import LeasedBatch

logger = logging.getLogger(__name__)

LOGGED_FAILURES = 10
"""Lines of each kind in one second; further failures are counted in one line."""


class _Kind:
    """Failures that are told alike."""

    def __init__(self, level: int, what: str, when: str) -> None:
        self.level = level
        self.what = what
        self.when = when
        self._lines = self._untold = 0
        self._since = float("-inf")

    def admits(self, tasks: int, now: float) -> bool:
        """Whether there is a line for so many more tasks; if not, they are counted."""
        if now - self._since >= 1.0:
            if self._untold:
                logger.log(self.level, "%d more tasks %s", self._untold, self.what)
            self._lines, self._untold, self._since = 0, 0, now
        if self._lines >= LOGGED_FAILURES:
            self._untold += tasks
            return False
        self._lines += 1
        return True


class FailureLog:
    """Logs what nobody else is told of.

    A task that is tried again is one line, with a traceback only where the level is DEBUG; one that
    is not is an error with its traceback.
    """

    def __init__(self) -> None:
        self._asked = _Kind(logging.INFO, "asked for another attempt", "attempt %d")
        self._again = _Kind(logging.WARNING, "failed", "attempt %d, will be tried again")
        self._final = _Kind(logging.ERROR, "failed", "attempt %d")

    def add(
        self,
        batch: LeasedBatch,
        error: BaseException,
        tasks: int,
        handler: Handler | None = None,
        task: Current | None = None,
    ) -> None:
        """So many tasks of a batch failed in a handler; ``task`` is the one, if it is known."""
        if isinstance(error, Cancelled):
            return  # Nobody wanted it.
        is_again = (
            handler is not None and batch.retries_left > 0 and handler.retry_ms(error) is not None
        )
        if batch.reply and not is_again:
            return  # The submitter gets it.
        kind = self._final
        if is_again:
            kind = self._asked if isinstance(error, Retry) else self._again
        if kind.admits(tasks, monotonic()):
            ours = isinstance(error, ProtocolError | UnknownTask)
            is_traced = kind is self._final or logger.isEnabledFor(logging.DEBUG)
            logger.log(
                kind.level,
                f"%d of task %r in queue %r {kind.what} ({kind.when}): %s: %s",
                tasks,
                batch.task or "-",
                batch.queue,
                batch.attempt,
                type(error).__name__,
                error_text(error),
                exc_info=(type(error), error, frames_of(error)) if is_traced and not ours else None,
                extra={"current": task},
            )
