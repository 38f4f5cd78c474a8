"""A result is written and read back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zqueue.bench.measure import HIGHER, LOWER
from zqueue.bench.result import KINDS, Case, Component, Result, kind_of, make_figures


def test_is_the_same_after_writing_and_reading(result: Result) -> None:
    again = Result.from_data(json.loads(json.dumps(result.as_data())))
    assert again == result


def test_another_format_is_not_read(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="format 99"):
        Result.from_data({**data, "format": 99})


def test_figures_know_their_unit_by_their_name() -> None:
    figures = make_figures({"rate": (1.0,), "cpu_ns:broker": (2.0,), "strange": (3.0,)})
    assert (figures["rate"].unit, figures["rate"].better) == ("/s", HIGHER)
    assert (figures["cpu_ns:broker"].unit, figures["cpu_ns:broker"].better) == ("ns", LOWER)
    assert kind_of("strange").text == "strange"


def test_every_recorded_figure_is_of_a_known_kind(result: Result) -> None:
    names = {name.partition(":")[0] for _, case in result.cases() for name in case.figures}
    assert names <= set(KINDS)


def case(**values: tuple[float, ...]) -> Case:
    return Case("send", "zqueue", "task", "", None, make_figures(values))


def test_only_what_is_judged_is_called_noisy() -> None:
    """The longest latency is wild by nature; a rate that is, is worthless."""
    found = case(rate=(1.0, 9.0), max=(1.0, 9.0))
    assert found.noisy() == ["rate"]
    assert found.as_data()["figures"]["rate"]["noisy"] is True
    assert found.as_data()["figures"]["max"]["noisy"] is False


def test_figures_by_role() -> None:
    found = Case("a", "b", "task", "", None, make_figures({"cpu:x": (1.0,), "cpu_ns:x": (2.0,)}))
    assert list(found.of("cpu")) == ["x"]
    assert found.of("cpu")["x"].median == 1.0
    assert found.of("rss") == {}


def test_families_are_in_order() -> None:
    cases = [Case(str(x), who, "task", "batch", x, {}) for who in "ba" for x in (64.0, 1.0)]
    component = Component("pool", [*cases, case()])
    found = [(c.subject, c.x) for c in component.family("batch")]
    assert found == [("a", 1.0), ("a", 64.0), ("b", 1.0), ("b", 64.0)]


def test_what_is_missing_is_none(result: Result) -> None:
    assert result.figure("pool", "send", "zqueue", "rate") is not None
    assert result.figure("pool", "send", "zqueue", "colour") is None
    assert result.figure("pool", "sing", "zqueue", "rate") is None
    assert result.figure("codec", "pack 512", "zqueue", "rate") is None
