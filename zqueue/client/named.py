"""A connection of a producer with a name.

Theory of operation. Its id is the same in the next process of that name, which numbers its batches
above all that the broker took from this one. The broker keeps each result until it hears that it
came, and so do those that an earlier process awaited (`earlier`). If another process takes the name
over, this one has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.confirm import GAPS_MAX
from ..wire.codec import BATCH_TASKS_MAX, pack
from ..wire.link import Connected, LinkEvent, Rejected
from ..wire.messages import OPEN, REPLACED, Result
from .connection import Connection
from .earlier import EarlierRun
from .names import CHANCE
from .sent import Dismissed, EarlierCame


class NamedConnection(Connection):
    """``first`` is the number of its first batch, above those that an earlier process used."""

    def __init__(
        self, id: bytes, about: dict[str, Any], random: Callable[[], float], *, first: int
    ) -> None:
        super().__init__(id, about | {"first": first}, random, base=first - 1)
        self._about = about
        self._first = first

    def _on_link(self, event: LinkEvent) -> None:
        if not self._is_not_the_last(event):
            super()._on_link(event)

    def _is_not_the_last(self, event: LinkEvent) -> bool:
        """See to it if another process of our name came after us, or if a broker knows no names."""
        text = ""
        if isinstance(event, Rejected) and event.code == REPLACED:
            text = "another process sends under this name now"
        elif isinstance(event, Connected) and not event.next:
            text = "the broker is of a version that knows no names of producers"
        elif isinstance(event, Connected) and event.next > self._next_sequence:
            if self._next_sequence > self._first:
                text = "another process has sent under this name"
            else:
                # It did so before, and the clock was set back. It may have numbered so many more;
                # and this may go for several processes at once.
                more = GAPS_MAX + int(self.random() * CHANCE)
                self._first = self._begin = self._next_sequence = event.next + more
                self.link.greet_again(pack(self._about | {"first": self._first}))
                return True
        if text and self.link.give_way():
            self._events.append(Dismissed(text))
        return bool(text)

    def _on_result(self, message: Result, frame: bytes) -> None:
        if message.status != OPEN and max(message.first, message.tasks) <= BATCH_TASKS_MAX:
            if not any(each.has_numbered(message.sequence) for each in self.siblings):
                self._on_earlier(message, frame)
                return
            self._came += (message.sequence, message.first)
        super()._on_result(message, frame)

    def _on_earlier(self, message: Result, frame: bytes) -> None:
        run = EarlierRun(
            self.origin, message.sequence, message.first, message.tasks, message.status, frame
        )
        if self.earlier.add(run):
            self._came += run.key
        else:
            self._events.append(EarlierCame(run.tasks))
