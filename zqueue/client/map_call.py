"""A call of `map`: sends what a source gives, ahead of the outcomes, which it gives in order."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import math
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Iterator

from ..seconds import check_seconds
from ..wire.results import Outcome
from .bridge import Bridge
from .exchange import Exchange
from .lane import Lane
from .mailbox import mailbox_of
from .ordered import Stream
from .replies import no_result, wait_for_result


class MapCall:
    """Reads a source for a lane of one call, and gives what comes of it.

    ``timeout`` is how long it waits for room, seconds; None: as long as the exchange does.
    """

    def __init__(
        self, exchange: Exchange, lane: Lane, stream: Stream, timeout: float | None
    ) -> None:
        self._exchange = exchange
        self._lane = lane
        self._stream = stream
        self._timeout = timeout

    def outcomes(
        self, source: Iterator[object], wait: float | None, aside: bool
    ) -> Iterator[list[Outcome]]:
        """The outcomes, as they come: see `Producer.call_many`."""
        self._exchange.add_stream(self._lane)
        try:
            if aside:
                self._read_aside(source)
                yield from self._of_another_thread(wait)
            else:
                yield from self._in_between(source, wait)
            self._stream.raise_error()
        finally:
            self._stream.abandon()
            self._exchange.drop_stream(self._lane)

    async def outcomes_in_loop(
        self, source: Iterator[object] | AsyncIterable[object], wait: float | None
    ) -> AsyncGenerator[list[Outcome]]:
        """`outcomes` in a loop of asyncio, which nothing here blocks. What is under way when it is
        left early is cancelled."""
        stream, limit = self._stream, check_seconds(wait, "wait")
        news, mailbox = asyncio.Event(), mailbox_of(asyncio.get_running_loop())
        stream.on_change = functools.partial(mailbox.post, news.set)
        self._exchange.add_stream(self._lane)
        with contextlib.ExitStack() as leaving:
            leaving.callback(self._leave_in_loop)
            if isinstance(source, AsyncIterable):
                source = Bridge(source, mailbox)
                leaving.callback(asyncio.create_task(source.run()).cancel)
            self._read_aside(source)
            while not stream.is_ended or stream.is_awaiting:
                news.clear()
                if outcomes := stream.take():
                    yield outcomes
                else:
                    await self._wait_in_loop(news, limit)
            stream.raise_error()

    async def _wait_in_loop(self, news: asyncio.Event, limit: float) -> None:
        try:
            async with asyncio.timeout(None if math.isinf(limit) else limit):
                await news.wait()
        except TimeoutError:
            raise no_result(self._lane, limit) from None

    def _leave_in_loop(self) -> None:
        places = self._stream.abandon()
        self._exchange.drop_stream(self._lane, careful=True)
        if places:
            # Not here: they may be a hundred thousand.
            cancel = functools.partial(self._exchange.ask_to_cancel, self._lane.queue, places)
            threading.Thread(target=cancel, name="zqueue-cancel", daemon=True).start()

    def _read_aside(self, source: Iterator[object]) -> None:
        run = contextvars.copy_context().run
        threading.Thread(
            target=run, args=(self._read_all, source), name="zqueue-map", daemon=True
        ).start()

    def _of_another_thread(self, wait: float | None) -> Iterator[list[Outcome]]:
        """The outcomes of what another thread reads."""
        stream = self._stream
        while not stream.is_ended or stream.is_awaiting:
            if outcomes := stream.take():
                yield outcomes
            else:
                wait_for_result(stream.wait, self._lane, wait)

    def _in_between(self, source: Iterator[object], wait: float | None) -> Iterator[list[Outcome]]:
        """The outcomes of what is read in between, by the same thread."""
        lane, stream = self._lane, self._stream
        number, is_reading, error = 0, True, None
        while True:
            if outcomes := stream.take():
                yield outcomes
            elif is_reading and stream.may_read and not (lane.is_full and stream.is_awaiting):
                try:
                    count = self._exchange.fill(lane, source, number, self._timeout)
                except Exception as failure:
                    count, error = 0, failure
                number += count
                if not count:
                    is_reading = False
                    self._exchange.drop_stream(lane)
            elif stream.is_awaiting:
                self._wait_here(wait)
            elif lane.gathered:
                self._exchange.finish_stream(lane, self._timeout)
            else:
                break
        stream.end(error)

    def _wait_here(self, wait: float | None) -> None:
        """Wait for an outcome, or, if a full lane stops the reading, for room."""
        limit, room = check_seconds(wait, "wait"), self._exchange.seconds(self._timeout)
        if not self._lane.is_full or limit <= room:
            wait_for_result(self._stream.wait, self._lane, wait)
        elif not self._stream.wait(room):
            self._exchange.make_room(self._lane, 0)

    def _read_all(self, source: Iterator[object]) -> None:
        """Read a source to its end, ahead of the outcomes that are taken."""
        number, error = 0, None
        try:
            while self._stream.wait_to_read():
                count = self._exchange.fill(self._lane, source, number, self._timeout)
                if not count:
                    break
                number += count
        except BaseException as failure:
            error = failure
        try:
            self._exchange.finish_stream(self._lane, self._timeout)
        except BaseException as failure:
            error = error or failure
        self._stream.end(error)
