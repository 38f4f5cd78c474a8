"""The fleet: a producer's connections, of which some come and go with the list of brokers.

Theory of operation. A broker that is named is connected to. One that is named no more gets nothing
new; what it has unconfirmed is confirmed, or goes elsewhere like what a lost broker had (`moves`),
and its results are received still. Then we take leave of it. A connection that has left is
*parked*, with its numbers: the broker may be named again, and remember them.

A connection is one to a broker, and its name is where that is. If the broker turns up at the
address of another connection, the two change names.
"""

from __future__ import annotations

from collections.abc import Callable

from ..wire.link import Elsewhere, State
from .connection import Connection

LEAVING_MAX = 64
"""Brokers that are named no more and have something of ours still: a broker with a store may come
back with it at any time. Beyond that nothing more is awaited of the first of them."""

PARKED_MAX = 64
"""Connections that are remembered for the time when their broker is named again."""


class Fleet:
    """Joins, drains and leaves. ``make`` makes a connection of the next row of numbers."""

    def __init__(
        self, connections: list[Connection], names: list[str],
        make: Callable[[int], Connection] | None = None,
    ) -> None:  # fmt: skip
        self.connections = connections
        """Those that are there, or leave. The list stays the same one."""
        self.version = 0
        """Counts changes of these, or of their names."""
        self._is_closed = False
        self._make = make
        self._parked: dict[str, Connection] = {}
        """By name; those that have left first in front."""
        self._all: list[Connection] = []
        self._links = [connection.link for connection in connections]
        self._rows = len(connections)
        self._named = dict.fromkeys(names)
        for connection, name in zip(connections, names, strict=True):
            self._settle_in(connection, name)

    def __repr__(self) -> str:
        return f"<Fleet of {len(self.connections)}, {len(self._parked)} parked>"

    def named(self, names: list[str]) -> None:
        """These are the brokers from now on."""
        if self._is_closed:
            return
        self._named = dict.fromkeys(names)
        there = {connection.name for connection in self.connections}
        for name in names:
            if name not in there:
                self._join(name)
        self._mark()

    def close(self, now: float) -> None:
        """Take leave of all, for good."""
        self._is_closed = True
        for connection in self.connections:
            connection.link.leave(now)

    def met(self, connection: Connection, event: Elsewhere) -> None:
        """The broker of another connection is at the address of this one."""
        other = next((each for each in self._all if each.link is event.other), None)
        if other is None or other.link.state not in (State.GREETING, State.LEFT):
            return  # It takes leave: this one will look again.
        if other.link.state is State.LEFT:
            self._unpark(other)
        other.name, connection.name = connection.name, other.name
        other.link.hurry()
        self._mark()

    def tick(self, now: float) -> list[Connection]:
        """Take leave of those that have nothing left to do. Returns those that are gone."""
        leaving = [each for each in self.connections if each.is_leaving]
        for connection in leaving[: max(0, len(leaving) - LEAVING_MAX)]:
            connection.lose_confirmed("and is named no more")
        gone = []
        for connection in leaving:
            if connection.is_done():
                connection.link.leave(now)
            if connection.link.state is State.LEFT:
                gone.append(connection)
                self._park(connection)
        if gone:
            self._mark()
        return gone

    # --- one ---

    def _join(self, name: str) -> None:
        if name in self._parked:
            self._unpark(self._parked[name])
        elif self._make is not None:
            connection = self._make(self._rows)
            self._rows += 1
            self._links.append(connection.link)
            self.connections.append(connection)
            self._settle_in(connection, name)

    def _settle_in(self, connection: Connection, name: str) -> None:
        self._all.append(connection)
        connection.name, connection.siblings = name, self._all
        connection.link.siblings = self._links

    def _park(self, connection: Connection) -> None:
        self.connections.remove(connection)
        self._parked[connection.name] = connection
        if len(self._parked) > PARKED_MAX:
            dropped = self._parked.pop(next(iter(self._parked)))
            self._all.remove(dropped)
            self._links.remove(dropped.link)

    def _unpark(self, connection: Connection) -> None:
        del self._parked[connection.name]
        self.connections.append(connection)
        connection.link.come_back()

    def _mark(self) -> None:
        self.version += 1
        for connection in self.connections:
            connection.is_leaving = connection.name not in self._named
