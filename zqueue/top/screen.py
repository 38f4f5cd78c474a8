"""What the overview and the details have in common: the state, and control of a queue.

A screen knows the state and not the app. It posts a `Requested` for the app, which sends the
request to the broker.
"""

from __future__ import annotations

from time import monotonic
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from .columns import WARN, Row, View
from .controls import Step, drain_or_resume, pause_or_resume
from .dialogs import Question
from .header import CONDITIONS_MAX, header
from .state import State

LOW = 30
"""Lines of a terminal; one with fewer has room for one line of conditions."""

CHOOSE = "Choose a queue first: key 1, then the arrows."


class Requested(Message):
    """The user has confirmed a step for a queue of the broker at an address."""

    def __init__(self, url: str, step: Step) -> None:
        super().__init__()
        self.url = url
        self.step = step


class LetterWanted(Message):
    """The user wants to see a dead letter of the broker at an address."""

    def __init__(self, url: str, number: int) -> None:
        super().__init__()
        self.url = url
        self.number = number


class BrokerScreen(Screen[None]):
    """A screen that shows the broker of a state, and is refreshed with it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause"),
        Binding("d", "drain", "Drain"),
        Binding("w", "next_window", "Window"),
        Binding("b", "next_broker", "Broker", show=False),
    ]

    def __init__(self, state: State) -> None:
        super().__init__()
        self.state = state

    def refresh_broker(self) -> None:
        """Show the state as it is now."""
        raise NotImplementedError

    @property
    def view(self) -> View:
        """The view that is shown, or whose row is."""
        raise NotImplementedError

    def queue(self) -> Row | None:
        """The chosen queue, or None."""
        raise NotImplementedError

    def show_frame(self) -> None:
        """Refresh the header and the message."""
        state, width = self.state, self.size.width - 2
        self.query_one("#head", Static).update(
            header(
                state.broker,
                state.window,
                width,
                state.place,
                1 if self.size.height < LOW else CONDITIONS_MAX,
            )
        )
        text = state.message(monotonic())
        message = self.query_one("#message", Static)
        message.update(Text(text, style=WARN))
        message.display = bool(text)

    def on_resize(self) -> None:
        """More or fewer columns fit."""
        self.refresh_broker()

    def on_screen_resume(self) -> None:
        """The state has changed while the screen was hidden."""
        self.refresh_broker()

    def action_next_window(self) -> None:
        """Show figures of the next window."""
        self.state.next_window()
        self.refresh_broker()

    def action_next_broker(self) -> None:
        """Show the next broker."""
        self.state.next_broker(monotonic())
        self.refresh_broker()

    def action_pause(self) -> None:
        """Pause or resume the queue."""
        queue = self.queue()
        self._ask(None if queue is None else pause_or_resume(queue))

    def action_drain(self) -> None:
        """Drain or resume the queue."""
        queue = self.queue()
        self._ask(None if queue is None else drain_or_resume(queue))

    def _ask(self, step: Step | None) -> None:
        if step is None:
            self.state.say(CHOOSE, monotonic())
            self.refresh_broker()
            return
        url = self.state.url

        def answered(yes: bool | None) -> None:
            if yes:
                self.post_message(Requested(url, step))

        self.app.push_screen(Question(step), answered)
