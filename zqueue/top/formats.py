"""Figures and names in few characters."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from rich.cells import cell_len, set_cell_size

from ..sizes import size as size

NONE = "–"
"""For an unknown value."""

BARS = "▁▂▃▄▅▆▇█"

WINDOWS = {"10": "10 s", "60": "1 min", "300": "5 min"}
"""The windows of a snapshot, and their names for people."""

UNPRINTABLE = "�"


def plain(text: str) -> str:
    """An untrusted text with a mark in place of every character that may control a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else UNPRINTABLE for char in text)


def fit(text: str, width: int, *, left: bool = False) -> str:
    """A text in exactly so many cells: filled up on one side, or cut off with an ellipsis."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    gap = " " * (width - length)
    return text + gap if left else gap + text


def count(value: int) -> str:
    """``999,999``, ``1.23M``."""
    return f"{value:,}" if value < 1_000_000 else _in_thousands(value)


def rate(per_s: float) -> str:
    """Events a second: ``0``, ``0.25``, ``7.5``, ``842``, ``12.3k``."""
    if per_s == 0:
        return "0"
    if per_s < 0.995:
        return f"{max(per_s, 0.01):.2f}"
    if per_s < 9.95:
        return f"{per_s:.1f}"
    return f"{per_s:.0f}" if per_s < 999.5 else _in_thousands(per_s)


def duration(seconds: float) -> str:
    """``<0.1 s``, ``3.2 s``, ``4 min``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds < 0.05:
        return "<0.1 s"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def age(seconds: float) -> str:
    """The same in at most seven characters: ``3.2 s``, ``4 min``, ``2.1 h``, ``3.2 d``."""
    if seconds < 3570:
        return duration(seconds)
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 23.95 else f"{hours / 24:.1f} d"


def ms(value: float | None) -> str:
    """Milliseconds: ``<1 µs``, ``850 µs``, ``3.2 ms``, ``320 ms``, ``4.5 s``."""
    if value is None:
        return NONE
    if 0 < value < 0.001:
        return "<1 µs"
    if value < 0.9995:
        return f"{value * 1000:.0f} µs"
    if value < 9.95:
        return f"{value:.1f} ms"
    return f"{value:.0f} ms" if value < 999.5 else age(value / 1000)


def percent(part: float) -> str:
    """``85 %``"""
    return f"{part * 100:.0f} %"


def spark(values: Sequence[float], width: int) -> str:
    """A line of bars, one for each value or, if they do not fit, for the highest of each few. A bar
    of a value above zero is always higher than that of zero."""
    if not values or width <= 0:
        return ""
    per_bar = ceil(len(values) / width)
    first = len(values) % per_bar
    parts = [values[:first]] if first else []
    parts += [values[at : at + per_bar] for at in range(first, len(values), per_bar)]
    highest = [max(part) for part in parts]
    top = max(highest)
    return "".join(
        BARS[max(1, ceil(value / top * 7))] if value > 0 else BARS[0] for value in highest
    )


def _in_thousands(value: float) -> str:
    units = ["", "k", "M", "G", "T"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}{units[0]}"
