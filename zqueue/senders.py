"""Senders: tasks are functions that can also be sent.

A decorated function stays a plain function; beside being called it can be sent. What travels
is the task's name and its packed arguments, so the program that sends and the program that
runs need only agree on those.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sized
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, cast, overload

from .client.asked import Asked, task_options
from .client.loop_lane import LoopFuture
from .client.replies import TaskFuture
from .client.tracing import FixedContext
from .errors import BodyError
from .handlers import Handler, call_body
from .loop_sender import LoopSender
from .sending import Sending, SendingApp, bodies_of
from .takes import Takes1, Takes2, Takes3, Takes4, Takes5

P = ParamSpec("P")
R = TypeVar("R")
B = TypeVar("B")
C = TypeVar("C")
A1 = TypeVar("A1")
A2 = TypeVar("A2")
A3 = TypeVar("A3")
A4 = TypeVar("A4")
A5 = TypeVar("A5")


class Sender(LoopSender[P, R], Generic[P, R]):
    """The calls that send a task."""

    send: Callable[P, None]
    """Send one call. Returns when it is accepted; raises as `Producer.send` does, and `TypeError`,
    as the other calls do, if the function does not take such arguments."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.send = self._entrance  # Not a method: it is called for every task.

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]:
        """Send one call and get a future of its result: see `Producer.submit`."""
        self._arguments.check(args, kwargs)
        try:
            return self._submit(call_body(args, kwargs))
        except BodyError as error:
            raise self._arguments.blamed(error, args, kwargs) from None

    @overload
    def map(
        self: Takes1[A1, R], a: Iterable[A1], /, *, timeout: float | None = None
    ) -> Iterator[R]: ...

    @overload
    def map(
        self: Takes2[A1, A2, R],
        a: Iterable[A1], b: Iterable[A2], /, *, timeout: float | None = None,
    ) -> Iterator[R]: ...  # fmt: skip

    @overload
    def map(
        self: Takes3[A1, A2, A3, R],
        a: Iterable[A1], b: Iterable[A2], c: Iterable[A3], /, *, timeout: float | None = None,
    ) -> Iterator[R]: ...  # fmt: skip

    @overload
    def map(
        self: Takes4[A1, A2, A3, A4, R],
        a: Iterable[A1], b: Iterable[A2], c: Iterable[A3], d: Iterable[A4], /,
        *, timeout: float | None = None,
    ) -> Iterator[R]: ...  # fmt: skip

    @overload
    def map(
        self: Takes5[A1, A2, A3, A4, A5, R],
        a: Iterable[A1], b: Iterable[A2], c: Iterable[A3], d: Iterable[A4], e: Iterable[A5], /,
        *, timeout: float | None = None,
    ) -> Iterator[R]: ...  # fmt: skip

    @overload
    def map(
        self, a: Iterable[Any], b: Iterable[Any], c: Iterable[Any], d: Iterable[Any],
        e: Iterable[Any], f: Iterable[Any], /, *more: Iterable[Any], timeout: float | None = None,
    ) -> Iterator[R]: ...  # fmt: skip

    def map(self, *iterables: Iterable[Any], timeout: float | None = None) -> Iterator[Any]:
        """Results of the calls, in order: one iterable a parameter, as the built-in `map`.

        Each result comes as soon as it and those before it are there. The iterables are read some
        batches ahead: in a thread of its own, as one that pauses would hold back the results,
        unless they all have a length, as lists do. A failed call raises its `RemoteError` where its
        result would stand.

        Parameters:
            timeout: seconds that the next result may take, once it is asked for, before
                `TimedOut` is raised. None waits as long as it takes.
        """
        self._arguments.check_count(len(iterables))
        aside = not all(isinstance(iterable, Sized) for iterable in iterables)
        return self._call_many(bodies_of(iterables), wait=timeout, aside=aside)

    @overload
    def send_many(self: Takes1[A1, R], a: Iterable[A1], /) -> int: ...

    @overload
    def send_many(self: Takes2[A1, A2, R], a: Iterable[A1], b: Iterable[A2], /) -> int: ...

    @overload
    def send_many(
        self: Takes3[A1, A2, A3, R], a: Iterable[A1], b: Iterable[A2], c: Iterable[A3], /
    ) -> int: ...

    @overload
    def send_many(
        self: Takes4[A1, A2, A3, A4, R],
        a: Iterable[A1], b: Iterable[A2], c: Iterable[A3], d: Iterable[A4], /,
    ) -> int: ...  # fmt: skip

    @overload
    def send_many(
        self: Takes5[A1, A2, A3, A4, A5, R],
        a: Iterable[A1], b: Iterable[A2], c: Iterable[A3], d: Iterable[A4], e: Iterable[A5], /,
    ) -> int: ...  # fmt: skip

    @overload
    def send_many(
        self, a: Iterable[Any], b: Iterable[Any], c: Iterable[Any], d: Iterable[Any],
        e: Iterable[Any], f: Iterable[Any], /, *more: Iterable[Any],
    ) -> int: ...  # fmt: skip

    def send_many(self, *iterables: Iterable[Any]) -> int:
        """Send calls: one iterable a parameter. Returns how many. See `Producer.send_many`."""
        self._arguments.check_count(len(iterables))
        try:
            return self._send_many(bodies_of(iterables))
        except BodyError as error:
            raise self._arguments.of_task(error) from None


class _Declared(Sender[P, R], Generic[P, R, C]):
    """A function that can also be sent. Calling it gives what the function gives."""

    def __init__(self, app: SendingApp, handler: Handler) -> None:
        super().__init__(app, handler, handler.queue)
        functools.update_wrapper(cast(Callable[..., Any], self), handler.function)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} in queue {self.queue}>"

    def __reduce__(self) -> str:
        """Pickled as functions are: by the module and the name where it is found."""
        return getattr(self, "__qualname__", self.name)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """Run it here."""
        return cast(C, self._handler.function(*args, **kwargs))

    def options(
        self,
        *,
        queue: str | None = None,
        wait: float | None = None,
        traceparent: str | None = None,
        **asked: Unpack[Asked],
    ) -> Sender[P, R]:
        """The same task, sent otherwise.

        Parameters:
            queue: another queue than the task's own; a worker must serve it (``-Q``).
            wait: seconds to wait if the queue is full; 0 raises `QueueFull` at once.
            traceparent: the trace context to send along, as W3C Trace Context has it; its
                handler finds it in `Current.traceparent`.
            asked: when it may run, how often it is tried again …: see `task_options`. With a
                ``key`` it is for one task.

        Raises `ConfigError`: an option makes no sense.
        """
        tracer = None if traceparent is None else FixedContext(traceparent)
        options = task_options(**asked)
        return Sender(
            self._app, self._handler, queue or self._queue, wait, tracer, options, self._arguments
        )


class Task(_Declared[P, R, R]):
    """A function that can also be sent. Calling it runs it here, as ever."""


class AsyncTask(_Declared[P, R, Coroutine[Any, Any, R]]):
    """A coroutine function that can also be sent. Calling it gives the coroutine, as ever."""


class BatchSender(Sending, Generic[B]):
    """The calls that send bodies to a batch task."""

    def send(self, body: B) -> None:
        """Send one body. Returns when it is accepted; raises as `Producer.send` does."""
        self._entrance.add(body)

    def submit(self, body: B) -> TaskFuture[None]:
        """Send one body and get a future that tells when it was handled."""
        return self._submit(body)

    def send_many(self, bodies: Iterable[B]) -> int:
        """Send bodies. Returns how many. See `Producer.send_many`."""
        return self._send_many(bodies)

    async def call(self, body: B) -> None:
        """Send one body, and return once it was handled: see `Sender.call`."""
        await self._add_in_loop(body, True)

    async def asend(self, body: B) -> None:
        """Send one body, and return once it is confirmed: see `Producer.asend`."""
        await self._add_in_loop(body, False)

    def asubmit(self, body: B) -> LoopFuture[None]:
        """Send one body and get a future that tells when it was handled: see `Producer.asubmit`."""
        return self._add_in_loop(body, True)


class BatchTask(BatchSender[B], Generic[B, R]):
    """A function of a list of bodies that can also be sent bodies, one by one or many."""

    def __init__(self, app: SendingApp, handler: Handler) -> None:
        super().__init__(app, handler, handler.queue)
        functools.update_wrapper(cast(Callable[..., Any], self), handler.function)

    def __repr__(self) -> str:
        return f"<BatchTask {self.name} in queue {self.queue}>"

    def __reduce__(self) -> str:
        """Pickled as functions are: by the module and the name where it is found."""
        return getattr(self, "__qualname__", self.name)

    def __call__(self, bodies: list[B]) -> R:
        """Run it here."""
        return cast(R, self._handler.function(bodies))

    def options(
        self,
        *,
        wait: float | None = None,
        traceparent: str | None = None,
        **asked: Unpack[Asked],
    ) -> BatchSender[B]:
        """The same task, sent otherwise: parameters as for `Task.options`."""
        tracer = None if traceparent is None else FixedContext(traceparent)
        options = task_options(**asked)
        return BatchSender(
            self._app, self._handler, self._queue, wait, tracer, options, self._arguments
        )
