"""Columns of a view: which there are, which fit, and how rows are sorted by them.

Theory of operation. Each column has a width and a rank. As many columns are shown as fit into the
terminal, the lowest ranks first, in the order of the view. The width that is left goes to the first
column, which has the names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from ..metrics.glossary import means, word
from . import formats

GAP = 2
"""Cells between columns."""

NAME_CELLS_MAX = 60

SPARK_CELLS = 20

Row = dict[str, Any]
"""A queue, task, worker or role of a snapshot."""

DIM, GOOD, BAD, WARN, LINK = "#8b949e", "#7ee787", "#ff7b72", "#e3b341", "#79c0ff"

STATES = {"running": GOOD, "paused": WARN, "draining": WARN, "full": BAD}


@dataclass(frozen=True)
class Column:
    """A column. Its functions take a row and a window (a key of `formats.WINDOWS`)."""

    title: str
    width: int
    rank: int
    value: Callable[[Row, str], Any]
    """The key that rows are sorted by; None goes last."""
    show: Callable[[Any], str] = str
    """Formats the value in few characters."""
    left: bool = False
    """Whether it is text, to be aligned left."""
    style: Callable[[Any], str] = lambda value: ""
    means: str = ""
    """What the figure means, from the glossary."""
    paint: Callable[[Row, int], Text] | None = None
    """Makes the text of a row in so many cells, where one style is not enough."""

    def cell(self, row: Row, window: str, width: int) -> Text:
        """The text of a row's cell."""
        if self.paint is not None:
            return self.paint(row, width)
        value = self.value(row, window)
        shown = formats.plain(formats.NONE if value is None else self.show(value))
        style = self.style(value) if value else DIM
        return Text(formats.fit(shown, width, left=self.left), style=style, no_wrap=True)


def figure(
    key: str, width: int, rank: int, value: Callable[[Row, str], Any],
    show: Callable[[Any], str] = str, *, more: str = "", style: Callable[[Any], str] = lambda _: "",
    left: bool = False, paint: Callable[[Row, int], Text] | None = None,
) -> Column:  # fmt: skip
    """A column for a term of the glossary; ``more`` follows its word, as ``/s`` for a rate."""
    return Column(word(key, more), width, rank, value, show, left, style, means(key), paint)


def rate_of(key: str, width: int, rank: int, rates: str, *,
            style: Callable[[Any], str] = lambda _: "") -> Column:  # fmt: skip
    """A column for a rate in the window, from the rates under that key of a row."""

    def value(row: Row, window: str) -> Any:
        return row[rates].get(window, 0.0)

    return figure(key, width, rank, value, formats.rate, more="/s", style=style)


def quantile_of(key: str, width: int, rank: int, name: str, figures: str) -> Column:
    """A column for a percentile in the window, from the figures under that key of a row."""

    def value(row: Row, window: str) -> Any:
        return row[figures][window][name]

    return figure(key, width, rank, value, formats.ms, more=f" {name}")


@dataclass(frozen=True)
class View:
    """One of the views: rows of a broker, and the details of each."""

    title: str
    columns: tuple[Column, ...]
    rows: Callable[[Row], list[Row]]
    key: Callable[[Row], str]
    """Identifies a row."""
    detail: Callable[[Row, Row, str, int], Text]
    """Renders the details of a row, given broker, row, window and width."""
    sort: str
    """The title of the column that rows are sorted by at first."""
    empty: str
    """The text in place of rows when there are none."""
    letter: Callable[[Row], int] | None = None
    """The dead letter that the details of a row want to have."""

    def find(self, broker: Row, key: str) -> Row | None:
        """The row of that key, or None if the broker no longer reports it."""
        return next((row for row in self.rows(broker) if self.key(row) == key), None)


def chosen(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """The columns that fit into ``width`` cells, with their widths. The first, with the names, is
    always there, cut off if necessary."""
    left = width
    shown: list[Column] = []
    for column in sorted(columns, key=lambda column: column.rank):
        if shown and column.width + GAP > left:
            break
        left -= column.width + GAP
        shown.append(column)
    widths = {column.title: column.width for column in shown}
    first = columns[0]
    widths[first.title] = max(1, min(first.width + left, NAME_CELLS_MAX))
    return [(column, widths[column.title]) for column in columns if column in shown]


def ordered(rows: list[Row], column: Column, window: str, key: Callable[[Row], str], *,
            falling: bool) -> list[Row]:  # fmt: skip
    """Rows sorted by a column; rows that are equal there are sorted by their keys."""
    rows = sorted(rows, key=key)
    known = [row for row in rows if column.value(row, window) is not None]
    known.sort(key=lambda row: column.value(row, window), reverse=falling)
    return known + [row for row in rows if column.value(row, window) is None]


def matching(rows: list[Row], words: str, view: View, window: str) -> list[Row]:
    """Rows whose texts contain each of the words, in any case."""
    wanted = words.lower().split()
    if not wanted:
        return rows
    texts = [column for column in view.columns if column.left]

    def text_of(row: Row) -> str:
        return " ".join(str(column.value(row, window)) for column in texts).lower()

    return [row for row in rows if all(word in text_of(row) for word in wanted)]
