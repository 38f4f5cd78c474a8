"""Delayed tasks: none before its time, each once, in order, whatever is taken out."""

from __future__ import annotations

import tracemalloc
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.core.batch import Batch, Published
from zqueue.core.delayed import NEAR_S, OPEN_MAX, Delayed
from zqueue.wire.codec import array_header, pack
from zqueue.wire.unpacking import index_bodies

SPANS = st.one_of(st.floats(0.0, 3.0), st.floats(0.0, 200.0), st.floats(0.0, 30_000.0))

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), SPANS),
        st.tuples(st.just("pass"), SPANS),
        st.tuples(st.just("take out"), st.integers(2, 5)),
    ),
    max_size=60,
)


def batch_of(number: int, tasks: int = 1, attempt: int = 1) -> Batch:
    frame = Published("q", "t", pack([number] * tasks), tasks, sequence=number)
    return Batch(frame, 0, tasks, attempt=attempt, fresh=attempt == 1)


def own(batch: Batch) -> None:
    batch.own(index_bodies, array_header, always=True)


@given(STEPS, st.floats(0.0, 1e9))
def test_as_a_sorted_list_would_do(steps: list[tuple[str, float]], now: float) -> None:
    delayed, waiting, number = Delayed("q", own), [], 0
    for what, value in steps:
        if what == "put":
            number += 1
            delayed.put(batch_of(number), now + value, now)
            waiting.append((now + value, number))
        elif what == "pass":
            now += value
            expected = sorted(one for one in waiting if one[0] <= now)
            taken = [(due, batch.frame.sequence) for due, batch in delayed.take(now)]
            assert sorted(taken) == expected
            assert [due for due, _ in taken] == [due for due, _ in expected], "not in order"
            waiting = [one for one in waiting if one[0] > now]
        else:
            out = delayed.take_out(lambda batch, by=int(value): batch.frame.sequence % by == 0)
            assert sorted(batch.frame.sequence for batch in out) == sorted(
                number for _, number in waiting if number % int(value) == 0
            )
            waiting = [one for one in waiting if one[1] % int(value)]
        assert delayed.tasks == len(waiting)
        assert delayed.bytes == sum(batch.nbytes for _, batch in delayed)
        assert delayed.next_due() == min((due for due, _ in waiting), default=None)
        first = [(due, batch.frame.sequence) for due, batch in delayed.first(3)]
        assert [due for due, _ in first] == [due for due, _ in sorted(waiting)[:3]]
        assert set(first) <= set(waiting)
        look = delayed.next_look()
        if waiting:
            assert look is not None, "somebody waits, and nobody will look"
            assert look <= min(waiting)[0]
        else:
            assert look is None or what != "pass"


def test_who_waits_long_is_looked_at_a_few_times_only() -> None:
    delayed, looks, now = Delayed("q", own), 0, 0.0
    delayed.put(batch_of(1), 1e6, 0.0)
    while delayed.tasks:
        now = delayed.next_look()
        assert now is not None
        delayed.take(now)
        looks += 1
    assert now == 1e6
    assert looks <= 4


def test_what_is_known_of_a_task_stays_known() -> None:
    delayed = Delayed("q", own)
    batch = batch_of(1, tasks=5, attempt=7).part(1, 3)
    batch.failures, batch.timeouts, batch.crashes = 3, 2, 1
    delayed.put(batch, 5000.25, 0.0)
    assert delayed.take(5000.0) == []
    ((due, same),) = delayed.take(5000.25)
    assert due == 5000.25
    for name in ("first", "count", "attempt", "failures", "timeouts", "crashes", "fresh", "nbytes"):
        assert getattr(same, name) == getattr(batch, name), name


def test_a_part_is_taken_out_and_the_rest_waits_on() -> None:
    delayed = Delayed("q", own)
    delayed.put(batch_of(1, tasks=5), 2 * NEAR_S, 0.0)
    (out,) = delayed.take_out(lambda batch: 0b00110)
    assert (out.first, out.count) == (1, 2)
    parts = [batch for _, batch in delayed.take(2 * NEAR_S)]
    assert sorted((part.first, part.count) for part in parts) == [(0, 1), (3, 2)]


class Options(NamedTuple):
    """What was asked for a task, as `Published` wants it."""

    time: int
    more: str = "more"

    def apart(self) -> tuple[int, Options]:
        return self.time, Options(0, self.more)

    def timed(self, time: int) -> Options:
        return Options(time, self.more)


@pytest.mark.parametrize("entry", [0, 1 << 40], ids=["in memory", "in a store"])
def test_a_lone_task_takes_64_bytes_beside_its_body(entry: int) -> None:
    delayed, body, tasks = Delayed("q", own), pack(["x" * 20]), 5000

    def put(number: int) -> None:
        frame = Published("q", "t", body, 1, at=1e5 + number, sequence=number)
        frame.entry = entry and entry + number
        frame.options = Options(number)
        delayed.put(Batch(frame, 0, 1), 2e5 + number % 100, 1e5)

    put(0)
    tracemalloc.start()
    for number in range(1, tasks):
        put(number)
    nbytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert nbytes / tasks <= 64 + (0 if entry else len(body))
    for at, (due, batch) in enumerate(sorted(delayed, key=lambda run: run[1].frame.sequence)):
        frame = batch.frame
        assert (frame.sequence, frame.at, due) == (at, 1e5 + at, 2e5 + at % 100)
        assert (frame.options, frame.body) == (Options(at), b"" if entry else body)


def test_many_that_come_near_together_are_moved_a_few_at_a_time() -> None:
    delayed, now, most = Delayed("q", own), 0.0, 0
    for number in range(3 * OPEN_MAX):
        delayed.put(batch_of(number), 99.5, 0.0)
    taken: list[int] = []
    while delayed.tasks:
        look = delayed.next_look()
        assert look is not None
        now = max(now, look)
        before = len(delayed._near)
        came = [batch.frame.sequence for _, batch in delayed.take(now)]
        most = max(most, len(delayed._near) - before)
        taken += came
    assert (now, taken, most) == (99.5, list(range(3 * OPEN_MAX)), OPEN_MAX)
