"""What the overview and the details have in common: the header, and what can be done to a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.screen import Screen

from .columns import Row
from .controls import Step, drain_or_resume, pause_or_resume
from .dialogs import Question

if TYPE_CHECKING:
    from .app import TopApp

CHOOSE = "Choose a queue first: key 1, then the arrows."


class BrokerScreen(Screen[None]):
    """A screen that shows the broker anew whenever there is news."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause"),
        Binding("d", "drain", "Drain"),
        Binding("w", "next_window", "Window"),
        Binding("b", "next_broker", "Broker", show=False),
    ]

    @property
    def top(self) -> TopApp:
        """The app."""
        return cast("TopApp", self.app)

    def refresh_broker(self) -> None:
        """Show the broker as it is now."""
        raise NotImplementedError

    def queue(self) -> Row | None:
        """The queue that is chosen, or None."""
        raise NotImplementedError

    def on_resize(self) -> None:
        """More or fewer columns fit."""
        self.refresh_broker()

    def on_screen_resume(self) -> None:
        """It was hidden, and time went by."""
        self.refresh_broker()

    def action_next_window(self) -> None:
        """Figures of the next window."""
        self.top.turn_window()
        self.refresh_broker()

    def action_next_broker(self) -> None:
        """Another broker."""
        self.top.turn_broker()

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
            self.top.say(CHOOSE)
            return
        url = self.top.url

        def answered(yes: bool | None) -> None:
            if yes:
                self.top.control(url, step)

        self.top.push_screen(Question(step), answered)
