"""The garbage collector of this very process, watched."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Iterator
from time import perf_counter

import msgpack
import pytest

from zqueue.net.collector import (
    GENERATIONS,
    YOUNG_OBJECTS,
    stop_collector,
    sweep,
    tame_collector,
    watch_collector,
)
from zqueue.stats.pauses import Pauses


class Clock:
    """Reads the clock at both ends of every collection, independently."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, float]] = []
        self.ended: list[tuple[int, float]] = []

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        read = self.begun if phase == "start" else self.ended
        read.append((info["generation"], perf_counter()))


class Node:
    """Part of a cycle."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def untouched() -> Iterator[None]:
    """The collector as it was, afterwards; and what others left is none of our business."""
    before, callbacks = gc.get_threshold(), list(gc.callbacks)
    gc.freeze()
    yield
    gc.enable()
    gc.set_threshold(*before)
    gc.unfreeze()
    gc.callbacks[:] = callbacks


def litter(nodes: int) -> None:
    for _ in range(nodes):
        Node()


@pytest.mark.usefixtures("untouched")
def test_as_another_callback_measures() -> None:
    """Callbacks run in their order at both ends: each of our pauses lies between what two others
    measure that read the clock before and after us."""
    pauses, first, last = Pauses(), Clock(), Clock()
    gc.set_threshold(500, 3, 2)
    gc.callbacks.append(first)
    unwatch = watch_collector(pauses)
    gc.callbacks.append(last)
    for generation in (0, 1, 2, 0, 2):
        litter(3_000)  # Collections of their own, too.
        gc.collect(generation)
    gc.callbacks.remove(first)
    unwatch()
    gc.callbacks.remove(last)

    generations = [generation for generation, _ in first.begun]
    assert len(generations) > 20
    assert set(generations) == {0, 1, 2}
    assert pauses.counts == [generations.count(generation) for generation in range(3)]
    shortest = [
        (generation, end - begin)
        for (generation, end), (_, begin) in zip(first.ended, last.begun, strict=True)
    ]
    longest = [
        (generation, end - begin)
        for (generation, end), (_, begin) in zip(last.ended, first.begun, strict=True)
    ]
    for generation in range(3):
        least = [length for g, length in shortest if g == generation]
        most = [length for g, length in longest if g == generation]
        assert sum(least) <= pauses.totals_s[generation] <= sum(most)
        assert max(least) <= pauses.maxima_s[generation] <= max(most)
    gaps = [
        (after - before_latest, after_latest - before)
        for ((_, before), (_, after)), ((_, before_latest), (_, after_latest)) in zip(
            itertools.pairwise(first.begun), itertools.pairwise(last.begun), strict=True
        )
    ]
    least, most = ([gap[i] for gap in gaps] for i in range(2))
    assert pauses.intervals.count == len(gaps) == len(generations) - 1
    assert min(least) <= pauses.interval_min_s <= min(most)
    assert sum(least) <= pauses.intervals.sum <= sum(most) + 1e-6
    assert pauses.lengths.count == pauses.count
    assert pauses.lengths.sum == pytest.approx(pauses.total_s, abs=1e-6)
    assert pauses.stats()["max"] == round(1000 * max(pauses.maxima_s), 3)


@pytest.mark.usefixtures("untouched")
def test_collecting_inside_a_collection_does_not_break_it() -> None:
    pauses = Pauses()

    def collect_again(phase: str, info: dict[str, int]) -> None:
        gc.collect(0)

    watch_collector(pauses)
    gc.callbacks.append(collect_again)
    gc.collect()
    gc.callbacks.remove(collect_again)
    count = pauses.count
    assert count >= 1
    gc.collect(0)
    assert pauses.count == count + 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("untouched")
def test_an_exception_in_a_finalizer_does_not_break_it() -> None:
    class Bad(Node):
        def __del__(self) -> None:
            raise RuntimeError("in the middle of a collection")

    pauses = Pauses()
    watch_collector(pauses)
    Bad()
    gc.collect()
    count = pauses.count
    gc.collect()
    assert pauses.count == count + 1
    assert count >= 1


@pytest.mark.usefixtures("untouched")
def test_watching_ends() -> None:
    pauses = Pauses()
    unwatch = watch_collector(pauses)
    gc.collect()
    unwatch()
    count = pauses.count
    gc.collect()
    assert pauses.count == count > 0


@pytest.mark.usefixtures("untouched")
class TestTamed:
    def test_what_was_there_is_not_looked_at_again(self) -> None:
        there = [Node() for _ in range(1000)]
        tame_collector()
        assert gc.get_threshold() == GENERATIONS
        assert not any(isinstance(thing, Node) for thing in gc.get_objects())
        there.append(Node())
        assert sum(isinstance(thing, Node) for thing in gc.get_objects()) == 1

    def test_no_batch_makes_it_collect(self) -> None:
        frame = msgpack.packb([{"tags": [i]} for i in range(4096)])
        counts = []
        for tamed in (False, True):
            if tamed:
                tame_collector()
            pauses = Pauses()
            unwatch = watch_collector(pauses)
            for _ in range(20):
                for body in msgpack.unpackb(frame):
                    assert body["tags"]
            unwatch()
            counts.append(pauses.count)
        assert counts[0] >= 20
        assert counts[1] == 0

    def test_cycles_are_found_all_the_same(self) -> None:
        tame_collector()
        lost = weakref.ref(Node())
        for _ in range(2):
            litter(YOUNG_OBJECTS)
        assert lost() is None


@pytest.mark.usefixtures("untouched")
class TestStopped:
    def test_collects_when_it_is_told_to(self) -> None:
        stop_collector()
        pauses = Pauses()
        watch_collector(pauses)
        lost = weakref.ref(Node())
        assert not gc.isenabled()
        assert lost() is not None
        sweep()
        assert lost() is None
        assert pauses.counts == [1, 0, 0]

    def test_what_stays_is_looked_at_once(self) -> None:
        kept = [Node() for _ in range(1000)]
        stop_collector()
        assert not any(isinstance(thing, Node) for thing in gc.get_objects())
        kept += [Node() for _ in range(1000)]
        sweep()
        assert len(kept) == 2000
        assert not any(isinstance(thing, Node) for thing in gc.get_objects())

    def test_growth_is_not_looked_at(self) -> None:
        stop_collector()
        pauses = Pauses()
        watch_collector(pauses)
        kept = []
        for _ in range(3):
            kept += [Node() for _ in range(2 * YOUNG_OBJECTS)]
            sweep()
            assert gc.get_count()[0] < YOUNG_OBJECTS
        assert pauses.count == 0
        del kept[:]
        sweep()
        assert pauses.count == 1
