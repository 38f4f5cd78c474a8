"""Collections: how often, how far apart, how long."""

from __future__ import annotations

import gc

import pytest

from zqueue.bench.pauses import Collections, figures_between, figures_of, watching


def test_figures_of_three_collections() -> None:
    spans = [(1.0, 1.002), (1.5, 1.501), (1.6, 1.609)]
    figures = figures_of(spans, 2.0, "worker")
    assert figures["gc_count:worker"] == 3
    assert figures["gc_interval:worker"] == pytest.approx(2000 / 3)
    assert figures["gc_shortest:worker"] == pytest.approx(100)
    assert figures["gc_pause_max:worker"] == pytest.approx(9)
    assert figures["gc_pause_mean:worker"] == pytest.approx(4)
    assert figures["gc_share:worker"] == pytest.approx(0.006)


def test_none_is_no_interval() -> None:
    assert figures_of([], 2.0, "worker") == {"gc_count:worker": 0}
    stats = {"count": 4, "total": 1.0, "max": 0.5}
    assert figures_between(stats, stats, 2.0, "broker") == {"gc_count:broker": 0}


def test_one_has_no_shortest_distance() -> None:
    assert "gc_shortest:x" not in figures_of([(1.0, 1.1)], 2.0, "x")


def test_between_two_looks() -> None:
    before = {"count": 4, "total": 1.0, "max": 0.5}
    after = {"count": 8, "total": 11.0, "max": 6.0, "interval_min": 40.0}
    figures = figures_between(before, after, 2.0, "broker")
    assert figures == {
        "gc_count:broker": 4,
        "gc_interval:broker": 500,
        "gc_pause_max:broker": 6.0,
        "gc_pause_mean:broker": 2.5,
        "gc_share:broker": 0.005,
        "gc_shortest:broker": 40.0,
    }


def test_real_collections_are_seen_while_it_is_watched() -> None:
    gc.collect()
    with watching() as seen:
        gc.collect()
        gc.collect()
    gc.collect()
    assert len(seen.spans) == 2
    assert all(begin < end for begin, end in seen.spans)


def test_an_end_without_a_beginning_does_not_count() -> None:
    seen = Collections()
    seen._on_collection("stop", {})
    assert seen.spans == []
