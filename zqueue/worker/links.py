"""Links: a worker's leases at several brokers, and its credit, divided among them. Pure.

Theory of operation. A worker wants so many tasks in all, wherever they come from. A broker that
lately filled at least half of its share is busy: it has more. The busy ones share the credit; each
of the others has one task of it, so that a lone task is taken at once. What comes beyond the credit
so is at most a task of each broker, and is returned like all that waits too long (`desk`).
"""

from __future__ import annotations

from ..wire.messages import RETURNED
from .leases import Leased, Run, WorkerProtocol

BUSY_S = 0.1
"""How long a broker that filled its share counts as busy, seconds: some deliveries."""


class Links:
    """What `desk.Desk` takes for the leases of one broker, for those of several."""

    def __init__(self, protocols: list[WorkerProtocol], credit: int) -> None:
        self._protocols = protocols
        self._holders: dict[int, WorkerProtocol] = {}
        """Who leased what."""
        self._busy_until = dict.fromkeys(protocols, 0.0)
        self._shares = dict.fromkeys(protocols, 0)
        self._now = 0.0
        self._divide(credit)

    def __repr__(self) -> str:
        return f"<Links: {len(self._holders)} leases, shares {list(self._shares.values())}>"

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
        if len(self._protocols) == 1:
            self._shares[self._protocols[0]] = credit
            return
        there = [each for each in self._protocols if each.link.is_ready] or self._protocols
        busy = [each for each in there if self._busy_until[each] > self._now] or there
        share = max(1, (credit - len(there) + len(busy)) // len(busy))
        for protocol in self._protocols:
            self._shares[protocol] = min(credit, share if protocol in busy else 1)
