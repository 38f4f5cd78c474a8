"""Processes of one name, one after the other or side by side, over a network that breaks.

Real machines. Hypothesis decides who publishes, what is delivered, lost and settled, who dies, and
when the next process of the name begins. At the end the newest one must have all results that no
earlier one had, every earlier one that lives must know that it has ended, and nothing that was
confirmed ran twice or not at all.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from zqueue.broker.machine import BrokerProtocol
from zqueue.client.connection import id_of
from zqueue.client.earlier import task_id
from zqueue.client.named import NamedConnection
from zqueue.client.sent import Confirmed, Dismissed, ResultsCame, ResultsLost
from zqueue.config import Limits
from zqueue.core.records import Record
from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.messages import RESULTS, Credit, Deliver, Hello, Settle
from zqueue.wire.unpacking import unpack_bodies

from .shelf import Shelf

LIFE = 1_000_000
"""How far apart processes begin to number."""


class Lane(NamedTuple):
    """All that a connection knows of a lane."""

    queue: str = "q"
    task: str = "t"
    options: bytes = b""
    resubmit: bool = False


class Living:
    """A process of the name, and its connection."""

    def __init__(self, number: int, first: int) -> None:
        self.machine = NamedConnection(id_of("billing"), {}, lambda: number / 10, first=first)
        self.number = number
        self.lives = True
        self.is_dismissed = False
        self.came: set[str] = set()
        self.peer = b""
        self.up: deque[list[bytes]] = deque()
        self.down: deque[list[bytes]] = deque()


class Names(RuleBasedStateMachine):
    """What may happen."""

    may_repeat = False
    """Whether a task may run again."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.connections = self.tasks = 0
        self.all: list[Living] = []
        self.ids: dict[str, int] = {}
        """Of every task that was published: what its body and its result are."""
        self.confirmed: set[str] = set()
        self.ran: list[int] = []
        self.had: dict[str, int] = {}
        """The results that somebody has."""
        self.start_broker()
        self.begin()

    def start_broker(self) -> None:
        self.broker = self.make_broker()
        self.broker.receive(b"w", "", [encode(Hello("worker", b"w")), pack({"queues": ["q"]})], 0)
        self.broker.receive(b"w", "", [encode(Credit(1000))], 0)
        self.leases: deque[tuple[int, list[bytes]]] = deque()

    def make_broker(self) -> BrokerProtocol:
        return BrokerProtocol(b"broker-1", Limits())

    @property
    def alive(self) -> list[Living]:
        return [process for process in self.all if process.lives]

    # --- processes ---

    @precondition(lambda self: len(self.all) < 8 and len(self.alive) < 3)
    @rule(clock=st.sampled_from((1, 1, 1, -3)))
    def begin(self, clock: int = 1) -> None:
        """The next process of the name; the clock may have been set back."""
        number = len(self.all)
        back = 0 if clock > 0 else 3 * LIFE + LIFE // 2
        self.all.append(Living(number, (10 + number) * LIFE - back))
        self.connect(self.all[-1])

    @rule(who=st.integers(0, 20), noticed=st.booleans())
    def kill(self, who: int, noticed: bool) -> None:
        process = self.alive[who % len(self.alive)]
        if len(self.alive) == 1:
            return
        process.lives = False
        if noticed:
            self.broker.unreachable(process.peer, [b"\x93\x01\x04\x90"], self.now)
            self.hear()

    @rule(who=st.integers(0, 20), tasks=st.integers(1, 3))
    def publish(self, who: int, tasks: int) -> None:
        process = self.alive[who % len(self.alive)]
        machine = process.machine
        if process.is_dismissed or not machine.link.is_ready:
            return
        numbers = list(range(self.tasks, self.tasks + tasks))
        self.tasks += tasks
        sent = machine.publish(Lane(), pack(numbers), tasks, reply=numbers, now=self.now)
        for position, number in enumerate(numbers):
            name = task_id(machine.origin, sent.sequence, position)
            assert name not in self.ids, "the number is another batch's"
            self.ids[name] = number
        self.flush(process)

    @rule(who=st.integers(0, 20), tasks=st.integers(1, 3), down=st.integers(0, 2))
    def publish_and_settle(self, who: int, tasks: int, down: int) -> None:
        """The tasks run, and what the broker says of it is on the wire, or partly there."""
        for _ in range(2):
            for index in range(len(self.alive)):
                self.deliver(index, 99, 99)
        welcome = [i for i, p in enumerate(self.alive) if p.machine.link.is_ready]
        if welcome:
            who = welcome[who % len(welcome)]
            self.publish(who, tasks)
            self.deliver(who, 99, 0)
            self.settle()
            self.deliver(who, 0, down)

    @rule(done=st.booleans())
    def take(self, done: bool) -> None:
        """Somebody asks a process for results of earlier ones."""
        process = self.alive[-1]
        run = process.machine.earlier.give()
        if run is None:
            return
        for result in run.results():
            assert result.error is None
            assert self.ids[result.id] == result.value
            if done:
                self.had[result.id] = result.value
        if done:
            process.machine.took(run)
        else:
            process.machine.earlier.give_back(run)
        self.flush(process)

    # --- the network ---

    def connect(self, process: Living) -> None:
        self.connections += 1
        process.peer = b"c%d" % self.connections
        process.machine.tick(self.now)
        self.flush(process)

    @rule(who=st.integers(0, 20), lose_up=st.booleans(), noticed=st.booleans())
    def drop(self, who: int, lose_up: bool, noticed: bool) -> None:
        process = self.alive[who % len(self.alive)]
        if lose_up:
            process.up.clear()
        process.down.clear()
        if noticed:
            self.broker.unreachable(process.peer, [b"\x93\x01\x04\x90"], self.now)
        self.connect(process)
        self.hear()

    @rule(who=st.integers(0, 20), up=st.integers(0, 5), down=st.integers(0, 5))
    def deliver(self, who: int, up: int, down: int) -> None:
        process = self.alive[who % len(self.alive)]
        for _ in range(min(up, len(process.up))):
            self.broker.receive(process.peer, "", process.up.popleft(), self.now)
            self.hear()
        for _ in range(min(down, len(process.down))):
            process.machine.receive(process.down.popleft(), self.now)
            self.handle(process)

    @rule(seconds=st.sampled_from((0.01, 1.5, 6.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.broker.receive(b"w", "", [encode(Credit(1000))], self.now)
        for process in self.alive:
            process.machine.tick(self.now)
            self.handle(process)
        self.broker.tick(self.now)
        self.hear()

    @rule()
    def settle(self) -> None:
        """The worker has run the oldest lease."""
        if not self.leases:
            return
        lease, frames = self.leases.popleft()
        runs = []
        for index, body in enumerate(frames):
            self.ran += unpack_bodies(body)
            runs.append([index, 0, len(unpack_bodies(body)), RESULTS])
        self.broker.receive(b"w", "", [encode(Settle(lease, 1000, runs)), *frames], self.now)
        self.hear()

    def flush(self, process: Living) -> None:
        process.up.extend(process.machine.to_send())

    def hear(self) -> None:
        routes = {process.peer: process for process in self.alive}
        while messages := self.broker.to_send():
            for peer, frames in messages:
                message = decode(frames[0])
                if isinstance(message, Deliver):
                    self.leases.append((message.lease, frames[1:]))
                elif peer in routes:
                    routes[peer].down.append(frames)

    def handle(self, process: Living) -> None:
        machine = process.machine
        while (event := machine.next_event()) is not None:
            if isinstance(event, ResultsLost):
                ids = self.ids_of(machine, event.sent.sequence, 0, event.sent.tasks)
                assert set(ids) <= self.had.keys(), "it was kept until somebody had it"
            elif isinstance(event, Dismissed):
                assert not process.is_dismissed, "told twice"
                process.is_dismissed = True
            elif isinstance(event, Confirmed):
                for sent in event.batches:
                    self.confirmed |= set(self.ids_of(machine, sent.sequence, 0, sent.tasks))
            elif isinstance(event, ResultsCame):
                values = unpack_bodies(event.frame)
                ids = self.ids_of(machine, event.sent.sequence, event.first, event.tasks)
                for name, value in zip(ids, values, strict=True):
                    assert self.ids[name] == value
                    assert name not in process.came, "it came twice"
                    process.came.add(name)
                    self.had[name] = value
        self.flush(process)

    @staticmethod
    def ids_of(machine: Any, sequence: int, first: int, tasks: int) -> list[str]:
        return [task_id(machine.origin, sequence, first + i) for i in range(tasks)]

    # --- the end ---

    def teardown(self) -> None:
        """The network heals; whoever has the name, and whoever lost it, hears so."""
        for rounds in range(60):
            if rounds == 10:
                assert sum(not p.is_dismissed for p in self.alive) <= 1, "who greeted last has it"
                self.begin()  # The one before it may have died without taking anything.
            for process in self.alive:
                self.deliver(self.alive.index(process), 99, 99)
            self.settle()
            self.wait(1.5)
            self.take(True)
        assert [p for p in self.alive if not p.is_dismissed] == self.all[-1:]
        assert self.may_repeat or len(self.ran) == len(set(self.ran)), "ran twice"
        missing = self.confirmed - self.had.keys()
        assert not missing, "confirmed, and nobody has the result"
        assert {self.ids[name] for name in self.confirmed} <= set(self.ran)
        assert not self.all[-1].machine.unconfirmed
        assert self.broker.book.budget.bytes == 0, "nothing is kept that somebody has"


class Stored(Names):
    """The broker has a store, which lags; it dies, and what was stored is recovered.

    What had run and was not stored runs again, so a result may come twice.
    """

    may_repeat = True

    def make_broker(self) -> BrokerProtocol:
        self.shelf = getattr(self, "shelf", Shelf())
        self.commits: deque[tuple[int, list[Record]]] = deque()
        self.brokers = getattr(self, "brokers", 0) + 1
        return self.shelf.broker(self.now, b"broker-1", Limits(), self.brokers << 40)

    @rule(written=st.integers(0, 3))
    def store(self, written: int) -> None:
        commit = self.broker.to_store()
        if commit is not None:
            self.commits.append(commit)
        for _ in range(min(written, len(self.commits))):
            ticket, records = self.commits.popleft()
            self.shelf.add(records)
            self.broker.stored(ticket)
        self.hear()

    @rule(written=st.integers(0, 2))
    def replace_broker(self, written: int) -> None:
        for _, records in list(self.commits)[:written]:
            self.shelf.add(records)
        self.start_broker()
        for process in self.alive:
            self.drop(self.alive.index(process), True, False)

    def settle(self) -> None:
        super().settle()
        self.store(3)


Names.TestCase.settings = Stored.TestCase.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, print_blob=True,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

TestNames = pytest.mark.timeout(240)(Names.TestCase)
TestStored = pytest.mark.timeout(240)(Stored.TestCase)
