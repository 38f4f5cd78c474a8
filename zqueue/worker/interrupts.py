"""Interrupts: an exception that is raised in a handler which runs in a thread, and nowhere else.

Python raises an exception in another thread when it is asked to (`PyThreadState_SetAsyncExc`), but
only at that thread's next step in Python, wherever that is by then. So a call is *open* for them or
not. Whoever asks says first that it is about to, and looks then whether the call is open; the
thread closes the call first, and waits then for whoever is about to. What has been asked for and
has not arrived is taken back. A call that waits in C hears of it when it returns.

All who ask hold the worker's lock: there is one at a time.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

PAUSE_S = 0.0001
"""Who asks is about to do so for some steps of Python."""

_here = threading.local()

_nobody_s = threading.Lock()
_nobody_s.acquire()
"""A lock that is never released: to wait for it is to let others run, and leaves no state."""


class Interrupts:
    """What is asked of one thread."""

    def __init__(self) -> None:
        self._thread = 0
        self._called: object = None
        """What the call is for."""
        self._wanted: tuple[object, type[BaseException]] | None = None
        """What to raise, and in the call for what."""
        self._is_open = self._is_asking = self._was_asked = False

    def call(self, key: object, function: Callable[[], Any]) -> Any:
        """Call it in this thread; what is wanted for ``key`` meanwhile is raised in it."""
        self._thread = threading.get_ident()
        _here.interrupts = self
        value, error = None, None
        self._called = key
        try:
            self._is_open = True
            value = function()
        except BaseException as raised:
            error = raised
        # Between here and the next line is no step at which anything is raised.
        self._is_open = False
        try:
            self._take_back()
        except BaseException:
            pass  # It arrived now, and the function had returned.
        self._called = None
        if error is not None:
            raise error
        return value

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Nothing is raised in here. For the thread, in a call."""
        was_open, self._is_open = self._is_open, False
        try:
            self._take_back()
            yield
        finally:
            self._is_open = was_open

    def _take_back(self) -> None:
        while self._is_asking:
            _nobody_s.acquire(timeout=PAUSE_S)
        if self._was_asked:
            self._was_asked = False
            _raise_in(self._thread, None)

    def want(self, key: object, error: type[BaseException]) -> None:
        """Raise this in the call for ``key``, if that is what the thread does."""
        if self._called is key:
            self._wanted = key, error
            self.look()

    def look(self) -> None:
        """Raise what is wanted, as soon as that can be done: call it often."""
        if self._wanted is None:
            return
        key, error = self._wanted
        self._is_asking = True
        if self._called is not key:
            self._wanted = None
        elif self._is_open and not self._is_finalizing():
            self._was_asked, self._wanted = True, None
            _raise_in(self._thread, error)
        self._is_asking = False

    def _is_finalizing(self) -> bool:
        """Whether the thread is in a finalizer: Python swallows what is raised there."""
        frame = sys._current_frames().get(self._thread)
        while frame is not None:
            if frame.f_code.co_name == "__del__":
                return True
            frame = frame.f_back
        return False


def shielded() -> AbstractContextManager[None]:
    """Nothing is raised in here, if this thread runs a handler."""
    interrupts: Interrupts | None = getattr(_here, "interrupts", None)
    return nullcontext() if interrupts is None else interrupts.shielded()


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Ask the interpreter to raise an exception in a thread; None takes back what has not been."""
    exception = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), exception)
