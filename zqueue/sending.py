"""Sending: the app and its tasks, as far as they are sent, whatever the calls are called."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Self

from .arguments import Arguments
from .client.gate import may_use_names
from .client.lane import Entrance, Lane
from .client.loop_lane import LoopFuture
from .client.replies import TaskFuture
from .client.tracing import TracedLane, Tracer, with_context
from .config import default_url
from .errors import ConfigError
from .handlers import Handler
from .producer import Producer
from .seconds import check_seconds
from .wire.codec import Wrapped
from .wire.headers import check_name
from .wire.options import TaskOptions
from .wire.traced import traced


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

    async def aclose(self, timeout: float | None = None) -> None:
        """`close` in a loop of asyncio, which goes on meanwhile."""
        producer = self._reset()
        if producer is not None:
            await producer.aclose(timeout)

    async def __aenter__(self) -> Self:
        """Begins to connect: see `Producer`."""
        await self.producer.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        producer = self._reset()
        if producer is not None:
            await producer.__aexit__(kind, *error)

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


class Sending:
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
        if handler.resubmit and (options is None or options.resubmit is None):
            options = (options or TaskOptions())._replace(resubmit=True)
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

    def _add_in_loop(self, body: object, results: bool) -> LoopFuture[Any]:
        """Send a body from the loop that runs here."""
        producer, tracer = self._app.producer, self._tracer
        asked = (self.name, results, self._options)
        if tracer is None:
            return producer.add_in_loop(self._queue, body, *asked)
        with tracer.send(self.name, self._queue) as traceparent:
            body = traced(body, traceparent) if traceparent else body
            return producer.add_in_loop(self._queue, body, *asked)

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


def _find_lane(
    app: SendingApp, queue: str, task: str, tracer: Tracer | None, options: TaskOptions | None,
    wait: float | None,
) -> Lane | TracedLane:  # fmt: skip
    """What takes the bodies of a task now."""
    lane = app.producer.lane(queue, task, options=options, timeout=wait)
    tracer = tracer or app.tracer
    return lane if tracer is None else TracedLane(lane, tracer)


def bodies_of(iterables: tuple[Iterable[Any], ...]) -> Iterable[object]:
    """The arguments of calls, one iterable a parameter."""
    return Wrapped(iterables[0]) if len(iterables) == 1 else zip(*iterables, strict=False)
