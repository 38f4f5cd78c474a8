"""Counters."""

from __future__ import annotations

import pytest

from zqueue.core.counters import NAMES, Counters


def test_begin_at_zero() -> None:
    values = Counters().as_dict()
    assert set(values.values()) == {0}
    assert list(values) == list(NAMES)


def test_as_they_were_counted() -> None:
    counters = Counters()
    counters.published += 3
    counters.dead += 1
    assert {name: n for name, n in counters.as_dict().items() if n} == {"published": 3, "dead": 1}


def test_a_misspelt_counter_is_an_error() -> None:
    with pytest.raises(AttributeError):
        Counters().publishd = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_counting_by_name(name: str) -> None:
    counters = Counters()
    counters.count(name, 2)
    counters.count(name, 3)
    assert {key: n for key, n in counters.as_dict().items() if n} == {name: 5}
