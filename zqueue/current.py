"""The task that runs: what its handler can know of it, and can say.

A handler stays a plain function: called as such, it finds a `Current` that says nothing and to
which nothing can be told.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from time import monotonic

PROGRESS_EVERY_S = 0.1
"""Progress is told no more often than this: an eye sees no more."""

Tell = Callable[[int, int], None]


class Current:
    """A task that runs, or a call of a batch handler.

    ``queue`` and ``task`` say where it waited and what it is called. ``attempt`` counts its
    deliveries, from 1. ``id`` is the same at each of them, and no other task's: use it as the
    key of what must not be done twice. (A call of a batch handler is of many tasks and has none.)
    ``retries_left`` is how often it is tried again if it fails; 0: this is the last attempt. (Of
    a call of a batch handler: the least of its bodies.)
    ``traceparent`` is its trace context as the sender gave it, in the form of W3C Trace Context;
    empty if there is none.
    """

    __slots__ = ("_is_complete", "_tell", "_told_at", "attempt", "done", "id", "queue",
                 "retries_left", "task", "total", "traceparent")  # fmt: skip

    def __init__(
        self,
        task: str = "",
        queue: str = "",
        id: str = "",
        attempt: int = 1,
        traceparent: str = "",
        tell: Tell | None = None,
        retries_left: int = 0,
    ) -> None:
        self.task = task
        self.queue = queue
        self.id = id
        self.attempt = attempt
        self.retries_left = retries_left
        self.traceparent = traceparent
        self.done = 0
        self.total = 0
        self._tell = tell
        self._told_at = float("-inf")
        self._is_complete = False

    def __repr__(self) -> str:
        return f"<Current {self.task} {self.id}>" if self.task else "<Current: nothing runs>"

    def progress(self, done: int, total: int = 0) -> None:
        """Say how far it has come: ``done`` steps of ``total``, 0 if nobody knows how many.

        Shown in ``zqueue top``, on the page and to the submitter (not of a call of a batch
        handler). Call it as often as you like: it is told ten times a second at most, and when
        it is complete. Raises ValueError for what cannot be.
        """
        if not 0 <= done < 1 << 53 or not 0 <= total < 1 << 53:
            raise ValueError("progress is a number of steps and how many there are")
        self.done, self.total = int(done), int(total)
        if self._tell is None:
            return
        now, completed = monotonic(), self.done == self.total
        if now - self._told_at >= PROGRESS_EVERY_S or (completed and not self._is_complete):
            self._told_at, self._is_complete = now, completed
            self._tell(self.done, self.total)


_NOTHING = Current()

beside: contextvars.ContextVar[Current | None] = contextvars.ContextVar("beside", default=None)
"""Of a task that runs beside others, in an event loop or a thread: each has its own."""

_in_main: Callable[[], Current] | None = None


def set_in_main(find: Callable[[], Current] | None) -> None:
    """Say how to find what runs one after the other in this process."""
    global _in_main
    _in_main = find


def current() -> Current:
    """The task that runs here. Never fails: outside a worker it is one that says nothing."""
    here = beside.get()
    if here is not None:
        return here
    return _in_main() if _in_main is not None else _NOTHING
