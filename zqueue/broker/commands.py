"""Commands: what people tell a broker to do, and when they hear that it is done.

Theory of operation. A command is carried out when it comes: tasks are cancelled, a queue is paused,
dead letters are replayed, dropped or taken in. Its answer waits until the store has what it tells
of, as a confirm does: what was said to be done is done after a crash, too. Without a store the
answer goes out at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..errors import ProtocolError
from ..wire.codec import pack
from ..wire.messages import (
    FULL,
    MALFORMED,
    UNKNOWN_QUEUE,
    Cancel,
    Control,
    Message,
    Refuse,
    Tell,
)
from .aside import LETTER_ACTIONS, Aside
from .book import ACTIONS, Book
from .cancelling import Cancelling
from .peers import Peer

WAITING_MAX = 10_000
"""Answers that wait for the store: some megabytes, and more than come while a disk syncs."""

Send = Callable[[bytes, Message, list[bytes]], None]


class Commands:
    """Carries out what is told, and answers."""

    def __init__(self, book: Book, cancelling: Cancelling, aside: Aside, send: Send) -> None:
        self._book = book
        self._cancelling = cancelling
        self._aside = aside
        self._send = send
        self._waiting: deque[tuple[int, bytes, list[bytes]]] = deque()
        """Tickets, peers and frames of answers, in order."""

    def __repr__(self) -> str:
        return f"<Commands: {len(self._waiting)} answers wait>"

    def on_cancel(
        self, peer: bytes, known: Peer | None, message: Cancel, frames: list[bytes], now: float
    ) -> None:
        """Cancel tasks. Raises `ProtocolError`."""
        if not self._refuses(peer):
            self._answer(peer, [pack(self._cancelling.cancel(known, message))])

    def on_control(
        self, peer: bytes, known: Peer | None, message: Control, frames: list[bytes], now: float
    ) -> None:
        """Do something to a queue, or to dead letters. Raises `ProtocolError`."""
        if self._refuses(peer):
            return
        if message.action in LETTER_ACTIONS:
            self._answer(peer, self._aside.control(message, frames))
            return
        if message.action not in ACTIONS:
            raise ProtocolError(MALFORMED, f"cannot {message.action[:40]!r} a queue")
        queue = self._book.queues.get(message.queue)
        if queue is None:
            text = f"there is no queue {message.queue[:128]!r}"
            self._send(peer, Refuse(UNKNOWN_QUEUE, 0, text), [])
            return
        self._book.control(queue, message.action)
        state = {"queue": message.queue, "paused": queue.paused, "draining": queue.draining}
        self._answer(peer, [pack(state)])

    def stored(self, ticket: int) -> None:
        """All up to a ticket survives: send the answers that waited for that."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= ticket:
            _, peer, frames = waiting.popleft()
            self._send(peer, Tell(), frames)

    def _refuses(self, peer: bytes) -> bool:
        if len(self._waiting) < WAITING_MAX:
            return False
        self._send(peer, Refuse(FULL, 0, "the disk is behind with earlier commands"), [])
        return True

    def _answer(self, peer: bytes, frames: list[bytes]) -> None:
        journal = self._book.journal
        ticket = None if journal is None else journal.ticket()
        if journal is None or ticket is None:
            self._send(peer, Tell(), frames)
        else:
            journal.press()
            self._waiting.append((ticket, peer, frames))
