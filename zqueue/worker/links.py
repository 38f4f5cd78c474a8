"""Links: a worker's leases at several brokers, and its credit, divided among them. Pure.

Theory of operation. A worker wants so many tasks in all, wherever they come from. A broker that
lately filled at least half of its share is busy: it has more. The busy ones share the credit; each
of the others has one task of it, so that a lone task is taken at once. What comes beyond the credit
so is at most a task of each broker, and is returned like all that waits too long (`desk`).

Brokers may come and go. One that is to be left has no credit; once nothing of it is leased, we say
goodbye.
"""

from __future__ import annotations

from ..wire.link import Link, State
from ..wire.messages import RETURNED
from .leases import Leased, Run, WorkerProtocol

BUSY_S = 0.1
"""How long a broker that filled its share counts as busy, seconds: some deliveries."""


class Links:
    """What `desk.Desk` takes for the leases of one broker, for those of several."""

    def __init__(self, protocols: list[WorkerProtocol], credit: int) -> None:
        self._protocols: list[WorkerProtocol] = []
        self._all: list[Link] = []
        self._leaving: set[WorkerProtocol] = set()
        self._holders: dict[int, WorkerProtocol] = {}
        """Who leased what."""
        self._busy_until: dict[WorkerProtocol, float] = {}
        self._shares: dict[WorkerProtocol, int] = {}
        self._now = 0.0
        for protocol in protocols:
            self.join(protocol)
        self._divide(credit)

    def __repr__(self) -> str:
        return f"<Links: {len(self._holders)} leases, shares {list(self._shares.values())}>"

    def join(self, protocol: WorkerProtocol) -> None:
        """There is another broker."""
        self._protocols.append(protocol)
        self._all.append(protocol.link)
        protocol.link.siblings = self._all
        self._busy_until[protocol] = 0.0
        self._shares[protocol] = 0

    def leave(self, protocol: WorkerProtocol, leaves: bool = True) -> None:
        """A broker is to be left, or not any more."""
        (self._leaving.add if leaves else self._leaving.discard)(protocol)

    @property
    def leaving(self) -> int:
        """How many brokers are being left."""
        return len(self._leaving)

    def tick(self, now: float) -> list[WorkerProtocol]:
        """Say goodbye where nothing is leased any more. Returns those that we have left."""
        for protocol in self._leaving:
            if protocol not in self._holders.values() and protocol.is_idle():
                protocol.link.leave(now)
        gone = [each for each in self._leaving if each.link.state is State.LEFT]
        for protocol in gone:
            self._leaving.discard(protocol)
            self._protocols.remove(protocol)
            self._all.remove(protocol.link)
            del self._busy_until[protocol], self._shares[protocol]
        return gone

    def leased(self, protocol: WorkerProtocol, event: Leased, now: float) -> bool:
        """A broker delivered tasks. False: under a number that another one uses, so that they were
        returned."""
        self._now = now
        if self._holders.setdefault(event.lease, protocol) is not protocol:
            runs = [Run(i, 0, batch.tasks, RETURNED) for i, batch in enumerate(event.batches)]
            protocol.settle(event.lease, runs, [], credit=self._shares[protocol], last=True)
            return False
        if 2 * protocol.held >= self._shares[protocol]:
            self._busy_until[protocol] = now + BUSY_S
        return True

    def lost(self, protocol: WorkerProtocol) -> set[int]:
        """A broker came or went: these are the leases that are over with it."""
        lost = {each for each in protocol.lost() if self._holders.get(each) is protocol}
        for lease in lost:
            del self._holders[lease]
        return lost

    def set_credit(self, credit: int, now: float) -> None:
        """Allow so many tasks in flight in all from now on; 0 to be left in peace."""
        self._now = now
        self._divide(credit)
        for protocol, share in self._shares.items():
            protocol.set_credit(share)

    def settle(
        self, lease: int, runs: list[Run], frames: list[bytes], *, credit: int, last: bool
    ) -> None:
        """Say what became of tasks: see `WorkerProtocol.settle`."""
        protocol = self._holders.get(lease)
        if protocol is None:
            return
        if last:
            del self._holders[lease]
        share = self._shares[protocol] if credit else 0
        protocol.settle(lease, runs, frames, credit=share, last=last)

    def progress(self, lease: int, position: int, done: int, total: int) -> None:
        """Say how far a task has come: see `WorkerProtocol.progress`."""
        protocol = self._holders.get(lease)
        if protocol is not None:
            protocol.progress(lease, position, done, total)

    def _divide(self, credit: int) -> None:
        staying = [each for each in self._protocols if each not in self._leaving]
        for protocol in self._leaving:
            self._shares[protocol] = 0
        if len(staying) < 2:
            self._shares.update(dict.fromkeys(staying, credit))
            return
        there = [each for each in staying if each.link.is_ready] or staying
        busy = [each for each in there if self._busy_until[each] > self._now] or there
        share = max(1, (credit - len(there) + len(busy)) // len(busy))
        for protocol in staying:
            self._shares[protocol] = min(credit, share if protocol in busy else 1)
