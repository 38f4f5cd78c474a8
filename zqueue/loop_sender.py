"""The calls of a task in a loop of asyncio. None of them blocks the loop."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from .client.loop_lane import LoopFuture
from .client.tracing import with_context
from .errors import BodyError
from .handlers import call_body
from .sending import Sending, bodies_of
from .takes import Takes1, Takes2, Takes3, Takes4, Takes5
from .wire.traced import traced

P = ParamSpec("P")
R = TypeVar("R")
A1 = TypeVar("A1")
A2 = TypeVar("A2")
A3 = TypeVar("A3")
A4 = TypeVar("A4")
A5 = TypeVar("A5")


class LoopSender(Sending, Generic[P, R]):
    """The calls that are awaited, and what they share with none of the others.

    Nothing of it waits for room: `QueueFull` is raised where `send` would wait, and `BrokerLost`
    if no broker answers. Cancelling an await cancels the task, unless a worker has it already.
    """

    async def call(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Send one call and await its result. Raises as `Producer.asubmit` and its future do."""
        result: R = await self._add_call(args, kwargs, True)
        return result

    async def asend(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Send one call. Returns once the broker has confirmed it: see `Producer.asend`."""
        await self._add_call(args, kwargs, False)

    def asubmit(self, *args: P.args, **kwargs: P.kwargs) -> LoopFuture[R]:
        """Send one call and get an `asyncio.Future` of its result: see `Producer.asubmit`."""
        return self._add_call(args, kwargs, True)

    def _add_call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], results: bool
    ) -> LoopFuture[Any]:
        self._arguments.check(args, kwargs)
        try:
            return self._add_in_loop(call_body(args, kwargs), results)
        except BodyError as error:
            raise self._arguments.blamed(error, args, kwargs) from None

    @overload
    def amap(
        self: Takes1[A1, R], a: Iterable[A1] | AsyncIterable[A1], /,
        *, timeout: float | None = None,
    ) -> AsyncGenerator[R]: ...  # fmt: skip

    @overload
    def amap(
        self: Takes2[A1, A2, R],
        a: Iterable[A1], b: Iterable[A2], /, *, timeout: float | None = None,
    ) -> AsyncGenerator[R]: ...  # fmt: skip

    @overload
    def amap(
        self: Takes3[A1, A2, A3, R],
        a: Iterable[A1], b: Iterable[A2], c: Iterable[A3], /, *, timeout: float | None = None,
    ) -> AsyncGenerator[R]: ...  # fmt: skip

    @overload
    def amap(
        self: Takes4[A1, A2, A3, A4, R],
        a: Iterable[A1], b: Iterable[A2], c: Iterable[A3], d: Iterable[A4], /,
        *, timeout: float | None = None,
    ) -> AsyncGenerator[R]: ...  # fmt: skip

    @overload
    def amap(
        self: Takes5[A1, A2, A3, A4, A5, R],
        a: Iterable[A1], b: Iterable[A2], c: Iterable[A3], d: Iterable[A4], e: Iterable[A5], /,
        *, timeout: float | None = None,
    ) -> AsyncGenerator[R]: ...  # fmt: skip

    @overload
    def amap(
        self, a: Iterable[Any], b: Iterable[Any], c: Iterable[Any], d: Iterable[Any],
        e: Iterable[Any], f: Iterable[Any], /, *more: Iterable[Any], timeout: float | None = None,
    ) -> AsyncGenerator[R]: ...  # fmt: skip

    async def amap(
        self, *iterables: Iterable[Any] | AsyncIterable[Any], timeout: float | None = None
    ) -> AsyncGenerator[Any]:
        """`map` in a loop: ``async for result in task.amap(…)``.

        Plain iterables are read in a thread of their own, so they may block. Where there is one, it
        may be an asynchronous one. What is under way when the loop is left early is cancelled,
        unless a worker has it; `contextlib.aclosing` makes sure of that at once.

        Parameters:
            timeout: seconds that the next result may take, once it is asked for, before
                `TimedOut` is raised. None waits as long as it takes.
        """
        self._arguments.check_count(len(iterables))
        bodies = self._bodies_in_loop(iterables)
        results = self._app.producer.acall_many(self._queue, bodies, wait=timeout, **self._asked)
        async with contextlib.aclosing(results):
            async for result in results:
                yield result

    def _bodies_in_loop(
        self, iterables: tuple[Any, ...]
    ) -> Iterable[object] | AsyncIterable[object]:
        tracer, traceparent = self._tracer, ""
        if tracer is not None:
            with tracer.send(self.name, self._queue) as traceparent:
                pass
        if len(iterables) == 1 and isinstance(iterables[0], AsyncIterable):
            return _bodies_of_one(iterables[0], traceparent)
        bodies = bodies_of(iterables)
        return with_context(bodies, traceparent) if traceparent else bodies


async def _bodies_of_one(source: AsyncIterable[Any], traceparent: str) -> AsyncIterator[object]:
    async for argument in source:
        body = (argument,)
        yield traced(body, traceparent) if traceparent else body
