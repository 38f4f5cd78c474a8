"""Several brokers: batches that come from another one, and batches that went there."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.config import Limits
from zqueue.core.confirm import GAPS_MAX
from zqueue.core.records import Fact
from zqueue.wire.codec import pack
from zqueue.wire.messages import (
    DONE,
    MALFORMED,
    MOVED,
    REPLY,
    Confirm,
    Publish,
    Refuse,
    Result,
    Withdraw,
)

from .shelf import Shelf

FAR = 5 << 40
"""A number of another broker's row."""


def publish(t: Any, sequence: int, flags: int = MOVED, bodies: Any = (1, 2), **options: Any) -> Any:
    """Publish a batch. Returns what its producer hears."""
    more = [pack(options)] if options else []
    return t.say(b"p", Publish(sequence, "q", "t", flags), pack(list(bodies)), *more)


@pytest.fixture
def t(talk: Any) -> Any:
    """A broker, and a producer ``p``."""
    made = talk()
    made.producer()
    return made


class TestMoved:
    def test_it_is_taken_once_whatever_its_number(self, t: Any) -> None:
        assert publish(t, FAR) == [Confirm([FAR, FAR])]
        assert publish(t, FAR) == [Confirm([FAR, FAR])]
        assert publish(t, 3) == [Confirm([3, 3])]
        assert t.ready() == 4
        assert t.broker.counters.duplicates == 1

    def test_where_the_own_row_begins_it_does_not_say(self, t: Any) -> None:
        publish(t, FAR)
        publish(t, 900, 0)
        assert t.broker.roster.producers[b"p"].taken.highest == 900
        publish(t, 901, 0)
        assert t.ready() == 6

    def test_it_leaves_no_gaps(self, t: Any) -> None:
        publish(t, 1, 0)
        for number in range(2 * GAPS_MAX):
            publish(t, FAR + 2 * number, bodies=[0])
        assert publish(t, 2, 0) == [Confirm([2, 2])]
        assert not t.broker.roster.producers[b"p"].taken.missing()

    def test_a_worker_is_told_its_number(self, t: Any, deliveries: Any) -> None:
        publish(t, FAR)
        t.worker(credit=5)
        ((_, deliver, _),) = deliveries(t.hear())
        assert deliver.batches[0][6] == FAR

    def test_its_results_come_under_its_number(self, t: Any, deliveries: Any) -> None:
        publish(t, FAR, MOVED | REPLY)
        t.worker(credit=5)
        ((_, deliver, _),) = deliveries(t.hear())
        t.settle(b"w", deliver.lease, [[0, 0, 2, DONE]])
        assert (b"p", Result(FAR, 0, 2, DONE), []) in t.hear()

    def test_one_that_is_refused_is_refused_again(self, t: Any) -> None:
        (first,) = publish(t, FAR, bodies=[])
        assert type(first) is Refuse
        assert first.sequence == FAR
        assert publish(t, FAR, bodies=[]) == [first]

    def test_one_with_a_known_key_is_confirmed(self, t: Any) -> None:
        publish(t, 1, 0, [1], key="k")
        assert publish(t, FAR, MOVED, [1], key="k")[-1] == Confirm([FAR, FAR])
        assert publish(t, FAR, MOVED, [1], key="k")[-1] == Confirm([FAR, FAR])
        assert t.ready() == 1


class TestWithdraw:
    def test_what_is_ready_is_forgotten_and_the_rest_stays(self, t: Any) -> None:
        for number in (1, 2, 3):
            publish(t, number, 0)
        publish(t, FAR)
        assert t.say(b"p", Withdraw([1, 2], [FAR, FAR])) == [Confirm([1, 2, FAR, FAR])]
        assert t.ready() == 2

    def test_what_comes_late_is_not_taken(self, t: Any) -> None:
        publish(t, 1, 0)
        t.say(b"p", Withdraw([2, 3], [FAR, FAR]))
        for number, flags in ((2, 0), (3, 0), (FAR, MOVED)):
            assert publish(t, number, flags) == [Confirm([number, number])]
        assert t.ready() == 2

    def test_no_gap_is_left_of_what_never_came(self, t: Any) -> None:
        publish(t, 1, 0)
        publish(t, 5, 0)
        t.say(b"p", Withdraw([2, 4]))
        assert not t.broker.roster.producers[b"p"].taken.missing()

    def test_a_broker_that_heard_nothing_begins_to_count_with_the_next(self, t: Any) -> None:
        assert t.say(b"p", Withdraw([1, 9])) == [Confirm([1, 9])]
        assert publish(t, 7, 0) == [Confirm([7, 7])]
        assert t.ready() == 2

    def test_what_a_worker_has_goes_on(self, t: Any, deliveries: Any) -> None:
        publish(t, 1, REPLY)
        t.worker(credit=1)
        ((_, deliver, _),) = deliveries(t.hear())
        t.say(b"p", Withdraw([1, 1]))
        assert t.ready() == 0
        t.settle(b"w", deliver.lease, [[0, 0, 1, DONE]])
        assert (b"p", Result(1, 0, 1, DONE), []) in t.hear()

    def test_of_another_producer_nothing_is_forgotten(self, t: Any) -> None:
        t.producer(b"other")
        publish(t, 1, 0)
        t.say(b"other", Withdraw([1, 1]))
        assert t.ready() == 2

    @pytest.mark.parametrize("numbers", [[1, GAPS_MAX + 1], [1, 2, 10, 9 + GAPS_MAX], [1, 1 << 62]])
    def test_too_many_are_refused(self, t: Any, numbers: list[int]) -> None:
        (refusal,) = t.say(b"p", Withdraw(numbers))
        assert refusal.code == MALFORMED

    def test_numbers_out_of_reach_are_passed_over(self, t: Any) -> None:
        publish(t, 1, 0)
        assert t.say(b"p", Withdraw([1 << 50, 1 << 50])) == []
        assert t.broker.roster.producers[b"p"].taken.highest == 1


class TestStored:
    """With a store, the next broker of the id knows what this one took."""

    @pytest.fixture
    def t(self, talk: Any) -> Any:
        made = talk()
        made.shelf = Shelf()
        self.begin(made)
        return made

    def begin(self, t: Any) -> None:
        t.broker = t.shelf.broker(t.now, b"broker-1", Limits(), 1 << 40)
        t.producer()

    def test_confirms_wait_for_the_store(self, t: Any, confirmed: Any) -> None:
        assert publish(t, FAR) == []
        t.shelf.store(t.broker)
        assert confirmed(t.hear()) == [FAR]
        assert t.say(b"p", Withdraw([], [FAR + 1, FAR + 1])) == []
        t.shelf.store(t.broker)
        assert confirmed(t.hear()) == [FAR + 1]

    @pytest.mark.parametrize("is_summed_up", [False, True], ids=["noted", "summed up"])
    def test_the_next_broker_takes_none_of_them_again(self, t: Any, is_summed_up: bool) -> None:
        publish(t, 4, 0)
        publish(t, FAR)
        t.say(b"p", Withdraw([5, 6], [FAR + 1, FAR + 1]))
        t.shelf.store(t.broker)
        if is_summed_up:
            t.shelf.add(t.broker.facts())
        self.begin(t)
        assert t.broker.book.tasks() == 4
        for number, flags in ((4, 0), (5, 0), (6, 0), (FAR, MOVED), (FAR + 1, MOVED)):
            publish(t, number, flags)
        assert t.broker.counters.duplicates == 5
        assert t.broker.book.tasks() == 4
        publish(t, 7, 0)
        assert t.broker.book.tasks() == 6

    def test_its_number_is_known_from_the_batch_alone(self, t: Any) -> None:
        """Of a commit that was torn, the batch may be there, and the fact not."""
        publish(t, FAR)
        t.shelf.store(t.broker)
        t.shelf.records = [record for record in t.shelf.records if not isinstance(record, Fact)]
        self.begin(t)
        publish(t, FAR)
        assert t.broker.counters.duplicates == 1
        publish(t, 5, 0)
        assert t.broker.roster.producers[b"p"].taken.highest == 5
