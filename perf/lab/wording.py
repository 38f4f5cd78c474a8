"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Iterable

from .measure import Figure

_TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))
_TEN_THOUSAND = 1e4
_MILLION = 999_500
"""From here on it would be written as a thousand thousands."""


def amount(value: float, unit: str = "") -> str:
    """Three digits that count, in a unit of the right size."""
    if unit == "ns":
        return _scaled(value, _TIMES)
    if unit == "ms":
        return _scaled(value * 1e6, _TIMES)
    if unit == "s":
        return _scaled(value * 1e9, _TIMES)
    if unit == "B":
        return _scaled(value, _SIZES) if value else "0 B"
    if unit == "/s":
        return f"{_count(value)}/s"
    if unit in ("×", "cores"):
        return f"{value:.2f}" + (" cores" if unit == "cores" else "")
    return _count(value)


def _scaled(value: float, units: Iterable[tuple[float, str]]) -> str:
    unit = (1.0, "")
    for unit in units:
        if abs(value) >= unit[0]:
            break
    return f"{_digits(value / unit[0])} {unit[1]}"


def _count(value: float) -> str:
    if abs(value) >= _MILLION:
        return f"{_digits(value / 1e6)} M"
    if abs(value) >= _TEN_THOUSAND:
        return f"{_digits(value / 1e3)} k"
    return _digits(value)


def _digits(value: float) -> str:
    if value == int(value) and abs(value) < _TEN_THOUSAND:
        return f"{int(value):,}"
    for limit, form in ((100, ",.0f"), (10, ".1f"), (0.01, ".2f")):
        if abs(value) >= limit:
            return format(value, form)
    return f"{value:.1e}" if abs(value) < 0.001 else f"{value:.4f}"


def of(figure: Figure | None) -> str:
    """A figure's median; a dash for one that was not measured."""
    return "–" if figure is None else amount(figure.median, figure.unit)


def share(part: float) -> str:
    """A part of one as per cent."""
    return f"{part * 100:.0f} %"


def table(header: Iterable[str], rows: Iterable[Iterable[str]], *, left: int = 1) -> str:
    """A table in Markdown: the first columns to the left, all others to the right."""
    names = list(header)
    rules = ["---" if i < left else "---:" for i in range(len(names))]
    lines = [names, rules, *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def listed(words: Iterable[str]) -> str:
    """``a, b and c``"""
    row = list(words)
    if len(row) < 2:
        return "".join(row)
    return f"{', '.join(row[:-1])} and {row[-1]}"
