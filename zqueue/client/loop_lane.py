"""A loop's lane: the bodies that gather in an event loop for one queue, task and options.

Theory of operation. Only the loop's thread uses such a lane, so it takes no lock. A body leaves at
once while nothing is unconfirmed; what is sent meanwhile leaves together at the confirm, or
when it is a full batch. Nothing waits here for room: a batch is published, and what its broker or
the producer's window has no room for fails (`promises`). What the driver's thread hears goes to the
loop's mailbox, so the loop is woken once for all that a message brings.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol, TypeVar

from ..errors import BrokerLost, Closed, ZQueueError
from ..wire.codec import array_header, pack_body
from ..wire.messages import CANCELLED
from ..wire.options import TaskOptions
from ..wire.results import unpack_outcomes
from .earlier import task_id
from .lane import BATCH_BYTES, BATCH_TASKS, Lane
from .mailbox import Mailbox, mailbox_of
from .questions import Place
from .replies import Reply

T = TypeVar("T")


class Exchange(Protocol):
    """What a loop's lane needs of its producer. None of it waits."""

    def publish(
        self, lane: Lane, frame: bytes, tasks: int, promise: LoopBatch, *, since: float | None
    ) -> None:
        """See `exchange.Exchange.publish`."""

    def ask_to_cancel(self, queue: str, places: list[Place]) -> None:
        """See `exchange.Exchange.ask_to_cancel`."""


class LoopFuture(asyncio.Future[T]):
    """An `asyncio.Future` of a task's result. Cancelling it, or the coroutine that awaits it,
    cancels the task, too, unless a worker has it already."""

    def __init__(self, loop: asyncio.AbstractEventLoop, cancelled: Callable[[Place], None]) -> None:
        super().__init__(loop=loop)
        self._tell_cancelled = cancelled
        self.place: Place | None = None
        """What `id` is made of: origin, batch, and position in it."""
        self.progress: tuple[int, int] | Any = None
        """``(done, total)`` as its handler said last (`Current.progress`); None if it said
        nothing. A total of 0 is not known."""
        self._progress_callbacks: list[Callable[[LoopFuture[T]], object]] = []

    @property
    def id(self) -> str | None:
        """The task's id, as `Current.id` in its handler. None until its batch is on its way."""
        return None if self.place is None else task_id(*self.place)

    def cancel(self, msg: Any = None) -> bool:
        """Cancel it, and its task, unless a worker has it. Returns whether the future was open."""
        is_cancelled = super().cancel(msg)
        if is_cancelled and self.place is not None:
            self._tell_cancelled(self.place)
        return is_cancelled

    def add_progress_callback(self, function: Callable[[LoopFuture[T]], object]) -> None:
        """Have the loop call ``function(future)`` whenever there is news; soon, if there was."""
        self._progress_callbacks.append(function)
        if self.progress is not None:
            self.get_loop().call_soon(function, self)

    def set_progress(self, done: int, total: int) -> None:
        """Called by whoever heard of it."""
        self.progress = (done, total)
        for function in self._progress_callbacks:
            self.get_loop().call_soon(function, self)


class LoopBatch(Reply):
    """The futures of a batch that a loop's lane published, with or without results."""

    runs_no_callbacks = True

    def __init__(self, lane: LoopLane, futures: list[LoopFuture[Any]], mailbox: Mailbox) -> None:
        self._lane = lane
        self._futures = futures
        self._mailbox = mailbox

    def reply(self) -> Reply | None:
        """Where results go, if they are wanted."""
        return self if self._lane.wants_results else None

    def numbered(self, origin: int, sequence: int) -> None:
        for position, future in enumerate(self._futures):
            future.place = (origin, sequence, position)

    def take(self, first: int, tasks: int, status: int, frame: bytes, *, last: bool) -> None:
        self._mailbox.post(self._taken, first, tasks, status, frame)

    def fail(self, error: Exception) -> None:
        self._mailbox.post(self._failed, error)

    def progress(self, position: int, done: int, total: int) -> None:
        self._mailbox.post(self._progressed, position, done, total)

    def end(self, error: ZQueueError | None = None) -> None:
        """The batch is confirmed, or will not be."""
        self._mailbox.post(self._ended, error)

    def forked(self, error: Exception) -> None:
        self._failed(error)

    # --- in the loop ---

    def _taken(self, first: int, tasks: int, status: int, frame: bytes) -> None:
        run = self._futures[first : first + tasks]
        for future, (ok, value) in zip(run, unpack_outcomes(status, tasks, frame), strict=False):
            if future.done():
                continue
            if status == CANCELLED:
                asyncio.Future.cancel(future)
            elif ok:
                future.set_result(value)
            else:
                future.set_exception(value)

    def _failed(self, error: Exception) -> None:
        for future in self._futures:
            if not future.done():
                future.set_exception(error)
                if isinstance(error, Closed):
                    future.exception()  # Who closes while nobody awaits it need not be told.

    def _progressed(self, position: int, done: int, total: int) -> None:
        if position < len(self._futures) and not self._futures[position].done():
            self._futures[position].set_progress(done, total)

    def _ended(self, error: ZQueueError | None) -> None:
        if error is not None:
            self._failed(error)
        elif not self._lane.wants_results:
            for future in self._futures:
                if not future.done():
                    future.set_result(None)
        self._lane.ended(error)


class LoopLane:
    """What gathers in a loop. ``forget`` is called when it is idle and has options."""

    def __init__(
        self, exchange: Exchange, lane: Lane, mailbox: Mailbox, forget: Callable[[], object]
    ) -> None:
        self._exchange = exchange
        self._lane = lane
        self._mailbox = mailbox
        self._forget = forget
        self.wants_results: bool = lane.reply
        self._bodies: list[bytes] = []
        self._futures: list[LoopFuture[Any]] = []
        self._nbytes = 0
        self._since = 0.0
        self._in_flight = 0
        """Batches that are not confirmed."""
        self._cancelled: list[Place] = []

    def __repr__(self) -> str:
        return f"<LoopLane: {len(self._bodies)} gathered, {self._in_flight} in flight>"

    def add(self, body: object, loop: asyncio.AbstractEventLoop) -> LoopFuture[Any]:
        """Send a body. Raises as `Producer.publish` does: the body is left out then."""
        packed = pack_body(body)
        if self._bodies and not self._has_room_for(packed):
            self._publish()
        future: LoopFuture[Any] = LoopFuture(loop, self._cancel_soon)
        if not self._bodies or self._lane.is_delayed:
            self._since = monotonic()
        self._bodies.append(packed)
        self._futures.append(future)
        self._nbytes += len(packed)
        if not self._in_flight:
            self._leave()
        return future

    def leave(self) -> None:
        """Let what gathers leave now; what there is no room for fails."""
        if self._bodies:
            self._leave()

    def ended(self, error: ZQueueError | None) -> None:
        """A batch is confirmed, or will not be."""
        self._in_flight -= 1
        if isinstance(error, BrokerLost | Closed):
            self._fail(error)
        elif self._bodies and not self._in_flight:
            self._leave()
        if not self._in_flight and not self._bodies and self._lane.options:
            self._forget()

    def _has_room_for(self, packed: bytes) -> bool:
        if self._lane.is_alone:
            return False
        return len(self._bodies) < BATCH_TASKS and self._nbytes + len(packed) <= BATCH_BYTES

    def _leave(self) -> None:
        try:
            self._publish()
        except ZQueueError as error:
            self._fail(error)

    def _publish(self) -> None:
        """Send what gathered, but for what was cancelled. If this raises, it gathers still."""
        kept = [i for i, future in enumerate(self._futures) if not future.done()]
        if len(kept) < len(self._futures):
            self._bodies = [self._bodies[i] for i in kept]
            self._futures = [self._futures[i] for i in kept]
        if kept:
            frame = array_header(len(kept)) + b"".join(self._bodies)
            batch = LoopBatch(self, self._futures, self._mailbox)
            self._exchange.publish(self._lane, frame, len(kept), batch, since=self._since)
            self._in_flight += 1
        self._bodies, self._futures, self._nbytes = [], [], 0

    def _fail(self, error: ZQueueError) -> None:
        """What gathered will not be sent."""
        futures, self._bodies, self._futures, self._nbytes = self._futures, [], [], 0
        for future in futures:
            if not future.done():
                future.set_exception(error)
        if not self._in_flight and self._lane.options:
            self._forget()

    def _cancel_soon(self, place: Place) -> None:
        if not self._cancelled:
            self._mailbox.post(self._cancel)
        self._cancelled.append(place)

    def _cancel(self) -> None:
        places, self._cancelled = self._cancelled, []
        self._exchange.ask_to_cancel(self._lane.queue, places)


class LoopLanes:
    """The lanes of a producer in all event loops that it is used in."""

    def __init__(self, exchange: Exchange, make_lane: Callable[..., Lane]) -> None:
        self._exchange = exchange
        self._make_lane = make_lane
        self._lanes: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[tuple[Any, ...], LoopLane]
        ] = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<LoopLanes in {len(self._lanes)} loops>"

    def add(
        self, queue: str, body: object, task: str, results: bool, options: TaskOptions | None
    ) -> LoopFuture[Any]:
        """Send a body from the loop that runs here: see `LoopLane.add`."""
        loop = asyncio.get_running_loop()
        lanes = self._lanes.get(loop)
        if lanes is None:
            lanes = self._lanes[loop] = {}
        key = (queue, task, results, options)
        lane = lanes.get(key)
        if lane is None:
            made = self._make_lane(queue, task, reply=results, options=options)
            forget = functools.partial(lanes.pop, key, None)
            lane = lanes[key] = LoopLane(self._exchange, made, mailbox_of(loop), forget)
        return lane.add(body, loop)

    def leave(self) -> None:
        """Let all that gathers in the loop that runs here leave now."""
        for lane in list(self._lanes.get(asyncio.get_running_loop(), {}).values()):
            lane.leave()
