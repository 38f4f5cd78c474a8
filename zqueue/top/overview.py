"""The overview: the header, a table of one of the views, and a filter."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Input, Static

from . import formats
from .collectors import COLLECTORS
from .columns import Row, View, chosen, matching, ordered
from .dead_groups import DEAD_GROUPS
from .detail import Detail
from .header import tabs
from .queues import QUEUES
from .screen import BrokerScreen
from .state import State
from .table import Table
from .tasks import TASKS
from .workers import WORKERS

VIEWS = (QUEUES, TASKS, WORKERS, COLLECTORS, DEAD_GROUPS)

SCROLLBAR_CELLS = 1


class Overview(BrokerScreen):
    """All rows of a view."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "view(0)", "Queues", show=False),
        Binding("2", "view(1)", "Tasks", show=False),
        Binding("3", "view(2)", "Workers", show=False),
        Binding("4", "view(3)", "GC", show=False),
        Binding("5", "view(4)", "Dead", show=False),
        Binding("tab", "turn_view(1)", "View", priority=True),
        Binding("shift+tab", "turn_view(-1)", "View", show=False, priority=True),
        Binding("s", "sort", "Sort"),
        Binding("S,upper_s", "turn_order", "Order", show=False),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("escape", "clear", "Back", show=False),
    ]

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._active = 0
        self._sort = [view.sort for view in VIEWS]
        self._falling = [True] * len(VIEWS)
        self._chosen: list[str | None] = [None] * len(VIEWS)
        self._filter = ""

    @property
    def view(self) -> View:
        """The view that is shown."""
        return VIEWS[self._active]

    def compose(self) -> ComposeResult:
        """From the top to the bottom."""
        yield Static(id="head")
        yield Static(id="tabs")
        yield Table()
        yield Static(id="empty")
        yield Input(placeholder="only rows with these words", id="filter")
        yield Static(id="message")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Let the table have the keys."""
        self.query_one(Table).focus()

    def queue(self) -> Row | None:
        """The queue at the cursor, or None."""
        key = self.query_one(Table).chosen
        return self.view.find(self.state.broker, key) if self.view is QUEUES and key else None

    def refresh_broker(self) -> None:
        """Show the broker as it is now."""
        broker, window, width = self.state.broker, self.state.window, self.size.width
        table = self.query_one(Table)
        rows = self.view.rows(broker)
        found = matching(rows, self._filter, self.view, window)
        columns = chosen(self.view.columns, width - SCROLLBAR_CELLS)
        by = next((column for column, _ in columns if column.title == self._sort[self._active]),
                  columns[0][0])  # fmt: skip
        falling = self._falling[self._active]
        found = ordered(found, by, window, self.view.key, falling=falling)
        cells = [[column.cell(row, window, width) for column, width in columns] for row in found]
        self.show_frame()
        titles = [(view.title, len(view.rows(broker))) for view in VIEWS]
        mark = "▼" if falling else "▲"
        right = f"{formats.WINDOWS[window]} · {by.title}{mark}"
        self.query_one("#tabs", Static).update(tabs(titles, self._active, right, width - 2))
        table.display = bool(found)
        with self.app.batch_update():
            table.fill(
                columns, {by.title: mark},
                [self.view.key(row) for row in found], cells,
                self._chosen[self._active],
            )  # fmt: skip
        if found and self.focused is None:
            table.focus()  # It lost the focus while it was hidden.
        empty = self.query_one("#empty", Static)
        empty.display = not found
        empty.update(self._why_empty(bool(rows)))

    def _why_empty(self, any_rows: bool) -> str:
        if any_rows:
            return "No row has these words: escape removes the filter."
        return (
            self.view.empty
            if "queues" in self.state.broker
            else "The broker is queried every second."
        )

    # --- keys ---

    def action_view(self, number: int) -> None:
        """Show another view."""
        self._active = number
        self.refresh_broker()

    def action_turn_view(self, by: int) -> None:
        """Show the next view."""
        self.action_view((self._active + by) % len(VIEWS))

    def action_sort(self) -> None:
        """Sort by the next column."""
        columns = chosen(self.view.columns, self.size.width - SCROLLBAR_CELLS)
        titles = [column.title for column, _ in columns]
        now = self._sort[self._active]
        at = titles.index(now) if now in titles else -1
        column = columns[(at + 1) % len(columns)][0]
        self._sort[self._active] = column.title
        self._falling[self._active] = not column.left
        self.refresh_broker()

    def action_turn_order(self) -> None:
        """Reverse the order."""
        self._falling[self._active] = not self._falling[self._active]
        self.refresh_broker()

    def action_filter(self) -> None:
        """Show the field of the filter."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def action_clear(self) -> None:
        """Remove the filter."""
        self._filter = ""
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self.query_one(Table).focus()
        self.refresh_broker()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Show the details of a row, after enter or a click."""
        event.stop()
        key = self.query_one(Table).chosen
        if key is not None:
            self.app.push_screen(Detail(self.state, self.view, key))

    def on_data_table_row_highlighted(self) -> None:
        """Remember the row at the cursor, which moved by hand or because rows changed places."""
        chosen_key = self.query_one(Table).chosen
        if chosen_key is not None:
            self._chosen[self._active] = chosen_key

    def on_input_changed(self, event: Input.Changed) -> None:
        """Apply the filter at once."""
        self._filter = event.value
        self.refresh_broker()

    def on_input_submitted(self) -> None:
        """Return to the table, and keep the filter."""
        field = self.query_one("#filter", Input)
        field.display = bool(field.value.strip())
        self.query_one(Table).focus()
