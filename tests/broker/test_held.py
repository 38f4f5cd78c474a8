"""Held results: bounded for each producer and for all; the oldest give way, and are counted."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from zqueue.broker.held import HELD_BYTES_MAX, OVERHEAD_BYTES, STALE_MAX, HeldResults
from zqueue.broker.journal import Journal
from zqueue.broker.machine import BrokerProtocol
from zqueue.broker.peers import ProducerPeer
from zqueue.config import Limits
from zqueue.core.counters import Counters
from zqueue.core.ready import Budget
from zqueue.wire.codec import pack
from zqueue.wire.messages import DONE, OPEN, RESULTS, Await, Goodbye, Result

from .shelf import Shelf


def make(bytes_max: int = 1 << 30) -> tuple[HeldResults, Budget, Counters]:
    budget, counters = Budget(bytes_max), Counters()
    return HeldResults(budget, counters), budget, counters


def test_of_one_producer_up_to_a_bound() -> None:
    held, budget, counters = make()
    producer = ProducerPeer(b"id")
    half = b"x" * (HELD_BYTES_MAX // 2 - OVERHEAD_BYTES)
    one, two, three = (Result(sequence, 0, 7, RESULTS) for sequence in (1, 2, 3))
    for result, frame in ((one, half), (two, half), (three, b"")):
        held.hold(producer, result, frame)
    assert (producer.held_bytes, budget.held, budget.bytes) == (HELD_BYTES_MAX,) * 3
    assert counters.results_lost == 7
    assert held.take(producer) == [(one, half), (two, half)]
    assert (held.results, budget.held, budget.bytes) == (0, 0, 0)
    assert held.take(producer) == []


def test_empty_results_are_not_free() -> None:
    held, budget, _ = make()
    held.hold(ProducerPeer(b"id"), Result(1, 0, 1, DONE), b"")
    assert budget.bytes == OVERHEAD_BYTES
    assert repr(held) == f"<HeldResults: 1 of {OVERHEAD_BYTES} bytes>"


STEPS = st.one_of(
    st.tuples(st.just("hold"), st.integers(0, 2), st.integers(0, 300)),
    st.tuples(st.just("take"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("shrink"), st.just(0), st.integers(0, 2000)),
    st.tuples(st.just("tasks"), st.just(0), st.integers(0, 1500)),
)


@given(steps=st.lists(STEPS, max_size=80))
def test_the_oldest_go_first(steps: list[tuple[str, int, int]]) -> None:
    """Beside a plain list of all that is held, in the order in which it came."""
    held, budget, counters = make(2000)
    producers = [ProducerPeer(b"%d" % i) for i in range(3)]
    plain: list[tuple[int, int, int]] = []
    came = lost = tasks = 0

    def size() -> int:
        return tasks + sum(nbytes + OVERHEAD_BYTES for _, _, nbytes in plain)

    def shrink(bytes_max: int) -> None:
        nonlocal lost
        while plain and size() > bytes_max:
            del plain[0]
            lost += 1

    for what, who, n in steps:
        if what == "hold":
            came += 1
            held.hold(producers[who], Result(came, 0, 1, RESULTS), bytes(n))
            plain.append((came, who, n))
            shrink(2000)
        elif what == "take":
            got = [result.sequence for result, _ in held.take(producers[who])]
            assert got == [number for number, owner, _ in plain if owner == who]
            plain = [entry for entry in plain if entry[1] != who]
        elif what == "shrink":
            held.shrink(n)
            shrink(n)
        else:
            budget.bytes += n - tasks
            tasks = n
        assert (budget.bytes, budget.held, held.results) == (size(), size() - tasks, len(plain))
        assert counters.results_lost == lost


def test_what_was_taken_does_not_pile_up() -> None:
    held, _, _ = make()
    for i in range(10_000):
        producer = ProducerPeer(b"id")
        held.hold(producer, Result(i + 1, 0, 1, DONE), b"")
        held.take(producer)
    assert len(held._order) <= STALE_MAX + 1


class TestInABroker:
    def away(self, talk: Any, deliveries: Any, **limits: Any) -> Any:
        """A broker with two results for a producer that is away."""
        t = talk(**limits)
        t.producer(b"gone", id=b"gone")
        t.worker(credit=10)
        for sequence in (1, 2):
            t.publish(b"gone", sequence, [sequence], reply=True)
        ((_, message, _),) = deliveries(t.hear())
        t.broker.unreachable(b"gone", [b"\x93\x01\x04\x90"], t.now)
        value = pack([b"x" * 1000])
        t.settle(b"w", message.lease, [[0, 0, 1, RESULTS], [1, 0, 1, RESULTS]], value, value)
        t.hear()
        return t

    def test_they_count_and_are_shown(self, talk: Any, deliveries: Any) -> None:
        t = self.away(talk, deliveries)
        info = t.broker.teller.info()
        assert info["bytes_held"] == info["bytes"] == 2 * (1004 + OVERHEAD_BYTES)

    def test_they_give_way_to_tasks(self, talk: Any, deliveries: Any, confirmed: Any) -> None:
        t = self.away(talk, deliveries, bytes_max=4000)
        t.producer()
        t.publish(b"p", 1, [b"y" * 1000])
        assert confirmed(t.hear()) == [1]
        assert t.broker.held.results == 2
        t.publish(b"p", 2, [b"y" * 1000])
        assert confirmed(t.hear()) == [2]
        assert t.broker.held.results < 2
        assert t.broker.book.totals().results_lost == 2 - t.broker.held.results
        assert t.broker.book.budget.bytes <= 4000

    def test_a_confirm_does_not_wait_for_who_is_away(
        self, talk: Any, deliveries: Any, confirmed: Any
    ) -> None:
        t = self.away(talk, deliveries, bytes_max=2500, queue_tasks_max=1)
        t.producer()
        t.say(b"w", Goodbye())
        t.publish(b"p", 1, [1])
        assert confirmed(t.hear()) == []
        t.worker(b"w2", credit=1)
        ((_, message, _),) = deliveries(t.hear())
        t.settle(b"w2", message.lease, [[0, 0, 1, DONE]])
        assert confirmed(t.hear()) == [1]

    def test_those_in_a_store_are_sent_to_who_is_back_before_they_are_read(
        self, talk: Any, deliveries: Any
    ) -> None:
        t, shelf = talk(), Shelf()
        t.broker = shelf.broker(t.now, b"broker-1", Limits(), 1)
        t.producer()
        t.worker(credit=10)
        t.publish(b"p", 1, [1], reply=True)
        ((_, message, _),) = deliveries(t.hear())
        t.broker.unreachable(b"p", [b"\x93\x01\x04\x90"], t.now)
        t.settle(b"w", message.lease, [[0, 0, 1, DONE]])
        shelf.store(t.broker)
        t.broker = BrokerProtocol(b"broker-1", Limits(), journal=Journal(shelf.next_entry()))
        t.broker.recover(shelf.recovered(), shelf.body, t.now)
        t.producer(b"p3", id=b"p")
        assert t.say(b"p3", Await([1])) == []
        assert not t.broker.recover_more(9, t.now)
        heard = [message for to, message, _ in t.hear() if to == b"p3"]
        assert heard == [Result(1, 0, 1, DONE), Result(1, 0, 0, OPEN)]
        assert t.broker.book.budget.bytes == 0

    def test_they_end_with_their_producer(self, talk: Any, deliveries: Any) -> None:
        t = self.away(talk, deliveries)
        t.broker.tick(t.now + 1000)
        assert t.broker.book.budget.bytes == 0
        assert t.broker.book.totals().results_lost == 2
