"""Cancelling: tasks that somebody does not want any more, wherever they are.

Theory of operation. What is ready is taken out of its queue, in one pass, and is over: nobody ever
gets it. What a worker has is left alone, unless it shall be ended while it runs: then the worker is
told (`Stop`), and the lease remembers it. A task that is done before it hears of that is done. One
that comes back, returned or because its worker is gone, is not given out again: it is over, too.

A pass looks at each batch that waits, so whoever wants many tasks cancelled names them together.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..core.batch import Batch
from ..core.confirm import GAPS_MAX
from ..core.lease import Lease, runs_of
from ..errors import ProtocolError
from ..wire.codec import BATCH_TASKS_MAX
from ..wire.messages import MALFORMED, RUNNING, UNKNOWN_QUEUE, Cancel, Stop, Withdraw
from .book import Book
from .intake import Intake
from .keys import Keys
from .peers import Peer, ProducerPeer, Queue, Send, WorkerPeer
from .settling import Settling

_WITHDRAWN = Cancel(0, 0, [], "", "")
"""All queues, and all tasks in them, for `Wanted` to choose from."""


def _numbers_in(ranges: list[int]) -> list[int]:
    """The numbers in flat pairs of first and last. Raises `ProtocolError`: they are too many."""
    numbers: list[int] = []
    for first, last in zip(ranges[::2], ranges[1::2], strict=False):
        if last - first + len(numbers) >= GAPS_MAX:
            raise ProtocolError(MALFORMED, f"over {GAPS_MAX} numbers are withdrawn at once")
        numbers += range(first, last + 1)
    return numbers


class Wanted:
    """Which tasks are not wanted any more."""

    def __init__(
        self, message: Cancel, own: ProducerPeer | None, broker: int, tasks: list[list[int]]
    ) -> None:
        """``own`` is who asks, ``broker`` the origin of what came by the plain lane.

        Raises `ProtocolError`: the message makes no sense.
        """
        self._task = message.task
        self._broker = broker
        self._tasks: dict[tuple[ProducerPeer | int, int], int] = {}
        """By origin and batch: a bit for each task. None of them: a whole queue. Its own are by who
        asks, not by its number: it chose the id that this is a part of."""
        for origin, sequence, first, count in tasks:
            if first + count > BATCH_TASKS_MAX:
                raise ProtocolError(MALFORMED, "no batch has so many tasks")
            if not origin and own is None:
                raise ProtocolError(MALFORMED, "only a producer has tasks of its own")
            run = ((1 << count) - 1) << first
            key = origin or own or 0, sequence
            self._tasks[key] = self._tasks.get(key, 0) | run
        self.left = sum(bits.bit_count() for bits in self._tasks.values())
        """How many were named and not found so far."""

    @property
    def is_done(self) -> bool:
        """Whether all that were named are found."""
        return bool(self._tasks) and not self.left

    def among(self, batch: Batch) -> int:
        """Those of a batch, a bit each from its first task on."""
        frame = batch.frame
        everything = (1 << batch.count) - 1
        if not self._tasks:
            return everything if not self._task or self._task == frame.task else 0
        producer = frame.origin
        origin = producer.number if isinstance(producer, ProducerPeer) else self._broker
        tasks, sequence = self._tasks, frame.sequence
        wanted = tasks.get((origin, sequence), 0)
        if isinstance(producer, ProducerPeer):
            wanted |= tasks.get((producer, sequence), 0)
        return wanted >> batch.first & everything

    def found(self, tasks: int) -> None:
        """So many of them are found."""
        self.left -= tasks


class Cancelling:
    """Finds what is to be cancelled, and ends it."""

    def __init__(
        self, book: Book, intake: Intake, settling: Settling, keys: Keys, send: Send, *,
        origin: int = 0,
    ) -> None:  # fmt: skip
        self._book = book
        self._intake = intake
        self._keys = keys
        self._settling = settling
        self._send = send
        self._origin = origin
        """Of what came by the plain lane."""

    def __repr__(self) -> str:
        return f"<Cancelling, {self._settling!r}>"

    def cancel(self, known: Peer | None, message: Cancel) -> dict[str, int]:
        """Cancel what a message names. Returns what became of that, in tasks.

        ``cancelled`` will not run, ``stopping`` are with workers that were told to end them,
        ``running`` are with workers and go on. What is not counted is not here: it is over, or was
        never here. Raises `ProtocolError`.
        """
        if not message.tasks and not message.queue:
            raise ProtocolError(MALFORMED, "cancel which tasks? name them, or a queue")
        if message.key and (message.tasks or message.task or not message.queue):
            raise ProtocolError(MALFORMED, "a key is one of a queue, and stands for its task")
        own = known if isinstance(known, ProducerPeer) else None
        tasks, queues = message.tasks, self._queues(message)
        if message.key:
            first = self._keys.find(message.queue, message.key)
            if first is None:
                return {"number": message.number, "cancelled": 0, "stopping": 0, "running": 0}
            tasks = [[first.origin, first.sequence, 0, 1]]
        wanted = Wanted(message, own, self._origin, tasks)
        cancelled = sum(self._take_out(queue, wanted) for queue in queues)
        stopping = running = 0
        if not wanted.is_done:
            stop = bool(message.flags & RUNNING)
            running = self._look_at_leases(queues, wanted, stop)
            if stop:
                stopping, running = running, 0
        return {
            "number": message.number,
            "cancelled": cancelled,
            "stopping": stopping,
            "running": running,
        }

    def on_withdraw(
        self, peer: bytes, producer: ProducerPeer, message: Withdraw, frames: list[bytes],
        now: float,
    ) -> None:  # fmt: skip
        """Forget what is ready of batches that went to another broker. What a worker has, runs."""
        numbers, moved = _numbers_in(message.numbers), _numbers_in(message.moved)
        whole = [[0, number, 0, BATCH_TASKS_MAX] for number in {*numbers, *moved}]
        if whole:
            wanted = Wanted(_WITHDRAWN, producer, self._origin, whole)
            for queue in self._book.queues.values():
                self._take_out(queue, wanted)
        self._intake.withdrawn(producer, numbers, moved)

    def _queues(self, message: Cancel) -> list[Queue]:
        if not message.queue:
            return list(self._book.queues.values())
        queue = self._book.queues.get(message.queue)
        if queue is not None:
            return [queue]
        if message.tasks:
            return []
        raise ProtocolError(UNKNOWN_QUEUE, f"there is no queue {message.queue[:128]!r}")

    def _take_out(self, queue: Queue, wanted: Wanted) -> int:
        """Cancel what is ready in a queue. Returns how many tasks."""
        ready = queue.ready
        if wanted.is_done or not (ready.ready_tasks or ready.far_tasks or ready.delayed_tasks):
            return 0
        # First what is far: where it is a part of an entry, that comes into memory.
        tasks = self._book.sift(queue, wanted.among, self._settling.cancel)
        parts = ready.take_out(wanted.among)
        for part in parts:
            tasks += part.count
            self._settling.cancel(queue, part)
        wanted.found(tasks)
        if tasks:
            self._book.with_work[queue] = None  # Somebody may be kept free for what is gone.
        return tasks

    def _look_at_leases(self, queues: Iterable[Queue], wanted: Wanted, stop: bool) -> int:
        """How many of those wanted are leased; ``stop``: tell their workers to end them."""
        names = {queue.ready.name for queue in queues}
        tasks = 0
        for lease in self._settling.leases.all():
            position = 0
            for index, batch in enumerate(lease.batches):
                if batch.frame.queue in names:
                    bits = wanted.among(batch) & lease.open_tasks(index)
                    tasks += bits.bit_count()
                    if stop and bits:
                        self._stop(lease, index, position, bits)
                position += batch.count
        return tasks

    def _stop(self, lease: Lease, index: int, position: int, bits: int) -> None:
        worker = lease.holder
        assert isinstance(worker, WorkerPeer)
        for first, count in runs_of(lease.stop(index, bits)):
            if worker.peer is not None:
                self._send(worker.peer, Stop(lease.number, position + first, count), [])
