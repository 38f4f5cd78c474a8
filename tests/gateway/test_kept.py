"""Kept results: time is an argument."""

from __future__ import annotations

from zqueue.gateway.kept import Kept


def test_one_is_kept_for_its_time_once_it_is_there() -> None:
    kept: Kept[str] = Kept(kept_s=10.0)
    kept.add("a", "q", "future")
    entry = kept.get("a", 1e9)
    assert entry is not None
    assert (entry.queue, entry.future, entry.done_at) == ("q", "future", None)
    kept.done("a", 5, 100.0)
    assert kept.get("a", 109.9) is entry
    assert kept.get("a", 110.0) is None
    kept.done("a", 5, 111.0)
    assert (len(kept), repr(kept)) == (0, "<Kept: 0 results, 0 bytes>")


def test_the_oldest_make_room() -> None:
    kept: Kept[int] = Kept(results_max=3)
    for i in range(5):
        kept.add(str(i), "q", i)
        kept.done(str(i), 1, 0.0)
    assert [kept.get(str(i), 0.0) is not None for i in range(5)] == [False] * 2 + [True] * 3
    assert repr(kept) == "<Kept: 3 results, 3 bytes>"


def test_what_is_there_has_so_many_bytes() -> None:
    kept: Kept[int] = Kept(bytes_max=100)
    for i in range(4):
        kept.add(str(i), "q", i)
    for i in (2, 1, 0):
        kept.done(str(i), 40, float(i))
    assert kept.get("2", 2.0) is None, "it was there first"
    assert kept.get("3", 2.0) is not None, "it is not there yet"
    kept.done("3", 1_000, 3.0)
    assert len(kept) == 0
