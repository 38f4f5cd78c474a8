"""Dispatch: how tasks leave a broker's queues under leases.

Theory of operation. A worker is *hungry* for its queues while it has credit left. Whenever a
queue got tasks, or a worker got hungry, tasks go out in order to the hungry workers in turn,
each delivery under a lease.

Poison guard: tasks that were in a worker when it died are suspects. They are handed out alone, some
and then one by one (see `core.ready`), and the one whose workers died `crashes_max` times is dead.
A suspect goes to the first worker that holds nothing, often the one that was started in place of
the dead one; all others go on with what is fresh. Where no worker is idle for a while, one is
*reserved*: it gets nothing more until it holds nothing, and then the suspects.
"""

from __future__ import annotations

from ..core.batch import Batch
from ..core.lease import LeaseTable
from ..errors import ProtocolError
from ..wire.codec import array_header
from ..wire.headers import make
from ..wire.messages import REPLY, Deliver
from ..wire.unpacking import index_bodies
from .book import Book, Timer
from .outcomes import ON_EGRESS
from .peers import ProducerPeer, Queue, Send, WorkerPeer
from .retrying import retries_left
from .settling import Settling
from .skills import SKILLS_KEPT_S, Names

LEASES_MAX = 64
"""Deliveries in flight to one worker. Far below ZeroMQ's high water mark of 1,000, so that a
send to a living worker never meets a full pipe."""

DELIVERY_BATCHES_MAX = 64
"""Batches in one delivery, so that its header stays within its limit and a worker's reply to
tiny batches does too."""

DELIVERY_BYTES_MAX = 1 << 20
"""Bytes in one delivery, unless a single task is larger."""


CUT_SHARE = 16
"""A batch is not cut to less than this share of a worker's credit. A worker that runs one task
after the other asks for 50 ms of work (see `core.credit`), so a message brings at least 3 ms. One
that runs them side by side asks for as many as it has places, and these must not stay empty."""

SUSPECTS_WAIT_S = 1.0
"""How long suspects wait for a worker that holds nothing before one is kept free for them, seconds:
mostly the dead worker's successor takes them, which starts in less."""

RETRIES_KNOWN_MAX = 1024
"""Tasks of which a worker's retries are remembered: anybody may send names that there are not."""


class Dispatch:
    """Hands out tasks."""

    def __init__(
        self, book: Book, settling: Settling, send: Send, *, crashes_max: int, origin: int = 0
    ) -> None:
        self.leases: LeaseTable = settling.leases
        self._book = book
        self._settling = settling
        self._send = send
        self._crashes_max = crashes_max
        self._origin = origin
        """Of what came by the plain lane."""
        self.is_closed = False
        """Nothing more is handed out: what is ready waits for the next broker."""

    def __repr__(self) -> str:
        return f"<Dispatch {self.leases!r}>"

    # --- handing out ---

    def hand_out(self) -> None:
        """Deliver what can be delivered now."""
        with_work = self._book.with_work
        while with_work and not self.is_closed:
            queue = next(iter(with_work))
            del with_work[queue]
            self._feed(queue)

    def set_credit(self, worker: WorkerPeer, credit: int) -> None:
        """A worker states its credit."""
        worker.credit = credit
        self.offer_to(worker)

    def offer_to(self, worker: WorkerPeer) -> None:
        """A worker may have room: it is in the row for what its queues have."""
        if worker.reserved is not None and not worker.in_flight:
            queue = worker.reserved
            _release(queue)
            queue.hungry[worker] = None
            self._feed(queue)
        if _room(worker) > 0:
            queues = worker.queues
            if len(queues) > 1:
                queues.append(queues.pop(0))  # In turn, so that no queue starves another.
            for queue in queues:
                queue.hungry[worker] = None
                if queue.ready.ready_tasks or queue.ready.far_tasks:
                    self._book.with_work[queue] = None

    def _feed(self, queue: Queue) -> None:
        ready, hungry = queue.ready, queue.hungry
        if queue.paused:
            return
        if ready.far_tasks and hungry and self._book.refill(queue):
            self._book.with_work[queue] = None  # There may be more.
        if ready.suspect_tasks or queue.reserved is not None:
            self._feed_suspects(queue)
        if ready.is_sorted:
            self._feed_sorted(queue)
            return
        while ready.ready_tasks > ready.suspect_tasks and hungry:
            worker = _next_hungry(hungry)
            if worker is None:
                return
            batches = ready.take(
                _room(worker), _cut_min(worker), DELIVERY_BYTES_MAX, DELIVERY_BATCHES_MAX
            )
            if batches:
                self._deliver(worker, queue, batches, False)
            else:
                del hungry[worker]  # Until it has room for a useful piece.

    def _feed_sorted(self, queue: Queue) -> None:
        """As `_feed`, where not every worker has every task."""
        ready, hungry = queue.ready, queue.hungry
        idle: set[Names] = set()
        passed = 0
        while ready.ready_tasks > ready.suspect_tasks and passed < len(hungry):
            worker = _next_hungry(hungry)
            if worker is None:
                return
            names = queue.servers[worker]
            if names in idle:
                passed += 1
                continue
            batches = ready.take_of(
                names, queue.skills.has_rest(names), _room(worker), _cut_min(worker),
                DELIVERY_BYTES_MAX, DELIVERY_BATCHES_MAX,
            )  # fmt: skip
            if batches is None and ready.far_tasks and self._book.refill(queue, further=True):
                hungry[worker] = None
            elif batches is None:
                idle.add(names)
                passed += 1
            elif batches:
                self._deliver(worker, queue, batches, False)
                passed = 0
            else:
                del hungry[worker]

    def _feed_suspects(self, queue: Queue) -> None:
        """Give suspects to workers that hold nothing."""
        ready = queue.ready
        idle: set[Names] = set()
        for worker in list(queue.hungry):
            names = queue.servers[worker]
            if worker.in_flight or _room(worker) <= 0 or names in idle:
                continue
            rest = queue.skills.has_rest(names)
            suspects = ready.take_suspects(_room(worker), self._crashes_max, names, rest)
            if suspects is not None:
                self._deliver(worker, queue, [suspects], True)
            else:
                idle.add(names)
        if ready.suspect_tasks:
            self._wait_for_idle(queue)
        else:
            freed = _release(queue)
            if freed is not None:
                self.offer_to(freed)

    def _wait_for_idle(self, queue: Queue) -> None:
        timer, timers = (Timer.SUSPECTS, queue.ready.name), self._book.timers
        if queue.reserved is None and timer not in timers:
            timers.set(timer, self._book.now + SUSPECTS_WAIT_S)

    def reserve(self, name: str) -> None:
        """Suspects have waited for a worker that holds nothing: let one of them come to that."""
        queue = self._book.queues.get(name)
        if queue is None or queue.paused or queue.reserved or not queue.ready.suspect_tasks:
            return
        able = {
            names for names in set(queue.servers.values())
            if queue.ready.has_suspect_for(names, queue.skills.has_rest(names))
        }  # fmt: skip
        free = [
            worker for worker, names in queue.servers.items()
            if names in able and worker.credit > 0 and not worker.reserved and not worker.alone
        ]  # fmt: skip
        if free:
            worker = min(free, key=_in_flight)
            queue.reserved, worker.reserved = worker, queue
            queue.hungry.pop(worker, None)
            self.offer_to(worker)
        else:
            self._wait_for_idle(queue)

    def _deliver(self, worker: WorkerPeer, queue: Queue, batches: list[Batch], alone: bool) -> None:
        lease = self.leases.open(worker, batches)
        headers: list[list[object]] = []
        frames: list[bytes] = []
        sound: list[Batch] = []
        for batch in batches:
            if batch.frame.options is not None and self._book.is_expired(batch.frame):
                self._settling.expire(queue, batch)
                continue
            try:
                frames.append(batch.body(index_bodies, array_header))
            except ProtocolError as error:
                self._settling.end_malformed(queue, batch, str(error))
                continue
            frame = batch.frame
            flags = REPLY if frame.reply else 0
            waited_s = max(0.0, self._book.now - frame.at)
            age_us = frame.age_us + int(waited_s * 1e6)
            producer: ProducerPeer | None = frame.origin  # type: ignore[assignment]
            origin = self._origin if producer is None else producer.number
            headers.append(
                [frame.task, flags, batch.count, batch.attempt, age_us,
                 origin, frame.sequence, batch.first,
                 self._retries_left(worker, queue.ready.name, batch)]
            )  # fmt: skip
            sound.append(batch)
            if batch.fresh:
                batch.fresh = False
                queue.wait.record_many(waited_s, batch.count)
        if len(sound) < len(batches):
            self.leases.end(lease)
            if not sound:
                return
            lease = self.leases.open(worker, sound)
        worker.leases[lease.number] = lease
        worker.in_flight += lease.tasks
        worker.alone = alone
        queue.counters.delivered += lease.tasks
        deliver = make(Deliver, (lease.number, queue.ready.name, headers))
        assert worker.peer is not None
        self._send(worker.peer, deliver, frames)

    def _retries_left(self, worker: WorkerPeer, queue: str, batch: Batch) -> int:
        """As `retrying.retries_left`; of batches of which nothing special is known, remembered."""
        frame = batch.frame
        if frame.options is not None or batch.failures or batch.timeouts:
            return retries_left(batch, worker.policies.find(queue, frame.task))
        left = worker.retries.get((queue, frame.task))
        if left is None:
            left = retries_left(batch, worker.policies.find(queue, frame.task))
            if len(worker.retries) >= RETRIES_KNOWN_MAX:
                worker.retries.clear()
            worker.retries[queue, frame.task] = left
        return left

    def forget(self, worker: WorkerPeer) -> None:
        """A worker is gone: it gets nothing any more. What it had counts for a while."""
        for queue in worker.queues:
            names, was_last = queue.leave(worker)
            self._book.with_work[queue] = None
            if was_last:
                timer = (Timer.SKILLS, (queue.ready.name, names))
                self._book.timers.set(timer, self._book.now + SKILLS_KEPT_S)
        if worker.reserved is not None:
            _release(worker.reserved)

    def forget_skills(self, name: str, names: Names) -> None:
        """A worker that had these left a while ago."""
        queue = self._book.queues.get(name)
        if queue is not None:
            queue.forget(names)
            self._book.with_work[queue] = None

    # --- the plain lane ---

    def take_egress(self, name: str, now: float) -> list[bytes] | None:
        """The next batch that leaves by the plain lane, as ``[queue, batch]``; None if none."""
        self._book.now = now
        queue = self._book.queues.get(name)
        if self.is_closed:
            return None
        if queue is not None and queue.ready.far_tasks:
            self._book.refill(queue)
        while queue is not None and queue.ready.ready_tasks and not queue.paused:
            batch = queue.ready.take_next(DELIVERY_BYTES_MAX)
            if batch.frame.options is not None and self._book.is_expired(batch.frame):
                self._settling.expire(queue, batch)
                continue
            try:
                body = batch.body(index_bodies, array_header)
            except ProtocolError as error:
                self._settling.end_malformed(queue, batch, str(error))
                continue
            self._book.over(queue, batch, 0, batch.count, ON_EGRESS)
            queue.ready.release(batch)
            return [name.encode(), body]
        return None


def _next_hungry(hungry: dict[WorkerPeer, None]) -> WorkerPeer | None:
    """The worker whose turn it is, moved to the end of the row."""
    while hungry:
        worker = next(iter(hungry))
        del hungry[worker]
        if _room(worker) > 0:
            hungry[worker] = None
            return worker
    return None


def _release(queue: Queue) -> WorkerPeer | None:
    """The suspects are out, or their worker is idle or gone: nobody is reserved any more."""
    worker, queue.reserved = queue.reserved, None
    if worker is not None:
        worker.reserved = None
    return worker


def _in_flight(worker: WorkerPeer) -> int:
    return worker.in_flight


def _cut_min(worker: WorkerPeer) -> int:
    return max(1, worker.credit // CUT_SHARE)


def _room(worker: WorkerPeer) -> int:
    """Tasks that may still be sent to a worker."""
    if worker.alone or worker.reserved or len(worker.leases) >= LEASES_MAX:
        return 0
    return worker.credit - worker.in_flight
