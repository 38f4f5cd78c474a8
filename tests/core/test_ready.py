"""The ready queue against a plain list, its bounds, and its suspects."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zqueue.core.batch import OVERHEAD_BYTES, Batch, Published
from zqueue.core.ready import SUSPECTS_MAX, Budget, ReadyQueue
from zqueue.errors import ProtocolError

MUCH = 1 << 30


HEADER_BYTES = 4
_numbers = itertools.count()


def array_header(count: int) -> bytes:
    return count.to_bytes(HEADER_BYTES, "big")


def index(body: bytes) -> list[int]:
    """Bodies of the same size, behind a header."""
    count = int.from_bytes(body[:HEADER_BYTES], "big")
    return [HEADER_BYTES + (len(body) - HEADER_BYTES) * i // count for i in range(count + 1)]


def make(count: int, nbytes: int = 0, *, crashes: int = 0, task: str = "t") -> Batch:
    """A batch that counts so many bytes (its overhead aside), and has a number of its own."""
    number = next(_numbers)
    frame = Published("q", task, b"x" * nbytes, count, sequence=number, at=float(number))
    frame.offsets = [nbytes * i // count for i in range(count + 1)]
    batch = Batch.whole(frame)
    batch.crashes = crashes
    return batch


def make_queue(
    tasks_max: int = MUCH, bytes_max: int = MUCH, budget: int | Budget = MUCH, name: str = "q"
) -> ReadyQueue:
    return ReadyQueue(
        name,
        tasks_max=tasks_max,
        bytes_max=bytes_max,
        budget=Budget(budget) if isinstance(budget, int) else budget,
        index=index,
        array_header=array_header,
    )


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
        assert queue.take_suspects(tasks_max, crashes_max, None, True).count == taken
        assert (queue.ready_tasks, queue.leased_tasks) == (100 - taken, taken)

    def test_come_from_one_batch(self) -> None:
        queue = make_queue()
        queue.give_back([make(2, crashes=1), make(3, crashes=1)])
        assert [queue.take_suspects(9, 3, None, True).count for _ in range(2)] == [2, 3]

    def test_nothing_waits_behind_them(self) -> None:
        queue = make_queue()
        queue.put(make(1))
        queue.give_back([make(1), make(3, crashes=1), make(1)])
        assert queue.suspect_tasks == 3
        assert [(batch.count, batch.crashes) for batch in take(queue)] == [(1, 0)] * 3
        assert take(queue) == []
        alone = [queue.take_suspects(9, 2, None, True) for _ in range(3)]
        assert [(batch.count, batch.crashes) for batch in alone] == [(1, 1)] * 3
        assert (queue.suspect_tasks, queue.ready_tasks, queue.leased_tasks) == (0, 0, 6)

    def test_leave_by_the_plain_lane_first(self) -> None:
        queue = make_queue()
        queue.put(make(1))
        queue.give_back([make(2, crashes=1)])
        assert [queue.take_next(1000).crashes for _ in range(2)] == [1, 0]


def take_of(queue: ReadyQueue, names: str | None, rest: bool = False) -> list[str] | None:
    """The tasks that somebody gets who has these, at most four batches."""
    wanted = None if names is None else frozenset(names)
    batches = queue.take_of(wanted, rest, MUCH, 1, MUCH, 4)
    return None if batches is None else [batch.frame.task for batch in batches]


class TestSorted:
    def test_nothing_waits_behind_what_its_worker_lacks(self) -> None:
        queue = make_queue()
        queue.sort(frozenset("ab"))
        for task in "aabaaaab":
            queue.put(make(1, task=task))
        assert take_of(queue, "b") == ["b"], "of the first four"
        assert take_of(queue, "b") == ["b"]
        assert take_of(queue, "b") is None
        assert take_of(queue, "ab") == ["a"] * 4
        queue.put(make(1, task="b"))
        assert take_of(queue, None) == ["a"] * 2, "what waits longest"
        assert take_of(queue, None) == ["b"]
        assert take_of(queue, None) is None
        assert (queue.ready_tasks, queue.leased_tasks) == (0, 9)

    def test_what_nobody_has_is_the_rest(self) -> None:
        queue = make_queue()
        queue.sort(frozenset("a"))
        for task in "xyax":
            queue.put(make(1, task=task))
        assert take_of(queue, "a") == ["a"]
        assert take_of(queue, "a") is None
        assert take_of(queue, "a", rest=True) == ["x", "y", "x"]

    def test_in_the_end_all_wait_in_one_row_again(self) -> None:
        queue = make_queue()
        queue.sort(frozenset("ab"))
        for task in "abab":
            queue.put(make(1, task=task))
        assert take_of(queue, "c") is None
        queue.put(make(1, task="a"))
        assert queue.oldest() is not None
        queue.sort(None)
        assert not queue.is_sorted
        assert sorted(batch.frame.task for batch in take(queue)) == ["a", "a", "a", "b", "b"]

    def test_what_comes_back_is_in_front(self) -> None:
        queue = make_queue()
        queue.sort(frozenset("ab"))
        queue.put(make(2, task="a"))
        queue.put(make(1, task="a"))
        (first,) = queue.take_of(frozenset("a"), False, 2, 1, MUCH, 1) or []
        queue.settle(2)
        queue.release(first)
        queue.give_back([first])
        taken = queue.take_of(frozenset("a"), False, 9, 1, MUCH, 9) or []
        assert [batch.count for batch in taken] == [2, 1]

    def test_suspects_are_for_those_who_have_them(self) -> None:
        queue = make_queue()
        queue.sort(frozenset("ab"))
        queue.give_back([make(2, crashes=1, task=task) for task in "abac"])
        a, b = frozenset("a"), frozenset("b")
        assert queue.has_suspect_for(b, False)
        taken = [queue.take_suspects(9, 3, b, False), queue.take_suspects(9, 3, b, True)]
        assert [batch and batch.frame.task for batch in taken] == ["b", "c"]
        assert queue.take_suspects(9, 3, b, True) is None
        assert not queue.has_suspect_for(b, True)
        assert [queue.take_suspects(9, 3, a, False) is None for _ in range(3)] == [
            False, False, True,
        ]  # fmt: skip

    def test_the_plain_lane_takes_all(self) -> None:
        queue = make_queue()
        queue.sort(frozenset("ab"))
        for task in "aab":
            queue.put(make(1, task=task))
        take_of(queue, "b")
        assert [queue.take_next(MUCH).frame.task for _ in range(2)] == ["a", "a"]
        assert queue.ready_tasks == 0

    @given(
        steps=st.lists(
            st.tuples(
                st.sampled_from(["put", "take", "take", "back", "sort"]),
                st.sampled_from("abx"),
                st.integers(1, 5),
            ),
            max_size=60,
        )
    )
    def test_each_name_keeps_its_order(self, steps: list[tuple[str, str, int]]) -> None:
        queue, plain = make_queue(), list[tuple[str, int]]()
        leased: list[Batch] = []
        for what, task, count in steps:
            if what == "put":
                batch = make(count, task=task)
                queue.put(batch)
                plain += [(task, batch.frame.sequence)] * count
            elif what == "sort":
                queue.sort(frozenset("ab"[:count]) if count < 3 else None)
            elif what == "back" and leased:
                batch = leased.pop()
                queue.settle(batch.count)
                queue.release(batch)
                queue.give_back([batch])
                name = batch.frame.task
                rest = [entry for entry in plain if entry[0] == name]
                others = [entry for entry in plain if entry[0] != name]
                plain = others + [(name, batch.frame.sequence)] * batch.count + rest
            elif what == "take" and queue.is_sorted:
                taken = queue.take_of(frozenset(task), task == "x", count, 1, MUCH, 2)
                mine = [entry for entry in plain if self._is_theirs(queue, entry[0], task)]
                assert bool(taken) is bool(mine)
                for batch in taken or []:
                    name, number = batch.frame.task, batch.frame.sequence
                    row = [entry for entry in plain if entry[0] == name]
                    assert row[: batch.count] == [(name, number)] * batch.count
                    others = [entry for entry in plain if entry[0] != name]
                    plain = others + row[batch.count :]
                    leased.append(batch)
            assert queue.ready_tasks == len(plain)

    @staticmethod
    def _is_theirs(queue: ReadyQueue, name: str, task: str) -> bool:
        assert queue._names is not None
        return name == task if name in queue._names else task == "x"


class TestWindows:
    """What is alive is at most twice what is counted."""

    def test_what_comes_back_of_a_frame_does_not_keep_all_of_it(self) -> None:
        queue = make_queue()
        queue.put(make(1000, 100_000))
        (batch,) = take(queue)
        queue.settle(1000)
        queue.give_back([batch.part(10, 1), batch.part(500, 2)])
        queue.release(batch)
        one, two = take(queue)
        assert [len(part.frame.body) for part in (one, two)] == [104, 204]
        assert queue.bytes == 308 + 2 * OVERHEAD_BYTES
        assert windows([one, two]) == [(10, 1), (500, 2)]
        assert two.body(index, array_header) is two.frame.body

    def test_what_is_left_of_a_frame_that_is_cut_leaves_it(self) -> None:
        queue = make_queue()
        queue.put(make(64, 6_400))
        copied = 0
        for i in range(64):
            (batch,) = take(queue, 1)
            assert windows([batch]) == [(i, 1)]
            assert len(batch.frame.body) == HEADER_BYTES + 100
            frame = queue._new[0].frame if i < 63 else None
            if frame is not None and frame.base == i + 1:
                copied += len(frame.body)
        assert copied < 6_400 + 10 * HEADER_BYTES

    def test_a_frame_that_cannot_be_cut_is_counted_whole(self) -> None:
        def damaged(body: bytes) -> list[int]:
            raise ProtocolError("malformed", "no")

        batch = make(10, 1_000)
        batch.frame.offsets = None
        part = batch.part(0, 2)
        part.own(damaged, array_header)
        assert part.frame is batch.frame
        assert part.nbytes == 1_000 + OVERHEAD_BYTES


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

    def test_over_a_quarter_beyond(self) -> None:
        queue = make_queue(tasks_max=8)
        queue.put(make(9))
        assert not queue.is_over(1, 0)
        assert queue.is_over(2, 0)

    def test_a_batch_over_the_quarter_is_taken_below_the_bound(self) -> None:
        queue = make_queue(tasks_max=8)
        queue.put(make(7))
        assert not queue.is_over(1000, 0)
        queue.put(make(2))
        assert queue.is_over(1000, 0)

    def test_queues_share_a_budget(self) -> None:
        budget = Budget(1000)
        one, other = (make_queue(budget=budget, name=name) for name in "ab")
        one.put(make(1, 680))
        assert other.is_full()
        assert not other.is_over(1, 250)
        one.put(make(1, 0))
        assert other.is_over(1, 250)
        assert not other.is_below_low_water()


Place = tuple[int, int]


class AgainstAList(RuleBasedStateMachine):
    """The queue, beside lists of tasks: what is ready, in order, what is suspect, and leased."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = make_queue()
        self.ready: list[Place] = []
        self.suspects: list[Place] = []
        self.leased: list[Batch] = []

    @rule(count=st.integers(1, 9), nbytes=st.integers(0, 500))
    def put(self, count: int, nbytes: int) -> None:
        batch = make(count, nbytes)
        self.queue.put(batch)
        self.ready += [(batch.frame.sequence, i) for i in range(count)]

    @rule(tasks=st.integers(0, 20), nbytes=st.integers(1, 2000), batches=st.integers(1, 4),
          cut_min=st.integers(1, 4))  # fmt: skip
    def take(self, tasks: int, nbytes: int, batches: int, cut_min: int) -> None:
        taken = take(self.queue, tasks, cut_min=cut_min, nbytes=nbytes, batches=batches)
        count = self._take_from(self.ready, taken)
        assert len(taken) <= batches
        assert count <= tasks
        slack = OVERHEAD_BYTES + HEADER_BYTES + count
        assert sum(batch.nbytes for batch in taken) <= nbytes + slack or count == 1
        assert not any(batch.crashes for batch in taken)
        if self.ready and tasks >= cut_min:
            assert count, "there was room for a useful piece"

    @precondition(lambda self: self.suspects)
    @rule(tasks=st.integers(1, 20))
    def take_suspects(self, tasks: int) -> None:
        batch = self.queue.take_suspects(tasks, 3, None, True)
        count = self._take_from(self.suspects, [batch])
        assert 1 <= count <= (1 if batch.crashes > 1 else tasks)

    @precondition(lambda self: self.ready or self.suspects)
    @rule(nbytes=st.integers(1, 2000))
    def take_next(self, nbytes: int) -> None:
        batch = self.queue.take_next(nbytes)
        self._take_from(self.suspects or self.ready, [batch])
        slack = OVERHEAD_BYTES + HEADER_BYTES + batch.count
        assert batch.nbytes <= nbytes + slack or batch.count == 1

    def _take_from(self, row: list[Place], taken: list[Batch]) -> int:
        got = [(b.frame.sequence, b.first + i) for b in taken for i in range(b.count)]
        assert got == row[: len(got)]
        del row[: len(got)]
        self.leased += taken
        return len(got)

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
            row = self.suspects if part.crashes else self.ready
            row[:0] = [(part.frame.sequence, part.first + i) for i in range(part.count)]

    @invariant()
    def counts(self) -> None:
        queue = self.queue
        assert queue.ready_tasks == len(self.ready) + len(self.suspects)
        assert queue.suspect_tasks == len(self.suspects)
        assert queue.leased_tasks == sum(batch.count for batch in self.leased)
        assert queue.leased_bytes == sum(batch.nbytes for batch in self.leased)
        waiting: list[Any] = [*queue._suspects, *queue._returned, *queue._new]
        assert queue.ready_bytes == sum(batch.nbytes for batch in waiting)
        assert queue.budget.bytes == queue.bytes
        frames = {id(b.frame): len(b.frame.body) for b in (*waiting, *self.leased)}
        assert sum(frames.values()) <= 2 * queue.bytes, "of what is alive half is counted"


AgainstAList.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAgainstAList = AgainstAList.TestCase
