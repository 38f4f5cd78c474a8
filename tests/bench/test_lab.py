"""The lab writes down what came of contests."""

from __future__ import annotations

import dataclasses
import gc
import itertools

from zqueue.bench.lab import Contest, Lab
from zqueue.bench.result import Component
from zqueue.bench.scale import PROBE


def make_lab(role: str = "process", *, with_memory: bool = True) -> tuple[Lab, list[str]]:
    said: list[str] = []
    return Lab(Component("queue"), PROBE, said.append, role, with_memory=with_memory), said


def make_list() -> object:
    """An operation's maker."""
    return lambda: [None]


def test_cases_and_ratios() -> None:
    lab, said = make_lab()
    lab.hold(
        Contest(
            "pair",
            "pair",
            {"ours": lambda: {"rate": 6.0}, "theirs": lambda: {"rate": 3.0, "p50": 1.0}},
            "family",
            2.0,
        )
    )
    ours, theirs = lab.component.cases
    assert (ours.subject, ours.operation, ours.family, ours.x) == ("ours", "pair", "family", 2.0)
    assert ours.figures["rate"].values == (6.0,)
    assert list(lab.component.ratios) == ["pair: ours / theirs, rate"]
    assert lab.component.ratios["pair: ours / theirs, rate"].values == (2.0,)
    assert theirs.figures["p50"].values == (1.0,)
    assert said == ["queue: pair, run 1 of 1"]


def test_no_ratio_to_nothing() -> None:
    lab, _ = make_lab()
    lab.hold(Contest("x", "task", {"a": lambda: {"rate": 1.0}, "b": lambda: {"rate": 0.0}}))
    assert lab.component.ratios == {}


def test_collections_and_processor_time_of_this_process_are_seen() -> None:
    lab, _ = make_lab(role="producer")

    def work() -> dict[str, float]:
        gc.collect()
        return {"rate": 1.0}

    lab.hold(Contest("x", "task", {"a": work}))
    (case,) = lab.component.cases
    assert case.figures["gc_count:producer"].median == 1
    assert case.figures["gc_pause_max:producer"].median > 0
    assert 0 < case.figures["cpu:producer"].median < 2


def test_a_sample_knows_better() -> None:
    """What was measured with more care is not covered up."""
    lab, _ = make_lab(role="producer")
    lab.hold(Contest("x", "task", {"a": lambda: {"cpu:producer": 7.0}}))
    assert lab.component.cases[0].figures["cpu:producer"].median == 7.0


def test_what_takes_long_is_done_once() -> None:
    calls = itertools.count(1)
    lab, _ = make_lab()
    lab.scale = dataclasses.replace(PROBE, runs=3)
    lab.hold(Contest("x", "task", {"a": lambda: {"rate": float(next(calls))}}), once=True)
    assert lab.component.cases[0].figures["rate"].values == (1.0,)


def test_memory_is_looked_at_unless_a_profiler_looks() -> None:
    for with_memory in (True, False):
        lab, _ = make_lab(with_memory=with_memory)
        lab.hold(Contest("x", "task", {"a": lambda: {"rate": 1.0}}))
        lab.add_allocations("x", "a", make_list)
        assert ("bytes_peak" in lab.component.cases[0].figures) is with_memory


def test_notes_are_told_once() -> None:
    lab, _ = make_lab()
    lab.note("a")
    lab.note("a")
    assert lab.component.notes == ["a"]
