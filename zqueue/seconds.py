"""Durations as callers give them, checked where they are given and not where they are used."""

from __future__ import annotations

import datetime
import math
import numbers
from typing import Any

from .errors import ConfigError

WAIT_S_MAX = 3600.0
"""Longest single wait, seconds: no clock of the system counts as far as a float does. Whoever waits
longer waits again."""


def check_seconds(value: Any, what: str, *, above_zero: bool = False) -> float:
    """A duration in seconds; infinity if ``value`` is None or infinite: there is no limit.

    Parameters:
        what: the name of the option, for the error.
        above_zero: whether 0 is refused, too.

    Raises `ConfigError`: not a number, not a number of seconds, or negative.
    """
    if value is None:
        return math.inf
    if type(value) is float and value > 0:
        return value  # As a rule; what follows costs ten times as much.
    if isinstance(value, datetime.timedelta):
        raise ConfigError(
            f"{what} must be a number of seconds, not a timedelta: "
            f"write {value.total_seconds():g}, or .total_seconds()"
        )
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ConfigError(f"{what} must be a number of seconds, as in 2.5, not {value!r}")
    try:
        seconds = float(value)
    except OverflowError:  # An integer beyond all floats.
        seconds = -math.inf if value <= 0 else math.inf
    if not seconds >= 0 or (above_zero and not seconds):
        bound = "above 0" if above_zero else "at least 0"
        raise ConfigError(f"{what} must be {bound} seconds, not {value!r} (None: no limit)")
    return seconds
