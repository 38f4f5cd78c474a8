"""The app: a registry of tasks, and the calls that send them.

A decorated function stays a plain function; beside being called it can be sent. What travels
is the task's name and its packed arguments, so the program that sends and the program that
runs need only agree on those.
"""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from .config import default_url
from .errors import ConfigError
from .handlers import Handler, call_body
from .lane import Entrance, Lane
from .producer import CONNECT_TIMEOUT_S, TIMEOUT_S, Producer
from .protocol.codec import Wrapped
from .protocol.traced import traced
from .replies import TaskFuture
from .tracing import FixedContext, TracedLane, Tracer, with_context

P = ParamSpec("P")
R = TypeVar("R")
B = TypeVar("B")


class App:
    """Tasks, and the connection over which they are sent.

    Parameters:
        url: the broker's address; by default ``ZQUEUE_URL``, or ``tcp://127.0.0.1:5555``.
        timeout, connect_timeout: see `Producer`.

    The connection is made by the first call that sends something; a program that only runs
    tasks (a worker) never makes it.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout: float = TIMEOUT_S,
        connect_timeout: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._producer: Producer | None = None
        self._entrances: weakref.WeakSet[Entrance] = weakref.WeakSet()
        self.handlers: dict[str, Handler] = {}
        self._tracer: Tracer | None = None
        _apps.add(self)

    def __repr__(self) -> str:
        return f"<App at {self.url}: {', '.join(self.handlers) or 'no tasks'}>"

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
        if self._producer is None:
            self._producer = Producer(
                self.url, timeout=self._timeout, connect_timeout=self._connect_timeout
            )
        return self._producer

    @property
    def tracer(self) -> Tracer | None:
        """Makes spans of what is sent and run: see `zqueue.otel.instrument`."""
        return self._tracer

    @tracer.setter
    def tracer(self, tracer: Tracer | None) -> None:
        self._tracer = tracer
        for entrance in list(self._entrances):
            entrance.forget()

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        timeout: float | None = None,
        soft_timeout: float | None = None,
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        timeout: float | None = None,
        soft_timeout: float | None = None,
    ) -> Any:
        """Make a task of a function, plain or ``async``. Used as ``@app.task`` or with options.

        Parameters:
            name: what it is called on the wire; by default the function's name.
            queue: where its tasks wait.
            timeout: seconds after which a task fails with `TaskTimeout` and the process that
                runs it is killed, whatever it is doing. An ``async`` task is cancelled instead.
            soft_timeout: seconds after which `TaskTimeout` is raised inside the function.

        Raises:
            ConfigError, InvalidName: a name is taken or cannot be, an option makes no sense.
        """

        def decorate(function: Callable[..., Any]) -> Task[Any, Any]:
            handler = Handler(
                name or function.__name__,
                queue,
                function,
                timeout=timeout,
                soft_timeout=soft_timeout,
            )
            self._register(handler)
            return Task(self, handler)

        return decorate if function is None else decorate(function)

    def batch(
        self,
        *,
        queue: str,
        name: str | None = None,
        max_size: int = 500,
        max_wait: float = 0.02,
        timeout: float | None = None,
        soft_timeout: float | None = None,
    ) -> Callable[[Callable[[list[B]], Any]], BatchTask[B]]:
        """Make a task of a function that takes a list of bodies. It owns its queue.

        Parameters:
            queue: where its bodies wait; no other task may use it.
            max_size: bodies in one call at most.
            max_wait: seconds that the first body of a call waits for company.
            name, timeout, soft_timeout: as for `task`; the time-outs are for a whole call.

        The function may raise `PartialFailure` to say which of the bodies failed.
        """
        if max_size < 1 or max_wait < 0:
            raise ConfigError("max_size must be at least 1, max_wait at least 0 seconds")

        def decorate(function: Callable[[list[B]], Any]) -> BatchTask[B]:
            handler = Handler(
                name or function.__name__,
                queue,
                function,
                timeout=timeout,
                soft_timeout=soft_timeout,
                batch_max=max_size,
                batch_wait=max_wait,
            )
            self._register(handler)
            return BatchTask(self, handler)

        return decorate

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was sent is confirmed: see `Producer.flush`."""
        if self._producer is not None:
            self._producer.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """`flush` and disconnect. The next call that sends something connects anew."""
        producer = self._producer
        self._reset()
        if producer is not None:
            producer.close(timeout)

    def __enter__(self) -> App:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        producer = self._producer
        self._reset()
        if producer is not None:
            producer.__exit__(kind, *error)

    def _reset(self) -> None:
        self._producer = None
        for entrance in list(self._entrances):
            entrance.forget()

    def _register(self, handler: Handler) -> None:
        if handler.name in self.handlers:
            raise ConfigError(f"there is a task {handler.name!r} already: give one a name=")
        for other in self.handlers.values():
            if other.queue == handler.queue and (other.batch_max or handler.batch_max):
                raise ConfigError(
                    f"tasks {other.name!r} and {handler.name!r} share queue {handler.queue!r}: "
                    "a batch task needs a queue of its own"
                )
        self.handlers[handler.name] = handler


class _Sender:
    """What sends bodies for one handler, with the options of one caller."""

    def __init__(
        self,
        app: App,
        handler: Handler,
        queue: str,
        wait: float | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._app = app
        self._handler = handler
        self._queue = queue
        self._wait = wait
        self._own_tracer = tracer
        find = functools.partial(_find_lane, app, queue, handler.name, tracer)
        self._entrance = Entrance(find, wait)
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

    def _submit(self, body: object) -> TaskFuture[Any]:
        submit, tracer = self._app.producer.submit, self._tracer
        if tracer is None:
            return submit(self._queue, body, task=self.name, timeout=self._wait)
        with tracer.send(self.name, self._queue) as traceparent:
            body = traced(body, traceparent) if traceparent else body
            return submit(self._queue, body, task=self.name, timeout=self._wait)

    def _send_many(self, bodies: Iterable[object]) -> int:
        send_many, tracer = self._app.producer.send_many, self._tracer
        if tracer is None:
            return send_many(self._queue, bodies, task=self.name, timeout=self._wait)
        with tracer.send(self.name, self._queue) as traceparent:
            bodies = with_context(bodies, traceparent)
            return send_many(self._queue, bodies, task=self.name, timeout=self._wait)

    def _call_many(self, bodies: Iterable[object]) -> Iterator[Any]:
        call_many, tracer = self._app.producer.call_many, self._tracer
        if tracer is not None:
            # What is sent later has the same parent: results are read long after this call.
            with tracer.send(self.name, self._queue) as traceparent:
                bodies = with_context(bodies, traceparent)
        return call_many(self._queue, bodies, task=self.name, timeout=self._wait)


class Sender(_Sender, Generic[P, R]):
    """The calls that send a task."""

    send: Callable[P, None]
    """Send one call. Returns when it is accepted; raises as `Producer.send` does."""

    def __init__(
        self,
        app: App,
        handler: Handler,
        queue: str,
        wait: float | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        super().__init__(app, handler, queue, wait, tracer)
        self.send = self._entrance  # Not a method: it is called for every task.

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]:
        """Send one call and get a future of its result: see `Producer.submit`."""
        return self._submit(call_body(args, kwargs))

    def map(self, *iterables: Iterable[Any]) -> Iterator[R]:
        """Results of the calls, in order: one iterable a parameter, as the built-in `map`.

        Reads the iterables some batches ahead. A failed call raises its `RemoteError` where its
        result would stand.
        """
        return self._call_many(_bodies(iterables))

    def send_many(self, *iterables: Iterable[Any]) -> int:
        """Send calls in full batches: one iterable a parameter. Returns how many."""
        return self._send_many(_bodies(iterables))


class Task(Sender[P, R]):
    """A function that can also be sent. Calling it runs it here, as ever."""

    def __init__(self, app: App, handler: Handler) -> None:
        super().__init__(app, handler, handler.queue)
        functools.update_wrapper(cast(Callable[..., Any], self), handler.function)

    def __repr__(self) -> str:
        return f"<Task {self.name} in queue {self.queue}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here."""
        return cast(R, self._handler.function(*args, **kwargs))

    def options(
        self,
        *,
        queue: str | None = None,
        wait: float | None = None,
        traceparent: str | None = None,
    ) -> Sender[P, R]:
        """The same task, sent otherwise.

        Parameters:
            queue: another queue than the task's own; a worker must serve it (``-Q``).
            wait: seconds to wait if the queue is full; 0 raises `QueueFull` at once.
            traceparent: the trace context to send along, as W3C Trace Context has it; its
                handler finds it in `Current.traceparent`.
        """
        tracer = None if traceparent is None else FixedContext(traceparent)
        return Sender(self._app, self._handler, queue or self._queue, wait, tracer)


class BatchSender(_Sender, Generic[B]):
    """The calls that send bodies to a batch task."""

    def send(self, body: B) -> None:
        """Send one body. Returns when it is accepted; raises as `Producer.send` does."""
        self._entrance.add(body)

    def submit(self, body: B) -> TaskFuture[None]:
        """Send one body and get a future that tells when it was handled."""
        return self._submit(body)

    def send_many(self, bodies: Iterable[B]) -> int:
        """Send bodies in full batches. Returns how many."""
        return self._send_many(bodies)


class BatchTask(BatchSender[B]):
    """A function of a list of bodies that can also be sent bodies, one by one or many."""

    def __init__(self, app: App, handler: Handler) -> None:
        super().__init__(app, handler, handler.queue)
        functools.update_wrapper(cast(Callable[..., Any], self), handler.function)

    def __repr__(self) -> str:
        return f"<BatchTask {self.name} in queue {self.queue}>"

    def __call__(self, bodies: list[B]) -> Any:
        """Run it here."""
        return self._handler.function(bodies)

    def options(
        self, *, wait: float | None = None, traceparent: str | None = None
    ) -> BatchSender[B]:
        """The same task, sent otherwise: parameters as for `Task.options`."""
        tracer = None if traceparent is None else FixedContext(traceparent)
        return BatchSender(self._app, self._handler, self._queue, wait, tracer)


def _find_lane(app: App, queue: str, task: str, tracer: Tracer | None) -> Lane | TracedLane:
    """What takes the bodies of a task now."""
    lane = app.producer.lane(queue, task)
    tracer = tracer or app.tracer
    return lane if tracer is None else TracedLane(lane, tracer)


def _bodies(iterables: tuple[Iterable[Any], ...]) -> Iterable[object]:
    """The arguments of calls, one iterable a parameter."""
    return Wrapped(iterables[0]) if len(iterables) == 1 else zip(*iterables, strict=False)


_apps: weakref.WeakSet[App] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for app in list(_apps):
        app._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
