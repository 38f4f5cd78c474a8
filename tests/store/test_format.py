"""Records, to bytes and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.core.records import Fact, Run
from zqueue.store import format as f

STAMP = 0xDEADBEEF_00000007
OLD = 0xCAFECAFE_00000003

numbers = st.integers(0, (1 << 64) - 1)
runs = st.builds(Run, st.integers(0, 5000), st.integers(1, 5000), st.binary(max_size=50))


@given(
    kind=st.integers(1, 255),
    number=numbers,
    tasks=st.integers(0, (1 << 32) - 1),
    name=st.binary(max_size=255),
    meta=st.binary(max_size=300),
    body=st.binary(max_size=300),
    before=st.binary(max_size=20),
)
def test_a_record_comes_back(
    kind: int, number: int, tasks: int, name: bytes, meta: bytes, body: bytes, before: bytes
) -> None:
    head = f.pack(STAMP, kind, number, tasks=tasks, name=name, meta=meta, body=body)
    data = before + head + body + b"behind"
    record = f.parse(data, len(before), STAMP)
    assert record is not None
    assert (record.kind, record.number, record.tasks) == (kind, number, tasks)
    assert (record.name, record.meta, f.body_of(data, record)) == (name, meta, body)
    assert data[record.end :] == b"behind"
    assert f.parse(data, len(before), OLD) is None
    moved = f.restamp(head + body, STAMP, OLD)
    assert moved == f.pack(OLD, kind, number, tasks=tasks, name=name, meta=meta, body=body) + body


def test_no_bit_is_without_meaning() -> None:
    body = b"the body"
    data = f.pack(STAMP, 1, 5, tasks=3, name=b"q", meta=b"meta", body=body) + body
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not list(f.records_in(bytes(flipped), 0, STAMP)), bit
    for length in range(len(data)):
        assert not list(f.records_in(data[:length], 0, STAMP)), length


kinds = st.tuples(st.integers(1, 3), st.binary(max_size=5), st.binary(max_size=40))


@given(st.lists(kinds, min_size=1), st.integers(0, 3), st.data())
def test_the_last_of_a_kind_is_that_of_all_records(
    some: list[tuple[int, bytes, bytes]], kind: int, data: st.DataObject
) -> None:
    """Also where the row of records ends early, at any bit that is not what was written."""
    row = bytearray(b"before")
    for number, (its_kind, name, body) in enumerate(some):
        row += f.pack(STAMP, its_kind, number, name=name, body=body) + body
    row += bytes(data.draw(st.integers(0, 50)))
    bit = data.draw(st.integers(8 * 6, 8 * len(row) - 1))
    for whole in (bytes(row), bytes(row[: bit // 8])):
        _check_last(whole, kind)
    row[bit // 8] ^= 1 << bit % 8
    _check_last(bytes(row), kind)


def _check_last(row: bytes, kind: int) -> None:
    found = [record for _, record, _ in f.records_in(row, 6, STAMP) if record.kind == kind]
    assert f.last_of(row, 6, STAMP, kind) == (found[-1] if found else None)


@given(st.lists(runs), st.lists(st.binary(max_size=50)))
def test_lists_come_back(some: list[Run], metas: list[bytes]) -> None:
    data = f.pack_state(STAMP, 9, some)
    ((_, record, body),) = f.records_in(data, 0, STAMP)
    assert record.number == 9
    assert f.unpack_state(body) == some
    facts = [Fact(meta) for meta in metas]
    assert f.unpack_facts(f.pack_facts(facts)) == facts
    for run in some:
        record = f.parse(f.pack_again(STAMP, 4, run), 0, STAMP)
        assert record is not None
        assert f.unpack_again(record) == run


counts = st.integers(0, (1 << 32) - 1)
classes_of = st.builds(
    f.Class, st.binary(max_size=255), st.integers(1, 127), counts, numbers, numbers
)


@given(st.lists(classes_of))
def test_a_footer_comes_back(classes: list[f.Class]) -> None:
    footer = f.Footer(7, 1000, classes)
    ((_, record, body),) = f.records_in(footer.pack(STAMP), 0, STAMP)
    assert f.Footer.unpack(record, body) == footer


def test_a_commit_proves_what_was_before_it() -> None:
    first = f.pack_segment(STAMP)
    assert f.stamp_of(first + b"more") == STAMP
    assert f.stamp_of(first[:-1]) is None
    assert len(first) == f.FIRST
    lost = b"?" * 100
    commit = f.Commit(next_entry=4, ticket=2, synced=f.FIRST + 50, oldest=1, previous=0, end=0,
                      stream=0)  # fmt: skip
    data = first + lost + commit.pack(STAMP) + bytes(1000)
    places = list(f.candidates(data, f.FIRST, STAMP))
    assert places == [f.FIRST + 100]
    assert f.synced_beyond(data, f.FIRST + 49, STAMP, places)
    assert not f.synced_beyond(data, f.FIRST + 50, STAMP, places)
    assert not f.synced_beyond(data, f.FIRST, OLD, places)
    record = f.parse(data, f.FIRST + 100, STAMP)
    assert record is not None
    assert f.Commit.unpack(record) == commit


@pytest.mark.parametrize("what", [b"", b"x" * 100, bytes(100)])
def test_what_is_no_segment_has_no_stamp(what: bytes) -> None:
    assert f.stamp_of(what) is None


@given(
    places=st.lists(st.integers(0, 400_000), max_size=4),
    stamp=st.sampled_from([STAMP, 0x00000000_00000007, 0xDE000000_00000100]),
    at=st.integers(0, 100),
)
def test_what_may_be_a_record_is_found_among_zeroes(places: list[int], stamp: int, at: int) -> None:
    needle = stamp.to_bytes(8, "little")
    data = bytearray(400_100)
    for place in places:
        data[place : place + 8] = needle
    lead, found, place = 16, [], data.find(needle, at + 16)
    while place >= 0:
        found.append(place - lead)
        place = data.find(needle, place + 1)
    assert list(f.candidates(bytes(data), at, stamp)) == found
