"""The machine of a supervisor: it answers to the broker for the workers of a pool.

It runs no user code. Its heartbeats name the living workers, which keeps their leases alive while
they are deep in a handler; and it reports each worker that ended, once, and at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Never

from ..wire.codec import pack
from ..wire.link import Connected, Conversation, Link, LinkEvent
from ..wire.messages import Departed, Report

UNREPORTED_MAX = 1024
"""Departures that a supervisor remembers without a broker: as many as a pool has workers."""

STAY_S = 60.0
"""How long a supervisor stays with a broker that is named no more, seconds. By then each worker has
looked, too, and shows whether it is still about to leave one."""


class SupervisorProtocol(Conversation[Never]):
    """One supervisor's conversation with a broker."""

    def __init__(self, id: bytes, about: bytes, random: Callable[[], float]) -> None:
        super().__init__(Link("supervisor", id, about, random))
        self._unreported: deque[Departed] = deque(maxlen=UNREPORTED_MAX)
        """Who departed while no broker was there."""
        self._unnamed_at: float | None = None

    def __repr__(self) -> str:
        return f"<SupervisorProtocol {self.link.state.value} for {len(self.link.workers)}>"

    def report(self, figures: dict[str, object]) -> None:
        """Send the supervisor's own figures."""
        if self.link.is_ready:
            self.link.send(Report(), [pack(figures)])

    def named(self, is_named: bool, now: float) -> None:
        """Whether the list of brokers names this one, from now on."""
        if is_named:
            self._unnamed_at = None
        elif self._unnamed_at is None:
            self._unnamed_at = now

    def look(self, now: float, leaving: bool) -> None:
        """Leave a broker that is named no more, once no worker has anything of it. ``leaving``:
        whether any worker is about to leave a broker."""
        if self._unnamed_at is None:
            return
        if not self.link.is_ready or (now >= self._unnamed_at + STAY_S and not leaving):
            self.link.leave(now)

    def joined(self, worker: bytes) -> None:
        """Speak for a worker from now on."""
        self.link.workers.append(worker)

    def departed(
        self, worker: bytes, reason: str, *, lease: int = 0, position: int = 0, text: str = ""
    ) -> None:
        """A worker is gone: stop speaking for it, and say why, as soon as there is a broker."""
        if worker in self.link.workers:
            self.link.workers.remove(worker)
        self._unreported.append(Departed(worker, reason, lease, position, text[:500]))
        if self.link.is_ready:
            self._report_departures()

    def _on_link(self, event: LinkEvent) -> None:
        super()._on_link(event)
        if isinstance(event, Connected):
            # A broker that has found out by itself, or is new, does not know them any more.
            self._report_departures()

    def _report_departures(self) -> None:
        while self._unreported:
            self.link.send(self._unreported.popleft())
