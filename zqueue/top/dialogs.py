"""Dialogs: a question before something is done, and the help."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from .columns import DIM, LINK
from .controls import Step

KEYS = (
    ("1 2 3 4, tab", "queues, tasks, workers, garbage collectors"),
    ("↑ ↓", "choose a row"),
    ("enter", "all that is known of it"),
    ("escape", "back; takes the filter away"),
    ("s", "sort by the next column"),
    ("S", "turn the order round"),
    ("w", "the last 10 s, minute, 5 min"),
    ("/", "show only rows with these words"),
    ("p", "pause the chosen queue, or resume it"),
    ("d", "drain it: take nothing new; or resume it"),
    ("b", "the next broker"),
    ("q", "quit; nothing depends on this screen"),
)


class Question(ModalScreen[bool]):
    """Says what will happen, and asks whether it may."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]

    def __init__(self, step: Step) -> None:
        super().__init__()
        self._step = step

    def compose(self) -> ComposeResult:
        """A box with a text and two buttons."""
        title, _, rest = self._step.question.partition("\n")
        with Vertical(classes="dialog"):
            yield Static(Text.assemble((title, "bold"), f"\n{rest}"))
            with Horizontal(classes="buttons"):
                yield Button(f"{self._step.button} (y)", variant="warning", id="yes")
                yield Button("No (n)", id="no")

    def on_mount(self) -> None:
        """Enter by mistake does nothing."""
        self.query_one("#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """That is the answer."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """By key."""
        self.dismiss(answer)


class Help(ModalScreen[None]):
    """The keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "dismiss", "Close")
    ]

    def compose(self) -> ComposeResult:
        """A box with the keys and what they do."""
        width = max(len(keys) for keys, _ in KEYS)
        lines = [Text.assemble((f"{keys:<{width}}  ", LINK), does) for keys, does in KEYS]
        lines += [Text(), Text("Figures are those of the broker, asked once a second.", DIM)]
        with Vertical(classes="dialog"):
            yield Static(Text("\n").join(lines))
