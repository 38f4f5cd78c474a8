"""The ready queue against a plain list, its bounds, and its suspects."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zqueue.core.batch import OVERHEAD_BYTES, Batch, Frame
from zqueue.core.ready import SUSPECTS_MAX, Budget, ReadyQueue

MUCH = 1 << 30


def make(count: int, nbytes: int = 0, *, crashes: int = 0) -> Batch:
    """A batch that counts so many bytes (its overhead aside)."""
    batch = Batch.whole(Frame("q", "t", b"x" * nbytes, count))
    batch.crashes = crashes
    return batch


def make_queue(tasks_max: int = MUCH, bytes_max: int = MUCH, budget: int = MUCH) -> ReadyQueue:
    return ReadyQueue("q", tasks_max=tasks_max, bytes_max=bytes_max, budget=Budget(budget))


def take(
    queue: ReadyQueue, tasks: int = MUCH, *, cut_min: int = 1, nbytes: int = MUCH, batches: int = 99
) -> list[Batch]:
    return queue.take(tasks, cut_min=cut_min, bytes_max=nbytes, batches_max=batches)


def windows(batches: list[Batch]) -> list[tuple[int, int]]:
    return [(batch.first, batch.count) for batch in batches]


class TestCounting:
    def test_from_put_to_release(self) -> None:
        queue = make_queue()
        queue.put(make(3, 30))
        nbytes = 30 + OVERHEAD_BYTES
        assert (queue.ready_tasks, queue.ready_bytes) == (3, nbytes)
        (batch,) = take(queue)
        assert (queue.ready_tasks, queue.ready_bytes) == (0, 0)
        assert (queue.leased_tasks, queue.leased_bytes) == (3, nbytes)
        assert (queue.tasks, queue.bytes, queue.budget.bytes) == (3, nbytes, nbytes)
        queue.settle(2)
        assert (queue.tasks, queue.bytes) == (1, nbytes)
        queue.settle(1)
        queue.release(batch)
        assert (queue.tasks, queue.bytes, queue.budget.bytes) == (0, 0, 0)

    def test_reprs(self) -> None:
        queue = make_queue(budget=1000)
        queue.put(make(3))
        queue.put(make(2))
        take(queue, 3)
        assert repr(queue) == "<ReadyQueue q: 2 ready, 3 leased>"
        assert repr(queue.budget) == "<Budget 640 of 1000 bytes>"


class TestTaking:
    def test_in_order(self) -> None:
        queue = make_queue()
        batches = [make(2), make(1), make(3)]
        for batch in batches:
            queue.put(batch)
        assert take(queue) == batches
        assert take(queue) == []

    def test_so_many_tasks(self) -> None:
        queue = make_queue()
        queue.put(make(2))
        queue.put(make(4))
        assert windows(take(queue, 3)) == [(0, 2)], "a later batch is not cut"
        assert windows(take(queue, 3)) == [(0, 3)]
        assert windows(take(queue, 3)) == [(3, 1)]

    def test_is_not_cut_into_small_pieces(self) -> None:
        queue = make_queue()
        queue.put(make(10))
        assert take(queue, 3, cut_min=4) == []
        assert windows(take(queue, 4, cut_min=4)) == [(0, 4)]
        assert windows(take(queue, 6, cut_min=100)) == [(4, 6)], "all of it is no cut"

    def test_no_room_takes_nothing(self) -> None:
        queue = make_queue()
        queue.put(make(2))
        assert take(queue, 0) == []
        assert queue.ready_tasks == 2

    def test_so_many_batches(self) -> None:
        queue = make_queue()
        for _ in range(5):
            queue.put(make(1))
        assert len(take(queue, batches=2)) == 2
        assert queue.ready_tasks == 3

    def test_so_many_bytes(self) -> None:
        queue = make_queue()
        for _ in range(3):
            queue.put(make(1, 1000))
        assert len(take(queue, nbytes=2 * (1000 + OVERHEAD_BYTES))) == 2
        assert len(take(queue, nbytes=10)) == 1, "one task goes out however large it is"

    def test_is_cut_by_bytes(self) -> None:
        queue = make_queue()
        queue.put(make(10, 10_000))
        ((_, count),) = windows(take(queue, nbytes=5_000))
        assert count == 4

    def test_what_was_given_back_comes_first(self) -> None:
        queue = make_queue()
        queue.put(make(4))
        queue.put(make(1))
        (batch,) = take(queue, 4)
        queue.settle(4)
        queue.release(batch)
        queue.give_back([batch.part(0, 1), batch.part(2, 2)])
        assert queue.ready_tasks == 4
        assert windows(take(queue)) == [(0, 1), (2, 2), (0, 1)]


class TestSuspects:
    @pytest.mark.parametrize(
        ("crashes", "tasks_max", "crashes_max", "taken"),
        [
            (1, 1000, 3, SUSPECTS_MAX), (1, 5, 3, 5), (2, 1000, 3, 1), (3, 1000, 3, 1),
            (1, 1000, 2, 1), (3, 1000, 5, SUSPECTS_MAX), (4, 1000, 5, 1),
        ],
    )  # fmt: skip
    def test_come_some_together_unless_the_next_crash_is_their_last(
        self, crashes: int, tasks_max: int, crashes_max: int, taken: int
    ) -> None:
        queue = make_queue()
        queue.give_back([make(100, crashes=crashes)])
        assert queue.take_suspects(tasks_max, crashes_max).count == taken
        assert (queue.ready_tasks, queue.leased_tasks) == (100 - taken, taken)

    def test_come_from_one_batch(self) -> None:
        queue = make_queue()
        queue.give_back([make(2, crashes=1), make(3, crashes=1)])
        assert [queue.take_suspects(9, 3).count for _ in range(2)] == [2, 3]

    def test_come_one_by_one_and_alone(self) -> None:
        queue = make_queue()
        queue.put(make(1))
        queue.give_back([make(1), make(3, crashes=1), make(1)])
        taken = []
        while queue.ready_tasks:
            suspect = queue.has_suspect()
            batches = [queue.take_suspects(9, 2)] if suspect else take(queue)
            taken.append([(batch.count, batch.crashes) for batch in batches])
        assert taken == [[(1, 0)], [(1, 1)], [(1, 1)], [(1, 1)], [(1, 0), (1, 0)]]
        assert queue.leased_tasks == 6

    def test_are_not_taken_with_others(self) -> None:
        queue = make_queue()
        queue.give_back([make(2, crashes=1)])
        assert take(queue) == []

    def test_are_known_at_the_front_only(self) -> None:
        queue = make_queue()
        assert not queue.has_suspect()
        queue.give_back([make(1), make(1, crashes=1)])
        assert not queue.has_suspect()
        take(queue)
        assert queue.has_suspect()


class TestBounds:
    @pytest.mark.parametrize(
        ("limits", "count", "nbytes"),
        [({"tasks_max": 8}, 8, 0), ({"bytes_max": 1000}, 1, 680), ({"budget": 1000}, 1, 680)],
    )
    def test_full_at_the_bound(self, limits: dict[str, int], count: int, nbytes: int) -> None:
        queue = make_queue(**limits)
        assert not queue.is_full()
        queue.put(make(count, nbytes))
        assert queue.is_full()
        assert not queue.is_below_low_water()
        (batch,) = take(queue)
        assert queue.is_full(), "leased tasks count"
        queue.settle(count)
        queue.release(batch)
        assert not queue.is_full()
        assert queue.is_below_low_water()

    def test_one_below_the_bound_is_not_full(self) -> None:
        queue = make_queue(tasks_max=8)
        queue.put(make(7))
        assert not queue.is_full()
        assert queue.is_below_low_water(), "7/8 of it"

    def test_over_a_quarter_beyond(self) -> None:
        queue = make_queue(tasks_max=8)
        queue.put(make(9))
        assert not queue.is_over(1, 0)
        assert queue.is_over(2, 0)

    def test_over_in_bytes(self) -> None:
        for limits in ({"bytes_max": 1000}, {"budget": 1000}):
            queue = make_queue(**limits)
            queue.put(make(1, 680))
            assert not queue.is_over(1, 250)
            queue.put(make(1, 0))
            assert queue.is_over(1, 1)

    def test_a_batch_over_the_quarter_is_taken_below_the_bound(self) -> None:
        queue = make_queue(tasks_max=8)
        queue.put(make(7))
        assert not queue.is_over(1000, 0)
        queue.put(make(2))
        assert queue.is_over(1000, 0)

    def test_queues_share_a_budget(self) -> None:
        budget = Budget(1000)
        one, other = (
            ReadyQueue(name, tasks_max=MUCH, bytes_max=MUCH, budget=budget) for name in "ab"
        )
        one.put(make(1, 680))
        assert other.is_full()
        assert not other.is_over(1, 250)
        one.put(make(1, 0))
        assert other.is_over(1, 250)
        assert not other.is_below_low_water()


class AgainstAList(RuleBasedStateMachine):
    """The queue, beside two lists of tasks: what is ready, in order, and what is leased."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = make_queue()
        self.ready: list[tuple[Frame, int, bool]] = []
        self.leased: list[Batch] = []

    @rule(count=st.integers(1, 9), nbytes=st.integers(0, 500))
    def put(self, count: int, nbytes: int) -> None:
        batch = make(count, nbytes)
        self.queue.put(batch)
        self.ready += [(batch.frame, i, False) for i in range(count)]

    @rule(tasks=st.integers(0, 20), nbytes=st.integers(1, 2000), batches=st.integers(1, 4),
          cut_min=st.integers(1, 4))  # fmt: skip
    def take(self, tasks: int, nbytes: int, batches: int, cut_min: int) -> None:
        suspect = bool(self.ready) and self.ready[0][2]
        assert self.queue.has_suspect() == suspect
        if suspect:
            assert take(self.queue, tasks, cut_min=cut_min, nbytes=nbytes, batches=batches) == []
            taken = [self.queue.take_suspects(max(1, tasks), 3)]
        else:
            taken = take(self.queue, tasks, cut_min=cut_min, nbytes=nbytes, batches=batches)
        count = sum(batch.count for batch in taken)
        got = [(b.frame, b.first + i, b.crashes > 0) for b in taken for i in range(b.count)]
        assert got == self.ready[:count]
        assert len(taken) <= batches
        if suspect:
            assert 1 <= count <= (1 if taken[0].crashes > 1 else max(1, tasks))
        else:
            assert count <= tasks
            assert sum(batch.nbytes for batch in taken) <= nbytes + OVERHEAD_BYTES or count == 1
            assert not any(batch.crashes for batch in taken)
            if self.ready and tasks >= cut_min:
                assert count, "there was room for a useful piece"
        del self.ready[:count]
        self.leased += taken

    @precondition(lambda self: self.ready)
    @rule(nbytes=st.integers(1, 2000))
    def take_next(self, nbytes: int) -> None:
        batch = self.queue.take_next(nbytes)
        got = [(batch.frame, batch.first + i, batch.crashes > 0) for i in range(batch.count)]
        assert got == self.ready[: batch.count]
        assert batch.nbytes <= nbytes + OVERHEAD_BYTES or batch.count == 1
        del self.ready[: batch.count]
        self.leased.append(batch)

    @precondition(lambda self: self.leased)
    @rule(which=st.integers(0, 99), done=st.integers(0, 9), crashed=st.booleans())
    def settle(self, which: int, done: int, crashed: bool) -> None:
        """The first tasks of a batch are done; the rest comes back."""
        batch = self.leased.pop(which % len(self.leased))
        done = min(done, batch.count)
        self.queue.settle(batch.count)
        self.queue.release(batch)
        if done < batch.count:
            part = batch.part(done, batch.count - done)
            part.crashes += crashed
            self.queue.give_back([part])
            self.ready[:0] = [
                (part.frame, part.first + i, part.crashes > 0) for i in range(part.count)
            ]

    @invariant()
    def counts(self) -> None:
        queue = self.queue
        assert queue.ready_tasks == len(self.ready)
        assert queue.leased_tasks == sum(batch.count for batch in self.leased)
        assert queue.leased_bytes == sum(batch.nbytes for batch in self.leased)
        waiting: list[Any] = [*queue._returned, *queue._new]
        assert queue.ready_bytes == sum(batch.nbytes for batch in waiting)
        assert queue.budget.bytes == queue.bytes


AgainstAList.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAgainstAList = AgainstAList.TestCase
