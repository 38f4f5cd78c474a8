"""Calling handlers in the main thread, with a clock at hand where they ask for one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import Any

from ..client.tracing import Tracer
from ..current import Current, set_in_main
from ..errors import PartialFailure
from ..wire.results import check_value
from .alarm import call_with_alarm
from .desk import SETTLE_EVERY_S
from .failures import FailureLog
from .forks import Forks
from .loop import Loop, TellProgress, call_in_time, current_of
from .slot import Slot
from .work import BatchCall, CallRow


class Caller:
    """Calls the handlers of a worker. ``loop`` runs those batch handlers that are ``async``."""

    def __init__(
        self,
        slot: Slot,
        failures: FailureLog,
        forks: Forks,
        tell: TellProgress,
        tracer: Tracer | None,
        loop: Loop | None,
    ) -> None:
        self._slot = slot
        self._failures = failures
        self._forks = forks
        self._tell = tell
        self._tracer = tracer
        self._loop = loop
        self._row: CallRow | None = None
        self._current: Current | None = None
        self._position = -1
        """Of the task that `_current` is of, in its batch."""

    def progress(self) -> tuple[int, int]:
        """How far the task that runs has come, if it said so. From any thread."""
        current, row = self._current, self._row
        if current is None or (row is not None and self._position != row.calls.position - 1):
            return 0, 0  # That one is over, and the next one has said nothing.
        return current.done, current.total

    def is_at(self, row: CallRow, position: int) -> bool:
        """Whether that task of a row was begun last. From any thread."""
        return self._row is row and row.calls.position - 1 == position

    def abandon(self) -> None:
        """Run no more tasks: this is a forked child."""
        if self._row is not None:
            self._row.calls.abandon()

    # --- one after the other ---

    def enter(self, row: CallRow) -> None:
        """The tasks of this row run next."""
        self._row, self._position = row, -1
        set_in_main(self._find_current)

    def leave(self) -> None:
        """No more tasks of that row run."""
        set_in_main(None)
        self._row = self._current = None

    def _find_current(self) -> Current:
        """What runs in the main thread, made when somebody asks for it."""
        row = self._row
        assert row is not None
        position = row.calls.position - 1
        if self._current is None or self._position != position:
            self._current = current_of(
                row.handler, row.work, position, row.calls.traceparent, self._tell
            )
            self._position = position
        return self._current

    def run(self, row: CallRow, count: int) -> None:
        """Run up to so many tasks of a row."""
        if row.handler.is_timed or self._tracer is not None:
            self.run_timed(row, count)
        else:
            self.run_plain(row, count)

    def run_plain(self, row: CallRow, count: int) -> None:
        """Run them where nobody looks at a clock."""
        calls = row.calls
        stop = calls.position + count
        while calls.position < stop:
            try:
                calls.run(stop - calls.position, SETTLE_EVERY_S)
            except BaseException as error:
                self._fail(row, error)
            else:
                break
        if self._forks.is_child:
            self._forks.end_child()

    def run_timed(self, row: CallRow, count: int) -> None:
        """Run them one by one, with a time limit or a trace."""
        handler, work, calls = row.handler, row.work, row.calls
        soft_s = handler.soft_timeout
        for _ in range(count):
            task = calls.next_task()
            if task is None:
                return
            if handler.timeout is not None:
                position = work.offset + calls.position - 1
                self._slot.begin(work.lease, position, monotonic() + handler.timeout)
            try:
                with self._span(row):
                    value = call_with_alarm(task, soft_s) if soft_s else task()
                calls.keep(value)
            except BaseException as error:
                self._fail(row, error)
            finally:
                if self._forks.is_child:
                    self._forks.end_child()
                self._slot.clear()

    def _fail(self, row: CallRow, error: BaseException) -> None:
        if self._forks.is_child:
            self._forks.end_child(error)
        row.calls.fail(error)
        self._failures.add(row.work.batch, error, 1, row.handler)

    def _span(self, row: CallRow) -> AbstractContextManager[object]:
        """What traces the task that runs, if anybody does."""
        if self._tracer is None:
            return nullcontext()
        return self._tracer.run(self._find_current(), monotonic() - row.work.sent_at)

    # --- many at once ---

    def call(self, call: BatchCall) -> dict[int, BaseException]:
        """Call a batch handler. Returns what failed, by position in what it was called with."""
        handler, bodies, first = call.handler, call.bodies(), call.parts[0]
        now = monotonic()
        current = Current(
            handler.name,
            handler.queue,
            attempt=first.work.batch.attempt,
            retries_left=call.hardest().retries_left,
        )
        set_in_main(lambda: current)
        self._current = current
        if handler.timeout is not None:
            position = first.work.offset + first.first
            self._slot.begin(first.work.lease, position, now + handler.timeout)
        try:
            with self._span_of(call, current, now):
                self._call_with(call, bodies, current)
            if self._forks.is_child:
                self._forks.end_child()
        except PartialFailure as error:
            return _by_position(error, len(bodies))
        except BaseException as error:
            if self._forks.is_child:
                self._forks.end_child(error)
            return dict.fromkeys(range(len(bodies)), error)
        finally:
            self._slot.clear()
            set_in_main(None)
            self._current = None
        return {}

    def _span_of(
        self, call: BatchCall, current: Current, now: float
    ) -> AbstractContextManager[object]:
        if self._tracer is None:
            return nullcontext()
        contexts = [context for part in call.parts for context in part.contexts_here()]
        return self._tracer.run(current, now - call.parts[0].work.sent_at, contexts)

    def _call_with(self, call: BatchCall, bodies: list[Any], current: Current) -> None:
        handler = call.handler
        function: Callable[[list[Any]], Any] = handler.function
        if handler.is_async:
            assert self._loop is not None
            self._loop.call(call_in_time(handler, bodies, current))
            return
        if handler.soft_timeout:
            value = call_with_alarm(lambda: function(bodies), handler.soft_timeout)
        else:
            value = function(bodies)
        check_value(value)


def _by_position(error: PartialFailure, bodies: int) -> dict[int, BaseException]:
    """What failed of a batch. If what the handler says makes no sense, all did."""
    failures: dict[Any, Any] = dict(error.failures)
    wrong: Exception | None = None
    for position, failure in failures.items():
        if type(position) is not int or not 0 <= position < bodies:
            wrong = ValueError(
                f"PartialFailure names body {position!r}: the handler was called with {bodies}, "
                "numbered from 0"
            )
        elif not isinstance(failure, BaseException):
            wrong = TypeError(f"PartialFailure gives no exception for body {position}")
    return failures if wrong is None else dict.fromkeys(range(bodies), wrong)
