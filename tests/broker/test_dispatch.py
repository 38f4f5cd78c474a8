"""Dispatch: who gets which tasks."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from zqueue.broker.dispatch import (
    CUT_SHARE,
    DELIVERY_BATCHES_MAX,
    DELIVERY_BYTES_MAX,
    LEASES_MAX,
    SUSPECTS_WAIT_S,
)
from zqueue.broker.peers import SATURATED_TASKS
from zqueue.broker.skills import SKILLS_KEPT_S
from zqueue.wire.codec import pack
from zqueue.wire.headers import encode
from zqueue.wire.messages import DONE, Credit, Deliver, Departed, Goodbye, Heartbeat, Publish

P = ord("p")
"""What workers are told of where the tasks of producer ``p`` come from."""


@pytest.fixture
def pair(talk: Any) -> Any:
    """A producer p, and a worker w with credit for ten tasks."""
    t = talk()
    t.producer()
    t.worker(credit=10)
    return t


class TestHandingOut:
    def test_a_delivery(self, pair: Any, deliveries: Any) -> None:
        pair.publish(b"p", 1, ["a", "b"])
        pair.publish(b"p", 2, ["c"], reply=True)
        assert deliveries(pair.hear()) == [
            (
                b"w",
                Deliver(500, "q", [["t", 0, 2, 1, 0, P, 1, 0, 0], ["t", 1, 1, 1, 0, P, 2, 0, 0]]),
                [pack(["a", "b"]), pack(["c"])],
            )
        ]
        assert (pair.ready(), pair.leased()) == (0, 3)
        assert pair.broker.book.totals().delivered == 3

    def test_no_more_than_credit(self, pair: Any, deliveries: Any) -> None:
        pair.publish(b"p", 1, list(range(25)))
        ((_, message, frames),) = deliveries(pair.hear())
        assert message.batches == [["t", 0, 10, 1, 0, P, 1, 0, 0]]
        assert frames == [pack(list(range(10)))]
        pair.settle(b"w", message.lease, [[0, 0, 1, DONE]], credit=10)
        ((_, message, frames),) = deliveries(pair.hear())
        assert frames == [pack([10])], "few tasks are slow ones: no place stays empty"
        assert message.batches == [["t", 0, 1, 1, 0, P, 1, 10, 0]]
        assert (pair.ready(), pair.leased()) == (14, 10)

    def test_no_less_than_a_share_of_credit(self, pair: Any, deliveries: Any) -> None:
        credit = 4 * CUT_SHARE
        pair.say(b"w", Credit(credit))
        pair.publish(b"p", 1, list(range(200)))
        ((_, message, _),) = deliveries(pair.hear())
        pair.settle(b"w", message.lease, [[0, 0, 3, DONE]], credit=credit)
        assert deliveries(pair.hear()) == [], "cutting costs"
        pair.settle(b"w", message.lease, [[0, 3, 1, DONE]], credit=credit)
        ((_, _, frames),) = deliveries(pair.hear())
        assert frames == [pack([64, 65, 66, 67])]

    def test_less_credit_stops_deliveries_until_enough_is_settled(
        self, pair: Any, deliveries: Any
    ) -> None:
        pair.publish(b"p", 1, list(range(12)))
        ((_, message, _),) = deliveries(pair.hear())
        pair.settle(b"w", message.lease, [[0, 0, 1, DONE]], credit=3)
        assert deliveries(pair.hear()) == []
        pair.settle(b"w", message.lease, [[0, 1, 7, DONE]], credit=3)
        ((_, _, frames),) = deliveries(pair.hear())
        assert frames == [pack([10])]

    def test_workers_take_turns(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        for peer in (b"w1", b"w2", b"w3"):
            t.worker(peer, credit=2)
        t.publish(b"p", 1, list(range(6)))
        assert [(peer, frames[0]) for peer, _, frames in deliveries(t.hear())] == [
            (b"w1", pack([0, 1])),
            (b"w2", pack([2, 3])),
            (b"w3", pack([4, 5])),
        ]

    def test_a_worker_gets_only_from_its_queues(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.worker(b"w1", queues="a", credit=9)
        t.worker(b"w2", queues="bc", credit=9)
        for sequence, queue in ((1, "a"), (2, "b"), (3, "c"), (4, "d")):
            t.publish(b"p", sequence, [queue], queue=queue)
        got = {(peer, message.queue) for peer, message, _ in deliveries(t.hear())}
        assert got == {(b"w1", "a"), (b"w2", "b"), (b"w2", "c")}
        assert t.ready("d") == 1

    def test_neither_of_two_queues_starves(self, talk: Any, deliveries: Any) -> None:
        """A worker that serves two full queues, one task at a time, gets some of each."""
        t = talk()
        t.producer()
        t.publish(b"p", 1, [0] * 50, queue="a")
        t.publish(b"p", 2, [0] * 50, queue="b")
        t.worker(queues="ab", credit=1)
        served: Counter[str] = Counter()
        for _ in range(20):
            ((_, message, _),) = deliveries(t.hear())
            served[message.queue] += 1
            t.settle(b"w", message.lease, [[0, 0, 1, DONE]], credit=1)
        assert min(served["a"], served["b"]) >= 5, served

    def test_batches_in_one_delivery(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        for sequence in range(1, DELIVERY_BATCHES_MAX + 3):
            t.publish(b"p", sequence, [0])
        t.worker(credit=1000)
        heard = deliveries(t.hear())
        assert [len(frames) for _, _, frames in heard] == [DELIVERY_BATCHES_MAX, 2]

    def test_bytes_in_one_delivery(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        for sequence in (1, 2, 3):
            t.publish(b"p", sequence, [b"x" * (DELIVERY_BYTES_MAX // 2)])
        t.publish(b"p", 4, [b"x" * (2 * DELIVERY_BYTES_MAX)])
        t.worker(credit=1000)
        assert [len(frames) for _, _, frames in deliveries(t.hear())] == [1, 1, 1, 1]

    def test_deliveries_in_flight(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.worker(credit=10_000)
        heard = []
        for sequence in range(1, LEASES_MAX + 10):
            t.publish(b"p", sequence, [0])
            heard += deliveries(t.hear())
        assert len(heard) == LEASES_MAX
        assert t.ready() == 9
        t.settle(b"w", heard[0][1].lease, [[0, 0, 1, DONE]], credit=10_000)
        ((_, message, _),) = deliveries(t.hear())
        assert len(message.batches) == 9


class TestEgress:
    def test_batches_leave_in_order(self, talk: Any, confirmed: Any) -> None:
        t = talk(egress=frozenset({"out"}), queue_tasks_max=3)
        t.producer()
        t.publish(b"p", 1, [1, 2], queue="out")
        t.publish(b"p", 2, [3], queue="out")
        assert confirmed(t.hear()) == [1]
        take = t.broker.dispatch.take_egress
        assert take("out", t.now) == [b"out", pack([1, 2])]
        assert confirmed(t.hear()) == [2]
        assert take("out", t.now) == [b"out", pack([3])]
        assert take("out", t.now) is None
        assert take("other", t.now) is None
        assert t.broker.book.totals().egressed == 3
        assert t.broker.book.budget.bytes == 0
        assert t.broker.book.is_empty()

    def test_what_expired_since_anybody_spoke_does_not_leave(self, talk: Any) -> None:
        t = talk(egress=frozenset({"out"}))
        t.producer()
        t.publish(b"p", 1, [1], queue="out", expires_ms=50)
        assert t.broker.dispatch.take_egress("out", t.now + 0.06) is None
        assert t.broker.book.totals().expired == 1


class TestSaturated:
    """Whether the broker may let messages gather: see `Broker._may_gather`."""

    def test_nobody_there(self, talk: Any) -> None:
        assert talk().broker.is_saturated() is False

    @pytest.mark.parametrize(
        ("credit", "tasks", "is_saturated"),
        [
            (4000, 1999, False), (4000, 2000, True), (4000, 4000, True),
            (10, 10, False), (SATURATED_TASKS, SATURATED_TASKS - 1, False),
            (SATURATED_TASKS, SATURATED_TASKS, True), (4000, 0, False),
        ],
    )  # fmt: skip
    def test_half_its_credit_and_many(
        self, talk: Any, deliveries: Any, credit: int, tasks: int, is_saturated: bool
    ) -> None:
        t = talk()
        t.producer()
        t.worker(credit=credit)
        if tasks:
            t.publish(b"p", 1, list(range(tasks)))
            t.hear()
        assert t.leased() == tasks
        assert t.broker.is_saturated() is is_saturated

    def test_one_who_is_not_is_enough(self, talk: Any, deliveries: Any) -> None:
        t = talk()
        t.producer()
        t.worker(b"w", credit=1000)
        t.publish(b"p", 1, list(range(1000)))
        ((_, message, _),) = deliveries(t.hear())
        assert t.broker.is_saturated()
        t.worker(b"v", queues="other", credit=1000)
        assert not t.broker.is_saturated()
        t.broker.receive(b"v", "", [encode(Goodbye())], t.now)
        assert t.broker.is_saturated()
        t.settle(b"w", message.lease, [[0, 0, 600, DONE]], credit=1000)
        assert not t.broker.is_saturated()


class TestWorkersThatDiffer:
    """Two apps on one queue, or old and new workers during a deploy."""

    @staticmethod
    def publish(t: Any, sequence: int, task: str, count: int = 1) -> None:
        frames = [encode(Publish(sequence, "q", task, 0)), pack([task] * count)]
        t.broker.receive(b"p", "", frames, t.now)

    @staticmethod
    def got(heard: Any) -> list[tuple[bytes, list[str]]]:
        return [
            (to, [batch[0] for batch in message.batches])
            for to, message, _ in heard
            if isinstance(message, Deliver)
        ]

    def two(self, talk: Any, credit: int = 100) -> Any:
        t = talk()
        t.producer()
        t.worker(b"one", credit=credit, tasks={"first": "q"})
        t.worker(b"two", credit=credit, tasks={"second": "q"})
        return t

    def test_a_task_goes_to_who_has_it(self, talk: Any) -> None:
        t = self.two(talk)
        for sequence in range(1, 9):
            self.publish(t, sequence, "first" if sequence % 4 else "second")
            t.broker.dispatch.hand_out()
        assert self.got(t.hear()) == [
            (b"one", ["first"]), (b"one", ["first"]), (b"one", ["first"]), (b"two", ["second"]),
            (b"one", ["first"]), (b"one", ["first"]), (b"one", ["first"]), (b"two", ["second"]),
        ]  # fmt: skip

    def test_others_do_not_wait_behind_it(self, talk: Any) -> None:
        t = self.two(talk, credit=1)
        for sequence in range(1, 200):
            self.publish(t, sequence, "first")
        self.publish(t, 200, "second")
        assert sorted(self.got(t.hear())) == [(b"one", ["first"]), (b"two", ["second"])]

    def test_what_nobody_has_fails_in_a_worker(self, talk: Any) -> None:
        t = self.two(talk)
        self.publish(t, 1, "third")
        assert len(self.got(t.hear())) == 1

    def test_who_says_nothing_has_all(self, talk: Any) -> None:
        t = talk()
        t.producer()
        t.worker(b"one", credit=100, tasks={"first": "q"})
        t.worker(b"any", credit=100)
        self.publish(t, 1, "third")
        assert self.got(t.hear()) == [(b"any", ["third"])]

    def test_a_body_without_a_name_goes_to_a_sole_handler(self, talk: Any) -> None:
        t = talk()
        t.producer()
        t.worker(b"many", credit=100, tasks={"a": "q", "b": "q"})
        t.worker(b"sole", credit=100, tasks={"a": "q"})
        for sequence in range(1, 5):
            self.publish(t, sequence, "")
        assert self.got(t.hear()) == [(b"sole", [""] * 4)]

    def test_the_restart_of_the_only_one_is_waited_for(self, talk: Any) -> None:
        """Or its tasks would fail for good in the other's workers."""
        t = self.two(talk)
        t.say(b"one", Goodbye())
        self.publish(t, 1, "first")
        assert self.got(t.hear()) == []
        t.worker(b"one again", credit=100, tasks={"first": "q"})
        assert self.got(t.hear()) == [(b"one again", ["first"])]

    def test_but_not_for_ever(self, talk: Any) -> None:
        t = self.two(talk)
        t.say(b"one", Goodbye())
        self.publish(t, 1, "first")
        t.now += SKILLS_KEPT_S
        t.say(b"two", Heartbeat([]))
        t.broker.tick(t.now)
        assert self.got(t.hear()) == [(b"two", ["first"])]

    def test_suspects_wait_for_theirs(self, talk: Any) -> None:
        t = talk()
        t.producer()
        t.hello("supervisor", b"s")
        t.worker(b"one", credit=9, tasks={"first": "q"}, supervisor=b"s")
        t.worker(b"two", credit=9, tasks={"second": "q"})
        self.publish(t, 1, "first")
        assert self.got(t.hear()) == [(b"one", ["first"])]
        t.say(b"s", Departed(b"one", "crashed", 0, 0, ""))
        self.publish(t, 2, "second")
        assert self.got(t.hear()) == [(b"two", ["second"])]
        t.now += SUSPECTS_WAIT_S
        t.broker.tick(t.now)
        assert t.broker.book.queues["q"].reserved is None, "who would be kept free for nothing"
        t.worker(b"new", credit=9, tasks={"first": "q"})
        assert self.got(t.hear()) == [(b"new", ["first"])]
