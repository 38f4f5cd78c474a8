"""The choice: which broker gets the next batch.

Theory of operation. Of two brokers that chance names, the one with fewer bytes unconfirmed: as good
as asking all, and no two producers run after the same one ("the power of two choices", Mitzenmacher
2001). A lane of which nothing is unconfirmed stays with the broker that it had. A broker that was
silent for two heartbeats, or whose connection is cut, gets nothing new; nor does one get batches of
a queue that is full there, unless it is everywhere. A key goes to the broker that ranks highest
for it (rendezvous hashing, Thaler and Ravishankar 1998): all producers find the same one, and when
a broker is given up, only its keys move.

With one broker there is no choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from .connection import WINDOW_BATCHES, Connection
from .flow import BATCHES_LEAST
from .lane import Lane

SHUT_MAX = 1000
"""Queues that are remembered as full at a broker."""


class Choice:
    """Chooses among connections. They may come and go."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections
        self.given_up: set[Connection] = set()
        """Those that batches go away from."""
        self._shut: dict[tuple[Connection, str], float] = {}
        """Queues that were full at a broker, and how long that is thought to last."""

    def __repr__(self) -> str:
        return f"<Choice of {len(self._connections)}>"

    def choose(self, lane: Lane, now: float) -> Connection | None:
        """The connection for the next batch of a lane; None: there is no room.

        Half of the room is for lanes that have little under way: no queue holds up all others.
        """
        if not self._connections:
            return None
        few = lane.in_flight < BATCHES_LEAST
        room = WINDOW_BATCHES if few else WINDOW_BATCHES // 2
        if len(self._connections) == 1:
            only = self._connections[0]
            return only if only.unconfirmed < room else None
        if lane.key is not None:
            pinned = self._pinned(lane.key)
            return pinned if pinned.unconfirmed < room else None
        live = [each for each in self._connections if each.is_live(now)]
        staying = [each for each in self._connections if not each.is_leaving]
        chosen = self._best(lane, live or staying, room, now)
        if chosen is not None:
            lane.home = chosen
        return chosen

    def other(self, connection: Connection, lane: Lane, now: float) -> Connection | None:
        """Where a batch goes that does not stay with its connection; None: there is nobody."""
        others = [each for each in self._connections if each.is_live(now) and each != connection]
        if lane.key is not None and others:
            pinned = self._pinned(lane.key)
            others = [pinned] if pinned in others else []
        return self._best(lane, others, WINDOW_BATCHES, now)

    def other_with_room(self, connection: Connection, lane: Lane, now: float) -> Connection | None:
        """The same, for a batch that its connection has no room for; None: the others have none."""
        if len(self._connections) == 1 or lane.key is not None:
            return None
        other = self.other(connection, lane, now)
        return None if other is None or self._is_shut(other, lane.queue, now) else other

    def shut(self, connection: Connection, queue: str, until: float) -> None:
        """A queue is full there; think so until then."""
        self._shut[connection, queue] = until
        if len(self._shut) > SHUT_MAX:
            del self._shut[next(iter(self._shut))]

    def forget(self, connection: Connection) -> None:
        """It is not there any more."""
        self.given_up.discard(connection)
        self._shut = {each: until for each, until in self._shut.items() if each[0] != connection}

    def _is_shut(self, connection: Connection, queue: str, now: float) -> bool:
        return self._shut.get((connection, queue), 0.0) > now

    def _pinned(self, key: str) -> Connection:
        staying = [each for each in self._connections if not each.is_leaving]
        there = [each for each in staying if each not in self.given_up]
        best = max(there or staying, key=lambda each: rank(each.name, key))
        return best.instead or best

    def _best(
        self, lane: Lane, among: Iterable[Connection], room: int, now: float
    ) -> Connection | None:
        roomy = [each for each in among if each.unconfirmed < room]
        roomy = [each for each in roomy if not self._is_shut(each, lane.queue, now)] or roomy
        if len(roomy) < 2:
            return roomy[0] if roomy else None
        if not lane.in_flight and lane.home in roomy:
            home: Connection = lane.home
            return home
        random = roomy[0].random
        first = int(random() * len(roomy))
        second = int(random() * (len(roomy) - 1))
        one, two = roomy[first], roomy[second + (second >= first)]
        return one if one.unconfirmed_bytes <= two.unconfirmed_bytes else two


def rank(name: str, key: str) -> bytes:
    """How a broker ranks for a key: the same in all producers."""
    return hashlib.blake2b(f"{name}\n{key}".encode(), digest_size=8).digest()
