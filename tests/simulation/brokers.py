"""The broker of a run: the real machine and outboxes, driven as `zqueue.broker.process` does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from zqueue.broker.machine import BrokerProtocol
from zqueue.broker.outbox import Outboxes
from zqueue.broker.outcomes import ON_CANCELLED, Outcome
from zqueue.broker.peers import ProducerPeer, Queue
from zqueue.broker.stopping import Stopping
from zqueue.broker.storing import Storing
from zqueue.core.batch import Batch
from zqueue.core.dead import DeadLetter, DeadLetters
from zqueue.core.records import PUT, Entry, Over, Record
from zqueue.store.store import StoreError
from zqueue.wire.headers import decode
from zqueue.wire.messages import TRY_AGAIN, Refuse
from zqueue.wire.unpacking import unpack_bodies

from .facts import OUT
from .history import Cancelled, Dead, Dropped, Measured
from .network import Gone
from .storage import WatchedStore
from .workers import CONCURRENCY
from .world import INFINITY, Process

if TYPE_CHECKING:
    from .system import System

EGRESS = frozenset({OUT})
TURN_MESSAGES = 16
OUTBOX_LEAST_BYTES = 12_000
"""Room for answers to all batches that a run has. Really it is a hundred times as much."""
STUCK_RETRY_S = 0.02
STOP_LOOKS_S = 0.01
DELIVER, REFUSE = 21, 3
"""Kinds of messages that are looked at on their way out."""


class BrokerHost(Process):
    """One life of the broker."""

    def __init__(self, system: System, number: int, site: int) -> None:
        super().__init__(system.world, f"broker-{number}")
        self._system = system
        self.site = site
        """Which of several it is."""
        self.network = system.networks[site]
        self._history = system.history
        self._entries: dict[int, list[int]] = {}
        """Tasks of entries that this broker put."""
        self._found: dict[str, int] = {}
        """By queue: tasks that were found at start, as far as they are there still. What was over
        and not stored is back, so that may be more than a queue takes."""
        self.storing: Storing | None = None
        self.protocol = self._make(number)
        self.hub = self.network.listen(self)
        self.protocol.dead.__class__ = type(  # type: ignore[assignment]
            "Watched",
            (DeadLetters,),
            {"__slots__": (), "add": self._bury, "replay": self._replay, "drop": self._drop},
        )
        self._end = self.protocol.settling._end
        self.protocol.settling._end = self._ends  # type: ignore[method-assign]
        self._stopping = Stopping(system.world.random.choice((0.5, 5.0)))
        self.has_closed = False
        """It was told to stop, and has stored what there is."""
        self._outboxes = Outboxes(
            self.hub.transmit, lambda error: isinstance(error, Gone), self.protocol.book.budget,
            least_bytes=OUTBOX_LEAST_BYTES,
        )  # fmt: skip
        self.wake()

    def _make(self, number: int) -> BrokerProtocol:
        limits, first_lease = self._system.plan.limits, number << 40
        disk = self._system.disks[self.site]
        if disk is None:
            broker = BrokerProtocol(
                b"%08d" % number, limits, first_lease=first_lease, egress=EGRESS
            )
            broker.set_wall(self.world.wall(), self.clock())
            return broker
        level = self._system.plan.level
        self.storing = Storing(
            WatchedStore(self, disk, sync=level == "disk"), level, "the data dir"
        )
        broker = BrokerProtocol(
            self.storing.id, limits, first_lease=first_lease, egress=EGRESS,
            journal=self.storing.journal,
        )  # fmt: skip
        assert broker.book.overflow is not None
        broker.book.overflow.near_bytes = self._system.plan.near_bytes
        broker.set_wall(self.world.wall(), self.clock())
        self.storing.recover(broker, self.clock())
        return broker

    def stop(self) -> None:
        """SIGTERM."""
        if self._stopping.asked(self.clock()):
            self.protocol.drain()
            self.wake()

    # --- its loop ---

    def turn(self) -> float:
        with self.in_its_process():
            deadline = self._turn()
            if self._stopping.deadline is not None:
                self._stop_if_due(self.clock())
                deadline = min(deadline, self.clock() + STOP_LOOKS_S)
            return deadline
        return INFINITY

    @contextlib.contextmanager
    def in_its_process(self) -> Iterator[None]:
        """What is done here ends its process if the store is fenced, or damaged."""
        try:
            yield
        except StoreError:
            self._system.fault("kill", self.name)
            self.kill()

    def _turn(self) -> float:
        protocol, now = self.protocol, self.clock()
        protocol.set_wall(self.world.wall(), now)
        received = self._receive(now)
        has_moved = self.storing is not None and self.storing.move(protocol, now)
        self._send(now)
        deadline = protocol.next_deadline()
        if deadline is not None and now >= deadline:
            protocol.tick(now)
            self._send(now)
            has_moved = True
        self._measure()
        if has_moved or received == TURN_MESSAGES:
            return now
        if deadline is None:
            deadline = INFINITY
        return min(deadline, now + STUCK_RETRY_S) if self._outboxes else deadline

    def _stop_if_due(self, now: float) -> None:
        """It ends as `Broker.close` does, once workers have nothing more, or its time is up."""
        protocol, deadline = self.protocol, self._stopping.deadline or now
        if not self.has_closed:
            is_memory = self.storing is None
            left = protocol.book.tasks_before(deadline) if is_memory else protocol.book.leased()
            if self._stopping.code(1, not left, now) is None:
                return
            protocol.press()
            if self.is_storing or protocol.has_to_store():
                return
            lost = protocol.book.tasks() if is_memory else left
            self.has_closed = True
            self._system.fault("end" if lost else "stop", self.name)
            protocol.say_goodbye(now)
            self._send(now)
        protocol.press()
        is_stored = not self.is_storing and not protocol.has_to_store()
        if is_stored and ((until := protocol.goodbye_deadline()) is None or now >= until):
            self.kill()

    def _receive(self, now: float) -> int:
        received = 0
        while received < TURN_MESSAGES and (message := self.hub.receive()) is not None:
            peer, frames = message
            self.protocol.receive(peer, "", frames, now)
            received += 1
            self.point()
            if received == 1:
                self._send(now)
        return received

    def _send(self, now: float) -> None:
        protocol, outboxes = self.protocol, self._outboxes
        if outboxes:
            for peer, frames, is_gone in outboxes.retry():
                if not is_gone:
                    wire = self.hub.wires.get(peer)
                    whom = "who is gone by now" if wire is None else wire.port.process.name
                    self._system.fault("given up", whom)
                protocol.unreachable(peer, frames, now, is_gone=is_gone)
        while messages := protocol.to_send():
            for peer, frames in messages:
                kind = frames[0][2]
                if kind == DELIVER:
                    self._delivers(frames)
                elif kind == REFUSE:
                    self._refuses(peer, frames)
                if not outboxes.send(peer, frames):
                    protocol.unreachable(peer, frames, now)
                self.point()

    def is_stored(self, records: list[Record]) -> None:
        """These are known to survive."""
        for record in records:
            if isinstance(record, Entry) and record.kind == PUT:
                self._entries[record.number] = [body[0] for body in unpack_bodies(record.body)]
            elif isinstance(record, Over) and record.entry in self._entries:
                tasks = self._entries[record.entry]
                self._system.over(tasks[record.first : record.first + record.tasks])

    @property
    def is_storing(self) -> bool:
        """Whether its store has something to do."""
        return self.storing is not None and self.storing.store.busy

    def sync_s(self) -> float:
        """How long the disk takes this time."""
        seconds = self.world.random.expovariate(1 / self._system.plan.sync_s)
        disk = self._system.disks[self.site]
        if disk is not None:
            disk.slowest_s = max(disk.slowest_s, seconds)
        return seconds

    def crashed_at_disk(self) -> None:
        """The machine stopped while a file was written."""
        self._system.fault("kill", self.name)
        self.kill()

    def ended(self) -> None:
        self.network.hang_up(self.hub)
        self._system.broker_ended(self)

    # --- what is observed ---

    def _bury(self, letter: DeadLetter) -> list[DeadLetter]:
        """As it is, and notes whom it is about; so do the next two."""
        evicted = DeadLetters.add(self.protocol.dead, letter)
        self._history.add(Dead(self.world.now, task_of(letter), letter.reason))
        for other in evicted:
            self._history.add(Dropped(self.world.now, task_of(other)))
        return evicted

    def _replay(self, letter: DeadLetter) -> None:
        DeadLetters.replay(self.protocol.dead, letter)
        self._system.replayed(task_of(letter))

    def _drop(self, letter: DeadLetter) -> None:
        DeadLetters.drop(self.protocol.dead, letter)
        self._history.add(Dropped(self.world.now, task_of(letter)))

    def _ends(
        self, queue: Queue, batch: Batch, first: int, count: int, outcome: Outcome, *rest: Any
    ) -> None:
        producer, number = batch.frame.origin, batch.frame.sequence
        is_one = self._system.plan.brokers == 1  # With several it was withdrawn: another has it.
        if is_one and outcome is ON_CANCELLED and isinstance(producer, ProducerPeer):
            start = batch.first + first
            for task in self._system.tasks_of(producer.id, number)[start : start + count]:
                self._history.add(Cancelled(self.world.now, task))
        self._end(queue, batch, first, count, outcome, *rest)

    def letters(self) -> set[int]:
        """The tasks that are dead letters now."""
        return {task_of(letter) for letter in self.protocol.dead.newest(1 << 30)}

    def _delivers(self, frames: list[bytes]) -> None:
        for frame in frames[1:]:
            self._system.delivered([body[0] for body in unpack_bodies(frame)], self.name)

    def _refuses(self, peer: bytes, frames: list[bytes]) -> None:
        message = decode(frames[0])
        assert isinstance(message, Refuse)
        known = self.protocol.roster.peers.get(peer)
        if message.code in TRY_AGAIN and known is not None:
            self._system.postponed(known.id, message.sequence)

    def _measure(self) -> None:
        system, protocol, limits = self._system, self.protocol, self._system.plan.limits
        now = self.world.now
        for queue in protocol.book.queues.values():
            held, name = queue.ready.tasks, queue.ready.name
            if held > limits.queue_tasks_max:
                over = max(limits.queue_tasks_max // 4, system.biggest)
                most = max(limits.queue_tasks_max + over, self._found.get(name, held))
                self._history.add(Measured(now, f"tasks in {queue!r}", held, most))
            if not protocol.recovery.is_running:
                self._found[name] = min(held, self._found.get(name, held))
        for worker in protocol.roster.workers.values():
            if worker.in_flight > CONCURRENCY:
                most = max(CONCURRENCY, system.protocols[worker.id, self.site].most)
                self._history.add(Measured(now, f"in flight to {worker!r}", worker.in_flight, most))


def task_of(letter: DeadLetter) -> int:
    """The number of the task that a letter is."""
    ((task, _),) = unpack_bodies(letter.body)
    assert type(task) is int
    return task
