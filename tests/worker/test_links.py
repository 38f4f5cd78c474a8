"""Links: the leases of several brokers, and one credit for all of them."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.messages import (
    DONE,
    RETURNED,
    UNKNOWN_PEER,
    Credit,
    Deliver,
    Goodbye,
    Hello,
    Progress,
    Refuse,
    Settle,
    Welcome,
)
from zqueue.worker.leases import Leased, Run, WorkerProtocol
from zqueue.worker.links import BUSY_S, Links


class Brokers:
    """Some brokers, and a worker's side of them."""

    def __init__(self, count: int = 2, credit: int = 1) -> None:
        self.now = 10.0
        self.all = [WorkerProtocol(b"me", b"", lambda: 0.5, credit=1) for _ in range(count)]
        self.links = Links(self.all, credit)
        for number in range(count):
            self.welcome(number)

    def welcome(self, number: int) -> None:
        self.all[number].tick(self.now)
        self.all[number].receive([encode(Welcome(b"broker%d" % number, 1000, 5000))], self.now)
        self.all[number].to_send()

    def deliver(self, number: int, lease: int, tasks: int) -> bool:
        """Whether the tasks are for us."""
        header = encode(Deliver(lease, "q", [["t", 0, tasks, 1]]))
        self.all[number].receive([header, pack([None] * tasks)], self.now)
        taken = False
        while (event := self.all[number].next_event()) is not None:
            if isinstance(event, Leased):
                taken = self.links.leased(self.all[number], event, self.now)
        return taken

    def settle(self, lease: int, tasks: int = 1, *, credit: int = 1, last: bool = True) -> None:
        self.links.settle(lease, [Run(0, 0, tasks, DONE)], [], credit=credit, last=last)

    def sent(self, number: int) -> list[Any]:
        return [decode(frames[0]) for frames in self.all[number].to_send()]

    def credits(self, credit: int) -> list[int]:
        """What each may have in flight."""
        self.links.set_credit(credit, self.now)
        return [protocol._credit for protocol in self.all]


@pytest.fixture
def two() -> Brokers:
    return Brokers()


class TestLeases:
    def test_what_was_leased_is_settled_where_it_came_from(self, two: Brokers) -> None:
        assert two.deliver(0, 7, 1)
        assert two.deliver(1, 8, 2)
        two.settle(8, 2)
        two.settle(7)
        assert two.sent(0) == [Settle(7, 1, [[0, 0, 1, DONE]])]
        assert two.sent(1) == [Settle(8, 1, [[0, 0, 2, DONE]])]

    def test_progress_goes_there_too(self, two: Brokers) -> None:
        two.deliver(1, 8, 2)
        two.links.progress(8, 1, 5, 10)
        two.links.progress(9, 1, 5, 10)
        assert two.sent(0) == []
        assert two.sent(1) == [Progress(8, 1, 5, 10)]

    def test_a_number_that_another_broker_uses_is_returned(self, two: Brokers) -> None:
        assert two.deliver(0, 7, 1)
        assert not two.deliver(1, 7, 3)
        assert two.sent(1) == [Settle(7, 1, [[0, 0, 3, RETURNED]])]
        two.settle(7)
        assert two.sent(0) == [Settle(7, 1, [[0, 0, 1, DONE]])]
        assert two.deliver(1, 7, 1)

    def test_losing_a_broker_ends_its_leases_only(self, two: Brokers) -> None:
        two.deliver(0, 7, 1)
        two.deliver(1, 8, 1)
        two.all[0].receive([encode(Refuse(UNKNOWN_PEER, 0, ""))], two.now)
        assert two.links.lost(two.all[0]) == {7}
        assert two.links.lost(two.all[0]) == set()
        two.settle(7)
        two.settle(8)
        two.welcome(0)
        assert [type(message) for message in two.sent(0)] == []
        assert two.sent(1) == [Settle(8, 1, [[0, 0, 1, DONE]])]


class TestCredit:
    def test_one_broker_has_all_of_it(self) -> None:
        one = Brokers(1)
        assert one.credits(50) == [50]
        one.links.set_credit(60, one.now)
        assert one.sent(0)[-1] == Credit(60)

    def test_those_that_have_nothing_have_equal_parts(self, two: Brokers) -> None:
        assert two.credits(50) == [25, 25]

    def test_a_busy_one_has_all_but_a_task_of_each_other(self) -> None:
        three = Brokers(3)
        three.credits(90)
        three.deliver(1, 7, 15)
        assert three.credits(90) == [1, 88, 1]

    def test_what_fills_less_than_half_of_its_share_is_not_busy(self, two: Brokers) -> None:
        two.credits(100)
        two.deliver(0, 7, 20)
        assert two.credits(100) == [50, 50]

    def test_a_lone_task_makes_a_broker_busy_that_had_a_credit_of_one(self, two: Brokers) -> None:
        two.credits(100)
        two.deliver(0, 7, 50)
        assert two.credits(100) == [99, 1]
        two.deliver(1, 8, 1)
        assert two.credits(100) == [50, 50]

    def test_what_brought_nothing_for_a_while_is_not_busy(self, two: Brokers) -> None:
        two.credits(100)
        two.deliver(0, 7, 50)
        two.deliver(1, 8, 50)
        two.now += BUSY_S
        two.deliver(1, 9, 50)
        assert two.credits(100) == [1, 99]

    def test_slow_tasks_are_one_of_each(self, two: Brokers) -> None:
        assert two.credits(1) == [1, 1]

    def test_who_wants_none_gets_none(self, two: Brokers) -> None:
        two.credits(10)
        two.deliver(0, 7, 1)
        assert two.credits(0) == [0, 0]
        two.settle(7, credit=0)
        assert two.sent(0)[-1] == Settle(7, 0, [[0, 0, 1, DONE]])

    def test_a_broker_that_is_lost_has_no_part(self, two: Brokers) -> None:
        two.credits(10)
        two.all[0].receive([encode(Refuse(UNKNOWN_PEER, 0, ""))], two.now)
        two.links.set_credit(10, two.now)
        assert two.all[1]._credit == 10

    def test_what_is_held_is_counted_by_broker(self, two: Brokers) -> None:
        two.deliver(0, 7, 5)
        two.settle(7, 2, last=False)
        assert two.all[0].held == 3
        two.all[0].receive([encode(Refuse(UNKNOWN_PEER, 0, ""))], two.now)
        assert two.all[0].held == 0


class TestComeAndGo:
    def test_another_broker_shares_the_credit(self, two: Brokers) -> None:
        two.credits(50)
        two.all.append(WorkerProtocol(b"me", b"", lambda: 0.5, credit=1))
        two.links.join(two.all[2])
        assert two.credits(50) == [25, 25, 1], "once it has welcomed us"
        two.welcome(2)
        assert two.credits(51) == [17, 17, 17]

    def test_one_that_is_left_gets_no_more_and_is_left_once_nothing_is_leased(
        self, two: Brokers
    ) -> None:
        two.deliver(0, 7, 2)
        two.links.leave(two.all[0])
        assert two.credits(50) == [0, 50]
        assert two.links.tick(two.now) == []
        two.settle(7, 2, credit=50)
        assert two.links.tick(two.now) == []
        assert two.sent(0) == [Credit(0), Settle(7, 0, [[0, 0, 2, DONE]]), Goodbye()]
        two.all[0].receive([encode(Goodbye())], two.now)
        assert two.links.leaving == 1
        assert two.links.tick(two.now) == [two.all[0]]
        assert two.links.leaving == 0
        assert two.credits(50) == [0, 50]

    def test_one_that_is_named_again_in_time_stays(self, two: Brokers) -> None:
        two.deliver(0, 7, 2)
        two.links.leave(two.all[0])
        two.links.tick(two.now)
        two.links.leave(two.all[0], False)
        two.settle(7, 2)
        assert two.links.tick(two.now) == []
        assert two.all[0].link.is_ready
        assert min(two.credits(50)) > 0

    def test_the_last_one_may_be_left(self) -> None:
        one = Brokers(1)
        one.links.leave(one.all[0])
        assert one.credits(50) == [0]


def test_a_broker_at_two_addresses_is_greeted_once() -> None:
    two = Brokers(0)
    for _ in range(2):
        two.all.append(WorkerProtocol(b"me", b"", lambda: 0.5, credit=1))
        two.links.join(two.all[-1])
    first, second = two.all
    for protocol in two.all:
        protocol.tick(two.now)
    assert (two.sent(0), two.sent(1)) == ([Hello("worker", b"me", 1)], [Hello("worker", b"me", 1)])
    seen = encode(Welcome(b"broker", 1000, 5000, 0, 0, 1))
    for protocol in two.all:
        protocol.receive([seen], two.now)
    assert (two.sent(0), two.sent(1)) == ([Hello("worker", b"me")], [])
    two.all[0].receive([encode(Welcome(b"broker", 1000, 5000))], two.now)
    assert second.link.twin is first.link
    first.receive([encode(Refuse(UNKNOWN_PEER, 0, ""))], two.now)
    two.now += 10.0
    second.tick(two.now)
    two.sent(1)
    second.receive([seen], two.now)
    assert two.sent(1) == [Hello("worker", b"me")], "the first has lost it"
