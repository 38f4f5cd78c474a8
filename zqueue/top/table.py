"""The table of a view: its chosen row stays chosen while rows come, go and change places."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from . import formats
from .columns import Column


class Table(DataTable[Text]):
    """Rows of text, one of them chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Open", key_display="⏎"),
    ]

    def __init__(self) -> None:
        super().__init__(
            cursor_type="row", zebra_stripes=True, cell_padding=1,
            cursor_foreground_priority="renderable",
        )  # fmt: skip
        self._layout: list[tuple[str, int]] = []
        self._keys: list[str] = []
        self._shown: list[list[Text]] = []

    @property
    def chosen(self) -> str | None:
        """The key of the row at the cursor."""
        return self._keys[self.cursor_row] if 0 <= self.cursor_row < len(self._keys) else None

    def fill(self, columns: list[tuple[Column, int]], marks: dict[str, str], keys: list[str],
             rows: list[list[Text]], chosen: str | None) -> None:  # fmt: skip
        """Show these rows, with ``marks`` behind titles, and the cursor at the row ``chosen``."""
        titles = [_title(column, width, marks.get(column.title, "")) for column, width in columns]
        layout = [(title, width) for title, (_, width) in zip(titles, columns, strict=True)]
        if layout != self._layout:
            self.clear(columns=True)
            self._layout, self._shown = layout, []
            for title, width in layout:
                self.add_column(Text(title, no_wrap=True), width=width)
        elif len(rows) < len(self._shown):
            self.clear()
            self._shown = []
        self._put(rows)
        self._keys = keys
        self._choose(chosen)

    def _put(self, rows: list[list[Text]]) -> None:
        """Update the cells that changed, and add new rows."""
        for y, (before, row) in enumerate(zip(self._shown, rows, strict=False)):
            for x, (old, new) in enumerate(zip(before, row, strict=True)):
                if old != new or old.style != new.style:
                    self.update_cell_at(Coordinate(y, x), new)
        for row in rows[len(self._shown) :]:
            self.add_row(*row)
        self._shown = rows

    def _choose(self, chosen: str | None) -> None:
        if chosen in self._keys:
            row = self._keys.index(chosen)
            if row != self.cursor_row:
                self.move_cursor(row=row, animate=False)


def _title(column: Column, width: int, mark: str) -> str:
    return formats.fit(column.title + mark, width, left=column.left)
