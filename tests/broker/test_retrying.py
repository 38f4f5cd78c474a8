"""Retries, delays and expiry: when a task runs again, runs first, and does not run at all."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.broker.retrying import NEVER, Policies, Policy, Retrying, retries_left
from zqueue.core.batch import Batch, Published
from zqueue.core.dead import Filter
from zqueue.wire.codec import pack
from zqueue.wire.messages import (
    DONE,
    EXPIRED,
    FAILED,
    RETRY,
    TIMEOUT,
    Cancel,
    Deliver,
    Departed,
    Heartbeat,
    Result,
)
from zqueue.wire.options import SPAN_MS_MAX, TaskOptions

ERROR = pack([["ValueError", "no", ""]])
POLICY = {"": [2, 1000, 10_000, 1]}


def batch_of(options: TaskOptions | None = None, *, failures: int = 0, timeouts: int = 0) -> Batch:
    frame = Published("q", "t", b"\x91\x01", 1, options=options)
    return Batch(frame, 0, 1, failures=failures, timeouts=timeouts)


class TestPolicies:
    def test_a_task_has_its_own_or_the_workers(self) -> None:
        told = {"": [3, 500, 600_000, 1], "mail": [0, 0, 0, 0]}
        policies = Policies(told, {"mail": "post", "t": "q", "u": "q"})
        assert policies.find("post", "mail") == Policy(0, 0, 0, 0)
        assert policies.find("post", "") == Policy(0, 0, 0, 0), "its queue's only task"
        assert policies.find("q", "") == policies.find("q", "t") == Policy(3, 500, 600_000, 1)

    @pytest.mark.parametrize(
        "told",
        [None, [], {"": 3}, {"": [1, 2, 3]}, {"": [-1, 0, 0, 0]}, {"": [1, 2, 3, 2]},
         {"": [True, 0, 0, 0]}, {"": [10_000, 0, 0, 1]}, {1: [1, 1, 1, 1]}],
        ids=repr,
    )  # fmt: skip
    def test_what_makes_no_sense_is_passed_over(self, told: Any) -> None:
        assert Policies(told, {"t": "q"}).find("q", "t") == NEVER

    @given(
        st.integers(0, 8), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(),
        st.integers(0, 8),
    )  # fmt: skip
    def test_full_jitter(
        self, retries: int, backoff: int, most: int, seed: int, before: int
    ) -> None:
        policy = Policy(retries, backoff, most)
        wait_s = Retrying(Random(seed).random).wait_s(
            batch_of(failures=before), policy, asked_ms=None, timed_out=False
        )
        if before >= retries:
            assert wait_s is None
        else:
            assert wait_s is not None
            assert 0 <= wait_s * 1000 <= min(most, backoff * 2**before) + 1e-6

    def test_what_was_asked_for_counts_first(self) -> None:
        wait_s, one = Retrying(lambda: 1.0).wait_s, TaskOptions(retries=1, backoff_max_ms=7)
        announced = Policy(0, 5000, 9000)
        assert wait_s(batch_of(one), announced, asked_ms=None, timed_out=False) == 0.007
        assert wait_s(batch_of(one, timeouts=1), announced, asked_ms=1, timed_out=False) is None
        longest_s = SPAN_MS_MAX / 1000
        assert wait_s(batch_of(), Policy(1), asked_ms=1 << 62, timed_out=False) == longest_s
        assert wait_s(batch_of(), Policy(1, 0, 0, 0), asked_ms=None, timed_out=True) is None

    def test_how_many_are_left(self) -> None:
        assert retries_left(batch_of(), Policy(3)) == 3
        assert retries_left(batch_of(failures=1, timeouts=1), Policy(3)) == 1
        assert retries_left(batch_of(failures=4), Policy(3)) == 0, "of a worker that allowed more"
        assert retries_left(batch_of(TaskOptions(retries=7), failures=1), Policy(3)) == 6


@pytest.fixture
def t(talk: Any) -> Any:
    """A broker with a producer and a worker."""
    t = talk()
    t.producer()
    t.worker(credit=10, retries=POLICY, tasks={"t": "q"})
    t.hear()
    return t


def delivered(t: Any) -> list[Any]:
    return [message for _, message, _ in t.hear() if isinstance(message, Deliver)]


def fail(t: Any, deliver: Any, *asked_ms: int) -> None:
    t.settle(b"w", deliver.lease, [[0, 0, 1, RETRY, *asked_ms]], ERROR)


def tick(t: Any, seconds: float) -> None:
    """Time passes, and everybody is there still."""
    stop = t.now + seconds
    while t.now < stop:
        t.now = min(stop, t.now + 2.0)
        for peer in (b"p", b"w"):
            t.say(peer, Heartbeat([]))
        t.broker.tick(t.now)


def letters(t: Any) -> list[Any]:
    return list(t.broker.dead.oldest_first(Filter()))


class TestRetries:
    def test_again_and_again_and_then_for_good(self, t: Any) -> None:
        t.publish(b"p", 1, ["a"], reply=True)
        for attempt, wait_s in ((1, 1.0), (2, 2.0)):
            (deliver,) = delivered(t)
            assert deliver.batches[0][3] == attempt
            assert deliver.batches[0][-1] == 3 - attempt, "retries left"
            fail(t, deliver)
            assert delivered(t) == []
            t.now += wait_s - 0.001
            t.broker.tick(t.now)
            assert delivered(t) == [], "before its time"
            t.now += 0.002
            t.broker.tick(t.now)
        (deliver,) = delivered(t)
        assert deliver.batches[0][-1] == 0
        fail(t, deliver)
        assert [m for _, m, _ in t.hear() if isinstance(m, Result)] == [Result(1, 0, 1, FAILED)]
        totals = t.broker.book.totals()
        assert (totals.retried, totals.failed, totals.dead) == (2, 1, 0)
        assert t.broker.book.budget.bytes == 0

    def test_who_awaits_nothing_leaves_a_letter_with_its_history(self, t: Any) -> None:
        t.publish(b"p", 1, ["a"], retries=1, backoff_ms=0)
        for _ in range(2):
            fail(t, delivered(t)[0])
            t.broker.tick(t.now)
        (letter,) = letters(t)
        assert (letter.reason, letter.failures, letter.deliveries) == ("failed", 2, 2)
        assert letter.options == TaskOptions(retries=1, backoff_ms=0).pack()

    def test_the_handler_says_how_long(self, t: Any) -> None:
        t.publish(b"p", 1, ["a"])
        fail(t, delivered(t)[0], 60_000)
        tick(t, 59.9)
        assert t.leased() == 0
        tick(t, 0.2)
        t.hear()
        assert t.leased() == 1

    def test_one_of_many_has_bytes_of_its_own_and_the_others_go_on(self, t: Any) -> None:
        t.publish(b"p", 1, list(range(8)))
        (deliver,) = delivered(t)
        runs = [[0, 0, 3, DONE], [0, 3, 1, RETRY], [0, 4, 4, DONE]]
        t.settle(b"w", deliver.lease, runs, ERROR)
        assert t.broker.book.queues["q"].ready.tasks == 1
        t.now += 1.0
        t.broker.tick(t.now)
        ((again, frames),) = [(m, frames) for _, m, frames in t.hear() if isinstance(m, Deliver)]
        assert frames == [pack([3])]
        assert again.batches[0][7] == 3, "its place stays"

    def test_a_task_that_ran_too_long(self, talk: Any) -> None:
        t = talk()
        t.producer()
        t.hello("supervisor", b"s", b"supervisor")
        t.worker(credit=1, id=b"worker", supervisor=b"supervisor", retries=POLICY)
        t.publish(b"p", 1, ["a"])
        (deliver,) = delivered(t)
        t.say(b"s", Departed(b"worker", TIMEOUT, deliver.lease, 0, "too long"))
        ((_, batch),) = t.broker.book.queues["q"].ready.delayed
        assert (batch.timeouts, batch.failures, batch.crashes, batch.attempt) == (1, 0, 0, 2)

    def test_who_announced_nothing_is_not_tried_again(self, talk: Any) -> None:
        t = talk()
        t.producer()
        t.worker(credit=1)
        t.publish(b"p", 1, ["a"])
        fail(t, delivered(t)[0])
        assert t.broker.book.totals().failed == 1


class TestDelays:
    @pytest.mark.parametrize("at", [False, True])
    def test_not_before_its_time(self, t: Any, at: bool) -> None:
        t.broker.set_wall(5_000.0, t.now)
        options = {"at_ms": 5_090_500} if at else {"delay_ms": 90_500}
        t.publish(b"p", 1, ["late"], **options)
        t.publish(b"p", 2, ["soon"])
        (deliver,) = delivered(t)
        assert deliver.batches[0][6] == 2, "nobody waits behind it"
        ready = t.broker.book.queues["q"].ready
        assert (ready.delayed_tasks, ready.tasks) == (1, 2)
        tick(t, 90.499)
        t.hear()
        assert ready.delayed_tasks == 1
        t.now = 1090.5
        assert t.broker.next_deadline() <= t.now, "it is looked at in time"
        t.broker.tick(t.now)
        (deliver,) = delivered(t)
        assert deliver.batches[0][4] == 90_500_000, "its age is from when it was sent"

    def test_what_is_due_already_runs_at_once(self, t: Any) -> None:
        t.broker.set_wall(5_000.0, t.now)
        t.publish(b"p", 1, ["a"], at_ms=4_000_000)
        assert len(delivered(t)) == 1

    def test_counts_in_the_bounds(self, talk: Any, confirmed: Any) -> None:
        t = talk(queue_tasks_max=4)
        t.producer()
        t.publish(b"p", 1, [1, 2, 3, 4], delay_ms=1000)
        assert confirmed(t.hear()) == [], "it is full"
        t.now += 1.0
        t.broker.tick(t.now)
        assert t.ready() == 4

    def test_while_paused_it_becomes_ready_and_waits(self, t: Any) -> None:
        t.publish(b"p", 1, ["a"], delay_ms=100)
        t.control("pause")
        t.hear()
        t.now += 0.1
        t.broker.tick(t.now)
        assert (t.ready(), delivered(t)) == (1, [])

    def test_can_be_cancelled(self, t: Any) -> None:
        t.publish(b"p", 1, ["a", "b", "c"], delay_ms=60_000)
        t.hear()
        t.say(b"p", Cancel(1, 0, [[0, 1, 1, 1]], "", ""))
        assert t.broker.book.queues["q"].ready.delayed_tasks == 2
        t.say(b"p", Cancel(2, 0, [], "q", ""))
        assert t.broker.book.is_empty()
        assert t.broker.book.budget.bytes == 0
        assert t.broker.book.totals().cancelled == 3


class TestExpiry:
    def test_what_is_too_old_does_not_run(self, t: Any) -> None:
        t.control("pause")
        t.publish(b"p", 1, ["a"], expires_ms=1000, reply=True)
        t.publish(b"p", 2, ["b"], expires_ms=1000)
        t.publish(b"p", 3, ["c"], expires_ms=5000)
        t.hear()
        t.now += 1.0
        t.broker.tick(t.now)
        assert t.ready() == 3, "nobody looks before it is their turn"
        t.control("resume")
        heard = t.hear()
        assert [m for _, m, _ in heard if isinstance(m, Result)] == [Result(1, 0, 1, EXPIRED)]
        (deliver,) = [m for _, m, _ in heard if isinstance(m, Deliver)]
        assert [row[6] for row in deliver.batches] == [3]
        (letter,) = letters(t)
        assert (letter.reason, letter.sequence) == ("expired", 2)
        totals = t.broker.book.totals()
        assert (totals.expired, totals.dead_expired, totals.failed) == (2, 1, 0)

    def test_a_retry_may_come_too_late(self, t: Any) -> None:
        t.publish(b"p", 1, ["a"], expires_ms=1500)
        fail(t, delivered(t)[0], 2000)
        t.now += 2.0
        t.broker.tick(t.now)
        assert delivered(t) == []
        assert t.broker.book.totals().expired == 1
