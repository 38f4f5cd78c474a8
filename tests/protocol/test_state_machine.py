"""The whole protocol under a bad network: nothing confirmed is lost, nothing comes twice.

Real machines of every role are joined through a network that the test holds in its hand: two
lists of messages for each connection. Hypothesis decides what is delivered, dropped, sent twice,
settled, who dies (the broker, too), and which queues are paused, drained and resumed; after every
step the broker's books are checked against a recount, and at the end everything is resumed and
delivered, and every promise must have been kept.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from zqueue.core.batch import OVERHEAD_BYTES, Batch
from zqueue.core.ready import SUSPECTS_MAX
from zqueue.protocol.broker import BrokerProtocol, Limits
from zqueue.protocol.codec import pack
from zqueue.protocol.link import Connected, Disconnected
from zqueue.protocol.messages import (
    CRASHED,
    DONE,
    DRAIN,
    FAILED,
    OPEN,
    PAUSE,
    RESULTS,
    RESUME,
    RETURNED,
    STOPPED,
    TIMEOUT,
    Confirm,
    Control,
    Deliver,
    Hello,
    Publish,
    Result,
    decode,
    encode,
)
from zqueue.protocol.peers import Queue, origin_number
from zqueue.protocol.producer import (
    BatchRefused,
    Confirmed,
    ProducerProtocol,
    Progressed,
    ResultsCame,
    ResultsLost,
)
from zqueue.protocol.unpacking import unpack_bodies
from zqueue.protocol.worker import Leased, LeasedBatch, Run, SupervisorProtocol, WorkerProtocol

QUEUES = ("a", "b", "c")
TASKS_MAX, BATCH_MAX = 12, 6
LIMITS = Limits(
    queue_tasks_max=TASKS_MAX, queue_bytes_max=6_000, bytes_max=9_000, crashes_max=3, peers_max=50
)
DRAIN_ROUNDS = 100


BATCHES = st.tuples(
    st.integers(0, 1),
    st.sampled_from(QUEUES),
    st.integers(1, BATCH_MAX),
    st.sampled_from((0, 0, 0, 90, 400)),
    st.booleans(),
)
"""Producer, queue, number of tasks, padding of each in bytes, whether results are wanted."""

SETTLEMENTS = st.tuples(
    st.integers(0, 5),
    st.integers(0, 20),
    st.integers(0, 3),
    st.integers(1, 8),
    st.sampled_from((DONE, DONE, RESULTS, RESULTS, FAILED, RETURNED)),
    st.sampled_from((1, 3, 3, 20)),
)
"""Worker, lease, tasks of each batch to skip and to settle, status, credit."""


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


class Broken(RuleBasedStateMachine):
    """A broker, its peers, and a network that breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.names = 0
        self.tasks = 0
        self.routes: dict[bytes, Client] = {}
        """The connections that are there, by routing id."""
        self.peers: dict[bytes, Client] = {}
        """All that there ever were."""
        self.published: set[int] = set()
        self.executed: set[int] = set()
        self.failed: set[int] = set()
        self.biggest_bytes = 0
        self.settles: list[list[bytes]] = []
        self.published_before: dict[Queue, int] = {}
        """What queues that drain had taken when they began to."""
        self.brokers = 0
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
        self.broker = BrokerProtocol(b"%08d" % self.brokers, LIMITS, first_lease=self.brokers << 40)

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
        return self._join(ProducerClient(ProducerProtocol(name, pack({}), lambda: 0.5), name, b""))

    def _worker(self, queues: str, supervised: bool, credit: int) -> WorkerClient:
        name = self._name()
        about: dict[str, Any] = {"queues": list(queues), "tasks": {}}
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
                    assert not self.broker.intake.queues[message.queue].paused
                client = self.routes.get(peer)
                if client is None:
                    self.broker.unreachable(peer, frames, self.now)
                else:
                    client.down.append(frames)

    def _deliver_up(self, client: Client) -> None:
        frames = client.up.popleft()
        self.broker.receive(client.peer, frames, self.now)
        self._flush_broker()

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

    def _settle_down(self) -> None:
        for _ in range(3):
            self._deliver_all()
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
            assert not client.confirmed & set(event.sequences)
            client.confirmed |= set(event.sequences)
        elif isinstance(event, Progressed):
            assert event.sequence in client.awaited
            assert client.tasks[event.sequence][event.position] == event.done, "of another task"
        elif isinstance(event, ResultsLost):
            assert client.awaited.pop(event.sequence)
            assert event.sequence in client.broken | client.gone, "nothing of it was lost"
        elif isinstance(event, ResultsCame):
            awaited = client.awaited[event.sequence]
            came = set(range(event.first, event.first + event.tasks))
            assert came & awaited, "a result that says nothing new"
            assert came <= awaited or event.sequence in client.resent, "a result came twice"
            awaited -= came
            assert event.last is (not awaited)
            if event.last:
                del client.awaited[event.sequence]
            ids = client.tasks[event.sequence][event.first : event.first + event.tasks]
            if event.status == RESULTS:
                assert unpack_bodies(event.frame) == ids
            else:
                assert event.status in (DONE, FAILED)

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
        if isinstance(message, Result) and message.status == FAILED:
            assert isinstance(client, ProducerClient)
            ids = client.tasks[message.sequence]
            self.failed.update(ids[message.first : message.first + message.tasks])

    # --- rules: publishing ---

    @initialize(batches=st.lists(BATCHES, min_size=1, max_size=6))
    def begin(self, batches: list[tuple[int, str, int, int, bool]]) -> None:
        for batch in batches:
            self._publish(*batch)
        self._deliver_all()

    @rule(batch=BATCHES)
    def publish(self, batch: tuple[int, str, int, int, bool]) -> None:
        self._publish(*batch)

    @rule(batches=st.lists(BATCHES, min_size=1, max_size=4))
    def publish_and_deliver(self, batches: list[tuple[int, str, int, int, bool]]) -> None:
        """Batches get as far as the workers; what the broker answers is on the wire."""
        for batch in batches:
            client = self._publish(*batch)
            while client.up:
                self._deliver_up(client)
        for worker in self.workers:
            while worker.down:
                self._deliver_down(worker)

    def _publish(
        self, who: int, queue: str, count: int, padding: int, reply: bool
    ) -> ProducerClient:
        client = self.producers[who]
        ids = list(range(self.tasks, self.tasks + count))
        self.tasks += count
        self.published.update(ids)
        body = pack([[number, b"x" * padding] for number in ids])
        self.biggest_bytes = max(self.biggest_bytes, len(body) + OVERHEAD_BYTES)
        sequence = client.machine.publish(queue, "t", body, count, reply=reply)
        assert sequence == len(client.tasks) + 1
        client.tasks[sequence] = ids
        if reply:
            client.awaited[sequence] = set(range(count))
        self._flush(client)
        return client

    @rule(who=st.integers(0, 1), which=st.integers(0, 100))
    def resend(self, who: int, which: int) -> None:
        """A batch that is on the wire comes twice (never behind a greeting: after that a producer
        sends all that is unconfirmed, lowest number first)."""
        client = self.producers[who]
        messages = [decode(frames[0]) for frames in client.up]
        batches = [
            frames
            for frames, message in zip(client.up, messages, strict=True)
            if isinstance(message, Publish)
        ]
        if batches and not any(isinstance(message, Hello) for message in messages):
            client.up.append(batches[which % len(batches)])

    # --- rules: the network ---

    @rule(who=st.integers(0, 20), up=st.booleans())
    def deliver_one(self, who: int, up: bool) -> None:
        client = self.clients[who % len(self.clients)]
        if up and client.up:
            self._deliver_up(client)
        elif client.down:
            self._deliver_down(client)

    @rule(who=st.integers(0, 20))
    def deliver_link(self, who: int) -> None:
        client = self.clients[who % len(self.clients)]
        while client.up:
            self._deliver_up(client)
        while client.down:
            self._deliver_down(client)

    @rule()
    def deliver_everything(self) -> None:
        self._deliver_all()

    @rule(who=st.integers(0, 20), lose_up=st.booleans())
    def drop(self, who: int, lose_up: bool) -> None:
        self._drop(self.clients[who % len(self.clients)], lose_up=lose_up)

    @rule(who=st.integers(0, 1), kind=st.sampled_from((Confirm, Result)))
    def lose(self, who: int, kind: type[Any]) -> None:
        """The connection breaks just before a confirm or a result would have come."""
        client = self.producers[who]
        if not any(isinstance(decode(frames[0]), kind) for frames in client.down):
            return
        while not isinstance(decode(client.down[0][0]), kind):
            self._deliver_down(client)
        self._drop(client, lose_up=False)

    @rule(lose_up=st.booleans())
    def replace_broker(self, lose_up: bool) -> None:
        """The broker dies with all that it held, and another one is there at once."""
        self._set_aside()
        self._start_broker()
        for client in self.clients:
            self._drop(client, lose_up=lose_up)
        for producer in self.producers:
            producer.gone |= producer.confirmed
            producer.confirmed.clear()
            unconfirmed = producer.tasks.keys() - producer.gone
            producer.resent |= unconfirmed
            for sequence in unconfirmed:  # These must run, whether they did before or not.
                self.executed.difference_update(producer.tasks[sequence])
                self.failed.difference_update(producer.tasks[sequence])

    @rule(elapsed_s=st.sampled_from((0.001, 0.02, 0.5, 1.0)))
    def tick(self, elapsed_s: float) -> None:
        self._tick(elapsed_s)

    @rule()
    def stall(self) -> None:
        """Nothing moves for longer than anybody waits."""
        self._tick(LIMITS.liveness_s + 1)

    # --- rules: workers ---

    @rule(who=st.integers(0, 20), credit=st.sampled_from((0, 1, 2, 3, 20)))
    def set_credit(self, who: int, credit: int) -> None:
        worker = self.workers[who % len(self.workers)]
        worker.machine.set_credit(credit)
        self._flush(worker)

    @rule(settlement=SETTLEMENTS)
    def settle(self, settlement: tuple[int, int, int, int, int, int]) -> None:
        """A worker settles a part of what it holds, in any order."""
        self._settle_some(*settlement)

    @rule(settlements=st.lists(SETTLEMENTS, min_size=1, max_size=5))
    def settle_and_deliver(self, settlements: list[tuple[int, int, int, int, int, int]]) -> None:
        """The broker hears of it, and what it says to the producers is on the wire."""
        for settlement in settlements:
            worker = self._settle_some(*settlement)
            while worker is not None and worker.up:
                self._deliver_up(worker)

    def _settle_some(
        self, who: int, which: int, skip: int, most: int, status: int, credit: int
    ) -> WorkerClient | None:
        holders = [worker for worker in self.workers if worker.held]
        if not holders:
            return None
        worker = holders[who % len(holders)]
        lease = list(worker.held)[which % len(worker.held)]
        self._settle(worker, lease, skip, most, status, credit)
        return worker

    def _settle(
        self, worker: WorkerClient, lease: int, skip: int, most: int, status: int, credit: int
    ) -> None:
        runs: list[Run] = []
        frames: list[bytes] = []
        for index, (batch, left) in enumerate(worker.held[lease]):
            chosen = left[skip:][:most]
            if len(left) <= skip:
                chosen = left[:most]
            ids = [number for number, _ in unpack_bodies(batch.body)]
            for first, count in runs_of(chosen):
                run = ids[first : first + count]
                runs.append(Run(index, first, count, status))
                if status == RESULTS:
                    frames.append(pack(run))
                elif status == FAILED:
                    frames.append(pack([["Error", str(number), ""] for number in run]))
                if status != RETURNED:
                    self.executed.update(run)
            left[:] = [position for position in left if position not in chosen]
        last = not any(left for _, left in worker.held[lease])
        if last:
            del worker.held[lease]
        worker.machine.settle(lease, runs, frames, credit=credit, last=last)
        messages = worker.machine.to_send()
        self.settles += messages
        worker.up.extend(messages)

    @rule(who=st.integers(0, 20), which=st.integers(0, 20), delivered=st.booleans())
    def progress(self, who: int, which: int, delivered: bool) -> None:
        """A worker tells of a task that it has or had; `done` says of which."""
        worker = self.workers[who % len(self.workers)]
        if worker.held:
            lease = list(worker.held)[which % len(worker.held)]
            batches = [batch for batch, _ in worker.held[lease]]
            ids = [number for batch in batches for number, _ in unpack_bodies(batch.body)]
            worker.machine.progress(lease, which % len(ids), ids[which % len(ids)], 0)
            self._flush(worker)
            while delivered and worker.up:
                self._deliver_up(worker)

    # --- rules: queues ---

    @rule(queue=st.sampled_from(QUEUES), action=st.sampled_from((PAUSE, DRAIN, RESUME, RESUME)))
    def control(self, queue: str, action: str) -> None:
        """Anybody may; here it is the supervisor."""
        self.broker.receive(self.supervisor.peer, [encode(Control(action, queue))], self.now)
        known = self.broker.intake.queues.get(queue)
        if known is not None and action == DRAIN:
            self.published_before.setdefault(known, known.counters.published)
        elif known is not None and action == RESUME:
            self.published_before.pop(known, None)
        self._flush_broker()

    @precondition(lambda self: self.settles)
    @rule(who=st.integers(0, 20), age=st.integers(1, 30))
    def settle_again(self, who: int, age: int) -> None:
        """A settlement comes twice, late, or from somebody else."""
        worker = self.workers[who % len(self.workers)]
        if worker.machine.link.is_ready:
            frames = self.settles[-min(age, len(self.settles))]
            self.broker.receive(worker.peer, frames, self.now)
            self._flush_broker()

    @rule(
        who=st.integers(0, 20),
        how=st.sampled_from((CRASHED, CRASHED, STOPPED, TIMEOUT)),
        delivered=st.booleans(),
        queues=st.sampled_from(("a", "ab", "abc")),
        which=st.integers(0, 10),
    )
    def kill(self, who: int, how: str, delivered: bool, queues: str, which: int) -> None:
        """A worker dies, its supervisor reports it (if it has one), and another one starts."""
        worker = self.workers.pop(who % len(self.workers))
        if delivered:
            while worker.up:
                self._deliver_up(worker)
        del self.routes[worker.peer]
        if worker.supervised:
            lease = position = 0
            if how == TIMEOUT and worker.held:
                lease = list(worker.held)[which % len(worker.held)]
                position = which % sum(batch.tasks for batch, _ in worker.held[lease])
            self.supervisor.machine.departed(
                worker.id, how, lease=lease, position=position, text="it died"
            )
            self._flush(self.supervisor)
        self._worker(queues, worker.supervised, credit=3)

    # --- what must always hold ---

    def _present(self) -> tuple[dict[str, list[Batch]], dict[str, list[tuple[Batch, list[int]]]]]:
        """All that the broker holds: ready batches, and leased ones with their open positions."""
        ready: dict[str, list[Batch]] = {}
        leased: dict[str, list[tuple[Batch, list[int]]]] = {}
        for name, queue in self.broker.intake.queues.items():
            ready[name] = [*queue.ready._returned, *queue.ready._new]
            leased[name] = []
        for lease in self.broker.dispatch.leases._leases.values():
            assert lease.holder.leases[lease.number] is lease
            for index, batch in enumerate(lease.batches):
                places = [
                    first + i for first, count in lease.open_runs(index) for i in range(count)
                ]
                if places:
                    leased[batch.frame.queue].append((batch, places))
        return ready, leased

    @invariant()
    def books_are_right(self) -> None:
        """Counters equal a recount; nothing is there twice; bounds hold."""
        ready, leased = self._present()
        all_bytes = 0
        places: Counter[tuple[int, int]] = Counter()
        for name, queue in self.broker.intake.queues.items():
            r = queue.ready
            assert r.ready_tasks == sum(batch.count for batch in ready[name])
            assert r.ready_bytes == sum(batch.nbytes for batch in ready[name])
            assert r.leased_tasks == sum(len(left) for _, left in leased[name])
            assert r.leased_bytes == sum(batch.nbytes for batch, _ in leased[name])
            all_bytes += r.bytes
            assert r.tasks <= TASKS_MAX + max(TASKS_MAX // 4, BATCH_MAX)
            # Cutting adds overhead, and what came back of a lease counts twice while it is open.
            slack = OVERHEAD_BYTES * (len(ready[name]) + len(leased[name]))
            slack += sum(b.nbytes for b, left in leased[name] if len(left) < b.count)
            limit = LIMITS.queue_bytes_max
            assert r.bytes <= limit + max(limit // 4, self.biggest_bytes) + slack
            for batch in ready[name]:
                for position in range(batch.first, batch.first + batch.count):
                    places[id(batch.frame), position] += 1
            for batch, left in leased[name]:
                for position in left:
                    places[id(batch.frame), batch.first + position] += 1
        assert self.broker.intake.budget.bytes == all_bytes
        assert not [place for place, times in places.items() if times > 1]

    @invariant()
    def nothing_confirmed_is_missing(self) -> None:
        """A confirmed task is ready, or leased, or ran, or was set aside."""
        ready, leased = self._present()
        present: set[int] = set()
        for batches in ready.values():
            for batch in batches:
                ids = [number for number, _ in unpack_bodies(batch.frame.body)]
                present |= set(ids[batch.first : batch.first + batch.count])
        for pairs in leased.values():
            for batch, left in pairs:
                ids = [number for number, _ in unpack_bodies(batch.frame.body)]
                present |= {ids[batch.first + position] for position in left}
        over = self.executed | self._set_aside()
        for client in self.producers:
            for sequence in client.confirmed:
                missing = set(client.tasks[sequence]) - present - over
                assert not missing, f"tasks {missing} were confirmed and are nowhere"

    @invariant()
    def everything_is_counted(self) -> None:
        c = self.broker.totals()
        held = sum(queue.ready.tasks for queue in self.broker.intake.queues.values())
        assert c.published == c.done + c.failed + held
        assert c.dead == self.broker.dead.total
        assert c.garbage == c.refused == c.results_lost == 0

    @invariant()
    def what_drains_takes_nothing(self) -> None:
        for queue, published in self.published_before.items():
            assert queue.draining
            assert queue.counters.published == published

    @invariant()
    def workers_hold_what_they_may(self) -> None:
        for worker in self.broker._workers.values():
            assert worker.in_flight == sum(lease.tasks for lease in worker.leases.values())
            if worker.alone:
                ((batch,),) = (lease.batches for lease in worker.leases.values())
                assert batch.count <= (1 if batch.crashes > 1 else SUSPECTS_MAX)

    def _set_aside(self) -> set[int]:
        """Tasks that the broker gave up itself: in dead letters, or answered as failed."""
        for letter in self.broker.dead.newest(10_000):
            ((number, _),) = unpack_bodies(letter.body)
            self.failed.add(number)
        for client in self.producers:
            known = self.broker._producers.get(client.id)
            for result, _ in known.held if known is not None else ():
                self._note_failure(client, result)
        return self.failed

    # --- the end ---

    def teardown(self) -> None:
        """The network heals, workers are well: every promise must have been kept."""
        for queue in QUEUES:
            self.control(queue, RESUME)
        self._worker("abc", False, credit=4)
        for _ in range(DRAIN_ROUNDS):
            self._deliver_all()
            for worker in self.workers:
                worker.machine.set_credit(4)
                for lease in list(worker.held):
                    self._settle(worker, lease, 0, 100, RESULTS, 4)
            self._tick(0.3)
            if self._is_over():
                break
        self.books_are_right()
        self.everything_is_counted()
        assert self.broker.is_empty(), self.broker.info()["queues"]
        assert self.broker.intake.budget.bytes == 0
        assert len(self.broker.dispatch.leases) == 0
        for client in self.producers:
            assert not len(client.machine.window), "never confirmed"
            assert client.confirmed | client.gone == set(client.tasks)
            assert not client.awaited, "neither a result nor a word that it is lost"
            for sequence in client.confirmed:
                missing = set(client.tasks[sequence]) - self.executed - self._set_aside()
                assert not missing, "confirmed and never run"

    def _is_over(self) -> bool:
        return (
            self.broker.is_empty()
            and not any(client.up or client.down for client in self.clients)
            and not any(len(c.machine.window) or c.awaited for c in self.producers)
        )


Broken.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=60,
    deadline=None,
    print_blob=True,
    # A failure is told as it was found: to make it small takes minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

TestBroken = pytest.mark.timeout(120)(Broken.TestCase)
