"""What is in which segment, and what may go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.core.records import Over, Run
from zqueue.store.segments import (
    COLD,
    HOT,
    MOVED,
    MOVES_LEAST,
    Ledger,
    Segment,
    restated,
    without,
)

KEY = (b"q", 1)
SEGMENT_BYTES = 1 << 20


def ledger_of(*entries: int, size: int = 1000) -> Ledger:
    """Hot segments with so many entries, of two tasks each."""
    ledger = Ledger(SEGMENT_BYTES)
    for stamp, count in enumerate(entries, 1):
        segment = Segment(stamp, HOT, ledger.next_entry)
        ledger.begin(segment)
        for _ in range(count):
            ledger.put(segment, 0, size, KEY, 2, size - 100)
    return ledger


def end(ledger: Ledger, *numbers: int) -> None:
    for number in numbers:
        there = ledger.find(number)
        assert there is not None
        ledger.over(*there, Over(number, 0, 2), ledger.streams[HOT][-1])


def test_a_number_says_where_an_entry_is() -> None:
    ledger = ledger_of(3, 0, 2)
    hot = ledger.streams[HOT]
    assert [ledger.find(n) for n in range(7)] == [
        None, (hot[0], 0), (hot[0], 1), (hot[0], 2), (hot[2], 0), (hot[2], 1), None,
    ]  # fmt: skip
    end(ledger, 2)
    assert ledger.find(2) is None
    assert list(hot[0].open_rows()) == [0, 2]
    assert hot[2].touched == {1}


def test_segments_go_from_the_head_alone() -> None:
    ledger = ledger_of(2, 1, 1)
    end(ledger, 3)
    assert not ledger.drop(HOT, ledger.lowest())
    end(ledger, 1, 2, 4)
    assert [s.number for s in ledger.drop(HOT, ledger.lowest())] == [1, 2]
    assert ledger.lowest() == 4
    assert not ledger.drop(HOT, ledger.lowest()), "the last one is being written"


def test_little_that_stays_is_moved_and_the_cold_copy_stays_while_the_hot_file_does() -> None:
    ledger = ledger_of(20, 1, 1, 1, 1)
    end(ledger, *range(18, 21))
    assert [row for _, row in ledger.to_move(up_to=5)] == [0, 1, 2, 3, 4]
    chosen = ledger.to_move(up_to=100)
    assert len(chosen) == MOVES_LEAST
    cold = Segment(9, COLD, 0)
    ledger.begin(cold)
    ledger.begin(Segment(10, COLD, 0))
    for source, row in chosen:
        cold.add(source.number_at(row), 0, 1000, KEY, 2, 900)
        ledger.moved(source, row, cold, len(cold.open) - 1)
    assert ledger.find(1) == (cold, 0)
    head = ledger.streams[HOT][0]
    assert head.open[0] == MOVED
    assert head.flags()[0] == 1, "it is for the cold stream to say"
    for number in range(1, 17):
        ledger.over(cold, number - 1, Over(number, 0, 2), cold)
    assert not ledger.drop(COLD, ledger.lowest())
    end(ledger, 17)
    lowest = ledger.lowest()
    assert ledger.drop(HOT, lowest) == [head]
    assert not ledger.drop(COLD, lowest), "the file is still there"
    assert ledger.drop(COLD, ledger.lowest()) == [cold]


def test_a_cold_copy_stays_while_its_hot_file_does_whatever_was_moved_after_it() -> None:
    ledger = ledger_of(2, 1)
    for stamp, number in ((8, 2), (9, 1)):
        cold = Segment(stamp, COLD, ledger.next_entry)
        ledger.begin(cold)
        cold.add(number, 0, 1000, KEY, 2, 900)
        if stamp == 8:
            cold.add(1, 0, 1000, KEY, 2, 900)
            cold.close(1, 1000)
        cold.close(0, 1000)
    assert not ledger.is_spent(COLD, 2)
    assert ledger.is_spent(COLD, 3)


def test_nothing_is_moved_where_most_is_open() -> None:
    assert not ledger_of(*[1040] * 8).to_move(up_to=10_000)


def test_parts_are_held_by_their_tasks() -> None:
    ledger = ledger_of(2)
    there = ledger.find(1)
    assert there is not None
    ledger.over(*there, Over(1, 1, 1), there[0])
    (held,) = ledger.held()
    assert held == (1, "q", 2, 3, 1800)
    ledger.over(*there, Over(1, 0, 1), there[0])
    assert not ledger.runs
    assert ledger.find(1) is None


def test_rows_of_what_was_lost() -> None:
    ledger = ledger_of(1)
    (segment,) = ledger.streams[HOT]
    segment.skip_to(4)
    ledger.next_entry = 4
    ledger.put(segment, 0, 1000, KEY, 2, 900)
    assert ledger.find(3) is None
    assert ledger.find(4) == (segment, 3)


tasks = st.integers(0, 12)
changes = st.lists(st.tuples(tasks, st.integers(1, 12), st.sampled_from([None, b"", b"a", b"b"])))


@given(changes)
def test_runs_are_as_if_each_task_had_its_state(some: list[tuple[int, int, bytes | None]]) -> None:
    runs = [Run(0, 10, b"")]
    states: dict[int, bytes] = dict.fromkeys(range(10), b"")
    for first, count, meta in some:
        positions = range(first, first + count)
        if meta is None:
            runs = without(runs, first, count)
            states = {task: state for task, state in states.items() if task not in positions}
        else:
            runs = restated(runs, Run(first, count, meta))
            states.update({task: meta for task in positions if task in states})
    assert {t: r.meta for r in runs for t in range(r.first, r.first + r.tasks)} == states
    assert sum(run.tasks for run in runs) == len(states)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (Run(2, 3, b"x"), [Run(0, 2, b""), Run(2, 3, b"x"), Run(5, 5, b"")]),
        (Run(0, 10, b""), [Run(0, 10, b"")]),
        (Run(8, 9, b"x"), [Run(0, 8, b""), Run(8, 2, b"x")]),
    ],
)
def test_neighbours_in_the_same_state_are_one(state: Run, expected: list[Run]) -> None:
    assert restated([Run(0, 10, b"")], state) == expected
    assert restated(restated([Run(0, 10, b"")], state), Run(0, 10, b"")) == [Run(0, 10, b"")]
