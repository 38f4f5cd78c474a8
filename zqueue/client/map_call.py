"""A call of `map`: sends what a source gives, ahead of the outcomes, which it gives in order."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator

from ..seconds import check_seconds
from ..wire.results import Outcome
from .exchange import Exchange
from .lane import Lane
from .ordered import Stream
from .replies import wait_for_result


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
                run = contextvars.copy_context().run
                threading.Thread(
                    target=run, args=(self._read_all, source), name="zqueue-map", daemon=True
                ).start()
                yield from self._of_another_thread(wait)
            else:
                yield from self._in_between(source, wait)
            self._stream.raise_error()
        finally:
            self._stream.abandon()
            self._exchange.drop_stream(self._lane)

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
