"""Settling: what becomes of leased tasks, and who hears of it.

Theory of operation. A worker settles tasks of a lease in runs; a supervisor says that one ran too
long; a worker is lost and its open tasks come back, or are given up if too many workers died under
them. What each of these means is a row of `outcomes`; that a task is over, or is not, is written in
the `Book`; then its submitter hears of it, or it becomes a dead letter.
"""

from __future__ import annotations

from ..core.batch import Batch
from ..core.lease import Lease, LeaseTable, runs_of
from ..errors import ProtocolError
from ..wire.codec import BATCH_TASKS_MAX, array_length, pack
from ..wire.headers import make
from ..wire.messages import MALFORMED, OPEN, Departed, Progress, Result, Settle
from .aside import Aside
from .book import Book
from .held import HeldResults
from .outcomes import ON_CANCELLED, ON_EXPIRED, ON_FAILED, OUTCOMES, Outcome
from .peers import ProducerPeer, Queue, Send, WorkerPeer
from .retrying import Retrying


class Settling:
    """Takes settlements, takes back what lost workers held, sends results."""

    def __init__(
        self, book: Book, leases: LeaseTable, aside: Aside, held: HeldResults, send: Send,
        *, crashes_max: int, retrying: Retrying,
    ) -> None:  # fmt: skip
        self.leases = leases
        self._book = book
        self._aside = aside
        self._held = held
        self._send = send
        self._crashes_max = crashes_max
        self._retrying = retrying

    def __repr__(self) -> str:
        return f"<Settling, {self.leases!r}>"

    def settle(self, worker: WorkerPeer, message: Settle, frames: list[bytes]) -> None:
        """A worker says what became of tasks. Raises `ProtocolError` if it makes no sense."""
        _check_settle(message, frames)
        worker.credit = message.credit
        lease = self.leases.find(message.lease, worker)
        if lease is None:
            self.count_stale(message)
            return
        next_frame = iter(frames)
        for run in message.runs:
            index, first, count = run[0], run[1], run[2]
            outcome = OUTCOMES[run[3]]
            frame = next(next_frame) if outcome.carries else b""
            if not lease.close(index, first, count):
                self._book.counters.stale += min(count, BATCH_TASKS_MAX)
                continue
            worker.in_flight -= count
            batch = lease.batches[index]
            queue = self._book.queues[batch.frame.queue]
            if outcome.final:
                self._end(queue, batch, first, count, outcome, frame)
            elif outcome.kept:
                asked_ms = run[4] if len(run) > 4 else None
                self._fail(worker, lease, index, first, count, frame, asked_ms)
            else:
                queue.counters.count(outcome.counter, count)
                self._again(queue, lease, index, first, count)
            if lease.is_closed(index):
                queue.ready.release(batch)
        if not lease.tasks:
            self.leases.end(lease)
            del worker.leases[lease.number]
            if not worker.leases:
                worker.alone = False

    def _again(self, queue: Queue, lease: Lease, index: int, first: int, count: int) -> None:
        """Tasks come back; those that were to be cancelled are over."""
        batch = lease.batches[index]
        run = (1 << count) - 1
        stopping = lease.stopping.get(index, 0) >> first & run if lease.stopping else 0
        for at, tasks in runs_of(stopping):
            self._end(queue, batch, first + at, tasks, ON_CANCELLED, b"")
        parts = [batch.part(first + at, tasks) for at, tasks in runs_of(run & ~stopping)]
        self._book.again(queue, parts)

    def _fail(
        self, worker: WorkerPeer, lease: Lease, index: int, first: int, count: int, frame: bytes,
        asked_ms: int | None = None, *, timed_out: bool = False,
    ) -> None:  # fmt: skip
        """Closed tasks of a lease failed: they are tried again if they may be."""
        batch = lease.batches[index]
        queue = self._book.queues[batch.frame.queue]
        policy = worker.policies.find(queue.ready.name, batch.frame.task)
        wait_s = self._retrying.wait_s(batch, policy, asked_ms=asked_ms, timed_out=timed_out)
        run = (1 << count) - 1
        stopping = lease.stopping.get(index, 0) >> first & run
        if wait_s is None or stopping == run:
            reason = "timeout" if timed_out else "failed"
            self._end(queue, batch, first, count, ON_FAILED, frame, reason)
            return
        for at, tasks in runs_of(stopping):
            self._end(queue, batch, first + at, tasks, ON_CANCELLED, b"")
        for at, tasks in runs_of(run & ~stopping):
            part = batch.part(first + at, tasks)
            part.attempt += 1
            if timed_out:
                part.timeouts += 1
            else:
                part.failures += 1
            queue.counters.retried += tasks
            self._book.delay(queue, part, self._book.now + wait_s)

    def count_stale(self, message: Settle) -> None:
        """A settlement came of tasks that its sender does not hold."""
        self._book.counters.stale += sum(min(run[2], BATCH_TASKS_MAX) for run in message.runs)

    def _end(
        self, queue: Queue, batch: Batch, first: int, count: int, outcome: Outcome, frame: bytes,
        reason: str = "failed",
    ) -> None:  # fmt: skip
        """Tasks of a leased batch are over: whom it concerns hears of it."""
        self._book.over(queue, batch, first, count, outcome)
        part = batch.part(first, count)
        if batch.frame.reply and not _is_forgotten(batch):
            self._result(part, outcome, frame)
        elif outcome.kept:
            self._aside.bury(part, reason, frame)

    def _result(self, batch: Batch, outcome: Outcome, frame: bytes) -> None:
        producer = batch.frame.origin
        assert isinstance(producer, ProducerPeer)
        sequence = batch.frame.sequence
        left = producer.open.get(sequence, 0) - batch.count
        if left > 0:
            producer.open[sequence] = left
        else:
            producer.open.pop(sequence, None)
        result = make(Result, (sequence, batch.first, batch.count, outcome.status))
        self.send_result(producer, result, frame)

    def send_result(self, producer: ProducerPeer, result: Result, frame: bytes) -> None:
        """Send a result to its submitter, and keep it for the submitter's return, or, if that has a
        name, until it says that it has it."""
        if producer.peer is None or producer.first:
            self._held.hold(producer, result, frame)
        if producer.peer is not None:
            self._book.counters.results += result.tasks
            self._send(producer.peer, result, [frame] if frame else [])

    def send_progress(self, worker: WorkerPeer, message: Progress) -> None:
        """A worker says how far a task has come: its submitter may want to know."""
        lease = self.leases.find(message.number, worker)
        found = None if lease is None else _locate(lease, message.position)
        if lease is None or found is None:
            return
        batch, position = lease.batches[found[0]], found[1]
        producer: ProducerPeer | None = batch.frame.origin  # type: ignore[assignment]
        if producer is not None and batch.frame.reply and producer.peer is not None:
            told = Progress(
                batch.frame.sequence, batch.first + position, message.done, message.total
            )
            self._send(producer.peer, told, [])

    def answer_await(self, producer: ProducerPeer, sequences: list[int]) -> None:
        """Tell a producer how many results of these batches are still to come.

        Messages keep their order, so when it hears this it has all that was sent before.
        """
        assert producer.peer is not None
        for sequence in sequences:
            left = producer.open.get(sequence, 0)
            self._send(producer.peer, Result(sequence, 0, left, OPEN), [])

    def end_malformed(self, queue: Queue, batch: Batch, text: str) -> None:
        """A leased batch turned out to be none."""
        error = pack([["ProtocolError", text, ""]])
        self._end(queue, batch, 0, batch.count, ON_FAILED, error, "malformed")
        queue.ready.release(batch)

    def expire(self, queue: Queue, batch: Batch) -> None:
        """Leased tasks, with nobody yet, are too old to be run."""
        self._end(queue, batch, 0, batch.count, ON_EXPIRED, b"", "expired")
        queue.ready.release(batch)

    def cancel(self, queue: Queue, batch: Batch) -> None:
        """Tasks that were ready, and are leased to nobody, will not run."""
        self._end(queue, batch, 0, batch.count, ON_CANCELLED, b"")
        queue.ready.release(batch)

    # --- taking back ---

    def time_out(self, worker: WorkerPeer, message: Departed) -> None:
        """A supervisor says that a worker was ended because one of its tasks ran too long."""
        lease = self.leases.find(message.lease, worker)
        found = None if lease is None else _locate(lease, message.position)
        if lease is None or found is None:
            return
        index, position = found
        if lease.close(index, position, 1):
            batch = lease.batches[index]
            queue = self._book.queues[batch.frame.queue]
            error = pack([["TaskTimeout", message.text, ""]])
            self._fail(worker, lease, index, position, 1, error, timed_out=True)
            if lease.is_closed(index):
                queue.ready.release(batch)

    def take_back(self, worker: WorkerPeer, *, crashed: bool, text: str = "") -> None:
        """A worker is gone, or forgot what it held: its open tasks are ready again."""
        for lease in reversed(list(worker.leases.values())):
            for index in range(len(lease.batches) - 1, -1, -1):
                if not lease.is_closed(index):
                    self._redeliver(lease, index, crashed, text)
            self.leases.end(lease)
        worker.leases.clear()
        worker.in_flight = 0
        worker.alone = False

    def _redeliver(self, lease: Lease, index: int, crashed: bool, text: str) -> None:
        batch = lease.batches[index]
        queue = self._book.queues[batch.frame.queue]
        for first, count in runs_of(lease.stopping.get(index, 0) & lease.open_tasks(index)):
            lease.close(index, first, count)
            self._end(queue, batch, first, count, ON_CANCELLED, b"")
        again: list[Batch] = []
        for first, count in lease.open_runs(index):
            part = batch.part(first, count)
            if crashed:
                part.crashes += 1
            if part.crashes >= self._crashes_max and count == 1:
                why = f"{part.crashes} workers died while they ran it; the last: {text or 'lost'}"
                error = pack([["WorkerLost", why, ""]])
                self._end(queue, part, 0, 1, ON_FAILED, error, "crashed")
            else:
                queue.counters.redelivered += count
                part.attempt += 1
                if crashed and self._book.journal is not None:
                    self._book.journal.state(part, 0)
                again.append(part)
        queue.ready.release(batch)
        self._book.again(queue, again)


def _is_forgotten(batch: Batch) -> bool:
    """Whether who awaits the results of these tasks will never come for them."""
    producer = batch.frame.origin
    return isinstance(producer, ProducerPeer) and producer.is_forgotten


def _locate(lease: Lease, position: int) -> tuple[int, int] | None:
    """Which batch of a lease a position falls in, and where in it."""
    for index, batch in enumerate(lease.batches):
        if position < batch.count:
            return index, position
        position -= batch.count
    return None


def _check_settle(message: Settle, frames: list[bytes]) -> None:
    carrying = 0
    for run in message.runs:
        outcome = OUTCOMES.get(run[3])
        if outcome is None:
            raise ProtocolError(MALFORMED, "unknown status")
        if outcome.carries and carrying < len(frames):
            values = array_length(frames[carrying])
            if values != run[2] and not (outcome.kept and values == 1):
                raise ProtocolError(
                    MALFORMED, "a frame has not as many values as its run has tasks"
                )
        carrying += outcome.carries
    if carrying != len(frames):
        raise ProtocolError(MALFORMED, f"{len(frames)} frames for {carrying} runs")
