"""Calls: the tasks of one batch, while they run one after the other.

Theory of operation. A task is *claimed* by counting `Calls.position` up, its body is unpacked,
and its handler called; nothing else is done for it, so a no-op task costs little more than its
call. Calls with one argument, as most are, are made by the interpreter in a loop over the bodies
(see `loops`); the others are made from here.

Another thread may give up the tasks that nobody has claimed, and take the outcomes of those that
are over. Claiming and giving up are one step each, so the two never run and return the same task:
compiled, because no other Python code can run in between; interpreted, because of a lock. An
outcome is kept before the next task is claimed, so all but the task that was claimed last are over.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Never

from msgpack import ExtType

from ..errors import ProtocolError
from ..handlers import Handler, to_arguments
from ..stats.meter import TaskMeter
from ..wire.results import Failure, check_value
from ..wire.traced import untraced
from ..wire.unpacking import Reader
from .loops import call_each, keep_each

if TYPE_CHECKING:
    from .. import _cython as cython
else:
    try:
        import cython
    except ImportError:
        from .. import _cython as cython


_EXTENSION = ExtType
QUICK_S = 1e-6
QUICK_TASKS = 64
STRIDE = 8
"""After so many tasks that took less than a microsecond each, which is less than a histogram can
tell, the clock is looked at only after every eighth, until eight take longer. Looking at it and
recording cost half as much as calling a no-op."""


Outcomes = tuple[int, int, "list[Any] | None", list[Failure]]
"""Position of the first task, number of tasks, their values or None, and those that failed."""


class Calls:
    """The calls that a batch's bodies ask of a handler.

    Raises `ProtocolError` if ``frame`` does not hold so many ``tasks``. With ``named``, a body
    is the arguments of a call, otherwise it is the one argument; ``keep`` says whether anybody
    wants the values. Each task is timed by ``meter``; ``sent_at`` is when it was sent, by this
    process's clock.
    """

    def __init__(
        self,
        handler: Handler,
        frame: bytes,
        tasks: int,
        *,
        named: bool,
        keep: bool,
        meter: TaskMeter | None = None,
        sent_at: float = 0.0,
    ) -> None:
        self._meter = TaskMeter() if meter is None else meter
        self._sent_at = sent_at
        self._began = _now()
        self._until = inf
        self._count = 0
        """Tasks that `run` may still begin."""
        self._untimed = 0
        """Tasks that began since the clock was looked at."""
        self._stride = STRIDE if self._meter.quick >= QUICK_TASKS else 1
        self._reader = Reader(frame)
        if self._reader.left != tasks:
            raise ProtocolError("malformed", "the batch does not hold what it says")
        self._function = handler.function
        self._named = named
        if not cython.compiled:
            self._lock = threading.Lock()
        self._stop = tasks
        self._traced = 0
        """Which task had this trace context, counted from 1."""
        self._traceparent = ""
        self.total = tasks
        self.position = 0
        """Tasks that have run, or begun to."""
        self.given_up = 0
        """Tasks at the end that were taken out and will not run here."""
        self.values: list[Any] | None = [] if keep else None
        self.failures: list[Failure] = []
        self._first = 0
        """The task whose value comes first in `values`."""
        self._taken = 0
        """Tasks whose outcomes were taken."""

    def run(self, count: int, limit_s: float = inf) -> None:
        """Run up to so many more tasks, and begin none when so many seconds are over.

        An exception of one of them ends this call early.
        """
        self._began = _now()
        self._until = self._began + limit_s
        self._count = count
        values, function = self.values, self._function
        while True:
            if cython.compiled and has_single(self._reader, self._named):
                if values is None:
                    call_each(function, self)
                else:
                    keep_each(function, self, values.append)
            if not self._begin():
                break
            if cython.compiled and self._named:
                value = _call_directly(self)
            else:
                value = self._call(self._read())
            if values is not None:
                values.append(value)
            elif value is not None:
                check_value(value)
        if METERED and self._untimed:
            self._measure()

    def __iter__(self) -> Calls:
        return self

    def __next__(self) -> Any:
        """Begin the next task if it has one argument, which is returned, for `loops`."""
        if cython.compiled and has_single(self._reader, self._named) and self._begin():
            return read_single(self._reader, self._named)
        raise StopIteration

    def next_task(self) -> Callable[[], Any] | None:
        """Claim one task, to be run by the caller with a clock at hand."""
        if not self._claim():
            return None
        self._began = _now()
        self._untimed = 1
        try:
            body = self._read()  # Now: an alarm may ring before the call comes to it.
        except ProtocolError as error:
            return functools.partial(_raise, error)
        return lambda: self._call(body)

    def keep(self, value: Any) -> None:
        """The task that `next_task` gave returned this. Raises TypeError if it did not run."""
        if self.values is None and value is not None:
            check_value(value)
        self._measure()
        if self.values is not None:
            self.values.append(value)

    def fail(self, error: BaseException) -> None:
        """The task that was claimed last raised."""
        if not self._untimed:
            self._untimed = 1
        self._measure()
        self.failures.append((self.position - 1, error))
        if self.values is not None:
            self.values.append(None)

    @property
    def traceparent(self) -> str:
        """The trace context of the task that was claimed last; empty if it has none."""
        return self._traceparent if self._traced == self.position else ""

    @property
    def left(self) -> int:
        """Tasks that nobody has claimed."""
        return self._stop - self.position

    def take_outcomes(self, *, running: bool = False) -> Outcomes:
        """What became of the tasks that are over, since the last time.

        ``running`` says that the caller is another thread, and a task may be running.
        """
        first, stop = self._taken, self.position - running
        if stop <= first:
            return first, 0, None, []
        self._taken = stop
        values = self.values
        if values is not None:
            values = values[first - self._first : stop - self._first]
        failures = [failure for failure in self.failures[:] if first <= failure[0] < stop]
        if not running:  # Nobody appends now.
            self.values = None if values is None else []
            self.failures = []
            self._first = stop
        return first, stop - first, values, failures

    def abandon(self) -> None:
        """Run no more tasks, in a child of this process, where no other thread is."""
        self._stop = self.position

    def give_up(self) -> int:
        """Take all tasks that nobody has claimed out of the row. Returns how many."""
        if cython.compiled:
            taken = self._stop - self.position
            self._stop -= taken
        else:
            with self._lock:
                taken = self._stop - self.position
                self._stop -= taken
        self.given_up += taken
        return taken

    def _measure(self) -> None:
        """Some tasks are over, as a rule one; the next begins."""
        now = _now()
        elapsed_s, tasks = now - self._began, self._untimed
        if not self._meter.total.record_some(now - self._sent_at, tasks):
            self._meter.total.record_many(now - self._sent_at, tasks)
        if elapsed_s > tasks * QUICK_S:
            # One of them took that long: what is quick takes less than can be told.
            if tasks > 1:
                self._meter.run.record_many(QUICK_S / 2, tasks - 1)
            self._meter.run.record(elapsed_s)
            self._stride = 1
            self._meter.quick = 0
        else:
            self._meter.run.record_some(max(elapsed_s, 1e-9) / tasks, tasks)
            if self._meter.quick < QUICK_TASKS:
                self._meter.quick += tasks
            else:
                self._stride = STRIDE
        self._untimed = 0
        self._began = now

    def _begin(self) -> bool:
        """Claim the next task, unless `run` has had its number, or its time."""
        if METERED and self._untimed >= self._stride:
            self._measure()
            if self._began >= self._until:
                self._count = 0
        if self._count <= 0 or not self._claim():
            return False
        self._count -= 1
        self._untimed += 1
        return True

    def _claim(self) -> bool:
        if cython.compiled:
            if self.position >= self._stop:
                return False
            self.position += 1
            return True
        with self._lock:
            if self.position >= self._stop:
                return False
            self.position += 1
            return True

    def _read(self) -> Any:
        body = self._reader.read()
        if type(body) is _EXTENSION:
            body, self._traceparent = untraced(body)
            self._traced = self.position
        return body

    def _call(self, body: Any) -> Any:
        if not self._named:
            return self._function(body)
        if type(body) is list:
            return _call_with(self._function, body)
        args, kwargs = to_arguments(body)
        return self._function(*args, **kwargs)


def _raise(error: Exception) -> Never:
    raise error


if cython.compiled:

    @cython.cfunc
    @cython.inline
    @cython.returns(cython.double)
    def _now():
        instant = cython.declare(timespec)
        clock_gettime(CLOCK_MONOTONIC, cython.address(instant))  # As time.monotonic does.
        return instant.tv_sec + instant.tv_nsec * 1e-9

    def _call_directly(calls):
        """Call with the next body's items as they are read, without a list that holds them."""
        items = cython.declare(cython.pointer(PyObject)[ITEMS])
        count = read_items(calls._reader, items, ITEMS)
        if count < 0:
            return calls._call(calls._read())
        try:
            return PyObject_Vectorcall(calls._function, items, count, cython.NULL)
        finally:
            while count:
                count -= 1
                Py_DECREF(cython.cast(object, items[count]))

    @cython.cfunc
    @cython.inline
    def _call_with(function, args):
        return PyObject_Vectorcall(
            function, PySequence_Fast_ITEMS(args), PyList_GET_SIZE(args), cython.NULL
        )

else:
    from time import monotonic as _now

    METERED = True  # See `perf/metering.py`.

    def _call_with(function: Callable[..., Any], args: list[Any]) -> Any:
        return function(*args)
