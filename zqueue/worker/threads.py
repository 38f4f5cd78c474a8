"""Threads: plain tasks that run side by side, each in a thread of this process.

For handlers that wait. What is claimed for a thread that has nothing to do is handed over to it
through a `MemoryQueue`; one that is through with a task gets the next one at once, if the desk has
one. All that is decided is decided by the desk, with the worker's lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import Any

from ..client.tracing import Tracer
from ..current import Current, beside
from ..errors import Cancelled, TaskTimeout
from ..handlers import Handler, to_arguments
from ..memory_queue import MemoryQueue
from ..wire.results import check_value
from ..wire.traced import untraced
from .forks import Forks
from .interrupts import Interrupts
from .loop import TellProgress, current_of
from .slot import Slot
from .work import SideRow, SideTask

END_S = 1.0
"""How long all threads together may take to end."""

Through = Callable[[SideTask, float, Any, BaseException | None], SideTask | None]
"""Hears of a task that is over: which, how long it took, value or error. Gives the next one."""


class Threads:
    """As many threads as a row has places. All calls are made with the worker's lock."""

    def __init__(
        self,
        row: SideRow,
        through: Through,
        tell: TellProgress,
        tracer: Tracer | None,
        forks: Forks,
        slot: Slot,
    ) -> None:
        self._row = row
        self._through = through
        self._tell = tell
        self._tracer = tracer
        self._forks = forks
        self._slot = slot
        self._handed: MemoryQueue[SideTask | None] = MemoryQueue(row.places)
        """What is claimed for one that has nothing to do; None: it is to end."""
        self._interrupts = [Interrupts() for _ in range(row.places)]
        self._fault: BaseException | None = None
        self._threads = [
            threading.Thread(
                target=self._serve, args=(place, each), name=f"zqueue-handler-{place}", daemon=True
            )
            for place, each in enumerate(self._interrupts, 1)
        ]
        for thread in self._threads:
            thread.start()

    def fill(self, now: float) -> None:
        """There are new tasks in the row: hand them to threads that have nothing to do."""
        while (task := self._row.claim(now)) is not None:
            self._handed.put(task)

    def stop(self, task: SideTask) -> None:
        """Raise `Cancelled` in the handler of a task that was claimed."""
        task.is_cancelled = True
        self._want(task, Cancelled)

    def too_late(self, task: SideTask) -> None:
        """Raise `TaskTimeout` in it."""
        self._want(task, TaskTimeout)

    def _want(self, task: SideTask, error: type[BaseException]) -> None:
        for each in self._interrupts:
            each.want(task, error)

    def look(self) -> None:
        """Raise what could not be raised before. Raises what ended a thread: a fault of ours."""
        for each in self._interrupts:
            each.look()
        if self._fault is not None:
            raise self._fault

    def end(self) -> None:
        """End the threads. No task is left. Without the lock."""
        for _ in self._threads:
            self._handed.put(None)
        deadline = monotonic() + END_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))

    # --- in the threads ---

    def _serve(self, place: int, interrupts: Interrupts) -> None:
        try:
            while (task := self._handed.get()) is not None:
                following: SideTask | None = task
                while following is not None:
                    following = self._run(following, place, interrupts)
        except BaseException as error:
            self._fault = error

    def _run(self, task: SideTask, place: int, interrupts: Interrupts) -> SideTask | None:
        """Run a task. Returns the next one, if there is one."""
        value: Any = None
        failure: BaseException | None = None
        began = monotonic()
        handler, work = task.handler, task.work
        try:
            body, traceparent = untraced(task.body)
            current = current_of(handler, work, task.position, traceparent, self._tell)
            task.current = current
            beside.set(current)
            args, kwargs = to_arguments(body) if work.batch.task else ([body], {})
            if handler.timeout is not None:
                position = work.offset + task.position
                self._slot.begin(work.lease, position, began + handler.timeout, place)
            with self._span(current, began - work.sent_at):
                value = interrupts.call(task, lambda: self._call(task, args, kwargs))
            check_value(value)
        except BaseException as error:
            failure = _told(error, handler) if task.is_late else error
        if handler.timeout is not None:
            self._slot.clear(place)
        return self._through(task, monotonic() - began, value, failure)

    def _call(self, task: SideTask, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if task.is_cancelled:
            raise Cancelled
        try:
            value = task.handler.function(*args, **kwargs)
        except BaseException as error:
            if self._forks.is_child:
                self._forks.end_child(error)
            raise
        if self._forks.is_child:
            self._forks.end_child()
        return value

    def _span(self, current: Current, waited_s: float) -> AbstractContextManager[object]:
        return nullcontext() if self._tracer is None else self._tracer.run(current, waited_s)


def _told(error: BaseException, handler: Handler) -> BaseException:
    """The same, with what it is about: an error that is raised from outside has no words."""
    if type(error) is not TaskTimeout or error.text or handler.soft_timeout is None:
        return error
    told = TaskTimeout(text=f"ran longer than {handler.soft_timeout:g} s")
    return told.with_traceback(error.__traceback__)
