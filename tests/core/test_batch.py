"""Batches: windows onto a frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.core.batch import OVERHEAD_BYTES, Batch, Published
from zqueue.errors import ProtocolError


def index(body: bytes) -> range:
    """Every byte after the first is a body."""
    return range(1, len(body) + 1)


def header(count: int) -> bytes:
    return b"<%d>" % count


def make(count: int, **more: object) -> Batch:
    body = b"#" + bytes(65 + i % 26 for i in range(count))
    return Batch.whole(Published("q", "t", body, count, **more))  # type: ignore[arg-type]


def test_a_whole_batch_is_its_frame() -> None:
    batch = make(3, sequence=7)
    assert (batch.first, batch.count, batch.attempt, batch.crashes) == (0, 3, 1, 0)
    assert batch.body(index, header) is batch.frame.body
    assert batch.frame.offsets is None, "nothing was cut, so nothing was looked at"
    assert repr(batch) == "<Batch q/t #7[0:3] try 1>"


def test_a_part_holds_just_its_tasks() -> None:
    part = make(5).part(1, 3)
    assert part.body(index, header) == b"<3>BCD"
    assert part.part(2, 1).body(index, header) == b"<1>D"
    assert part.part(0, 3).body(index, header) == b"<3>BCD"


def test_a_part_is_as_old_as_the_whole() -> None:
    batch = make(4)
    batch.attempt, batch.crashes = 3, 2
    part = batch.part(1, 2)
    assert (part.attempt, part.crashes) == (3, 2)
    assert repr(part) == "<Batch q/t #0[1:3] try 3>"


def test_the_index_is_computed_once() -> None:
    calls = []

    def counted(body: bytes) -> range:
        calls.append(body)
        return index(body)

    batch = make(4)
    assert [batch.part(i, 1).body(counted, header) for i in range(4)] == [
        b"<1>A", b"<1>B", b"<1>C", b"<1>D",
    ]  # fmt: skip
    assert calls == [batch.frame.body]


def test_a_frame_that_cannot_be_cut_is_looked_at_once() -> None:
    looked = 0

    def index(body: bytes) -> list[int]:
        nonlocal looked
        looked += 1
        raise ProtocolError("malformed", "not an array")

    whole = Batch.whole(Published("q", "t", b"?????", 5))
    for _ in range(3):
        with pytest.raises(ProtocolError, match="not an array"):
            whole.part(1, 2).body(index, header)
    assert looked == 1
    assert whole.body(index, header) == b"?????", "uncut it needs no looking"


def test_errors_of_the_index_pass_through() -> None:
    def broken(body: bytes) -> range:
        raise ValueError("no array")

    with pytest.raises(ValueError, match="no array"):
        make(2).part(0, 1).body(broken, header)


@pytest.mark.parametrize(("start", "count"), [(-1, 1), (0, 0), (0, 4), (2, 2), (3, 1)])
def test_a_part_lies_within(start: int, count: int) -> None:
    with pytest.raises(AssertionError):
        make(3).part(start, count)


@given(st.integers(1, 50), st.data())
def test_parts_share_the_bytes(count: int, data: st.DataObject) -> None:
    """Parts of a batch never count more than the batch and an overhead each."""
    batch = make(count)
    assert batch.nbytes == count + 1 + OVERHEAD_BYTES
    cut = data.draw(st.integers(0, count))
    parts = [batch.part(a, n) for a, n in ((0, cut), (cut, count - cut)) if n]
    shared = sum(part.nbytes - OVERHEAD_BYTES for part in parts)
    assert count + 1 - len(parts) < shared <= count + 1
    bodies = b"".join(part.body(index, lambda n: b"") for part in parts)
    assert bodies.removeprefix(b"#") == batch.frame.body[1:]
