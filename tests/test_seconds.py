"""Durations as callers give them."""

from __future__ import annotations

import datetime
import decimal
import fractions
import math
from typing import Any

import pytest

from zqueue.errors import ConfigError
from zqueue.seconds import check_seconds


@pytest.mark.parametrize("value", [0, 2, 2.5, 1e12, True + 1, fractions.Fraction(5, 2)], ids=repr)
def test_numbers(value: Any) -> None:
    assert check_seconds(value, "timeout") == float(value)


@pytest.mark.parametrize("value", [None, math.inf, 10**400], ids=["None", "inf", "10**400"])
def test_no_limit(value: Any) -> None:
    assert check_seconds(value, "timeout", above_zero=True) == math.inf


@pytest.mark.parametrize(
    "value",
    [-1, -0.001, math.nan, -math.inf, -(10**400), "30", b"30", True, [1], decimal.Decimal(1)],
    ids=lambda value: repr(value)[:9],
)
def test_nonsense(value: Any) -> None:
    with pytest.raises(ConfigError, match="timeout must be"):
        check_seconds(value, "timeout")


def test_zero_where_it_makes_no_sense() -> None:
    with pytest.raises(ConfigError, match="timeout must be above 0 seconds, not 0"):
        check_seconds(0, "timeout", above_zero=True)


def test_a_timedelta_is_told_in_seconds() -> None:
    with pytest.raises(ConfigError, match="not a timedelta: write 90, or"):
        check_seconds(datetime.timedelta(minutes=1.5), "timeout")
