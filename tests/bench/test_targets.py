"""Aims, and whether they are met."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zqueue.bench.measure import HIGHER, LOWER, Figure
from zqueue.bench.result import Result
from zqueue.bench.targets import (
    MET,
    MISSED,
    NOT_MEASURED,
    RATIOS,
    TARGETS,
    Target,
    find,
    find_ratio,
    judge,
    verdict,
)


@pytest.mark.parametrize(
    ("value", "better", "said"),
    [(10.0, HIGHER, MET), (9.9, HIGHER, MISSED), (10.0, LOWER, MET), (10.1, LOWER, MISSED)],
)
def test_verdicts(value: float, better: str, said: str) -> None:
    assert verdict(Figure((value,)), 10.0, better) == said


def test_nothing_is_said_of_what_was_not_measured() -> None:
    assert verdict(None, 10.0, HIGHER) == NOT_MEASURED


def target(text: str) -> Target:
    return next(target for target in TARGETS if text in target.text)


def test_every_aim_is_found_where_all_was_measured(result: Result) -> None:
    """Names of cases and figures, here and in the components, are the same."""
    for aim in TARGETS:
        if not aim.figure.startswith("gc_interval"):
            assert find(result, aim) is not None, aim.text
    for wanted in RATIOS:
        assert find_ratio(result, wanted) is not None, wanted.text


def test_pairs_a_second(result: Result, put: Callable[..., None]) -> None:
    aim = target("pairs of put and get")
    put("queue", "pair", "MemoryQueue", rate=(11e6, 12e6))
    assert judge(result, aim) == MET
    put("queue", "pair", "MemoryQueue", rate=(2e6, 12e6, 2e6))
    assert judge(result, aim) == MISSED


def test_no_collection_at_all_is_seldom_enough(result: Result, put: Callable[..., None]) -> None:
    aim = target("worker, time between")
    found = result.find("gc", "full load, send_many", "zqueue")
    assert found is not None
    found.figures.pop("gc_interval:worker", None)
    put("gc", "full load, send_many", "zqueue", gc_count_of_worker=(0.0, 0.0))
    assert judge(result, aim) == MET
    put("gc", "full load, send_many", "zqueue", gc_count_of_worker=(0.0, 1.0))
    assert judge(result, aim) == NOT_MEASURED
    put("gc", "full load, send_many", "zqueue", gc_interval_of_worker=(150.0,))
    assert judge(result, aim) == MISSED


def test_without_the_component(result: Result) -> None:
    result.components.clear()
    assert {judge(result, aim) for aim in TARGETS} == {NOT_MEASURED}
    assert find_ratio(result, RATIOS[0]) is None
