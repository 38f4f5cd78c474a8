"""Moves: what becomes of batches whose broker is given up, where there are several.

Theory of operation. A broker is given up when it was silent for the liveness time, or said goodbye.
What it has not confirmed goes to others, under the same numbers; when it is back, it is told to
forget that (`connection`). What it had confirmed is its own: if it keeps that in memory only, and
is not back within a time of grace, those results are lost.

A batch that a broker has no room for goes to another one at once, if that has room.
"""

from __future__ import annotations

from ..wire.link import Connected, Disconnected, LinkEvent
from .choice import Choice
from .connection import WINDOW_BATCHES, Connection
from .sent import Postponed, Sent

GRACE_S = 10.0
"""How long results are awaited of a broker that was given up and has no store, seconds: a partition
may heal."""

UNHEARD_S = 5.0
"""After so long without a first welcome, or without another one by a broker that is new, one is
given up, too, seconds."""

SHUT_S = 1.0
"""How long a queue that was full at a broker is thought to be, seconds."""


class Moves:
    """Moves batches between connections. They may come and go."""

    def __init__(self, connections: list[Connection], choice: Choice) -> None:
        self._connections = connections
        self._choice = choice
        self._gone_at: dict[Connection, float] = {}
        """From when on those count as given up that are not connected."""
        self._blocked = False
        """Something is to be moved, and there was no room."""

    def __repr__(self) -> str:
        return f"<Moves: {len(self._gone_at)} of {len(self._connections)} gone>"

    def on_link(self, connection: Connection, event: LinkEvent, now: float) -> None:
        """A broker came or went."""
        if isinstance(event, Connected):
            self._gone_at.pop(connection, None)
            self._choice.given_up.discard(connection)
            self._blocked = True  # What found nobody may find this one.
        elif isinstance(event, Disconnected):
            self._gone_at[connection] = now + UNHEARD_S if event.is_new else now

    def postponed(self, connection: Connection, event: Postponed, now: float) -> bool:
        """A broker had no room for a batch. Says whether it went to another one."""
        sent = event.sent
        self._choice.shut(connection, sent.lane.queue, now + SHUT_S)
        find = self._choice.other if connection.is_leaving else self._choice.other_with_room
        other = find(connection, sent.lane, now)
        if other is None or sent.withdrawn is not None:
            return False
        _move(sent, connection, other, now)
        return True

    def forget(self, connection: Connection) -> None:
        """We have left it."""
        self._gone_at.pop(connection, None)
        self._choice.forget(connection)

    def settled(self, now: float) -> None:
        """Something was confirmed or refused: there may be room."""
        if self._blocked:
            self.tick(now)

    def tick(self, now: float) -> bool:
        """Time has passed. Says whether anything changed."""
        if len(self._connections) == 1:
            return False
        happened = self._blocked = False
        for connection in self._connections:
            if connection.link.is_ready:
                continue
            if connection.instead is not None:
                happened |= self._join(connection, connection.instead, now)
                continue
            gone_at = self._gone_at.setdefault(connection, now + UNHEARD_S)
            if gone_at <= now:
                self._choice.given_up.add(connection)
                if gone_at + GRACE_S <= now and connection.may_lose_confirmed():
                    connection.lose_confirmed("and its memory queues with it")
                happened |= self._move_all(connection, now)
        return happened

    def next_deadline(self) -> float | None:
        """When `tick` wants to be called at the latest."""
        if len(self._connections) == 1:
            return None
        deadlines = []
        for connection, at in self._gone_at.items():
            if connection not in self._choice.given_up:
                deadlines.append(at)
            elif connection.may_lose_confirmed():
                deadlines.append(at + GRACE_S)
        return min(deadlines, default=None)

    def _join(self, connection: Connection, twin: Connection, now: float) -> bool:
        """The broker of this address has another one, at which we know it: what was numbered here
        before that was found out goes there."""
        happened = False
        for sent in connection.unconfirmed_batches():
            if twin.unconfirmed >= WINDOW_BATCHES:
                self._blocked = True
                break
            _move(sent, connection, twin, now)
            happened = True
        return happened

    def _move_all(self, connection: Connection, now: float) -> bool:
        happened = False
        for sent in connection.unconfirmed_batches():
            other = self._choice.other(connection, sent.lane, now)
            if other is None:
                self._blocked = True
            else:
                _move(sent, connection, other, now)
                happened = True
        return happened


def _move(sent: Sent, connection: Connection, other: Connection, now: float) -> None:
    number = sent.sequence
    connection.release(sent)
    other.adopt(sent, now)
    for whom in (sent.reply, sent.promise) if sent.sequence != number else ():
        if whom is not None:
            whom.numbered(other.origin, sent.sequence)
