"""Intake: how tasks come into a broker's queues, and when their producers are told.

Theory of operation. A published batch is checked, counted once by its number, and put in its
queue; then its confirm is due. While the queue is at its bound the confirm is withheld, so the
producer's window fills and its callers wait; a quarter beyond the bound the batch is not taken
at all, and the producer is told to send it again later. Nothing that was confirmed is ever
refused, and nothing is dropped without an answer.

The plain lane has no answers, so there the device stops reading instead (`Ingest.FULL`).
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable

from ..core.batch import OVERHEAD_BYTES, Batch, Frame
from ..core.confirm import Taken, to_ranges
from ..core.counters import Counters
from ..core.histogram import Histogram
from ..core.ready import Budget, ReadyQueue
from ..errors import ProtocolError
from .codec import FRAME_BYTES_MAX, array_length
from .messages import (
    BAD_NAME,
    DRAINING,
    FULL,
    NAME,
    NO_RESULTS,
    REPLY,
    TOO_LARGE,
    TOO_MANY_QUEUES,
    Confirm,
    Message,
    Publish,
    Refuse,
    make,
)
from .peers import Producer, Queue

Send = Callable[[bytes, Message, list[bytes]], None]

AGE_US_MAX = 1 << 53
"""No task is believed to be older, microseconds: what is added to it must still fit."""

METERED_QUEUES_MAX = 500
"""Queues with histograms of their own: they take 16 KiB."""

CONFIRM_SEQUENCES_MAX = 512
"""Numbers in one `Confirm`, so that its header stays within its limit."""


@functools.lru_cache(4096)
def _may_be_task(name: str) -> bool:
    return not name or NAME.match(name) is not None


class Ingest(enum.Enum):
    """What became of a batch of the plain lane."""

    TAKEN = "taken"
    FULL = "full"
    REFUSED = "refused"


class Intake:
    """Puts what is published into queues."""

    def __init__(
        self,
        counters: Counters,
        send: Send,
        *,
        queue_tasks_max: int,
        queue_bytes_max: int,
        bytes_max: int,
        queues_max: int,
        egress: frozenset[str],
    ) -> None:
        self.queues: dict[str, Queue] = {}
        self.budget = Budget(bytes_max)
        self.draining = False
        self.now = 0.0
        """When the message came that is being dealt with."""
        self.changed: dict[Queue, None] = {}
        """Queues that got tasks since the dispatcher last looked."""
        self._counters = counters
        self._send = send
        self._queue_tasks_max = queue_tasks_max
        self._queue_bytes_max = queue_bytes_max
        self._queues_max = queues_max
        self._egress = egress
        self._ingested = 0
        """Batches taken from the plain lane, to number them."""
        self.other_wait = Histogram()
        self.other_batches = Histogram()
        """What queues beyond `METERED_QUEUES_MAX` have in common."""
        self._confirming: dict[Producer, None] = {}
        self._withholding: dict[Queue, None] = {}

    def __repr__(self) -> str:
        return f"<Intake {len(self.queues)} queues, {self.budget!r}>"

    def queue(self, name: str) -> Queue:
        """The queue of that name, made at first use.

        Raises `ProtocolError`: no such name can be, or there are too many queues.
        """
        queue = self.queues.get(name)
        if queue is not None:
            return queue
        if not NAME.match(name):
            raise ProtocolError(BAD_NAME, "a queue name must be 1 to 128 of A-Z a-z 0-9 _ . -")
        if len(self.queues) >= self._queues_max:
            raise ProtocolError(TOO_MANY_QUEUES, f"there are {self._queues_max} queues already")
        ready = ReadyQueue(
            name,
            tasks_max=self._queue_tasks_max,
            bytes_max=self._queue_bytes_max,
            budget=self.budget,
        )
        is_other = len(self.queues) >= METERED_QUEUES_MAX
        queue = self.queues[name] = Queue(
            ready,
            egress=name in self._egress,
            wait=self.other_wait if is_other else Histogram(),
            batches=self.other_batches if is_other else Histogram(),
        )
        return queue

    def publish(self, producer: Producer, message: Publish, body: bytes) -> None:
        """Take a batch of a producer, or say why not."""
        sequence = message.sequence
        if producer.is_new:
            producer.is_new = False
            producer.taken = Taken(sequence)
        if sequence in producer.taken:
            self._again(producer, sequence)
            return
        if self.draining:
            self._refuse(producer, sequence, DRAINING, "the broker is about to stop")
            return
        if producer.taken.is_too_far(sequence):
            self._refuse(producer, sequence, FULL, "earlier batches must be taken first")
            return
        try:
            queue, frame = self._check(message, body)
        except ProtocolError as error:
            self._counters.refused += 1
            producer.refuse(sequence, error.code, str(error))
            self._refuse(producer, sequence, error.code, str(error))
            return
        if queue.draining:
            queue.counters.postponed += 1
            self._refuse(producer, sequence, DRAINING, f"queue {message.queue!r} is draining")
            return
        if queue.ready.is_over(frame.count, len(body) + OVERHEAD_BYTES):
            queue.counters.postponed += 1
            self._refuse(producer, sequence, FULL, f"queue {message.queue!r} is full")
            return
        producer.taken.add(sequence)
        queue.counters.published += frame.count
        frame.origin = producer
        frame.sequence = sequence
        if frame.reply:
            producer.open[sequence] = frame.count
        self._put(queue, frame)
        if queue.ready.is_full():
            self._withhold(queue, producer, sequence)
        else:
            self._confirm(producer, sequence)

    def ingest(self, name: str, body: bytes) -> Ingest:
        """Take a batch of the plain lane; it says FULL while there is no room for it."""
        try:
            queue, frame = self._check(Publish(0, name, "", 0), body)
        except ProtocolError:
            self._counters.refused += 1
            return Ingest.REFUSED
        if queue.draining or queue.ready.is_full():
            return Ingest.FULL
        queue.counters.ingested += frame.count
        self._ingested += 1
        frame.sequence = self._ingested
        self._put(queue, frame)
        return Ingest.TAKEN

    def made_room(self) -> None:
        """Tasks have left: confirms may be due, of any queue, for the queues share a budget."""
        for queue in list(self._withholding):
            if queue.ready.is_below_low_water():
                for producer, sequence in queue.withheld:
                    producer.withheld.discard(sequence)
                    self._confirm(producer, sequence)
                queue.withheld.clear()
                del self._withholding[queue]

    def send_confirms(self) -> None:
        """Send the confirms that are due, one message a producer."""
        for producer in self._confirming:
            numbers, producer.to_confirm = producer.to_confirm, []
            if producer.peer is None:
                continue  # It will send them again when it is back, and be told then.
            for i in range(0, len(numbers), CONFIRM_SEQUENCES_MAX):
                ranges = to_ranges(numbers[i : i + CONFIRM_SEQUENCES_MAX])
                self._send(producer.peer, make(Confirm, (ranges,)), [])
        self._confirming.clear()

    def _check(self, message: Publish, body: bytes) -> tuple[Queue, Frame]:
        if not _may_be_task(message.task):
            raise ProtocolError(BAD_NAME, "a task name must be 1 to 128 of A-Z a-z 0-9 _ . -")
        if len(body) > FRAME_BYTES_MAX:
            raise ProtocolError(TOO_LARGE, f"the batch is over {FRAME_BYTES_MAX:,} bytes")
        count = array_length(body)
        queue = self.queue(message.queue)
        reply = bool(message.flags & REPLY)
        if reply and queue.egress:
            raise ProtocolError(
                NO_RESULTS, f"queue {message.queue!r} leaves by the plain lane: no results"
            )
        frame = Frame(
            queue.ready.name, message.task, body, count,
            at=self.now, age_us=min(message.age_us, AGE_US_MAX), reply=reply,
        )  # fmt: skip
        return queue, frame

    def _again(self, producer: Producer, sequence: int) -> None:
        """A batch came that was dealt with before: give the same answer."""
        self._counters.duplicates += 1
        if sequence in producer.refused:
            self._refuse(producer, sequence, *producer.refused[sequence])
        elif sequence not in producer.withheld:
            self._confirm(producer, sequence)

    def _withhold(self, queue: Queue, producer: Producer, sequence: int) -> None:
        queue.withheld.append((producer, sequence))
        producer.withheld.add(sequence)
        self._withholding[queue] = None

    def _put(self, queue: Queue, frame: Frame) -> None:
        queue.batches.record(frame.count)
        queue.ready.put(Batch(frame, 0, frame.count))
        self.changed[queue] = None

    def _confirm(self, producer: Producer, sequence: int) -> None:
        producer.to_confirm.append(sequence)
        self._confirming[producer] = None

    def _refuse(self, producer: Producer, sequence: int, code: str, text: str) -> None:
        if producer.peer is not None:
            self._send(producer.peer, Refuse(code, sequence, text), [])
