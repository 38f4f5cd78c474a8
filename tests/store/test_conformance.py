"""What every store does, told by one suite."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zqueue.core.records import PUT, Again, Entry, Fact, Over, Run
from zqueue.store.segment_store import SegmentStore
from zqueue.store.store import Store

from .driving import Model, Traffic, check, drive, run
from .other_stores import LmdbStore, SqliteStore

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A disk that syncs at once: what is tried here is what is where, not how long that takes."""

Make = Callable[[str], Store]


def small(path: str) -> Store:
    return SegmentStore(path, segment_bytes=1 << 16)


def lazy(path: str) -> Store:
    return SegmentStore(path, segment_bytes=1 << 16, sync=False)


STORES: dict[str, Make] = {
    "segments": SegmentStore, "small": small, "os": lazy, "sqlite": SqliteStore,
}  # fmt: skip

if importlib.util.find_spec("lmdb"):
    STORES["lmdb"] = LmdbStore

every_store = pytest.mark.parametrize("make", STORES.values(), ids=STORES)


def put(number: int, tasks: int = 4, body: bytes = b"body") -> Entry:
    return Entry(number, PUT, "q", tasks, b"meta", body)


@every_store
def test_what_was_stored_is_found_again(make: Make, tmp_path: Path) -> None:
    path = str(tmp_path / "data")
    store = make(path)
    first = store.open()
    assert first.next_entry == 1
    assert not list(first.found)
    model = Model()
    records = [put(1), put(2), Over(1, 1, 2), Again(2, 0, 2, b"again"), Over(2, 3, 1),
               Fact(b"a=1"), Fact(b"b=2"), Fact(b"a=3"), put(3, 1), Over(3, 0, 1)]  # fmt: skip
    model.apply(records)
    assert drive(store, 1, records, model.all_facts) == 1
    assert store.read(1) == b"body"
    store.close()
    again = make(path)
    found = again.open()
    assert found.id == first.id
    assert found.torn == 0
    entries = list(found.found)
    assert [entry.number for entry in entries] == [1, 2]
    assert entries[0].runs == [Run(0, 1, b""), Run(3, 1, b"")]
    assert entries[1].runs == [Run(0, 2, b"again"), Run(2, 1, b"")]
    assert found.next_entry == 4
    again.close()
    third = make(path)
    check(third, third.open(), model)
    third.close()


@every_store
def test_what_is_said_of_an_entry_that_is_over_is_nothing(make: Make, tmp_path: Path) -> None:
    store = make(str(tmp_path / "data"))
    store.open()
    drive(store, 1, [put(1), Over(1, 0, 4), Over(1, 0, 4), Again(1, 0, 1, b"x")], list)
    drive(store, 2, [Over(1, 0, 1), Again(1, 0, 4, b"x"), Over(7, 0, 1)], list)
    store.close()
    again = make(str(tmp_path / "data"))
    assert not list(again.open().found)
    again.close()


@pytest.mark.parametrize("make", [make for make in STORES.values() if make is not SegmentStore])
@settings(max_examples=20)
@given(seed=st.integers(0, 1 << 30), lives=st.lists(st.integers(1, 80), min_size=1, max_size=5))
def test_any_history_over_some_lives(make: Make, seed: int, lives: list[int]) -> None:
    traffic = Traffic(seed)
    with tempfile.TemporaryDirectory(dir=MEMORY) as path:
        for commits in lives:
            store = make(path)
            check(store, store.open(), traffic.model)
            run(store, traffic, commits)
            store.close()
        store = make(path)
        found = store.open()
        check(store, found, traffic.model)
        assert found.torn == 0
        store.close()


def test_files_are_few_though_some_entries_stay() -> None:
    """They are moved out of the way, and found where they are now."""
    traffic = Traffic(5, stay=0.01)
    with tempfile.TemporaryDirectory(dir=MEMORY) as path:
        store = small(path)
        list(store.open().found)
        run(store, traffic, 700)
        status = store.status()
        assert status.moved > 0
        assert status.segments <= 2 * status.live_bytes / (1 << 16) + 4
        store.close()
        again = small(path)
        check(again, again.open(), traffic.model)
        again.close()
