"""The app: it looks at what the pollers know, and shows it.

Theory of operation. Pollers ask in threads of their own. Ten times a second the app looks whether
one of them was answered, and if so it takes a snapshot, so a screen is no older than the answer. A
queue is controlled in a thread, too: nothing here waits for a broker.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from time import monotonic
from typing import ClassVar

from rich.text import Text
from textual.app import App
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches

from ..ask import control
from ..errors import ZQueueError
from ..metrics.poller import Poller
from . import wording
from .columns import WARN, Row
from .controls import Step, apply, told
from .dialogs import Help
from .overview import Overview
from .screen import BrokerScreen

LOOK_S = 0.1
SAID_S = 8.0
"""How long an answer stays on the screen."""

CSS = """
Screen { background: #0d1117; color: #e6edf3; }
#head, #tabs, #empty, #said, #detail { padding: 0 1; background: #0d1117; }
#tabs { margin-top: 1; }
#empty { padding: 1 1; height: 1fr; color: #8b949e; }
#said { color: #e3b341; text-style: bold; display: none; }
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
.dialog Static { background: #161b22; }
.buttons { height: auto; margin-top: 1; align-horizontal: right; }
.buttons Button { margin-left: 2; }
"""


class TopApp(App[None]):
    """Shows brokers, one at a time. The pollers were started by whoever made it."""

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
        self._pollers = pollers
        self._every_s = every_s
        self._shown = 0
        self._polls = -1
        self._looked_at = float("-inf")
        self._said: tuple[str, float] = ("", 0.0)
        self.window = "10"
        """A key of `wording.WINDOWS`."""
        self.broker: Row = {}
        """The broker that is shown, as it is in a snapshot."""

    @property
    def url(self) -> str:
        """Where the broker that is shown is."""
        return self._pollers[self._shown].watch.url

    @property
    def place(self) -> tuple[int, int]:
        """Which broker is shown, and of how many."""
        return self._shown + 1, len(self._pollers)

    @property
    def said(self) -> Text:
        """What was last said, while it is news."""
        text, until = self._said
        return Text(text if monotonic() < until else "", style=WARN)

    def on_mount(self) -> None:
        """Begin to look."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
        self._take()
        self.push_screen(Overview())
        self.set_interval(LOOK_S, self._look)

    def say(self, text: str) -> None:
        """Tell the one who looks something, for a few seconds."""
        self._said = text, monotonic() + SAID_S
        self._show()

    def turn_window(self) -> None:
        """To the next one."""
        names = list(wording.WINDOWS)
        self.window = names[(names.index(self.window) + 1) % len(names)]

    def turn_broker(self) -> None:
        """To the next one."""
        self._shown = (self._shown + 1) % len(self._pollers)
        self._take()
        self._show()

    def control(self, url: str, step: Step) -> None:
        """Do it, in a thread, and say what came of it."""
        self.run_worker(lambda: self._control(url, step), thread=True)

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Help())

    def _control(self, url: str, step: Step) -> None:
        try:
            answer = control(url, step.action, step.queue)
        except ZQueueError as error:
            self.call_from_thread(self.say, wording.plain(f"That was not done: {error}"))
        else:
            self.call_from_thread(self._controlled, url, answer)

    def _controlled(self, url: str, answer: Row) -> None:
        """Show it at once: the next key may depend on it."""
        if url == self.url:
            apply(answer, self.broker)
        self.say(told(answer))

    def _look(self) -> None:
        polls = self._pollers[self._shown].polls
        # A little early is not too early: answers do not come to the millisecond.
        if polls != self._polls and monotonic() - self._looked_at > self._every_s - 0.5:
            self._take()
            self._show()

    def _take(self) -> None:
        poller = self._pollers[self._shown]
        now = monotonic()
        with poller.lock:
            self._polls = poller.polls
            self.broker = poller.watch.snapshot(now)
        self._looked_at = now

    def _show(self) -> None:
        if isinstance(self.screen, BrokerScreen) and self.screen.is_mounted:
            try:
                self.screen.refresh_broker()
            except NoMatches:
                pass  # It is just being taken down, with the timer still running.
