"""All that is known of one row."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static

from .columns import DIM, WARN, Row, View
from .header import header
from .queues import QUEUES
from .screen import BrokerScreen


class Detail(BrokerScreen):
    """Of a row of a view; it stays there while the row is gone, and says so."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "app.pop_screen", "Back", key_display="esc"),
    ]

    def __init__(self, view: View, key: str) -> None:
        super().__init__()
        self._view, self._key = view, key
        self._last = Text()

    def compose(self) -> ComposeResult:
        """From the top to the bottom."""
        yield Static(id="head")
        with VerticalScroll():
            yield Static(id="detail")
        yield Static(id="said")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """The arrows scroll."""
        self.query_one(VerticalScroll).focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only queues are paused and drained."""
        return self._view is QUEUES or action not in ("pause", "drain")

    def queue(self) -> Row | None:
        """The one that is shown."""
        return self._view.find(self.top.broker, self._key) if self._view is QUEUES else None

    def refresh_broker(self) -> None:
        """Show the row as it is now."""
        broker, width = self.top.broker, self.size.width
        head = header(broker, self.top.window, width - 2, self.top.place)
        self.query_one("#head", Static).update(head)
        row = self._view.find(broker, self._key)
        if row is not None:
            self._last = text = self._view.detail(broker, row, self.top.window, width - 3)
        else:
            gone = Text("It is not there any more. The last that was known of it:\n\n", WARN)
            text = gone + Text(self._last.plain, DIM)
        self.query_one("#detail", Static).update(text)
        said = self.query_one("#said", Static)
        said.update(self.top.said)
        said.display = bool(self.top.said)
