"""What all screens show: one broker, one window, and the last message.

Theory of operation. `State.look` takes a snapshot as soon as the shown broker's poller has a new
answer, so a screen is no older than the answer. It never waits for a broker. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..metrics.poller import Poller
from . import formats
from .columns import Row

EARLY_S = 0.5
"""Answers do not come to the millisecond: one that comes this much early is shown at once."""

LETTERS_MAX = 20
"""Dead letters that are kept."""

MESSAGE_S = 8.0
"""How long a message stays on the screen."""


class State:
    """Which of some brokers is shown, in which window, and what it was like last.

    ``every_s`` is how often the figures change, seconds.
    """

    def __init__(self, pollers: Sequence[Poller], every_s: float, now: float) -> None:
        self._pollers = pollers
        self._every_s = every_s
        self._shown = 0
        self._polls = -1
        self._looked_at = now
        self._message: tuple[str, float] = ("", now)
        self.window = next(iter(formats.WINDOWS))
        """A key of `formats.WINDOWS`."""
        self.broker: Row = {}
        """The shown broker's part of the snapshot."""
        self.letters: dict[tuple[str, int], Row | str] = {}
        """Dead letters that were asked for, by address and number, or why they cannot be had."""
        self._take(now)

    def __repr__(self) -> str:
        return f"<State of {self.url}: {self._polls} polls, window {self.window}>"

    @property
    def url(self) -> str:
        """Where to ask the shown broker."""
        return self._pollers[self._shown].url

    @property
    def place(self) -> tuple[int, int]:
        """The number of the shown broker, and how many there are."""
        return self._shown + 1, len(self._pollers)

    def look(self, now: float) -> bool:
        """Take a new snapshot if there is an answer to show. Returns whether there was."""
        if self._pollers[self._shown].polls == self._polls:
            return False
        if now - self._looked_at <= self._every_s - EARLY_S:
            return False
        self._take(now)
        return True

    def next_window(self) -> None:
        """Show figures of the next window; after the last comes the first."""
        names = list(formats.WINDOWS)
        self.window = names[(names.index(self.window) + 1) % len(names)]

    def next_broker(self, now: float) -> None:
        """Show the next broker; after the last comes the first."""
        self._shown = (self._shown + 1) % len(self._pollers)
        self._take(now)

    def keep(self, url: str, number: int, letter: Row | str) -> None:
        """Keep a dead letter, or why it cannot be had; only the last few are looked at."""
        self.letters[url, number] = letter
        if len(self.letters) > LETTERS_MAX:
            del self.letters[next(iter(self.letters))]

    def say(self, message: str, now: float) -> None:
        """Set the message, for `MESSAGE_S`."""
        self._message = message, now + MESSAGE_S

    def message(self, now: float) -> str:
        """The message; empty if there is none, or it is too old."""
        text, until = self._message
        return text if now < until else ""

    def _take(self, now: float) -> None:
        poller = self._pollers[self._shown]
        with poller.lock:
            self._polls = poller.polls
            self.broker = poller.watch.snapshot(now)
        self._looked_at = now
