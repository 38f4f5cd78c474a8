"""Validation of what a broker reported."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.metrics import untrusted
from zqueue.stats.histogram import Histogram

from .conftest import histogram

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@given(ANYTHING)
def test_nothing_raises(value: object) -> None:
    assert 0 <= untrusted.number(value) <= 1 << 53
    assert 0 <= untrusted.figure(value) < inf
    assert len(untrusted.text(value)) <= untrusted.TEXT_CHARS_MAX
    assert all(type(name) is str for name in untrusted.names(value))
    assert all(type(key) is str for key in untrusted.table(value))
    assert all(type(item) is dict for item in untrusted.tables(value).values())
    assert all(type(row) is dict for row in untrusted.rows(value))
    assert all(type(count) is int for count in untrusted.counters(value).values())
    assert untrusted.histogram(value) is None or isinstance(value, list)


@pytest.mark.parametrize("value", [-1, 1 << 54, True, 1.5, "1", None])
def test_no_number(value: object) -> None:
    assert untrusted.number(value) == 0


@pytest.mark.parametrize("value", [-1.0, inf, nan, 1e16, "1", None, False])
def test_no_figure(value: object) -> None:
    assert untrusted.figure(value) == 0.0


def test_what_is_well_is_taken_as_it_is() -> None:
    assert untrusted.number(5) == 5
    assert untrusted.figure(0.5) == 0.5
    assert untrusted.figure(3) == 3.0
    assert untrusted.text("a") == "a"
    assert untrusted.table({"a": 1, 2: 3, "": 4}) == {"a": 1}
    assert untrusted.tables({"a": {"b": 1}, "c": 2}) == {"a": {"b": 1}}
    assert untrusted.rows([{"a": 1}, 2]) == [{"a": 1}]
    assert untrusted.counters({"a": 1, "b": "2"}) == {"a": 1}
    assert untrusted.histogram(histogram(1.0).to_wire()) == histogram(1.0)
    assert untrusted.histogram(Histogram().to_wire()) == Histogram()


def test_a_line_can_be_logged() -> None:
    assert untrusted.line("1.0\n2026 ERROR all is lost\x1b[2J") == "1.0?2026 ERROR all is lost?[2J"
    assert untrusted.line(5) == ""


def test_what_is_long_is_cut_off() -> None:
    assert len(untrusted.names(["a"] * 1000)) == untrusted.NAMES_MAX
    assert len(untrusted.counters({str(n): n for n in range(1000)})) == untrusted.NAMES_MAX


def test_names_that_are_too_long_are_none() -> None:
    assert untrusted.table({"n" * 129: 1}) == {}
