"""Keys: within a window a key runs once, whoever sends it and however often; after it, again."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from zqueue.broker.journal import Journal
from zqueue.broker.keys import KEY_WINDOW_MS, OVERHEAD_BYTES, SHARE
from zqueue.broker.machine import BrokerProtocol
from zqueue.broker.peers import origin_number
from zqueue.config import Limits
from zqueue.core.records import KEY, PUT, Entry, Over, Record
from zqueue.wire.headers import encode
from zqueue.wire.messages import DONE, Confirm, Heartbeat, Known, Refuse
from zqueue.wire.unpacking import unpack_bodies

from .conftest import Talk
from .shelf import Shelf

WINDOW_S = 4.0


def known(heard: list[Any], peer: bytes) -> list[Known]:
    """Which keys a producer hears to be taken."""
    return [message for to, message, _ in heard if to == peer and isinstance(message, Known)]


class TestInABroker:
    def test_the_second_is_confirmed_and_told_of_the_first(self, talk: Any, confirmed: Any) -> None:
        t = talk()
        t.producer(b"p", id=b"first")
        t.producer(b"p2", id=b"second")
        t.publish(b"p", 7, ["a"], key="k")
        t.publish(b"p2", 1, ["b"], key="k", reply=True)
        t.publish(b"p2", 2, ["c"], key="other")
        t.publish(b"p2", 3, ["d"], key="k", queue="elsewhere")
        heard = t.hear()
        assert known(heard, b"p2") == [Known(1, origin_number(b"first"), 7)]
        assert (confirmed(heard, b"p"), confirmed(heard, b"p2")) == ([7], [1, 2, 3])
        (order,) = [[type(m) for to, m, _ in heard if to == b"p2"]]
        assert order == [Known, Confirm], "before it is confirmed"
        assert t.ready() == 2
        assert t.broker.book.queues["q"].counters.deduplicated == 1
        assert t.broker.roster.producers[b"second"].open == {}, "no result of it will come"

    def test_whatever_became_of_the_first(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.publish(b"p", 1, ["a"], key="k")
        t.worker(credit=1)
        ((_, message, _),) = deliveries(t.hear())
        t.settle(b"w", message.lease, [[0, 0, 1, DONE]])
        for sequence, seconds, is_known in (
            (2, KEY_WINDOW_MS / 1000 - 1, True),
            (3, KEY_WINDOW_MS / 1000 + 1, False),
        ):
            t.now = 1000 + seconds
            t.broker.tick(t.now)
            t.producer()  # It was silent for long.
            t.publish(b"p", sequence, ["b"], key="k")
            assert bool(known(t.hear(), b"p")) is is_known

    def test_a_batch_that_comes_again_gets_the_same_answer(self, talk: Any) -> None:
        t = talk()
        t.producer()
        t.publish(b"p", 1, ["a"], key="k")
        t.publish(b"p", 2, ["b"], key="k")
        t.hear()
        t.publish(b"p", 1, ["a"], key="k")
        t.publish(b"p", 2, ["b"], key="k")
        heard = t.hear()
        assert [m for m in heard if isinstance(m[1], Known)] == [
            (b"p", Known(2, origin_number(b"p"), 1), [])
        ]
        assert t.ready() == 1

    def test_beyond_their_share_of_the_bytes_new_ones_wait(self, talk: Any) -> None:
        size = OVERHEAD_BYTES + 2
        t = talk(bytes_max=SHARE * 2 * size)
        t.producer()
        for sequence, key in ((1, "k1"), (2, "k2"), (3, "k3"), (4, "k1")):
            t.publish(b"p", sequence, [1], key=key, key_window_ms=10_000)
        heard = t.hear()
        refused = [message for _, message, _ in heard if isinstance(message, Refuse)]
        assert [(refuse.code, refuse.sequence) for refuse in refused] == [("full", 3)]
        assert [message.sequence for message in known(heard, b"p")] == [4]
        assert t.broker.teller.info()["bytes_keys"] == 2 * size
        assert repr(t.broker.keys) == f"<Keys: 2 of {2 * size} bytes>"
        t.now += 10
        t.broker.tick(t.now)
        assert (t.broker.book.budget.keys, len(t.broker.keys)) == (0, 0)
        t.producer()
        t.publish(b"p", 3, [1], key="k3")
        assert not any(isinstance(message, Refuse) for _, message, _ in t.hear())

    @pytest.mark.parametrize("torn", [False, True])
    def test_a_key_is_stored_with_its_task(self, talk: Any, torn: bool) -> None:
        t = talk()
        shelf = Shelf()
        t.broker = shelf.broker(t.now, b"broker-1", Limits(), 1)
        t.producer()
        t.publish(b"p", 1, ["a"], key="k", key_window_ms=10_000)
        records = shelf.store(t.broker)
        assert [r.kind for r in records if isinstance(r, Entry)] == [PUT, KEY]
        if torn:
            shelf.records = shelf.records[:1]
        t.now += 4
        shelf.wall_s += 4
        t.broker = shelf.broker(t.now, b"broker-1", Limits(), 2)
        t.producer(b"p2", id=b"p2")
        t.publish(b"p2", 1, ["b"], key="k")
        assert known(t.hear(), b"p2") == [Known(1, origin_number(b"p"), 1)]
        t.now += 7
        t.broker.tick(t.now)
        t.producer(b"p2", id=b"p2")
        assert torn or Over(2, 0, 1) in t.broker.to_store()[1]
        t.publish(b"p2", 2, ["c"], key="k")
        assert known(t.hear(), b"p2") == []

    def test_while_a_store_is_read_new_keys_wait(self, talk: Any) -> None:
        t = talk()
        shelf = Shelf()
        t.broker = shelf.broker(t.now, b"broker-1", Limits(), 1)
        t.producer()
        t.publish(b"p", 1, ["a"], key="k")
        shelf.store(t.broker)
        t.broker = BrokerProtocol(b"broker-1", Limits(), journal=Journal(shelf.next_entry()))
        t.broker.recover(shelf.recovered(), shelf.body, t.now)
        t.producer(b"p2", id=b"p2")
        t.publish(b"p2", 1, ["b"], key="k")
        t.publish(b"p2", 2, ["b"])
        ((_, refuse, _),) = t.hear()
        assert (refuse.code, refuse.sequence) == ("full", 1)
        assert not t.broker.recover_more(9, t.now)
        t.publish(b"p2", 1, ["b"], key="k")
        assert known(t.hear(), b"p2") == [Known(1, origin_number(b"p"), 1)]


class Keyed(RuleBasedStateMachine):
    """Producers send a few keys, again and again. The broker may die, with a store that lags."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf = Shelf()
        self.brokers = 0
        self.commits: deque[tuple[int, list[Record]]] = deque()
        self.t = Talk()
        self.numbers = 0
        self.next = {b"p": 1, b"p2": 1}
        self.unconfirmed: dict[bytes, dict[int, tuple[int, str]]] = {b"p": {}, b"p2": {}}
        self.keys: dict[int, str] = {}
        """By number of the body."""
        self.confirmed: set[int] = set()
        self.came: dict[int, float] = {}
        """When a broker first got it: that one may have taken it, or known another one of its key,
        and the next one goes by what was stored of that."""
        self.ran: dict[int, float] = {}
        self.start_broker()

    def start_broker(self) -> None:
        self.brokers += 1
        self.shelf.wall_s = self.t.now
        self.commits.clear()
        self.t.broker = self.shelf.broker(self.t.now, b"broker-1", Limits(), self.brokers << 40)
        for peer in self.next:
            self.t.producer(peer, id=peer)
        self.t.worker(credit=100)
        for peer, waiting in self.unconfirmed.items():
            for sequence in sorted(waiting):
                self.publish(peer, sequence)
        self.hear()

    def publish(self, peer: bytes, sequence: int) -> None:
        number, key = self.unconfirmed[peer][sequence]
        self.came.setdefault(number, self.t.now)
        self.t.publish(peer, sequence, [number], key=key, key_window_ms=int(1000 * WINDOW_S))

    @rule(peer=st.sampled_from((b"p", b"p2")), key=st.sampled_from("abc"))
    def send(self, peer: bytes, key: str) -> None:
        sequence = self.next[peer]
        self.next[peer] += 1
        self.numbers += 1
        self.keys[self.numbers] = key
        self.unconfirmed[peer][sequence] = self.numbers, key
        self.publish(peer, sequence)
        self.hear()

    @rule(seconds=st.sampled_from((0.5, 1.5, 4.5)))
    def wait(self, seconds: float) -> None:
        self.t.now += seconds
        for peer in (*self.next, b"w"):
            self.t.broker.receive(peer, "", [encode(Heartbeat([]))], self.t.now)
        self.t.broker.tick(self.t.now)
        self.hear()

    @rule(written=st.integers(0, 3))
    def store(self, written: int) -> None:
        commit = self.t.broker.to_store()
        if commit is not None:
            self.commits.append(commit)
        for _ in range(min(written, len(self.commits))):
            ticket, records = self.commits.popleft()
            self.shelf.add(records)
            self.t.broker.stored(ticket)
        self.hear()

    @rule(torn=st.integers(0, 4))
    def replace_broker(self, torn: int) -> None:
        """It dies, and of the commit that was being written the first records are there."""
        if self.commits:
            self.shelf.add(self.commits[0][1][:torn])
        self.start_broker()

    def hear(self) -> None:
        for peer, message, frames in self.t.hear():
            if isinstance(message, Confirm):
                for first, last in zip(message.ranges[::2], message.ranges[1::2], strict=True):
                    for sequence in range(first, last + 1):
                        number, _ = self.unconfirmed[peer].pop(sequence)
                        self.confirmed.add(number)
            elif hasattr(message, "lease"):
                runs = []
                for index, body in enumerate(frames):
                    (number,) = unpack_bodies(body)
                    self.ran[number] = self.t.now
                    runs.append([index, 0, 1, DONE])
                self.t.settle(b"w", message.lease, runs, credit=100)
                self.hear()

    def teardown(self) -> None:
        for _ in range(4):
            self.store(3)
        assert not any(self.unconfirmed.values())
        for number in self.confirmed:
            since = self.came[number] - WINDOW_S - 0.01
            assert number in self.ran or any(
                self.keys[other] == self.keys[number] and since <= at
                for other, at in self.ran.items()
            ), "confirmed, and neither it nor another one of its key ran"


class KeyedInMemory(Keyed):
    """With a broker that lives, nothing of a key runs twice within its window."""

    @precondition(lambda self: False)
    @rule(torn=st.just(0))
    def replace_broker(self, torn: int) -> None:
        pass

    def teardown(self) -> None:
        super().teardown()
        for key in "abc":
            times = sorted(self.ran[n] for n in self.ran if self.keys[n] == key)
            assert all(later - earlier >= WINDOW_S for earlier, later in pairwise(times))


Keyed.TestCase.settings = KeyedInMemory.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, print_blob=True,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

TestKeyed = pytest.mark.timeout(240)(Keyed.TestCase)
TestKeyedInMemory = pytest.mark.timeout(240)(KeyedInMemory.TestCase)
