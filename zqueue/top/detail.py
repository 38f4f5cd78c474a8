"""The details of one row."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static

from .columns import DIM, WARN, Row, View
from .queues import QUEUES
from .screen import BrokerScreen, LetterWanted
from .state import State


class Detail(BrokerScreen):
    """Details of a row of a view; when the row is gone, it shows the last ones, and says so."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "app.pop_screen", "Back", key_display="esc"),
    ]

    def __init__(self, state: State, view: View, key: str) -> None:
        super().__init__(state)
        self._view, self._key = view, key
        self._last = Text()
        self._wanted: tuple[str, int] | None = None
        """The dead letter that was asked for: the newest when these details were opened."""

    def compose(self) -> ComposeResult:
        """From the top to the bottom."""
        yield Static(id="head")
        with VerticalScroll():
            yield Static(id="detail")
        yield Static(id="message")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Let the arrows scroll."""
        self.query_one(VerticalScroll).focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only queues can be paused and drained."""
        return self._view is QUEUES or action not in ("pause", "drain")

    @property
    def view(self) -> View:
        """The view that the row is of."""
        return self._view

    def queue(self) -> Row | None:
        """The shown queue, or None."""
        return self._view.find(self.state.broker, self._key) if self._view is QUEUES else None

    def _letter(self, number: int) -> Row | str | None:
        """The letter, once it is there; or why it cannot be had."""
        if self._wanted is None:
            self._wanted = self.state.url, number
            self.post_message(LetterWanted(*self._wanted))
        return self.state.letters.get(self._wanted)

    def refresh_broker(self) -> None:
        """Show the row as it is now."""
        self.show_frame()
        broker, window, width = self.state.broker, self.state.window, self.size.width - 3
        row = self._view.find(broker, self._key)
        if row is not None:
            if self._view.letter is not None:
                row = {**row, "letter": self._letter(self._view.letter(row))}
            self._last = text = self._view.detail(broker, row, window, width)
        else:
            gone = Text("No longer reported by the broker. The last details:\n\n", WARN)
            text = gone + Text(self._last.plain, DIM)
        self.query_one("#detail", Static).update(text)
