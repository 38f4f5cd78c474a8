"""Dialogs: the question before a queue is controlled, and the help."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from .columns import DIM, LINK, View
from .controls import Step

HELP_CELLS = 57
"""For a line of the help."""

KEYS = (
    ("1 to 5, tab", "queues, tasks, workers, collectors, dead letters"),
    ("↑ ↓", "choose a row"),
    ("enter", "show its details"),
    ("escape", "back; remove the filter"),
    ("s", "sort by the next column"),
    ("S", "reverse the order"),
    ("w", "the last 10 s, minute, 5 min"),
    ("/", "show only rows with these words"),
    ("p", "pause the chosen queue, or resume it"),
    ("d", "drain it: accept no new tasks; or resume it"),
    ("b", "the next broker"),
    ("q", "quit; brokers and workers run on"),
)


class Question(ModalScreen[bool]):
    """Describes a step, and asks for consent."""

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
        """Focus No, so that enter by mistake does nothing."""
        self.query_one("#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answer with the button."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """Answer by key."""
        self.dismiss(answer)


class Help(ModalScreen[None]):
    """The keys, and what the figures of a view mean."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "dismiss", "Close")
    ]

    def __init__(self, view: View | None = None) -> None:
        super().__init__()
        self._view = view

    def compose(self) -> ComposeResult:
        """A box with the keys and what they do, and the figures below."""
        lines = _pairs(KEYS)
        if self._view is not None:
            told = {c.title.partition(" p")[0]: c.means for c in self._view.columns if c.means}
            lines += [Text(), Text(self._view.title, "bold"), *_pairs(told.items())]
        lines += [Text(), Text("Figures come from the broker, once a second.", DIM)]
        with VerticalScroll(classes="dialog"):
            yield Static(Text("\n").join(lines))

    def on_mount(self) -> None:
        """Let the arrows scroll."""
        self.query_one(VerticalScroll).focus()


def _pairs(pairs: Iterable[tuple[str, str]]) -> list[Text]:
    """Words, and what is said of each behind them, in lines of their own."""
    pairs = list(pairs)
    width = max(len(word) for word, _ in pairs)
    made = []
    for word, said in pairs:
        first, *rest = wrap(said, HELP_CELLS - width - 2)
        made.append(Text.assemble((f"{word:<{width}}  ", LINK), first))
        made += [Text(" " * (width + 2) + line) for line in rest]
    return made
