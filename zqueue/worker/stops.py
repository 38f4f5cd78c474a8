"""Stops: tasks that were cancelled while they run, until they have ended.

A handler in the main thread is interrupted by a signal, whose handler raises `Cancelled` in it: so
it gets out of whatever waits, too. It is raised once, and only where the handler is at work: what
runs around it has to end as it began. A coroutine is cancelled in its loop. Whoever goes on for a
grace time all the same is shown to the supervisor, which ends the process. In other threads than
the main one `interrupts` raises it.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

from ..errors import Cancelled
from . import alarm, calling
from .calling import Caller
from .loop import Loop
from .slot import Slot
from .threads import Threads
from .work import CallRow, Running

SIGNAL = signal.SIGURG
"""Nobody else sends it, and where nobody handles it nothing happens."""

CALLERS = frozenset({"zqueue.worker.loops", "zqueue.worker.calls"})
CALLING = frozenset({
    alarm.call_with_alarm.__code__, calling.Caller.run_plain.__code__,
    calling.Caller.run_timed.__code__,
})  # fmt: skip
"""The files and functions of ours that call handlers of the main thread."""


def is_in_handler(frame: FrameType | None) -> bool:
    """Whether the main thread, which is at this frame, runs a handler, and may be interrupted."""
    callee: FrameType | None = None
    while frame is not None:
        name = _module(frame)
        if name.startswith("zqueue.worker."):
            ours = name in CALLERS or frame.f_code in CALLING
            return ours and callee is not None and not _is_ours(callee)
        if frame.f_code.co_name == "__del__":
            return False  # Python swallows what is raised there.
        callee, frame = frame, frame.f_back
    return False


def _is_ours(frame: FrameType) -> bool:
    """Whether this was called beside a handler, to prepare it or to see to what it gave."""
    name = _module(frame)
    return name.startswith("zqueue.") or name == "signal"


def _module(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name


class Stops:
    """What is to end. All but the signal handler is called with the worker's lock."""

    def __init__(
        self,
        slot: Slot,
        caller: Caller,
        loop: Loop | None,
        threads: Threads | None,
        grace_s: float,
    ) -> None:
        self._slot = slot
        self._caller = caller
        self._loop = loop
        self._threads = threads
        self._grace_s = grace_s
        self._until: dict[Running, float] = {}
        """When the process is to be ended if that task has not."""
        self._to_raise: Running | None = None
        """In the main thread, and not raised yet."""
        self._before: object = None
        self._is_listening = False

    def __repr__(self) -> str:
        return f"<Stops of {list(self._until)}>"

    def __enter__(self) -> Stops:
        """Handlers can be interrupted from now on, if this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(SIGNAL, self._on_signal)
            self._is_listening = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_listening:
            self._is_listening = False
            signal.signal(SIGNAL, self._before)  # type: ignore[arg-type]

    def add(self, running: list[Running], now: float) -> None:
        """These run, and shall end."""
        for task in running:
            if task in self._until:
                continue
            self._until[task] = now + self._grace_s
            if isinstance(task.what, CallRow):
                if self._is_listening:
                    self._to_raise = task
            elif (side := self._loop if task.what.handler.is_async else self._threads) is not None:
                side.stop(task.what)
        self.look()

    def look(self) -> None:
        """See whether they have ended: call it often while there are any."""
        if not self._until:
            return
        self._until = {task: until for task, until in self._until.items() if self._runs(task)}
        self._slot.stop_by(min(self._until.values(), default=0.0))
        if self._to_raise is not None and self._is_listening:
            if self._to_raise in self._until:
                signal.pthread_kill(threading.main_thread().ident or 0, SIGNAL)
            else:
                self._to_raise = None

    def _runs(self, task: Running) -> bool:
        if isinstance(task.what, CallRow):
            return self._caller.is_at(task.what, task.position)
        return not task.what.is_over

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        task = self._to_raise
        if task is None or alarm.is_shielded() or not is_in_handler(frame):
            return  # If it runs still, the signal comes again.
        if isinstance(task.what, CallRow) and self._caller.is_at(task.what, task.position):
            self._to_raise = None
            raise Cancelled
