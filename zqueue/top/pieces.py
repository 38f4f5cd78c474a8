"""Parts that the details of all views are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.text import Text

from . import formats
from .columns import DIM, GAP, LINK, Column, Row, chosen

LABEL_CELLS = 10
FIGURE_CELLS = 9

ROWS_MAX = 20
"""Of a table within the details; its own view has all rows."""


def join(parts: Iterable[Text]) -> Text:
    """Parts with an empty line between them; empty ones are left out."""
    return Text("\n\n").join(part for part in parts if part.plain)


def title(kind: str, name: str, state: str = "", style: str = "") -> Text:
    """The heading of the details."""
    text = Text.assemble((f"{kind} ", DIM), (formats.plain(name), "bold"))
    return text.append(f"   {state}", style=style) if state else text


def figures(pairs: Iterable[tuple[str, str]], width: int) -> Text:
    """``label value   label value``; lines break between pairs only."""
    text, room = Text(), width
    for label, value in pairs:
        pair = Text.assemble((f"{label} ", DIM), formats.plain(value))
        if text.plain:
            fits = 3 + pair.cell_len <= room
            text.append(" " * 3 if fits else "\n")
            room = room - 3 if fits else width
        text.append_text(pair)
        room -= pair.cell_len
    return text


def rates(rows: Iterable[tuple[str, dict[str, float]]]) -> Text:
    """Events a second in every window."""
    lines = [_head("a second", list(formats.WINDOWS.values()))]
    for label, over in rows:
        values = [formats.rate(over.get(window, 0.0)) for window in formats.WINDOWS]
        lines.append(_line(label, values))
    return Text("\n").join(lines)


def percentiles(rows: Iterable[tuple[str, dict[str, Any]]]) -> Text:
    """Percentiles in every window."""
    lines = [_head("", ["count", "p50", "p95", "p99", "longest"], indent=8)]
    for label, over in rows:
        for window, called in formats.WINDOWS.items():
            figures = over.get(window) or {}
            cells = [formats.count(figures.get("count") or 0)]
            cells += [formats.ms(figures.get(key)) for key in ("p50", "p95", "p99", "max")]
            lines.append(_line(label, cells, f"{called:<8}"))
            label = ""
    return Text("\n").join(lines)


def histories(rows: Iterable[tuple[str, Sequence[float], str]], width: int, span: str) -> Text:
    """Lines of bars, each with its highest value behind it."""
    lines = [Text(span, style=DIM)]
    for label, values, highest in rows:
        bars = formats.spark(values, max(10, width - LABEL_CELLS - 18))
        lines.append(
            Text.assemble((f"{label:<{LABEL_CELLS}}", DIM), (bars, LINK), (f"  {highest}", DIM))
        )
    return Text("\n").join(lines)


def table(name: str, rows: list[Row], columns: Sequence[Column], window: str, width: int) -> Text:
    """Related rows of another view."""
    if not rows:
        return Text(f"{name}: none", style=DIM)
    fitting = chosen(columns, width)
    titles = [formats.fit(column.title, cells, left=column.left) for column, cells in fitting]
    gap = " " * GAP
    lines = [Text(f"{name} ({len(rows)})", style="bold"), Text(gap.join(titles), style=DIM)]
    lines += [
        Text(gap).join(column.cell(row, window, cells) for column, cells in fitting)
        for row in rows[:ROWS_MAX]
    ]
    if len(rows) > ROWS_MAX:
        lines.append(Text(f"and {len(rows) - ROWS_MAX} more", style=DIM))
    return Text("\n").join(lines)


def bar(part: float, width: int) -> str:
    """``part`` of 1 as a bar."""
    full = round(max(0.0, min(1.0, part)) * width)
    return "█" * full + "░" * (width - full)


def _head(label: str, titles: Sequence[str], indent: int = 0) -> Text:
    cells = "".join(f"{title:>{FIGURE_CELLS}}" for title in titles)
    return Text(f"{label:<{LABEL_CELLS + indent}}{cells}", style=DIM)


def _line(label: str, values: Sequence[str], window: str = "") -> Text:
    cells = "".join(f"{value:>{FIGURE_CELLS}}" for value in values)
    return Text.assemble((f"{label:<{LABEL_CELLS}}{window}", DIM), cells)
