"""Reading what a broker told. It may be a stranger's, or another version's, so nothing here raises:
what is missing, of another kind or out of bounds reads as if it were not there."""

from __future__ import annotations

from math import isfinite
from typing import Any

from ..core.histogram import NUMBER_MAX, Histogram

TEXT_CHARS_MAX = 256
"""Beyond it a text is cut off."""

NAME_CHARS_MAX = 128
"""No name is longer, so what is longer is none."""

NAMES_MAX = 500
"""Beyond it a list of names, or a map of counters, is cut off."""

FIGURE_MAX = 1e15
"""No figure is greater, so what is greater is none."""


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
    """A list of texts, without what is none."""
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
