"""Which producers are open in this process: they are flushed at its end, and void after a fork."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import multiprocessing.util
import os
from time import monotonic
from typing import Protocol

from ..errors import ZQueueError

logger = logging.getLogger(__name__)

EXIT_S = 30.0
"""How long the end of a program waits for confirms at most, seconds, however long a call waits."""


class Exchange(Protocol):
    """What is open."""

    def deadline(self, timeout: float | None) -> float:
        """When a call is to end."""

    def close(self, deadline: float) -> None:
        """Flush and leave."""

    def forked(self) -> None:
        """Here is a child process."""


_open: dict[Exchange, None] = {}
_finalizing_in: list[int] = []
"""The process that has been told to flush at its end, beside what `atexit` does."""


def add(exchange: Exchange) -> None:
    """It is open from now on."""
    _open[exchange] = None
    if multiprocessing.parent_process() is not None and _finalizing_in != [os.getpid()]:
        # Such a process leaves without running what is registered with atexit.
        _finalizing_in[:] = [os.getpid()]
        multiprocessing.util.Finalize(None, _flush_at_exit, exitpriority=0)


def discard(exchange: Exchange) -> None:
    """It is closed."""
    _open.pop(exchange, None)


def _flush_at_exit() -> None:
    """Nothing that was accepted is lost without a word."""
    for exchange in list(_open):
        try:
            exchange.close(min(exchange.deadline(None), monotonic() + EXIT_S))
        except ZQueueError as error:
            logger.error("at exit: %s", error)


def _void_after_fork() -> None:
    for exchange in list(_open):
        exchange.forked()
    _open.clear()


atexit.register(_flush_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_void_after_fork)
