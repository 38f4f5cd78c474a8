"""Promises: the batches that were published each with a future of its confirm.

Theory of operation. Who publishes so does not wait for room. A batch that the broker takes later at
best is *withdrawn*: its number goes out once more without a body, so that it is used up. The answer
tells what became of it: confirmed, if the broker had taken it after all, else refused.
A batch that no broker answers is withdrawn when it has waited for so long.
"""

from __future__ import annotations

from collections import deque

from ..errors import BrokerLost, QueueFull, Refused, ZQueueError
from ..wire.messages import FULL
from .connection import Connection
from .endings import Ending, Verdict
from .sent import BatchRefused, Postponed, Sent


class Promises:
    """What was promised, the oldest first. What became of it is noted in ``endings``.

    While a broker is there a batch waits for its answer. Without one each is given up
    ``patience_s`` after it was published or the broker was lost, whichever came later.
    """

    def __init__(
        self,
        connections: list[Connection],
        endings: deque[Ending | Verdict],
        patience_s: float,
    ) -> None:
        self._connections = connections
        self._endings = endings
        self._patience_s = patience_s
        self._open: dict[Sent, None] = {}
        self._lost_at: float | None = float("-inf")
        """When the last broker was lost; None while there is one."""
        self.is_alone = False
        """Whether no broker is there: one was and is lost, or none came while one was awaited."""

    def __repr__(self) -> str:
        return f"<Promises: {len(self._open)} batches>"

    def add(self, sent: Sent) -> None:
        """A batch was published."""
        self._open[sent] = None

    def confirmed(self, sent: Sent) -> None:
        """The broker has taken it."""
        if sent in self._open:
            self._tell(sent, None)

    def refused(self, connection: Connection, event: BatchRefused) -> bool:
        """Whether a batch that the broker will never take was published so; then its publisher is
        told, or was."""
        sent = event.sent
        if sent in self._open:
            self._break(connection, sent, sent.withdrawn or Refused(event.code, event.text))
        return sent.promise is not None

    def postponed(self, connection: Connection, event: Postponed, now: float) -> None:
        """It could be taken later. If not even its number can be used up now, its publisher is told
        all the same."""
        sent = event.sent
        if sent not in self._open:
            return
        if sent.withdrawn is not None:
            self._break(connection, sent, sent.withdrawn)
        elif event.code == FULL and sent.doubtful:
            text = f"the broker that had it was lost, and another one has no room: {event.text}"
            connection.withdraw(sent, BrokerLost(text), now)
        elif event.code == FULL:
            connection.withdraw(sent, QueueFull(event.text), now)
        else:
            connection.withdraw(sent, Refused(event.code, event.text), now)

    def broker_is(self, there: bool, now: float) -> None:
        """Whether any broker is there from now on."""
        if there:
            self._lost_at, self.is_alone = None, False
        elif self._lost_at is None:
            self._lost_at, self.is_alone = now, True

    def next_deadline(self) -> float | None:
        """When the oldest is to be given up; None: not before a broker is lost."""
        if self._lost_at is None or not self._open:
            return None
        return max(self._lost_at, next(iter(self._open)).since) + self._patience_s

    def tick(self, now: float, trouble: str) -> bool:
        """Give up what has waited too long for a broker. Says whether anything has. ``trouble`` is
        why no broker welcomes us, as far as one has said."""
        happened = False
        while (deadline := self.next_deadline()) is not None and now >= deadline:
            sent, error, happened = next(iter(self._open)), self._alone(trouble), True
            self.is_alone = True
            for connection in self._connections:
                if connection.sent.get(sent.sequence) is sent:
                    connection.withdraw(sent, error, now)
                    self._break(connection, sent, error)
        return happened

    def abandoned(self, connection: Connection) -> None:
        """A broker was lost, and there are others: none waits for its answer to what was withdrawn
        there."""
        for sent in list(self._open):
            if sent.withdrawn is not None and sent.holder is connection:
                self._break(connection, sent, sent.withdrawn)

    def give_up(self, error: ZQueueError) -> None:
        """No answer will come to any."""
        for sent in list(self._open):
            self._tell(sent, error)

    def _alone(self, trouble: str) -> BrokerLost:
        names = ", ".join(connection.name for connection in self._connections)
        return BrokerLost(f"no broker answers at {names}{trouble}")

    def _break(self, connection: Connection, sent: Sent, error: ZQueueError) -> None:
        if sent.reply is not None:
            self._endings.append(Ending(sent.reply, error))
        if not sent.confirmed:
            connection.give_up(sent)
        self._tell(sent, error)

    def _tell(self, sent: Sent, error: ZQueueError | None) -> None:
        self._endings.append(Verdict(sent.promise, error))
        del self._open[sent]
