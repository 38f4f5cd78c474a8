"""The exchange: what callers ask of a producer, and how they wait for it.

It outlives its producer: one that is dropped and not closed is seen off here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

from ..config import BrokerList
from ..errors import BrokerLost, Closed, NameTaken, QueueFull, TimedOut, ZQueueError
from ..seconds import check_seconds
from . import lifetime
from .confirmation import Promise
from .driver import Driver
from .endings import Earlier
from .gate import check_may_send
from .lane import Lane, LaneState
from .lanes import LANES_MAX
from .publisher import Publisher
from .questions import Cancellation, Place
from .replies import TaskFuture

logger = logging.getLogger(__name__)

GOODBYE_S = 1.0
"""How long to wait for the brokers' goodbye at most."""

GOODBYE_LEAST_S = 0.1
"""How long to wait for it if no time is left: it takes a millisecond on a good network."""


class Exchange(Driver):
    """The calls of a producer that may wait. Any number of threads may share it."""

    def __init__(
        self, brokers: BrokerList, publisher: Publisher, *, timeout_s: float, connect_s: float
    ) -> None:
        super().__init__(brokers, publisher)
        self.urls = str(brokers)
        self.is_done = False
        """Whether it has left: nothing can be sent any more."""
        self._is_leaving = False
        self._leaver: threading.Thread | None = None
        """Who is at it, or was."""
        self._timeout_s = timeout_s
        self._connect_s = connect_s
        self._why_closed = "this producer was closed"

    @property
    def is_open(self) -> bool:
        """Whether it has a thread and sockets."""
        return self.wires.is_open

    # --- what lanes and producers ask for ---

    def add_lane(self, lane: Lane, timeout: float | None = None) -> Lane:
        """A lane that is shared: this one, or that which was there before. May wait for others."""
        with self.lock:
            if not self.publisher.has_room_for(lane):
                self._wait_for_room(lane, timeout, lambda: self.publisher.has_room_for(lane))
            return self.publisher.add(lane)

    def add_stream(self, lane: Lane) -> None:
        """A lane of one call."""
        with self.lock:
            self.publisher.add_stream(lane)

    def drop_stream(self, lane: Lane, *, careful: bool = False) -> None:
        """Nothing more will gather in a lane of one call: let the rest leave."""
        with self.lock:
            self.publisher.finish(lane)
            self.turn()
        if careful:
            self.give_out_carefully()
        else:
            self.give_out()

    def finish_stream(self, lane: Lane, timeout: float | None) -> None:
        """Nothing more will gather in a lane of one call: return when all has left it."""
        self.drop_stream(lane)
        with self.lock:
            self._wait_for_room(lane, timeout, lambda: not lane.gathered)
        self.give_out()

    def submit(
        self, lane: Lane, body: object, future: TaskFuture[object], timeout: float | None
    ) -> None:
        """Let a body gather whose result goes to a future."""
        with self.lock:
            if lane.must_ask:
                self.make_room(lane, timeout)
            lane.put(body, future)  # With the lock: neither leaves without the other.
        if lane.is_idle or lane.is_full:
            self.service(lane)

    def connect(self) -> None:
        """Begin to look for a broker. Does not wait."""
        with self.lock:
            self._connect()

    def publish(
        self, lane: Lane, frame: bytes, tasks: int, promise: Promise, *, since: float | None = None
    ) -> None:
        """Send a batch now, beside what gathers in its lane. Does not wait: raises `QueueFull` or
        `BrokerLost` where there is no room. ``since``: when its oldest body came, now by default;
        of delayed ones the youngest.
        """
        with self.lock:
            self._connect()
            if not self.publisher.has_room_for(lane):
                raise QueueFull(f"over {LANES_MAX} tasks of different options are unconfirmed")
            lane = self.publisher.add(lane)
            if not self.publisher.publish(lane, frame, tasks, promise, monotonic(), since):
                self.turn()  # Confirms may be here.
                if not self.publisher.publish(lane, frame, tasks, promise, monotonic(), since):
                    raise self._no_room(lane)
            self.turn()
        self.give_out_carefully()

    def fill(self, lane: Lane, source: Iterator[object], number: int, timeout: float | None) -> int:
        """Let the next bodies of a source gather, and send what is due. Returns how many; 0: there
        are no more. They are counted from ``number`` on."""
        if lane.must_ask:
            self.make_room(lane, timeout)
        try:
            return lane.fill(source, number)
        finally:
            self.service(lane)

    def cancel(
        self, lane: Lane, futures: list[TaskFuture[Any]], running: bool, seconds: float
    ) -> Cancellation:
        """Cancel tasks that were sent by a lane. Returns what is known of that in so many seconds.

        Those that gather here still are cancelled at once; the broker is asked for the others.
        """
        deadline = monotonic() + seconds
        left = [future for future in futures if not future.done()]
        with self.lock:
            dropped = lane.drop(left)
            gathered = len(dropped)
            places = [f.place for f in left if f.place and f not in dropped]
            asked = self.publisher.cancel(lane.queue, places, running, waits=seconds > 0)
            self.turn()
            while any(each.answer is None for each in asked) and not self.is_busy:
                if not self.wait(deadline):
                    break
                self.turn()
        if asked and all(each.is_all_cancelled() for each in asked):
            dropped = left  # Another thread may be about to give them out.
        for future in dropped:
            future.set_cancelled()
        self.give_out()
        counts = Cancellation(gathered, 0, 0, len(futures) - gathered)
        for each in asked:
            counts = counts.add(each.answer)
        return counts

    def ask_to_cancel(self, queue: str, places: list[Place]) -> None:
        """Have the broker cancel tasks that no worker has. Does not wait."""
        with self.lock:
            self.publisher.cancel(queue, places, False, waits=False)
            self.turn()
        self.give_out_carefully()

    def make_room(self, lane: Lane, timeout: float | None) -> None:
        """Return when another body may gather in a lane; the slow side of `Lane.add`."""
        with self.lock:
            self._require_broker()
            self._wait_for_room(lane, timeout, lambda: not lane.is_full)

    def service(self, lane: Lane | None = None) -> None:
        """Send what should go, take what came, and give out results. Without the lock."""
        with self.lock:
            is_over = self.is_done or self.publisher.dismissed is not None
            if is_over and lane is not None and lane.gathered:
                lane.give_up()
                raise self._closed()
            self.turn(lane)
        self.give_out()

    def flush(self, deadline: float) -> None:
        """Wait until everything that was accepted is confirmed. Raises as `Producer.flush` does."""
        with self.lock:
            while self.publisher.unconfirmed:
                if self.publisher.dismissed is not None:
                    raise self._closed()
                self.publisher.flush()
                self.turn()
                left = self.publisher.unconfirmed
                if left and not self.wait(deadline):
                    raise self._too_late(f"{left} tasks are not confirmed")
            refusal = self.publisher.take_refusal()
        self.give_out()
        if refusal is not None:
            raise refusal

    def take_earlier(self, deadline: float) -> Earlier | None:
        """Wait for results that are for an earlier process of our name. None: the time is up."""
        with self.lock:
            self._require_broker()
            while (earlier := self.publisher.take_earlier()) is None:
                self.turn()
                if self.publisher.state is LaneState.CLOSED:
                    raise self._closed()
                if not self.publisher.has_earlier() and not self.wait(deadline):
                    break
        self.give_out()
        return earlier

    def took_earlier(self, earlier: Earlier) -> None:
        """The broker need not keep these any more."""
        with self.lock:
            earlier.connection.took(earlier.run)
            self.turn()
        self.give_out()

    def give_back_earlier(self, earlier: Earlier) -> None:
        """They are for the next who asks."""
        with self.lock:
            earlier.connection.earlier.give_back(earlier.run)

    def close(self, deadline: float) -> None:
        """`flush`, then leave. Raises as `flush` does; all is closed all the same."""
        with self.lock:
            if self._is_leaving:
                # Another thread may be at it: who ends the process must not be quicker.
                while self._leaver is not threading.current_thread() and not self.is_done:
                    if not self.wait(deadline):
                        break
                return
            self._is_leaving = True
            self._leaver = threading.current_thread()
            self.publisher.close()
        left = 0
        try:
            self.flush(deadline)
        finally:
            left = self._leave(deadline)
        if left:
            raise TimedOut(f"{left} tasks were sent while the producer was being closed")

    def deadline(self, timeout: float | None) -> float:
        """When a call is to end. None: after the producer's own time-out."""
        return monotonic() + self.seconds(timeout)

    def seconds(self, timeout: float | None) -> float:
        """How long a call may take. None: the producer's own time-out."""
        return self._timeout_s if timeout is None else check_seconds(timeout, "timeout")

    # --- waiting ---

    def _wait_for_room(
        self, lane: Lane, timeout: float | None, is_there: Callable[[], bool]
    ) -> None:
        deadline: float | None = None
        while not is_there():
            self.turn(lane)
            if is_there() or self.is_busy:
                break  # There is room, or we are inside our own turn: let it through.
            if deadline is None:
                deadline = self.deadline(timeout)
            if not self.wait(deadline):
                raise self._no_room(lane)
            self._require_broker()

    def _no_room(self, lane: Lane) -> ZQueueError:
        if self.wires.have_broker:
            return QueueFull(self.publisher.why_no_room(lane))
        return self._too_late("no room to keep more")

    def _too_late(self, what: str) -> ZQueueError:
        if self.wires.have_broker:
            return TimedOut(f"{what} in time by the broker at {self.urls}")
        return BrokerLost(f"no broker answers at {self.urls}{self.publisher.trouble}: {what}")

    def _require_broker(self) -> None:
        """The first call waits until there is a broker. Needs the lock."""
        deadline = monotonic() + self._connect_s
        while self._connect() is not LaneState.OPEN:
            if not self.wait(deadline):
                if self.publisher.trouble:
                    raise BrokerLost(f"the broker at {self.urls} refuses{self.publisher.trouble}")
                if not self.publisher.connections:
                    raise BrokerLost(f"no broker is known: {self.watcher.trouble or self.urls}")
                raise BrokerLost(
                    f"no broker answers at {self.urls}: start one with 'zqueue broker --bind "
                    f"{self.urls}', or set ZQUEUE_URL; one with keys answers only who has one"
                )

    def _connect(self) -> LaneState:
        """Begin to look for a broker, if that was not done. Says how far it has come. With the
        lock."""
        if self.publisher.state is LaneState.CLOSED:
            raise self._closed()
        if not self.wires.is_open:
            check_may_send()
            self.start()
            lifetime.add(self)
        return self.publisher.state

    def _closed(self) -> Closed:
        dismissed = self.publisher.dismissed
        return Closed(self._why_closed) if dismissed is None else NameTaken(str(dismissed))

    # --- the end ---

    def _leave(self, deadline: float) -> int:
        """Say goodbye, stop the driver, close the sockets. Returns how many tasks are left."""
        with self.lock:
            self.publisher.leave(monotonic())
            self.turn()
            now = monotonic()
            until = min(now + GOODBYE_S, max(deadline, now + GOODBYE_LEAST_S))
            while not self.publisher.is_over():
                if not self.wires.are_connected or not self.wait(until):
                    break
            left = self.publisher.give_up(Closed("the producer was closed before the result came"))
            self.is_done = True
        self.give_out()
        self.stop()
        lifetime.discard(self)
        return left

    def see_off(self) -> None:
        """Close what nobody holds any more, once the results came that somebody may hold."""
        try:
            with self.lock:
                while self.publisher.is_awaiting():
                    if not self.wait(self.deadline(None)) and not self.wires.have_broker:
                        break
            self.close(self.deadline(None))
        except ZQueueError as error:
            logger.error("of a producer that was dropped and not closed: %s", error)

    def forked(self) -> None:
        """In a child process: it has the parent's producers, but not their sockets and threads."""
        error = Closed("this producer was made before fork(): make one in each process")
        self._why_closed = str(error)
        self.is_done = self._is_leaving = True
        super().forked()
        self.publisher.forked(error)
