"""The journal: what is handed out with what, and which confirms wait for which ticket."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.broker import journal
from zqueue.broker.journal import BEGUN, CHANGES_MAX, OVER_WAITS_S, PRODUCER, QUEUE, TAKEN, Journal
from zqueue.broker.peers import ProducerPeer
from zqueue.config import Limits
from zqueue.core.records import KEY, PUT, Again, Entry, Fact, Over
from zqueue.wire.codec import pack
from zqueue.wire.headers import encode
from zqueue.wire.messages import DONE, PAUSE, RETURNED, Goodbye, Publish
from zqueue.wire.unpacking import unpack

from .shelf import Shelf


class TestWhatIsHandedOut:
    def test_entries_before_facts_before_changes(self) -> None:
        journal = Journal(7)
        assert journal.to_store() is None
        journal.over(3, 0, 1)
        journal.fact([QUEUE, "q", True, False])
        journal.again(4, 2, 1, [5])
        assert journal.entry(KEY, "q", 1, ["k"], b"") == 7
        assert journal.to_store() == (
            1,
            [
                Entry(7, KEY, "q", 1, pack(["k"]), b""), Fact(pack([QUEUE, "q", True, False])),
                Over(3, 0, 1), Again(4, 2, 1, pack([5])),
            ],
        )  # fmt: skip
        assert journal.to_store() is None
        assert repr(journal) == "<Journal: 0 records, stored 0 of 1>"

    def test_neighbours_end_together(self) -> None:
        journal = Journal()
        for entry, first, tasks in ((1, 0, 1), (1, 1, 2), (1, 4, 1), (2, 5, 1)):
            journal.over(entry, first, tasks)
        assert journal.to_store() == (1, [Over(1, 0, 3), Over(1, 4, 1), Over(2, 5, 1)])

    def test_only_much_that_is_over_is_pressing(self) -> None:
        journal = Journal()
        for entry in range(1, CHANGES_MAX + 1):
            assert not journal.is_pressing
            journal.over(entry, 0, 1)
        assert journal.is_pressing
        assert not journal.is_behind(), "no confirm waits for that"


class TestTickets:
    def test_a_confirm_waits_for_what_was_noted_before_it(self) -> None:
        journal, producer = Journal(), ProducerPeer(b"p")
        assert not journal.is_behind()
        journal.fact([BEGUN, b"p", 0])
        journal.wait(producer, 1)
        assert journal.to_store() == (1, [Fact(pack([BEGUN, b"p", 0]))])
        journal.wait(producer, 2)
        journal.over(1, 0, 1)
        journal.wait(producer, 3)
        journal.fact([BEGUN, b"q", 0])
        journal.wait(producer, 4)
        assert journal.to_store() is not None
        assert journal.is_behind()
        assert list(journal.stored(1)) == [(producer, 1), (producer, 2), (producer, 3)]
        assert list(journal.stored(1)) == []
        assert list(journal.stored(2)) == [(producer, 4)]
        assert not journal.is_behind()


@pytest.fixture
def durable(talk: Any) -> Any:
    """A broker with a journal, and a producer; `keep` stores what it has."""
    t = talk()
    t.shelf = Shelf()
    t.broker = t.shelf.broker(t.now, b"broker-1", Limits(), 500)
    t.keep = lambda: t.shelf.store(t.broker)
    t.producer()
    return t


class TestInABroker:
    def test_without_a_store_nothing_waits(self, talk: Any, confirmed: Any) -> None:
        t = talk()
        t.producer()
        t.publish(b"p", 1, [1])
        assert confirmed(t.hear()) == [1]
        assert t.broker.to_store() is None
        assert t.broker.facts() == []

    def test_confirms_wait_and_deliveries_do_not(
        self, durable: Any, confirmed: Any, deliveries: Any
    ) -> None:
        t = durable
        t.broker.set_wall(5_000_000.0, t.now)
        t.worker(credit=9)
        t.publish(b"p", 1, [1, 2])
        heard = t.hear()
        assert confirmed(heard) == []
        ((_, message, _),) = deliveries(heard)
        t.publish(b"p", 1, [1, 2])
        assert confirmed(t.hear()) == [], "again, and it still waits"
        t.settle(b"w", message.lease, [[0, 0, 1, DONE], [0, 1, 1, RETURNED]], credit=0)
        meta = pack(["t", b"p", 1, 0, 0, 5_000_000_000])
        assert t.keep() == [
            Entry(1, PUT, "q", 2, meta, pack([1, 2])),
            Fact(pack([BEGUN, b"p", 0, ""])),
            Fact(pack([TAKEN, b"p", [1, 1]])),
            Over(1, 0, 1),
        ]
        assert confirmed(t.hear()) == [1]
        t.publish(b"p", 1, [1, 2])
        assert confirmed(t.hear()) == [1], "all is stored"

    def test_that_a_task_is_over_waits_for_company(self, durable: Any, deliveries: Any) -> None:
        t = durable
        t.worker(credit=9)
        t.publish(b"p", 1, [1, 2])
        ((_, message, _),) = deliveries(t.hear())
        t.keep()
        t.settle(b"w", message.lease, [[0, 0, 1, DONE]])
        assert t.keep() == []
        assert t.broker.next_deadline() <= t.now + OVER_WAITS_S
        t.settle(b"w", message.lease, [[0, 1, 1, DONE]])
        t.broker.tick(t.now + OVER_WAITS_S)
        assert t.keep() == [Over(1, 0, 2)]
        assert t.keep() == []

    def test_what_was_refused_is_used_up_and_what_was_put_off_is_not(self, durable: Any) -> None:
        t = durable
        t.broker.drain()
        t.publish(b"p", 1, [1])
        t.broker.intake.draining = False
        t.broker.receive(b"p", "", [encode(Publish(2, "no good", "t", 0)), pack([1])], t.now)
        begun, refused = (unpack(fact.meta) for fact in t.keep())
        assert begun == [BEGUN, b"p", 0, ""]
        assert refused[1:4] == [b"p", 2, "bad-name"]

    def test_a_producer_that_left_hears_when_it_is_back(self, durable: Any) -> None:
        t = durable
        t.publish(b"p", 1, [1])
        t.say(b"p", Goodbye())
        t.keep()
        assert t.hear() == []

    def test_facts_rest_on_nothing_that_may_be_lost(self, durable: Any) -> None:
        """They are stored behind what was handed out: what was not may be lost yet."""
        t = durable
        t.publish(b"p", 1, [1])
        t.keep()
        t.control(PAUSE)
        t.publish(b"p", 2, [1])
        t.broker.to_store()
        t.publish(b"p", 4, [1])
        producer = [PRODUCER, b"p", 4, [3, 4], [], 0, ""]
        paused = [QUEUE, "q", True, False]
        assert [unpack(fact.meta) for fact in t.broker.facts()] == [paused, producer]
        t.keep()
        assert unpack(t.broker.facts()[1].meta) == [PRODUCER, b"p", 4, [3], [], 0, ""]

    def test_facts_are_bounded(self, durable: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever is here goes before those who are away."""
        t = durable
        for number in range(20):
            t.producer(b"%d" % number)
            t.publish(b"%d" % number, 1, [1])
            if number < 19:
                t.broker.unreachable(b"%d" % number, [encode(Goodbye())], t.now)
        t.keep()
        monkeypatch.setattr(journal, "FACTS_BYTES_MAX", 100)
        told = [unpack(fact.meta) for fact in t.broker.facts()]
        assert 1 < len(told) < 20
        assert told[0][1] == b"19"
