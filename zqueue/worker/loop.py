"""The event loop: a thread that runs tasks of ``async`` handlers side by side."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import Any

from ..client.tracing import Tracer
from ..current import Current, beside
from ..errors import Cancelled, TaskTimeout
from ..handlers import Handler, to_arguments
from ..wire.results import check_value
from ..wire.traced import untraced
from .forks import Forks
from .work import SideRow, SideTask, Work

END_S = 5.0
"""How long the loop may take to end, seconds; a coroutine of the user's that blocks may hold it."""

TellProgress = Callable[[Work, int, int, int], None]
"""Reports how far a task has come: its batch, its position there, steps done, steps in all."""


class Loop:
    """Claims tasks of a row and runs them. ``wake`` is called at each end."""

    def __init__(
        self,
        row: SideRow,
        wake: Callable[[], None],
        tell: TellProgress,
        tracer: Tracer | None,
        forks: Forks,
    ) -> None:
        self._row = row
        self._forks = forks
        self._wake = wake
        self._tell = tell
        self._tracer = tracer
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[SideTask, asyncio.Task[None]] = {}
        self._thread = threading.Thread(target=self._run_all, name="zqueue-loop", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the thread. No task is left."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(END_S)

    def fill(self) -> None:
        """There are new tasks in the row."""
        self._loop.call_soon_threadsafe(self._fill)

    def stop(self, task: SideTask) -> None:
        """Cancel a task that was claimed."""
        self._loop.call_soon_threadsafe(self._stop, task)

    def call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run one coroutine and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _run_all(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def _fill(self) -> None:
        while (claimed := self._row.claim(monotonic())) is not None:
            task = self._loop.create_task(self._run(claimed))
            self._tasks[claimed] = task
            task.add_done_callback(functools.partial(self._ended, claimed))

    def _ended(self, claimed: SideTask, task: asyncio.Task[None]) -> None:
        del self._tasks[claimed]
        if task.cancelled():  # Before it took its first step.
            self._row.end(claimed, 0.0, None, Cancelled())
            self._wake()
        self._fill()

    def _stop(self, claimed: SideTask) -> None:
        task = self._tasks.get(claimed)
        if task is not None:
            claimed.is_cancelled = True
            task.cancel()

    async def _run(self, task: SideTask) -> None:
        value: Any = None
        failure: BaseException | None = None
        began = monotonic()
        handler = task.handler
        limit_s = handler.soft_timeout or handler.timeout
        limit = asyncio.timeout(limit_s)
        try:
            body, traceparent = untraced(task.body)
            current = current_of(handler, task.work, task.position, traceparent, self._tell)
            task.current = current
            beside.set(current)
            args, kwargs = to_arguments(body) if task.work.batch.task else ([body], {})
            with self._span(current, began - task.work.sent_at):
                async with limit:
                    value = await handler.function(*args, **kwargs)
            check_value(value)
        except TimeoutError as error:
            failure = error
            if limit.expired():
                failure = TaskTimeout(text=f"ran longer than {limit_s:g} s")
        except BaseException as error:
            failure = error
            if task.is_cancelled and isinstance(error, asyncio.CancelledError):
                failure = Cancelled()
        if self._forks.is_child:
            self._forks.end_child(failure)
        self._row.end(task, monotonic() - began, value, failure)
        self._wake()

    def _span(self, current: Current, waited_s: float) -> AbstractContextManager[object]:
        return nullcontext() if self._tracer is None else self._tracer.run(current, waited_s)


def current_of(
    handler: Handler, work: Work, position: int, traceparent: str, tell: TellProgress
) -> Current:
    """What is to be known of the task at a position of a batch."""
    batch = work.batch
    task_id = ""  # An earlier broker does not say which tasks these are.
    if batch.sequence:
        task_id = f"{batch.origin:012x}-{batch.sequence}-{batch.first + position}"
    return Current(
        handler.name,
        batch.queue,
        task_id,
        batch.attempt,
        traceparent,
        functools.partial(tell, work, position),
        batch.retries_left,
    )


async def call_in_time(handler: Handler, bodies: list[Any], current: Current) -> None:
    """Call an ``async`` batch handler, raising `TaskTimeout` when it runs too long."""
    beside.set(current)
    limit_s = handler.soft_timeout or handler.timeout
    try:
        async with asyncio.timeout(limit_s) as limit:
            await handler.function(bodies)
    except TimeoutError:
        if limit.expired():
            raise TaskTimeout(text=f"ran longer than {limit_s:g} s") from None
        raise
