"""Forks inside a handler: the child is not a worker.

It inherits the worker's thread that is in the midst of a task, and no other. Where that child ends
by itself, as those of `multiprocessing` do, only signal handlers are in its way. Where it returns
from the handler, as after a bare ``os.fork()``, it must end there: its sockets belong to its
parent, and so do the tasks that come next.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Never


class Forks:
    """Sets up the children of this process, while its worker lives."""

    def __init__(self, abandon: Callable[[], None]) -> None:
        self._abandon: Callable[[], None] | None = abandon
        self._held = threading.local()
        """The mask of signals before a fork, of each thread that forks."""
        self.is_child = False
        """Whether this is a child."""
        os.register_at_fork(
            before=self._hold, after_in_parent=self._let_go, after_in_child=self._begin_child
        )

    def end(self) -> None:
        """The worker has left. (What is registered at forks stays so.)"""
        self._abandon = None

    def _hold(self) -> None:
        """Until a child has its own signal handlers, SIGTERM waits: it would come to the worker's,
        and Python forgets what came while it forked."""
        if self._abandon is not None:
            self._held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def _let_go(self) -> None:
        mask: set[int] | None = getattr(self._held, "mask", None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._held.mask = None

    def _begin_child(self) -> None:
        if self._abandon is None:
            self._let_go()
            return
        self.is_child = True
        self._abandon()
        signal.set_wakeup_fd(-1)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._let_go()

    def end_child(self, error: BaseException | None = None) -> Never:
        """The handler has returned in a child, or has raised. Ends it as Python ends a program."""
        code = 0
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            if isinstance(error.code, str):
                print(error.code, file=sys.stderr)
        elif error is not None:
            traceback.print_exception(error)
            code = 1
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass  # It is closed, or nobody reads it.
        os._exit(code & 0xFF)
