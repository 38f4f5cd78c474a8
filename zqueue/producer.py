"""The producer: takes bodies from any number of threads and sends them in batches.

Theory of operation. Each (queue, task) is a *lane*: a list of packed bodies that gathers. If
nothing of the lane is unconfirmed, a body leaves at once, alone; otherwise it waits with others
for the next confirm, or until a batch is full. So batches form by themselves: none when idle,
full ones under load, and there is no delay to tune.

`Lane.add` (in `lane`) is the hot path, run for every task, and takes no lock. Only when the lane
is idle or the batch is full does it go on to `Producer.service`, which holds the lock, sends, and
takes whatever came back.

The socket belongs to the lock: the caller's thread sends at once instead of waking another, and
a background thread waits for what comes when no caller is active. ZeroMQ signals new input by
edge, so whoever used the socket goes on until it has nothing more to say.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import multiprocessing.util
import os
import random
import select
import socket as stdlib_socket
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any

from .config import Address, default_url
from .core.histogram import Histogram
from .errors import (
    BrokerLost,
    Closed,
    QueueFull,
    Refused,
    ResultLost,
    TimedOut,
    ZQueueError,
)
from .lane import BATCH_BYTES, BATCH_TASKS, Lane
from .net.dealer import Dealer
from .protocol.codec import FRAME_BYTES_MAX, Packer, array_length, pack
from .protocol.link import Connected, Disconnected, LinkEvent, Rejected, State
from .protocol.messages import check_name
from .protocol.producer import (
    BatchRefused,
    Confirmed,
    ProducerEvent,
    ProducerProtocol,
    Progressed,
    ResultsCame,
    ResultsLost,
)
from .replies import BatchReply, FutureReply, Reply, TaskFuture
from .results import Outcome

logger = logging.getLogger(__name__)


LANE_BATCHES = 32
"""Unconfirmed batches of one lane. 4 MiB at most of full batches: enough to hide the way to
the broker and back many times over, little enough that a full queue is soon felt."""

MAP_BATCHES = 64
"""Batches that `call_many` sends ahead of the result it gives."""

TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0
GOODBYE_S = 1.0

INTERRUPTED_S = 1.0
"""How long leaving a ``with`` block waits for confirms after Ctrl-C. Whoever presses it will not
wait for half a minute; what is not confirmed by then is counted in the log."""

FRAMES_MAX = 4

REPORT_EVERY_S = 1.0
"""How often a producer that is confirmed anything tells how long that took."""


class Producer:
    """Sends bodies to queues of one broker. Any number of threads may share it.

    Parameters:
        url: the broker's address, ``tcp://HOST:PORT`` or ``ipc:///PATH``; by default
            ``ZQUEUE_URL``, or ``tcp://127.0.0.1:5555``.
        timeout: seconds a call waits for room, or `flush` for confirms, before it raises.
        connect_timeout: seconds the first call waits for a broker.

    Every accepted body is kept until the broker has confirmed it, and sent again if the
    connection or the broker was lost meanwhile, so a body may arrive twice but does not vanish.
    `close` (or leaving the ``with`` block, or the end of the program) waits for the confirms
    and says so if some did not come.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout: float = TIMEOUT_S,
        connect_timeout: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self.url = url or default_url()
        self.timeout = timeout
        self.connect_timeout = connect_timeout
        self._address = Address.parse(self.url)
        about = {"pid": os.getpid(), "host": stdlib_socket.gethostname()}
        self._protocol = ProducerProtocol(os.urandom(16), pack(about), random.Random().random)
        self._lanes: dict[tuple[str, str, bool], Lane] = {}
        self._batches: dict[int, tuple[Lane, float]] = {}
        """Lane and instant of each batch that is not confirmed."""
        self._confirms = Histogram()
        self._report_at = 0.0
        self._replies: dict[int, Reply] = {}
        self._dirty: dict[Lane, None] = {}
        self._completions: deque[Callable[[], None]] = deque()
        self._refusals: deque[Refused] = deque(maxlen=100)
        # Re-entrant: a finalizer or signal handler may send while this thread holds it.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._completing = threading.Lock()
        self._busy = False
        self._flushing = 0
        self._dealer: Dealer | None = None
        self._thread: threading.Thread | None = None
        self._waker: stdlib_socket.socket | None = None
        self._armed_until = float("inf")
        self._closed: str | None = None
        self._was_connected = False
        self._trouble = ""

    def __repr__(self) -> str:
        return f"<Producer {self.url}: {self._protocol!r}>"

    # --- sending ---

    def send(
        self, queue: str, body: object, *, task: str = "", timeout: float | None = None
    ) -> None:
        """Send one body to a queue. Returns when it is accepted; its confirm comes later.

        Parameters:
            body: anything msgpack carries: None, bool, int, float, str, bytes, list, dict.
            task: name of the handler; by default the queue's only one.
            timeout: seconds to wait if there is no room, 0 for not at all (default: the
                producer's).

        Raises:
            BodyError, InvalidName: the body or a name cannot be sent.
            QueueFull: no room within the time.
            BrokerLost: no room within the time, and no broker answers.
        """
        self.lane(queue, task).add(body, timeout)

    def send_many(
        self, queue: str, bodies: Iterable[object], *, task: str = "", timeout: float | None = None
    ) -> int:
        """Send bodies in full batches. Returns how many; raises as `send` does, per batch.

        When it raises, the bodies of the batches before have been accepted.
        """
        lane = self.lane(queue, task)
        sent = 0
        for frame in self._pack_many(bodies):
            sent += self._publish(lane, frame, None, timeout)
        return sent

    def submit(
        self, queue: str, body: object, *, task: str = "", timeout: float | None = None
    ) -> TaskFuture[Any]:
        """Send one body and get a future of its result. Raises as `send` does.

        The future fails with `RemoteError` if the handler raised, with `Refused` if the broker
        refused the task, and with `ResultLost` if what became of it cannot be known. A task that
        was sent cannot be cancelled.
        """
        lane = self.lane(queue, task, reply=True)
        if lane.blocked or lane.is_full:
            self.make_room(lane, timeout)
        future: TaskFuture[Any] = TaskFuture()
        future.set_running_or_notify_cancel()
        with self._lock:
            lane.put(body, future)
        if lane.idle or lane.is_full:
            self.service(lane)
        return future

    def call_many(
        self, queue: str, bodies: Iterable[object], *, task: str = "", timeout: float | None = None
    ) -> Iterator[Any]:
        """Send bodies in full batches and give their results in order, as they come.

        Reads the bodies some batches ahead of the results. A failed task raises its
        `RemoteError` where its result would stand.
        """
        for ok, value in self.outcomes(queue, bodies, task=task, timeout=timeout):
            if not ok:
                raise value
            yield value

    def outcomes(
        self, queue: str, bodies: Iterable[object], *, task: str = "", timeout: float | None = None
    ) -> Iterator[Outcome]:
        """As `call_many`, giving ``(True, value)`` or ``(False, exception)`` for each body."""
        lane = self.lane(queue, task, reply=True)
        pending: deque[BatchReply] = deque()
        for frame in self._pack_many(bodies):
            reply = BatchReply(array_length(frame))
            self._publish(lane, frame, reply, timeout)
            pending.append(reply)
            if len(pending) >= MAP_BATCHES:
                yield from pending.popleft().wait()
        while pending:
            yield from pending.popleft().wait()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything that was accepted is confirmed.

        Raises:
            BrokerLost, TimedOut: not confirmed within ``timeout`` seconds; it is kept, and
                still sent when the broker is back.
            Refused: the broker refused a batch since the last flush (the first of them).
        """
        deadline = self._deadline(timeout)
        with self._lock:
            self._flushing += 1
            try:
                while self._unconfirmed():
                    self._dirty.update(dict.fromkeys(self._lanes.values()))
                    self._turn()
                    if self._unconfirmed() and not self._wait(deadline):
                        raise self._too_late(f"{self._unconfirmed()} tasks are not confirmed")
            finally:
                self._flushing -= 1
            if self._refusals:
                first = self._refusals[0]
                self._refusals.clear()
                raise first

    def close(self, timeout: float | None = None) -> None:
        """`flush`, then leave. Raises as `flush` does; the producer is closed all the same."""
        with self._lock:
            if self._closed is not None:
                return
            self._closed = "this producer was closed"
            for lane in self._lanes.values():
                lane.blocked = True
        try:
            self.flush(timeout)
        finally:
            self._leave()
        if left := self._unconfirmed():
            raise TimedOut(f"{left} tasks were sent while the producer was being closed")

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        try:
            self.close(INTERRUPTED_S if interrupted else None)
        except ZQueueError as error:
            if kind is None:
                raise
            logger.error("not all that was sent before the error is confirmed: %s", error)

    # --- lanes ---

    def lane(self, queue: str, task: str = "", *, reply: bool = False) -> Lane:
        """The lane of a queue and task. Raises `InvalidName`."""
        lane = self._lanes.get((queue, task, reply))
        if lane is None:
            check_name(queue, "queue")
            if task:
                check_name(task, "task")
            with self._lock:
                lane = Lane(self, queue, task, reply=reply)
                lane = self._lanes.setdefault((queue, task, reply), lane)
                if self._was_connected and self._closed is None:
                    lane.blocked = False
        return lane

    def _pack_many(self, bodies: Iterable[object]) -> Iterator[bytes]:
        """Full batches of packed bodies, and a last one."""
        packer = Packer(BATCH_TASKS, BATCH_BYTES)
        source = iter(bodies)
        while packer.fill(source):
            while packer.is_full:
                yield packer.take()
        if rest := packer.take():
            yield rest

    # --- the lock's side ---

    def _publish(self, lane: Lane, frame: bytes, reply: Reply | None, timeout: float | None) -> int:
        """Send a batch behind what gathered before. Returns how many tasks it has."""
        tasks = array_length(frame)
        began = monotonic()
        deadline: float | None = None
        with self._lock:
            while True:
                self._require_broker()
                if lane.gathered:
                    self._turn(lane)
                if not lane.gathered and self._has_room(lane):
                    break
                if deadline is None:
                    deadline = self._deadline(timeout)
                if not self._wait(deadline):
                    raise self._no_room(lane)
            self._number(lane, frame, tasks, reply, began)
        self.service()
        return tasks

    def _number(
        self, lane: Lane, frame: bytes, tasks: int, reply: Reply | None, since: float
    ) -> None:
        now = monotonic()
        sequence = self._protocol.publish(
            lane.queue, lane.task, frame, tasks, reply=reply is not None, age_s=now - since
        )
        lane.in_flight += 1
        lane.idle = False
        self._batches[sequence] = (lane, now)
        if reply is not None:
            self._replies[sequence] = reply

    def _has_room(self, lane: Lane) -> bool:
        return lane.in_flight < LANE_BATCHES and not self._protocol.window.is_full()

    def make_room(self, lane: Lane, timeout: float | None) -> None:
        """Return when another body may gather in a lane; the slow side of `Lane.add`."""
        deadline: float | None = None
        with self._lock:
            self._require_broker()
            while lane.is_full:
                self._turn(lane)
                if not lane.is_full or self._busy:
                    break  # There is room, or we are inside our own turn: let it through.
                if deadline is None:
                    deadline = self._deadline(timeout)
                if not self._wait(deadline):
                    raise self._no_room(lane)
                self._require_broker()
            lane.blocked = False

    def service(self, lane: Lane | None = None) -> None:
        """Send what should go, take what came, and give out results. Without the lock."""
        with self._lock:
            self._turn(lane)
        self._complete()

    def _turn(self, lane: Lane | None = None) -> None:
        """Send what should go and take what came, until there is no more to do. With the lock."""
        if self._busy:
            # Re-entered by a finalizer: the turn that is under way will see to it.
            if lane is not None:
                self._dirty[lane] = None
            return
        self._busy = True
        try:
            if lane is not None and self._dealer is not None:
                self._form_batches(lane)
                if self._protocol.link.is_ready:
                    self._dealer.send(self._protocol.to_send())
            self._pump()
        finally:
            self._busy = False

    def _pump(self) -> None:
        dealer, protocol = self._dealer, self._protocol
        if dealer is None:
            return
        while True:
            while self._dirty:
                lane, _ = self._dirty.popitem()
                self._form_batches(lane)
            messages = protocol.to_send()
            if messages:
                dealer.send(messages, afresh=protocol.link.is_greeting)
            dealer.flush()
            frames = dealer.receive()
            if frames is None:
                break  # The last use of the socket found nothing: see `net.waiting`.
            now = monotonic()
            while frames is not None:
                protocol.receive(frames, now)
                frames = dealer.receive()
            while (event := protocol.next_event()) is not None:
                self._on_event(event)
            if protocol.link.state is State.LEFT:
                self._changed.notify_all()
        deadline = protocol.next_deadline()
        if deadline is not None and deadline < self._armed_until:
            self._wake()

    def _form_batches(self, lane: Lane) -> None:
        while not lane.in_flight or lane.is_full or self._flushing:
            if not self._has_room(lane):
                return
            since = lane.since
            frame, tasks = lane.cut()
            if not tasks:
                return
            reply: Reply | None = None
            if lane.reply:
                reply = FutureReply([lane.futures.popleft() for _ in range(tasks)])
            self._number(lane, frame, tasks, reply, since)

    def _on_event(self, event: ProducerEvent | LinkEvent) -> None:
        if isinstance(event, Confirmed):
            self._on_confirmed(event)
        elif isinstance(event, ResultsCame):
            reply = self._replies[event.sequence]
            self._completions.append(
                lambda: reply.take(
                    event.first, event.tasks, event.status, event.frame, last=event.last
                )
            )
            if event.last:
                del self._replies[event.sequence]
        elif isinstance(event, Progressed):
            reply = self._replies[event.sequence]
            self._completions.append(
                lambda: reply.progress(event.position, event.done, event.total)
            )
        elif isinstance(event, ResultsLost):
            self._fail(event.sequence, ResultLost(event.text))
        elif isinstance(event, BatchRefused):
            self._on_refused(event)
        elif isinstance(event, Connected):
            self._on_connected()
        elif isinstance(event, Disconnected):
            logger.warning("the broker at %s is lost: %s", self.url, event.reason)
        elif isinstance(event, Rejected):
            self._trouble = f": {event.text} ({event.code})"
        self._changed.notify_all()

    def _on_confirmed(self, event: Confirmed) -> None:
        now = monotonic()
        for sequence in event.sequences:
            sent = self._batches.get(sequence)
            if sent is not None:
                self._confirms.record(now - sent[1])
            self._settled(sequence)
        if now >= self._report_at:
            self._report_at = now + REPORT_EVERY_S
            self._protocol.report({"confirm": self._confirms.take().to_wire()})

    def _on_connected(self) -> None:
        self._trouble = ""
        if self._was_connected:
            logger.info("the broker at %s is back", self.url)
        self._was_connected = True
        for lane in self._lanes.values():
            lane.blocked = False
            self._dirty[lane] = None

    def _on_refused(self, event: BatchRefused) -> None:
        error = Refused(event.code, event.text)
        lane = self._settled(event.sequence)
        if not self._fail(event.sequence, error):
            self._refusals.append(error)
            logger.error("the broker refused %d tasks for queue %r: %s",
                         event.tasks, lane.queue if lane else "?", error)  # fmt: skip

    def _settled(self, sequence: int) -> Lane | None:
        lane, _ = self._batches.pop(sequence, (None, 0.0))
        if lane is not None:
            lane.in_flight -= 1
            if not lane.in_flight:
                lane.idle = True  # Before looking at what gathered: see `Lane`.
            if lane.gathered:
                self._dirty[lane] = None
        return lane

    def _fail(self, sequence: int, error: Exception) -> bool:
        reply = self._replies.pop(sequence, None)
        if reply is None:
            return False
        self._completions.append(lambda: reply.fail(error))
        return True

    def _complete(self) -> None:
        """Give out results, outside the lock: callbacks of futures are the user's code."""
        completions = self._completions
        while completions and self._completing.acquire(blocking=False):
            # One thread at a time, so that results keep their order; who comes meanwhile leaves
            # its results to the one that is at it.
            try:
                while completions:
                    completions.popleft()()
            finally:
                self._completing.release()

    # --- waiting ---

    def _deadline(self, timeout: float | None) -> float:
        return monotonic() + (self.timeout if timeout is None else timeout)

    def _wait(self, deadline: float) -> bool:
        """Wait for a change, without the lock. False when the time is up."""
        left = deadline - monotonic()
        if left <= 0:
            return False
        if self._completions:
            self._wake()  # Results that this thread received are for the other to give out.
        self._changed.wait(left)
        return True

    def _unconfirmed(self) -> int:
        """Tasks accepted and not confirmed (batches on their way count with their tasks)."""
        gathered = sum(lane.gathered for lane in self._lanes.values())
        return gathered + sum(batch.tasks for _, batch in self._protocol.window.items())

    def _no_room(self, lane: Lane) -> ZQueueError:
        if not self._protocol.link.is_ready:
            return self._too_late("no room to keep more")
        if lane.in_flight < LANE_BATCHES:
            return QueueFull("too many batches wait for room in other queues")
        return QueueFull(f"queue {lane.queue!r} is full")

    def _too_late(self, what: str) -> ZQueueError:
        if self._protocol.link.is_ready:
            return TimedOut(f"{what} in time by the broker at {self.url}")
        return BrokerLost(f"no broker answers at {self.url}{self._trouble}: {what}")

    def _require_broker(self) -> None:
        """The first call waits until there is a broker. Needs the lock."""
        if self._closed is not None:
            raise Closed(self._closed)
        if self._was_connected:
            return
        if self._thread is None:
            self._start()
        deadline = monotonic() + self.connect_timeout
        while not self._was_connected:
            if not self._wait(deadline):
                raise BrokerLost(
                    f"no broker answers at {self.url}{self._trouble}: "
                    f"start one with 'zqueue broker --bind {self.url}', or set ZQUEUE_URL"
                )
            if self._closed is not None:
                raise Closed(self._closed)

    # --- the background thread ---

    def _start(self) -> None:
        self._dealer = Dealer(self._address, frame_bytes_max=FRAME_BYTES_MAX, frames_max=FRAMES_MAX)
        reader, self._waker = stdlib_socket.socketpair()
        reader.setblocking(False)
        self._waker.setblocking(False)
        self._thread = threading.Thread(
            target=self._run, args=(reader,), name="zqueue-producer", daemon=True
        )
        self._thread.start()
        _open_producers.add(self)
        if multiprocessing.parent_process() is not None:
            # Such a process leaves without running what is registered with atexit.
            multiprocessing.util.Finalize(None, _flush_at_exit, exitpriority=0)

    def _run(self, reader: stdlib_socket.socket) -> None:
        assert self._dealer is not None
        poller = select.poll()
        poller.register(self._dealer.fd, select.POLLIN)
        poller.register(reader, select.POLLIN)
        with reader:
            while True:
                with self._lock:
                    if self._protocol.link.state is State.LEFT or self._dealer is None:
                        return
                    self._armed_until = float("inf")
                    self._protocol.tick(monotonic())
                    while (event := self._protocol.next_event()) is not None:
                        self._on_event(event)
                    self._turn()
                    deadline = self._protocol.next_deadline()
                    self._armed_until = float("inf") if deadline is None else deadline
                self._complete()
                wait_s = self._armed_until - monotonic()
                ready = poller.poll(None if wait_s == float("inf") else max(0, wait_s * 1000 + 1))
                if any(fd == reader.fileno() for fd, _ in ready):
                    reader.recv(4096)

    def _wake(self) -> None:
        if self._waker is not None and threading.current_thread() is not self._thread:
            try:
                self._waker.send(b"\0")
            except (BlockingIOError, BrokenPipeError):
                pass  # It is full of wake-ups already, or the thread has ended.

    def _leave(self) -> None:
        """Say goodbye, stop the thread, close the socket."""
        with self._lock:
            self._protocol.link.leave(monotonic())
            self._turn()
            thread = self._thread
            deadline = monotonic() + GOODBYE_S
            while self._protocol.link.state is not State.LEFT and self._wait(deadline):
                pass
            for sequence in list(self._replies):
                self._fail(sequence, Closed("the producer was closed before the result came"))
            dealer, self._dealer = self._dealer, None
            self._changed.notify_all()
        self._complete()
        if thread is not None and thread is not threading.current_thread():
            self._wake()
            thread.join(GOODBYE_S)
        if dealer is not None:
            dealer.close()
        if self._waker is not None:
            self._waker.close()
        _open_producers.discard(self)


_open_producers: weakref.WeakSet[Producer] = weakref.WeakSet()


def _flush_at_exit() -> None:
    """Nothing that was accepted is lost without a word."""
    for producer in list(_open_producers):
        try:
            producer.close()
        except ZQueueError as error:
            logger.error("at exit: %s", error)


def _abandon_after_fork() -> None:
    """A child process has the parent's producers, but not their sockets and threads."""
    for producer in list(_open_producers):
        producer._closed = "this producer was made before fork(): make one in each process"
        # Another thread of the parent may have held the lock at the fork.
        producer._lock = threading.RLock()
        producer._changed = threading.Condition(producer._lock)
        producer._busy = False
        for lane in producer._lanes.values():
            lane.forked()
    _open_producers.clear()


atexit.register(_flush_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_after_fork)
