"""What a producer does in a loop of asyncio. None of these calls blocks the loop."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import Any, Self

from ..errors import ConfigError
from ..seconds import check_seconds
from ..wire.headers import check_name
from ..wire.options import TaskOptions
from .exchange import Exchange
from .lane import Lane
from .loop_lane import LoopFuture, LoopLanes
from .mailbox import aside
from .map_call import MapCall
from .ordered import Stream

MAP_BATCHES = 64
"""Batches that `call_many` sends ahead of the result it gives."""


class LoopCalls:
    """The calls of a producer that are awaited."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._in_loops = LoopLanes(exchange, self._make_lane)

    def close(self, timeout: float | None = None) -> None:
        """See `Producer.close`."""
        raise NotImplementedError

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """`close`, in a hurry after Ctrl-C."""
        raise NotImplementedError

    def add_in_loop(
        self, queue: str, body: object, task: str, results: bool, options: TaskOptions | None
    ) -> LoopFuture[Any]:
        """Send one body: see `asubmit`, or, without results, `asend`."""
        return self._in_loops.add(queue, body, task, results, options)

    async def asend(
        self, queue: str, body: object, *, task: str = "", options: TaskOptions | None = None
    ) -> None:
        """Send one body, and return once the broker has confirmed it: see `publish`.

        Bodies that a loop sends while one is unconfirmed leave together. Cancelling the await
        cancels the task, unless a worker has it already. Raises as `publish` and its future do:
        `QueueFull` where `send` would wait.
        """
        await self._in_loops.add(queue, body, task, False, options)

    def asubmit(
        self, queue: str, body: object, *, task: str = "", options: TaskOptions | None = None
    ) -> LoopFuture[Any]:
        """Send one body and get an `asyncio.Future` of its result. Sent as by `asend`, and raises
        as `publish` does; the future fails as that of `submit`, and as that of `publish`."""
        return self._in_loops.add(queue, body, task, True, options)

    async def acall_many(
        self,
        queue: str,
        bodies: Iterable[object] | AsyncIterable[object],
        *,
        task: str = "",
        timeout: float | None = None,
        wait: float | None = None,
        options: TaskOptions | None = None,
    ) -> AsyncGenerator[Any]:
        """`call_many` in a loop. A plain iterable is read in a thread of its own, so it may block.
        What is under way when the loop is left early is cancelled, unless a worker has it."""
        source = bodies if isinstance(bodies, AsyncIterable) else iter(bodies)
        call = self._map_call(queue, task, timeout, wait, options)
        async with contextlib.aclosing(call.outcomes_in_loop(source, wait)) as runs:
            async for outcomes in runs:
                for ok, value in outcomes:
                    if not ok:
                        raise value
                    yield value

    async def aclose(self, timeout: float | None = None) -> None:
        """`close`, which other coroutines do not wait for."""
        self._in_loops.leave()
        await aside(self.close, timeout)

    async def __aenter__(self) -> Self:
        """Begins to connect, and does not wait for it: who sends without a broker hears of that."""
        self._exchange.connect()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._in_loops.leave()
        await aside(self.__exit__, kind, *error)

    def _check(self, timeout: float | None, options: TaskOptions | None = None) -> None:
        if timeout is not None:
            check_seconds(timeout, "timeout")
        if options is not None and options.key is not None:
            raise ConfigError("a key= is of one task: send or submit each with its own")

    def _map_call(
        self, queue: str, task: str, timeout: float | None, wait: float | None,
        options: TaskOptions | None,
    ) -> MapCall:  # fmt: skip
        self._check(timeout, options)
        check_seconds(wait, "wait")
        stream = Stream(MAP_BATCHES)
        lane = self._make_lane(queue, task, stream=stream, options=options)
        return MapCall(self._exchange, lane, stream, timeout)

    def _make_lane(self, queue: str, task: str, **asked: Any) -> Lane:
        check_name(queue, "queue")
        if task:
            check_name(task, "task")
        return Lane(self._exchange, queue, task, **asked)
