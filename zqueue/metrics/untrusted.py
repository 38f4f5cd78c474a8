"""Validating what a broker reported. It may be of another version, or hostile, so nothing here
raises: a value that is missing, of the wrong type or out of bounds counts as absent."""

from __future__ import annotations

from math import isfinite
from typing import Any

from ..stats.histogram import NUMBER_MAX, Histogram

TEXT_CHARS_MAX = 256
"""Longer texts are cut off."""

NAME_CHARS_MAX = 128
"""The protocol allows no longer names: they are dropped."""

NAMES_MAX = 500
"""Longer lists of names, and larger maps of counters, are cut off."""

FIGURE_MAX = 1e15
"""No real figure is greater: a greater one counts as absent."""


def number(value: object) -> int:
    """A whole number from 0 to 2 ** 53; 0 for anything else."""
    return value if type(value) is int and 0 <= value <= NUMBER_MAX else 0


def figure(value: object) -> float:
    """A finite number from 0; 0 for anything else."""
    if type(value) is int:
        return float(number(value))
    if type(value) is float and isfinite(value) and 0 <= value < FIGURE_MAX:
        return value
    return 0.0


def text(value: object) -> str:
    """A text; empty for anything else."""
    return value[:TEXT_CHARS_MAX] if type(value) is str else ""


def line(value: object) -> str:
    """A text as one line that can be logged; empty for anything else."""
    return "".join(char if char.isprintable() else "?" for char in text(value))


def names(value: object) -> list[str]:
    """A list of texts, without items of other types."""
    if type(value) is not list:
        return []
    return [text(item) for item in value[:NAMES_MAX] if type(item) is str]


def table(value: object) -> dict[str, Any]:
    """A map from names to anything; empty for anything else."""
    if type(value) is not dict:
        return {}
    return {
        key: item
        for key, item in value.items()
        if type(key) is str and 0 < len(key) <= NAME_CHARS_MAX
    }


def tables(value: object) -> dict[str, dict[str, Any]]:
    """A map from names to maps."""
    return {key: table(item) for key, item in table(value).items() if type(item) is dict}


def rows(value: object) -> list[dict[str, Any]]:
    """A list of maps."""
    return [table(row) for row in value if type(row) is dict] if type(value) is list else []


def counters(value: object) -> dict[str, int]:
    """A map from names to whole numbers."""
    items = list(table(value).items())[:NAMES_MAX]
    return {key: number(item) for key, item in items if type(item) is int}


def histogram(value: object) -> Histogram | None:
    """A histogram as it is on the wire; None for anything else."""
    try:
        return Histogram.from_wire(value)
    except ValueError:
        return None
