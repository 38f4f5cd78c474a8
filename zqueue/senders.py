"""Senders: tasks are functions that can also be sent.

A decorated function stays a plain function; beside being called it can be sent. What travels
is the task's name and its packed arguments, so the program that sends and the program that
runs need only agree on those.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sized
from typing import Any, Generic, ParamSpec, Self, TypeVar, Unpack, cast, overload

from .arguments import Arguments
from .client.asked import Asked, task_options
from .client.gate import may_use_names
from .client.lane import Entrance, Lane
from .client.replies import TaskFuture
from .client.tracing import FixedContext, TracedLane, Tracer, with_context
from .config import default_url
from .errors import BodyError, ConfigError
from .handlers import Handler, call_body
from .producer import Producer
from .seconds import check_seconds
from .takes import Takes1, Takes2, Takes3, Takes4, Takes5
from .wire.codec import Wrapped
from .wire.headers import check_name
from .wire.options import TaskOptions
from .wire.traced import traced

P = ParamSpec("P")
R = TypeVar("R")
B = TypeVar("B")
C = TypeVar("C")
A1 = TypeVar("A1")
A2 = TypeVar("A2")
A3 = TypeVar("A3")
A4 = TypeVar("A4")
A5 = TypeVar("A5")


class SendingApp:
    """An app, as far as its tasks are sent: the producer that is made when one is, for the first
    time. Parameters as for `App`."""

    def __init__(
        self,
        url: str | None,
        timeout: float | None,
        connect_timeout: float | None,
        name: str | None,
    ) -> None:
        self.name = None if name is None else check_name(name, "producer")
        self._url = url
        self._timeout = check_seconds(timeout, "timeout")
        self._connect_timeout = check_seconds(connect_timeout, "connect_timeout")
        self._producer: Producer | None = None
        self._choosing = threading.Lock()
        """Held for a check and an assignment only: whatever runs in between could need it, too."""
        self._entrances: weakref.WeakSet[Entrance] = weakref.WeakSet()
        self._tracer: Tracer | None = None
        _apps.add(self)

    @property
    def url(self) -> str:
        """Where the broker is. Can be set until something was sent."""
        return self._url or default_url()

    @url.setter
    def url(self, url: str) -> None:
        if self._producer is not None:
            raise ConfigError(f"the app is connected to {self._producer.url} already")
        self._url = url

    @property
    def producer(self) -> Producer:
        """The producer that this app sends with, made at first use."""
        producer = self._producer
        if producer is None:
            made = Producer(
                self.url, timeout=self._timeout, connect_timeout=self._connect_timeout,
                name=self.name if may_use_names() else None,
            )  # fmt: skip
            with self._choosing:  # Another thread may have been first; what it sent is in its own.
                producer = self._producer = self._producer or made
        return producer

    @property
    def tracer(self) -> Tracer | None:
        """Makes spans of what is sent and run: see `zqueue.otel.instrument`."""
        return self._tracer

    @tracer.setter
    def tracer(self, tracer: Tracer | None) -> None:
        self._tracer = tracer
        for entrance in list(self._entrances):
            entrance.forget()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was sent is confirmed: see `Producer.flush`."""
        if self._producer is not None:
            self._producer.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """`flush` and disconnect. The next call that sends something connects anew."""
        producer = self._reset()
        if producer is not None:
            producer.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        producer = self._reset()
        if producer is not None:
            producer.__exit__(kind, *error)

    def _reset(self) -> Producer | None:
        """Give up the producer, if there is one."""
        with self._choosing:
            producer, self._producer = self._producer, None
        for entrance in list(self._entrances):
            entrance.forget()
        return producer

    def _forked(self) -> None:
        """In a child process: another thread of the parent may have held the lock."""
        self._choosing = threading.Lock()
        self.name = None  # It is the parent's.
        self._reset()


_apps: weakref.WeakSet[SendingApp] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for app in list(_apps):
        app._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


class _Sender:
    """What sends bodies for one handler, with the options of one caller."""

    def __init__(
        self,
        app: SendingApp,
        handler: Handler,
        queue: str,
        wait: float | None = None,
        tracer: Tracer | None = None,
        options: TaskOptions | None = None,
        arguments: Arguments | None = None,
    ) -> None:
        if wait is not None:
            check_seconds(wait, "wait")
        self._app = app
        self._handler = handler
        self._queue = queue
        self._wait = wait
        self._own_tracer = tracer
        self._options = options
        find = functools.partial(_find_lane, app, queue, handler.name, tracer, options, wait)
        self._arguments = arguments or Arguments(handler.name, handler.function)
        self._entrance = Entrance(find, wait, self._arguments)
        app._entrances.add(self._entrance)

    @property
    def name(self) -> str:
        """The task's name on the wire."""
        return self._handler.name

    @property
    def queue(self) -> str:
        """Where the tasks wait."""
        return self._queue

    @property
    def _tracer(self) -> Tracer | None:
        return self._own_tracer or self._app.tracer

    @property
    def _asked(self) -> dict[str, Any]:
        """What the producer's calls are given beside the bodies."""
        return {"task": self.name, "timeout": self._wait, "options": self._options}

    def _submit(self, body: object) -> TaskFuture[Any]:
        submit, tracer = self._app.producer.submit, self._tracer
        if tracer is None:
            return submit(self._queue, body, **self._asked)
        with tracer.send(self.name, self._queue) as traceparent:
            body = traced(body, traceparent) if traceparent else body
            return submit(self._queue, body, **self._asked)

    def _send_many(self, bodies: Iterable[object]) -> int:
        send_many, tracer = self._app.producer.send_many, self._tracer
        if tracer is None:
            return send_many(self._queue, bodies, **self._asked)
        with tracer.send(self.name, self._queue) as traceparent:
            bodies = with_context(bodies, traceparent)
            return send_many(self._queue, bodies, **self._asked)

    def _call_many(
        self, bodies: Iterable[object], *, wait: float | None, aside: bool
    ) -> Iterator[Any]:
        call_many, tracer = self._app.producer.call_many, self._tracer
        if tracer is not None:
            # What is sent later has the same parent: results are read long after this call.
            with tracer.send(self.name, self._queue) as traceparent:
                bodies = with_context(bodies, traceparent)
        return call_many(self._queue, bodies, wait=wait, aside=aside, **self._asked)


class Sender(_Sender, Generic[P, R]):
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
        return self._call_many(_bodies(iterables), wait=timeout, aside=aside)

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
            return self._send_many(_bodies(iterables))
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


class BatchSender(_Sender, Generic[B]):
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


def _find_lane(
    app: SendingApp, queue: str, task: str, tracer: Tracer | None, options: TaskOptions | None,
    wait: float | None,
) -> Lane | TracedLane:  # fmt: skip
    """What takes the bodies of a task now."""
    lane = app.producer.lane(queue, task, options=options, timeout=wait)
    tracer = tracer or app.tracer
    return lane if tracer is None else TracedLane(lane, tracer)


def _bodies(iterables: tuple[Iterable[Any], ...]) -> Iterable[object]:
    """The arguments of calls, one iterable a parameter."""
    return Wrapped(iterables[0]) if len(iterables) == 1 else zip(*iterables, strict=False)
