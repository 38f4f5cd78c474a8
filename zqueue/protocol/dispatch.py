"""Dispatch: how tasks leave a broker's queues under leases, and what becomes of them.

Theory of operation. A worker is *hungry* for its queues while it has credit left. Whenever a
queue got tasks, or a worker got hungry, tasks go out in order to the hungry workers in turn,
each delivery under a lease. Tasks come back by being settled (done, failed, or returned
unstarted) or because their worker is lost, in which case they are ready again at the front.

Poison guard: tasks that were in a worker when it died are suspects. They are handed out alone, some
and then one by one (see `core.ready`), and the one whose workers died `crashes_max` times is dead.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ..core.batch import Batch
from ..core.counters import Counters
from ..core.dead import DeadLetter, DeadLetters
from ..core.lease import Lease, LeaseTable
from ..errors import ProtocolError
from .codec import BATCH_TASKS_MAX, array_header, array_length, pack
from .intake import Intake, Send
from .messages import (
    CRASHED,
    DONE,
    FAILED,
    MALFORMED,
    OPEN,
    REPLY,
    RESULTS,
    RETURNED,
    TIMEOUT,
    Deliver,
    Departed,
    Progress,
    Result,
    Settle,
    make,
)
from .peers import Producer, Queue, Worker
from .unpacking import index_bodies

LEASES_MAX = 64
"""Deliveries in flight to one worker. Far below ZeroMQ's high water mark of 1,000, so that a
send to a living worker never meets a full pipe."""

STATUSES = frozenset({DONE, RESULTS, FAILED, RETURNED})
"""How a worker may settle."""

DELIVERY_BATCHES_MAX = 64
"""Batches in one delivery, so that its header stays within its limit and a worker's reply to
tiny batches does too."""

DELIVERY_BYTES_MAX = 1 << 20
"""Bytes in one delivery, unless a single task is larger."""


class Dispatch:
    """Hands out tasks, takes settlements, redelivers."""

    def __init__(
        self,
        intake: Intake,
        counters: Counters,
        dead: DeadLetters,
        send: Send,
        *,
        first_lease: int,
        crashes_max: int,
        origin: int = 0,
    ) -> None:
        self.leases: LeaseTable = LeaseTable(first_lease)
        self._origin = origin
        """Of what came by the plain lane."""
        self._intake = intake
        self._counters = counters
        self._dead = dead
        self._send = send
        self._crashes_max = crashes_max

    def __repr__(self) -> str:
        return f"<Dispatch {self.leases!r}>"

    # --- handing out ---

    def hand_out(self) -> None:
        """Deliver what can be delivered now."""
        changed = self._intake.changed
        while changed:
            queue = next(iter(changed))
            del changed[queue]
            self._feed(queue)

    def set_credit(self, worker: Worker, credit: int) -> None:
        """A worker states its credit."""
        worker.credit = credit
        self._hunger(worker)

    def _hunger(self, worker: Worker) -> None:
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
                if queue.ready.ready_tasks:
                    self._intake.changed[queue] = None

    def _feed(self, queue: Queue) -> None:
        ready, hungry = queue.ready, queue.hungry
        if queue.paused:
            return
        while ready.ready_tasks and hungry:
            suspect = ready.has_suspect()
            worker = _next_hungry(hungry, suspect)
            if worker is None:
                if suspect:
                    _reserve(queue)
                return
            if suspect:
                suspects = ready.take_suspects(_room(worker), self._crashes_max)
                self._deliver(worker, queue, [suspects], True)
                freed = _release(queue)
                if freed is not None:
                    self._hunger(freed)
                continue
            cut_min = max(1, worker.credit // 2)
            batches = ready.take(_room(worker), cut_min, DELIVERY_BYTES_MAX, DELIVERY_BATCHES_MAX)
            if batches:
                self._deliver(worker, queue, batches, False)
            else:
                del hungry[worker]  # Until it has room for a useful piece.

    def _deliver(self, worker: Worker, queue: Queue, batches: list[Batch], alone: bool) -> None:
        lease = self.leases.open(worker, batches)
        headers: list[list[object]] = []
        frames: list[bytes] = []
        sound: list[Batch] = []
        for batch in batches:
            try:
                frames.append(batch.body(index_bodies, array_header))
            except ProtocolError as error:
                self._bury_malformed(queue, batch, str(error))
                continue
            frame = batch.frame
            flags = REPLY if frame.reply else 0
            waited_s = max(0.0, self._intake.now - frame.at)
            age_us = frame.age_us + int(waited_s * 1e6)
            producer: Producer | None = frame.origin  # type: ignore[assignment]
            origin = self._origin if producer is None else producer.number
            headers.append(
                [frame.task, flags, batch.count, batch.attempt, age_us,
                 origin, frame.sequence, batch.first]
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
        self._send(worker.peer, deliver, frames)

    # --- settling ---

    def settle(self, worker: Worker, message: Settle, frames: list[bytes]) -> None:
        """A worker says what became of tasks. Raises `ProtocolError` if it makes no sense."""
        _check_settle(message, frames)
        worker.credit = message.credit
        lease = self.leases.find(message.lease, worker)
        if lease is None:
            self.count_stale(message)
            self._hunger(worker)
            return
        next_frame = iter(frames)
        for index, first, count, status in message.runs:
            frame = next(next_frame) if status in (RESULTS, FAILED) else b""
            if not lease.close(index, first, count):
                self._counters.stale += min(count, BATCH_TASKS_MAX)
                continue
            worker.in_flight -= count
            batch = lease.batches[index]
            queue = self._intake.queues[batch.frame.queue]
            self._close(queue, batch, first, count, status, frame)
            if lease.is_closed(index):
                queue.ready.release(batch)
        if not lease.tasks:
            self._end(worker, lease)
        self._intake.made_room()
        self._hunger(worker)

    def count_stale(self, message: Settle) -> None:
        """A settlement came of tasks that its sender does not hold."""
        self._counters.stale += sum(min(run[2], BATCH_TASKS_MAX) for run in message.runs)

    def _close(
        self, queue: Queue, batch: Batch, first: int, count: int, status: int, frame: bytes
    ) -> None:
        queue.ready.settle(count)
        if status == RETURNED:
            queue.counters.returned += count
            queue.ready.give_back([batch.part(first, count)])
            self._intake.changed[queue] = None
        elif status == FAILED:
            queue.counters.failed += count
            self._fail(batch.part(first, count), "failed", frame)
        else:
            queue.counters.done += count
            if batch.frame.reply:
                self._result(batch.part(first, count), status, frame)

    def _fail(self, batch: Batch, reason: str, errors: bytes) -> None:
        """Tasks failed for good: their submitter hears of it, or they are kept as dead letters."""
        if batch.frame.reply:
            self._result(batch, FAILED, errors)
            return
        self._intake.queues[batch.frame.queue].counters.dead += batch.count
        each = self._errors_of(batch, errors)
        for position, error in zip(range(batch.count), each, strict=False):
            try:
                body = batch.part(position, 1).body(index_bodies, array_header)
            except ProtocolError:
                body = batch.frame.body[:4096]
            frame = batch.frame
            self._dead.add(DeadLetter(frame.queue, frame.task, body, reason, error, batch.attempt))

    def _errors_of(self, batch: Batch, errors: bytes) -> Iterator[bytes]:
        """The packed error of each task; one error may stand for all."""
        try:
            offsets = index_bodies(errors)
        except ProtocolError:
            offsets = ()
        if len(offsets) - 1 == batch.count:
            for start, stop in pairwise(offsets):
                yield errors[start:stop]
        else:
            only = errors[offsets[0] : offsets[1]] if len(offsets) > 1 else b""
            for _ in range(batch.count):
                yield only

    def _result(self, batch: Batch, status: int, frame: bytes) -> None:
        producer = batch.frame.origin
        assert isinstance(producer, Producer)
        sequence = batch.frame.sequence
        left = producer.open.get(sequence, 0) - batch.count
        if left > 0:
            producer.open[sequence] = left
        else:
            producer.open.pop(sequence, None)
        result = make(Result, (sequence, batch.first, batch.count, status))
        self.send_result(producer, result, frame)

    def send_result(self, producer: Producer, result: Result, frame: bytes) -> None:
        """Send a result to its submitter, or keep it for the submitter's return."""
        if producer.peer is not None:
            self._counters.results += result.tasks
            self._send(producer.peer, result, [frame] if frame else [])
        elif not producer.hold(result, frame):
            self._counters.results_lost += result.tasks

    def send_progress(self, worker: Worker, message: Progress) -> None:
        """A worker says how far a task has come: its submitter may want to know."""
        lease = self.leases.find(message.number, worker)
        found = None if lease is None else _locate(lease, message.position)
        if lease is None or found is None:
            return
        batch, position = lease.batches[found[0]], found[1]
        producer: Producer | None = batch.frame.origin  # type: ignore[assignment]
        if producer is not None and batch.frame.reply and producer.peer is not None:
            told = Progress(
                batch.frame.sequence, batch.first + position, message.done, message.total
            )
            self._send(producer.peer, told, [])

    def answer_await(self, producer: Producer, sequences: list[int]) -> None:
        """Tell a producer how many results of these batches are still to come.

        Messages keep their order, so when it hears this it has all that was sent before.
        """
        assert producer.peer is not None
        for sequence in sequences:
            left = producer.open.get(sequence, 0)
            self._send(producer.peer, Result(sequence, 0, left, OPEN), [])

    def _bury_malformed(self, queue: Queue, batch: Batch, text: str) -> None:
        queue.ready.settle(batch.count)
        queue.ready.release(batch)
        queue.counters.failed += batch.count
        self._fail(batch, "malformed", pack([["ProtocolError", text, ""]]))
        self._intake.made_room()

    # --- taking back ---

    def depart(self, worker: Worker, message: Departed) -> None:
        """A supervisor says that a worker is gone, and why."""
        if message.reason == TIMEOUT:
            self._time_out(worker, message)
        self.take_back(worker, crashed=message.reason == CRASHED, text=message.text)

    def _time_out(self, worker: Worker, message: Departed) -> None:
        lease = self.leases.find(message.lease, worker)
        found = None if lease is None else _locate(lease, message.position)
        if lease is None or found is None:
            return
        index, position = found
        if lease.close(index, position, 1):
            batch = lease.batches[index]
            queue = self._intake.queues[batch.frame.queue]
            queue.ready.settle(1)
            if lease.is_closed(index):
                queue.ready.release(batch)
            queue.counters.failed += 1
            error = pack([["TaskTimeout", message.text, ""]])
            self._fail(batch.part(position, 1), "timeout", error)
            self._intake.made_room()

    def take_back(self, worker: Worker, *, crashed: bool, text: str = "") -> None:
        """A worker is gone, or forgot what it held: its open tasks are ready again."""
        for queue in worker.queues:
            queue.hungry.pop(worker, None)
        touched: dict[Queue, None] = {}
        for lease in reversed(list(worker.leases.values())):
            for index in range(len(lease.batches) - 1, -1, -1):
                batch = lease.batches[index]
                if not lease.is_closed(index):
                    queue = self._intake.queues[batch.frame.queue]
                    parts = [batch.part(first, count) for first, count in lease.open_runs(index)]
                    self._redeliver(queue, batch, parts, crashed, text)
                    touched[queue] = None
            self.leases.end(lease)
        worker.leases.clear()
        worker.in_flight = 0
        worker.alone = False
        if worker.reserved is not None:
            _release(worker.reserved)
        self._intake.changed.update(touched)
        self._intake.made_room()

    def _redeliver(
        self, queue: Queue, batch: Batch, parts: list[Batch], crashed: bool, text: str
    ) -> None:
        queue.ready.settle(sum(part.count for part in parts))
        queue.ready.release(batch)
        again: list[Batch] = []
        for part in parts:
            if crashed:
                part.crashes += 1
            if part.crashes >= self._crashes_max and part.count == 1:
                queue.counters.failed += 1
                why = f"{part.crashes} workers died while they ran it; the last: {text or 'lost'}"
                self._fail(part, "crashed", pack([["WorkerLost", why, ""]]))
            else:
                queue.counters.redelivered += part.count
                part.attempt += 1
                again.append(part)
        queue.ready.give_back(again)

    def _end(self, worker: Worker, lease: Lease) -> None:
        self.leases.end(lease)
        del worker.leases[lease.number]
        if not worker.leases:
            worker.alone = False

    # --- the plain lane ---

    def take_egress(self, name: str) -> list[bytes] | None:
        """The next batch that leaves by the plain lane, as ``[queue, batch]``; None if none."""
        queue = self._intake.queues.get(name)
        while queue is not None and queue.ready.ready_tasks and not queue.paused:
            batch = queue.ready.take_next(DELIVERY_BYTES_MAX)
            try:
                body = batch.body(index_bodies, array_header)
            except ProtocolError as error:
                self._bury_malformed(queue, batch, str(error))
                continue
            queue.ready.settle(batch.count)
            queue.ready.release(batch)
            queue.counters.egressed += batch.count
            self._intake.made_room()
            return [name.encode(), body]
        return None


def _locate(lease: Lease, position: int) -> tuple[int, int] | None:
    """Which batch of a lease a position falls in, and where in it."""
    for index, batch in enumerate(lease.batches):
        if position < batch.count:
            return index, position
        position -= batch.count
    return None


def _next_hungry(hungry: dict[Worker, None], idle: bool) -> Worker | None:
    """The worker whose turn it is, moved to the end of the row; an idle one, if so wanted."""
    for _ in range(len(hungry)):
        worker = next(iter(hungry))
        del hungry[worker]
        if _room(worker) > 0:
            hungry[worker] = None
            if not (idle and worker.in_flight):
                return worker
    return None


def _reserve(queue: Queue) -> None:
    """All workers are busy: let one of them finish, for the suspect at the front."""
    if queue.reserved is None:
        for worker in queue.hungry:
            queue.reserved = worker
            worker.reserved = queue
            del queue.hungry[worker]
            return


def _release(queue: Queue) -> Worker | None:
    """The suspect is out, or its worker is idle or gone: nobody is reserved any more."""
    worker, queue.reserved = queue.reserved, None
    if worker is not None:
        worker.reserved = None
    return worker


def _check_settle(message: Settle, frames: list[bytes]) -> None:
    carrying = [run for run in message.runs if run[3] in (RESULTS, FAILED)]
    if len(carrying) != len(frames):
        raise ProtocolError(MALFORMED, f"{len(frames)} frames for {len(carrying)} runs")
    for run, frame in zip(carrying, frames, strict=True):
        if array_length(frame) != run[2] and not (run[3] == FAILED and array_length(frame) == 1):
            raise ProtocolError(MALFORMED, "a frame has not as many values as its run has tasks")
    if not all(run[3] in STATUSES for run in message.runs):
        raise ProtocolError(MALFORMED, "unknown status")


def _room(worker: Worker) -> int:
    """Tasks that may still be sent to a worker."""
    if worker.alone or worker.reserved or len(worker.leases) >= LEASES_MAX:
        return 0
    return worker.credit - worker.in_flight
