"""Failures of tasks in a worker's log: told in full as long as they are few."""

from __future__ import annotations

import logging
from time import monotonic

from .current import Current
from .errors import ProtocolError, UnknownTask
from .protocol.worker import LeasedBatch
from .results import error_text

logger = logging.getLogger(__name__)

LOGGED_FAILURES = 10
"""Tracebacks logged in one second; further failures are counted in one line."""


class FailureLog:
    """Logs what nobody else is told of."""

    def __init__(self) -> None:
        self._logged = 0
        self._since = 0.0

    def add(
        self, batch: LeasedBatch, error: BaseException, tasks: int, task: Current | None = None
    ) -> None:
        """So many tasks of a batch failed; ``task`` is the one, if it is known."""
        if batch.reply:
            return  # The submitter gets it.
        now = monotonic()
        if now - self._since >= 1.0:
            if self._logged > LOGGED_FAILURES:
                logger.error("%d more tasks failed", self._logged - LOGGED_FAILURES)
            self._logged, self._since = 0, now
        self._logged += 1
        if self._logged <= LOGGED_FAILURES:
            ours = isinstance(error, ProtocolError | UnknownTask)
            logger.error(
                "%d of task %r in queue %r failed (attempt %d): %s: %s",
                tasks,
                batch.task or "-",
                batch.queue,
                batch.attempt,
                type(error).__name__,
                error_text(error),
                exc_info=None if ours else error,
                extra={"current": task},
            )
