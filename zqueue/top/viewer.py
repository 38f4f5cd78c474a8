"""The app: refreshes the screens, and sends what the user requests.

Theory of operation. Pollers query brokers in threads of their own. Ten times a second the app
checks whether one of them has an answer, and if so refreshes the screen. It controls queues in a
thread, too: its event loop never waits for a broker.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from time import monotonic
from typing import ClassVar

from textual.app import App, ScreenStackError
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches

from ..client.ask import control
from ..errors import ZQueueError
from ..metrics.dead_letter import letter_of
from ..metrics.poller import Poller
from . import formats
from .columns import Row
from .controls import Step, apply, describe
from .dialogs import Help
from .overview import Overview
from .screen import BrokerScreen, LetterWanted, Requested
from .state import State

LOOK_S = 0.1

CSS = """
Screen { background: #0d1117; color: #e6edf3; }
#head, #tabs, #empty, #message, #detail { padding: 0 1; background: #0d1117; }
#tabs { margin-top: 1; }
#empty { padding: 1 1; height: 1fr; color: #8b949e; }
#message { color: #e3b341; text-style: bold; display: none; }
#filter { display: none; height: 1; border: none; padding: 0 1; background: #21262d; }
Table { height: 1fr; background: #0d1117; scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 0; }
Table:focus { background-tint: #ffffff 0%; }
Table > .datatable--header { background: #161b22; color: #8b949e; text-style: bold; }
Table > .datatable--odd-row { background: #0d1117; }
Table > .datatable--even-row { background: #10161d; }
Table > .datatable--cursor { background: #1f4a7d; }
Table:focus > .datatable--cursor { background: #1f4a7d; }
VerticalScroll { height: 1fr; padding-top: 1; background: #0d1117; scrollbar-size-vertical: 1; }
Footer { background: #161b22; }
ModalScreen { align: center middle; background: #0d1117 60%; }
.dialog { width: 66; max-width: 96%; height: auto; padding: 1 2; border: round #79c0ff;
          background: #161b22; }
VerticalScroll.dialog { max-height: 94%; scrollbar-size-vertical: 1; }
.dialog Static { background: #161b22; }
.buttons { height: auto; margin-top: 1; align-horizontal: right; }
.buttons Button { margin-left: 2; }
"""


class TopApp(App[None]):
    """Shows brokers, one at a time. The caller has started their pollers."""

    CSS = CSS
    TITLE = "zqueue top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]

    def __init__(self, pollers: Sequence[Poller], every_s: float = 1.0) -> None:
        super().__init__()
        self.state = State(pollers, every_s, monotonic())

    def on_mount(self) -> None:
        """Show the overview, and refresh it from now on."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
        self.push_screen(Overview(self.state))
        self.set_interval(LOOK_S, self._look)

    def on_requested(self, request: Requested) -> None:
        """Send it to the broker, in a thread, and show the answer."""
        self.run_worker(lambda: self._control(request.url, request.step), thread=True)

    def on_letter_wanted(self, wanted: LetterWanted) -> None:
        """Ask for a dead letter, in a thread, and show it."""
        self.run_worker(lambda: self._ask(wanted.url, wanted.number), thread=True)

    def action_help(self) -> None:
        """Show the keys, and what the figures of the view mean."""
        self.push_screen(Help(self.screen.view if isinstance(self.screen, BrokerScreen) else None))

    def _control(self, url: str, step: Step) -> None:
        try:
            answer = control(url, step.action, step.queue)
        except ZQueueError as error:
            self.call_from_thread(self._say, formats.plain(f"Not done: {error}"))
        else:
            self.call_from_thread(self._controlled, url, answer)

    def _ask(self, url: str, number: int) -> None:
        try:
            letter = letter_of(url, number) or "It is a dead letter no more."
        except ZQueueError as error:
            letter = f"It cannot be had: {error}"
        self.call_from_thread(self._asked, url, number, letter)

    def _asked(self, url: str, number: int, letter: Row | str) -> None:
        self.state.keep(url, number, letter)
        self._refresh()

    def _controlled(self, url: str, answer: Row) -> None:
        """Show it at once: the next key may depend on it."""
        if url == self.state.url:
            apply(answer, self.state.broker)
        self._say(describe(answer))

    def _say(self, message: str) -> None:
        self.state.say(message, monotonic())
        self._refresh()

    def _look(self) -> None:
        if self.state.look(monotonic()):
            self._refresh()

    def _refresh(self) -> None:
        try:
            if isinstance(self.screen, BrokerScreen) and self.screen.is_mounted:
                self.screen.refresh_broker()
        except (NoMatches, ScreenStackError):
            pass  # The screen is being removed, or all are, and the timer still runs.
