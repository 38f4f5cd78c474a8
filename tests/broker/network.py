"""A whole protocol in one process: real machines of every role, and a network that breaks."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis.stateful import (
    RuleBasedStateMachine,
)

from zqueue.broker.held import HeldResults
from zqueue.broker.machine import BrokerProtocol
from zqueue.broker.peers import Queue, WorkerPeer, origin_number
from zqueue.broker.skills import Names
from zqueue.client.connection import Connection
from zqueue.client.sent import BatchRefused, Confirmed, Progressed, ResultsCame, ResultsLost
from zqueue.config import Limits
from zqueue.core.batch import Batch
from zqueue.wire.codec import array_header, pack
from zqueue.wire.headers import decode
from zqueue.wire.link import Connected, Disconnected
from zqueue.wire.messages import (
    CANCELLED,
    DONE,
    EXPIRED,
    FAILED,
    OPEN,
    RESULTS,
    RETRY,
    Deliver,
    Publish,
    Result,
    Settle,
)
from zqueue.wire.unpacking import index_bodies, unpack_bodies
from zqueue.worker.leases import Leased, LeasedBatch, WorkerProtocol
from zqueue.worker.liaison import SupervisorProtocol

from .times import POLICY, Times

QUEUES = ("a", "b", "c")
TASKS_MAX, BATCH_MAX = 12, 6
LIMITS = Limits(
    queue_tasks_max=TASKS_MAX, queue_bytes_max=6_000, bytes_max=9_000, crashes_max=3, peers_max=50
)
DRAIN_ROUNDS = 100


class Client:
    """One peer and its connection: what is on the wire in each direction."""

    def __init__(self, machine: Any, id: bytes, peer: bytes) -> None:
        self.machine = machine
        self.id = id
        self.peer = peer
        self.up: deque[list[bytes]] = deque()
        self.down: deque[list[bytes]] = deque()


class ProducerClient(Client):
    """A producer, and what the test knows it to be owed."""

    def __init__(self, machine: Any, id: bytes, peer: bytes) -> None:
        super().__init__(machine, id, peer)
        self.tasks: dict[int, list[int]] = {}
        """Sequence to the ids of its tasks."""
        self.awaited: dict[int, set[int]] = {}
        """Sequence to the positions without a result."""
        self.broken: set[int] = set()
        """Batches of which a result was on the wire when the connection broke."""
        self.confirmed: set[int] = set()
        """By the broker that is there."""
        self.gone: set[int] = set()
        """Confirmed by a broker that is there no more."""
        self.resent: set[int] = set()
        """Sent to more than one broker: some of it may run, and have a result, twice."""
        self.welcomed_by = b""


class WorkerClient(Client):
    """A worker, and which positions of each batch of each lease it has not settled."""

    def __init__(self, machine: Any, id: bytes, peer: bytes, supervised: bool) -> None:
        super().__init__(machine, id, peer)
        self.supervised = supervised
        self.held: dict[int, list[tuple[LeasedBatch, list[int]]]] = {}


def runs_of(positions: list[int]) -> list[tuple[int, int]]:
    """Ascending positions as ``(first, count)``."""
    runs: list[tuple[int, int]] = []
    for position in positions:
        if runs and position == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((position, 1))
    return runs


class Network(RuleBasedStateMachine):
    """A broker, its peers, and the network between them: what a test may do to them, and hears."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.names = 0
        self.tasks = 0
        self.times = Times()
        self.routes: dict[bytes, Client] = {}
        """The connections that are there, by routing id."""
        self.peers: dict[bytes, Client] = {}
        """All that there ever were."""
        self.published: set[int] = set()
        self.executed: set[int] = set()
        self.failed: set[int] = set()
        self.cancelled: set[int] = set()
        """Must not run."""
        self.stopping: set[int] = set()
        """Their workers were asked to end them: they may run, or not."""
        self.biggest_bytes = 0
        self.settles: list[list[bytes]] = []
        self.published_before: dict[Queue, int] = {}
        """What queues that drain had taken when they began to."""
        self.brokers = self.recovered = self.recovered_dead = 0
        self.recovered_bytes = 0
        self.producers: list[ProducerClient] = []
        self._start_broker()
        self.producers = [self._producer() for _ in range(2)]
        self.supervisor = self._join(
            Client(SupervisorProtocol(b"supervisor", pack({}), lambda: 0.5), b"supervisor", b"")
        )
        self.workers: list[WorkerClient] = []
        for queues, supervised in (("ab", True), ("bc", True), ("abc", False)):
            self._worker(queues, supervised, credit=3)
        self._settle_down()

    # --- the cast ---

    def _start_broker(self) -> None:
        self.brokers += 1
        self.broker = self._make_broker()
        self.dropped = 0
        """Results that had to give way to tasks."""
        self.broker.held.shrink = self._shrink_held  # type: ignore[method-assign]

    def _make_broker(self) -> BrokerProtocol:
        return BrokerProtocol(b"%08d" % self.brokers, LIMITS, first_lease=self.brokers << 40)

    def _shrink_held(self, bytes_max: int) -> None:
        """As it is, and remembers what is dropped."""
        before = self._held_results()
        HeldResults.shrink(self.broker.held, bytes_max)
        for client, result in before - self._held_results():
            client.broken.add(result.sequence)
            self._note_failure(client, result)
            self.dropped += result.tasks

    def _held_results(self) -> set[tuple[ProducerClient, Result]]:
        known = self.broker.roster.producers
        return {
            (client, result)
            for client in self.producers
            if client.id in known
            for result in (one.result for one in known[client.id].held.values())
        }

    def _name(self) -> bytes:
        self.names += 1
        return b"%016d" % self.names

    def _join(self, client: Any) -> Any:
        self._connect(client)
        client.machine.tick(self.now)
        self._flush(client)
        return client

    def _connect(self, client: Client) -> None:
        client.peer = self._name()[-5:]
        self.routes[client.peer] = self.peers[client.peer] = client

    def _producer(self) -> ProducerClient:
        name = self._name()[::-1]  # So that they differ where an origin is made of them.
        return self._join(ProducerClient(Connection(name, {}, lambda: 0.5), name, b""))

    def _worker(
        self, queues: str, supervised: bool, credit: int, tasks: dict[str, str] | None = None
    ) -> WorkerClient:
        name = self._name()
        about: dict[str, Any] = {"queues": list(queues), "tasks": tasks or {}, "retries": POLICY}
        if supervised:
            about["supervisor"] = self.supervisor.id
            self.supervisor.machine.joined(name)
        machine = WorkerProtocol(name, pack(about), lambda: 0.5, credit=credit)
        client = self._join(WorkerClient(machine, name, b"", supervised))
        self.workers.append(client)
        return client

    @property
    def clients(self) -> list[Any]:
        return [*self.producers, self.supervisor, *self.workers]

    # --- the network ---

    def _flush(self, client: Client) -> None:
        client.up.extend(client.machine.to_send())

    def _flush_broker(self) -> None:
        """As the driver does it: a send to a connection that is gone fails at once."""
        while messages := self.broker.to_send():
            for peer, frames in messages:
                message = decode(frames[0])
                self._note_failure(self.peers[peer], message)
                if isinstance(message, Deliver):
                    self._check_delivery(peer, message)
                client = self.routes.get(peer)
                if client is None:
                    self.broker.unreachable(peer, frames, self.now)
                else:
                    client.down.append(frames)

    def _check_delivery(self, peer: bytes, message: Deliver) -> None:
        """Nothing of a queue that is paused, nothing that was cancelled, nothing before its time;
        and nobody gets what he lacks and somebody has."""
        for _, _, count, attempt, _, origin, sequence, first, _ in message.batches:
            (owner,) = (p for p in self.producers if origin_number(p.id) == origin)
            ids = owner.tasks[sequence][first : first + count]
            assert not self.cancelled & set(ids)
            self.times.deliver(ids, attempt, self.now)
        queue = self.broker.book.queues[message.queue]
        assert not queue.paused
        known = self.broker.roster.peers.get(peer)
        if isinstance(known, WorkerPeer):
            names = queue.servers[known]
            assert all(self._is_for(queue, names, batch[0]) for batch in message.batches)

    @staticmethod
    def _is_for(queue: Queue, names: Names, task: str) -> bool:
        others = queue.servers.values()
        is_known = any(other is None or task in other for other in others)
        return names is None or task in names or not is_known

    def _deliver_up(self, client: Client) -> None:
        self._tell_broker(client, client.up.popleft())

    def _tell_broker(self, client: Client, frames: list[bytes]) -> None:
        message = decode(frames[0])
        if isinstance(message, Publish):
            assert isinstance(client, ProducerClient)
            self.times.come(client.tasks[message.sequence], self.now)
        elif isinstance(message, Settle):
            self._note_retries(client, message)
        self.broker.receive(client.peer, "", frames, self.now)
        self._flush_broker()

    def _note_retries(self, client: Client, message: Settle) -> None:
        """Remember which tasks are to be tried again, of those that their worker still has."""
        holder = self.broker.roster.peers.get(client.peer)
        lease = self.broker.dispatch.leases.find(message.lease, holder)
        for index, first, count, status, *asked_ms in message.runs if lease is not None else ():
            assert lease is not None
            run = ((1 << count) - 1) << first
            if status == RETRY and lease.open_tasks(index) & run == run:
                ids = self._ids_in(lease.batches[index])[first : first + count]
                self.times.fail(ids, sum(asked_ms) / 1000, self.now)

    @staticmethod
    def _ids_in(batch: Batch) -> list[int]:
        body = batch.body(index_bodies, array_header)
        return [number for number, _ in unpack_bodies(body)]

    def _deliver_down(self, client: Client) -> None:
        client.machine.receive(client.down.popleft(), self.now)
        self._handle(client)

    def _drop(self, client: Client, *, lose_up: bool) -> None:
        """The connection breaks; the next one has a new routing id."""
        self.routes.pop(client.peer)
        self._connect(client)
        if isinstance(client, ProducerClient):
            for frames in client.down:
                message = decode(frames[0])
                if isinstance(message, Result) and message.status != OPEN:
                    client.broken.add(message.sequence)
        client.down.clear()
        if lose_up:
            client.up.clear()

    def _deliver_all(self) -> None:
        while any(client.up or client.down for client in self.clients):
            for client in self.clients:
                while client.up:
                    self._deliver_up(client)
                while client.down:
                    self._deliver_down(client)

    def _tick(self, elapsed_s: float) -> None:
        self.now += elapsed_s
        for client in self.clients:
            client.machine.tick(self.now)
            self._handle(client)
        self.broker.tick(self.now)
        self._flush_broker()
        assert all(due > self.now for due in self._dues()), "it is due, and nobody can have it"

    def _dues(self) -> list[float]:
        """When the first delayed tasks of each queue are due."""
        rows = (queue.ready.delayed for queue in self.broker.book.queues.values())
        return [due for row in rows if (due := row.next_due()) is not None]

    def _store_all(self) -> None:
        """Nothing is stored here."""

    def _settle_down(self) -> None:
        for _ in range(3):
            self._deliver_all()
            self._store_all()
            self._tick(0.001)
        assert all(client.machine.link.is_ready for client in self.clients)

    # --- what the peers do with what they hear ---

    def _handle(self, client: Client) -> None:
        while (event := client.machine.next_event()) is not None:
            if isinstance(client, ProducerClient):
                self._on_producer_event(client, event)
            elif isinstance(client, WorkerClient):
                self._on_worker_event(client, event)
        self._flush(client)

    def _on_producer_event(self, client: ProducerClient, event: Any) -> None:
        assert not isinstance(event, BatchRefused)
        if isinstance(event, Connected):
            assert event.same_broker is (client.welcomed_by == self.broker.id)
            client.welcomed_by = self.broker.id
        elif isinstance(event, Confirmed):
            sequences = {sent.sequence for sent in event.batches}
            assert not client.confirmed & sequences
            client.confirmed |= sequences
        elif isinstance(event, Progressed):
            assert event.sent.sequence in client.awaited
            task = client.tasks[event.sent.sequence][event.position]
            assert task == event.done, "of another task"
        elif isinstance(event, ResultsLost):
            assert client.awaited.pop(event.sent.sequence)
            assert event.sent.sequence in client.broken | client.gone, "nothing of it was lost"
        elif isinstance(event, ResultsCame):
            awaited = client.awaited[event.sent.sequence]
            came = set(range(event.first, event.first + event.tasks))
            assert came & awaited, "a result that says nothing new"
            assert came <= awaited or event.sent.sequence in client.resent, "a result came twice"
            awaited -= came
            assert event.last is (not awaited)
            if event.last:
                del client.awaited[event.sent.sequence]
            ids = client.tasks[event.sent.sequence][event.first : event.first + event.tasks]
            if event.status == RESULTS:
                assert unpack_bodies(event.frame) == ids
            else:
                assert event.status in (DONE, FAILED, CANCELLED, EXPIRED)
                if event.status == CANCELLED:
                    assert set(ids) <= self.cancelled | self.stopping | self.executed

    def _on_worker_event(self, client: WorkerClient, event: Any) -> None:
        if isinstance(event, Connected | Disconnected):
            client.held.clear()
        elif isinstance(event, Leased):
            assert event.lease not in client.held
            client.held[event.lease] = [
                (batch, list(range(batch.tasks))) for batch in event.batches
            ]
            for batch in event.batches:
                ids = [number for number, _ in unpack_bodies(batch.body)]
                assert len(ids) == batch.tasks
                assert set(ids) <= self.published
                (owner,) = (p for p in self.producers if origin_number(p.id) == batch.origin)
                places = slice(batch.first, batch.first + batch.tasks)
                assert owner.tasks[batch.sequence][places] == ids, "its id is another task's"

    def _note_failure(self, client: Client, message: Any) -> None:
        """Remember which tasks the broker answered for as failed: it may have given them up."""
        if isinstance(message, Result) and message.status in (FAILED, EXPIRED):
            assert isinstance(client, ProducerClient)
            ids = client.tasks[message.sequence][message.first : message.first + message.tasks]
            self.failed.update(ids)
            if message.status == EXPIRED:
                self.times.expire(ids, self.now)
