"""The far row: what is put in comes out, in order, and takes little."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zqueue.core.far import PIECE_BYTES, FarRow
from zqueue.core.records import PUT, Found, Run

RUNS = st.lists(
    st.builds(Run, st.integers(0, 4095), st.integers(1, 4096), st.binary(max_size=8)),
    min_size=1, max_size=4,
)  # fmt: skip
FOUND = st.builds(
    Found, st.integers(1, 1 << 60), st.just(PUT), st.just("q"), st.integers(1, 4096),
    st.binary(max_size=200), st.integers(0, 1 << 40), RUNS,
)  # fmt: skip


@given(st.lists(st.one_of(st.tuples(FOUND, st.booleans()), st.none()), max_size=60))
def test_it_is_a_queue(steps: list[tuple[Found, bool] | None]) -> None:
    """Beside a list; None takes one out."""
    row, kept, older = FarRow("q"), list[Found](), 0
    for step in steps:
        if step is not None:
            row.put(step[0], older=step[1])
            kept.insert(older if step[1] else len(kept), step[0])
            older += step[1]
        elif kept:
            older = max(0, older - 1)
            assert row.first() == kept[0].number
            assert row.take() == kept.pop(0)
        assert row.tasks == sum(run.tasks for found in kept for run in found.runs)
        assert row.bytes == sum(found.nbytes for found in kept)
        assert bool(row) == bool(kept)
        assert list(row) == kept
        assert row.has_older == bool(older)
    assert bool(row.memory_bytes) == bool(kept)


def test_it_takes_little_and_leaves_nothing() -> None:
    row = FarRow("q")
    for number in range(1, 3001):
        row.put(Found(number, PUT, "q", 1, b"m" * 30, 1 << 20, [Run(0, 1, b"")]))
    assert row.memory_bytes <= 64 * 3000
    assert [row.take().number for _ in range(3000)] == list(range(1, 3001))
    assert (row.tasks, row.bytes, row.memory_bytes) == (0, 0, 0)
    assert not row._newer
    assert PIECE_BYTES < 1 << 17
    assert repr(row) == "<FarRow of 0 tasks in 0 bytes>"
