"""The machine of a worker: its leases.

Theory of operation. A worker states its credit; the broker delivers up to that many tasks, each
delivery under a lease; the worker settles them in runs, all of one lease that are due in one
message. When the link is lost the leases are
lost with it: the broker gives the tasks to somebody else, and whatever the worker still says
about them is stale. So `Disconnected` means: forget what you hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from ..wire.codec import pack
from ..wire.headers import encode, make
from ..wire.link import Connected, Conversation, Disconnected, Link, LinkEvent
from ..wire.messages import REPLY, Credit, Deliver, Message, Progress, Report, Settle, Stop

RUNS_MAX = 128
"""Runs in one settlement of ours, each with one frame at most: below the frames allowed."""


class LeasedBatch(NamedTuple):
    """Tasks to run: a packed array of bodies, and what they are for."""

    queue: str
    task: str
    reply: bool
    tasks: int
    attempt: int
    age_us: int
    """How long ago the oldest of them was sent, microseconds, as far as the broker can tell."""
    body: bytes
    origin: int = 0
    """Who published them, and the number of their batch, and the place of the first in it. These
    stay the same when they are delivered again."""
    sequence: int = 0
    first: int = 0
    retries_left: int = 0
    """How often they are tried again if they fail; 0, too, if the broker does not say."""


class Leased(NamedTuple):
    """The broker delivered tasks."""

    lease: int
    batches: list[LeasedBatch]


class Unwanted(NamedTuple):
    """Tasks of a lease were cancelled: so many from a position on, counted through its batches."""

    lease: int
    position: int
    tasks: int

    def places(self, offset: int, first: int, tasks: int) -> range:
        """Those among some tasks of a batch that begins at ``offset``, by their places in it."""
        start = max(self.position - offset, first)
        return range(start, min(self.position + self.tasks - offset, first + tasks))


class Run(NamedTuple):
    """Tasks of a lease that are over: so many from ``first`` on of one batch."""

    batch: int
    first: int
    tasks: int
    status: int
    delay_ms: int = -1
    """With `RETRY`: how long it is to wait; -1: as the broker likes."""


class Settlement:
    """What is settled of one lease and has not been sent: its message grows until then."""

    __slots__ = ("lease", "message", "runs")

    def __init__(self, lease: int) -> None:
        self.lease = lease
        self.runs: list[list[int]] = []
        self.message: list[bytes] = [b""]
        """Its header, which is packed when it is sent, and its frames."""


class Settler(Protocol):
    """Whoever says what became of tasks: to one broker, or to that which had leased them."""

    def settle(
        self, lease: int, runs: list[Run], frames: list[bytes], *, credit: int, last: bool
    ) -> None:
        """See `WorkerProtocol.settle`."""


class WorkerProtocol(Conversation[Leased | Unwanted]):
    """One worker's conversation with a broker."""

    def __init__(
        self, id: bytes, about: bytes, random: Callable[[], float], *, credit: int
    ) -> None:
        super().__init__(Link("worker", id, about, random))
        self._credit = credit
        self._leases: set[int] = set()
        self._lost: set[int] = set()
        self.held = 0
        """Tasks that are leased and not settled."""
        self._settlement: Settlement | None = None

    def __repr__(self) -> str:
        return f"<WorkerProtocol {self.link.state.value}, {len(self._leases)} leases>"

    def is_idle(self) -> bool:
        """Whether nothing is leased."""
        return not self._leases

    def set_credit(self, credit: int) -> None:
        """Allow so many tasks in flight from now on; 0 to be left in peace."""
        if credit != self._credit:
            self._credit = credit
            if self.link.is_ready:
                self.link.send(Credit(credit))

    def settle(
        self, lease: int, runs: list[Run], frames: list[bytes], *, credit: int, last: bool
    ) -> None:
        """Say what became of tasks. ``last`` tells that nothing of the lease remains.

        ``frames`` holds one frame for each run whose status is RESULTS, FAILED or RETRY, in order.
        What was leased before the link broke is passed over.
        """
        if lease not in self._leases:
            return
        if last:
            self._leases.discard(lease)
        for run in runs:
            self.held -= run.tasks
        self._credit = credit
        settlement = self._settlement
        if (
            settlement is None
            or settlement.lease != lease
            or len(settlement.runs) + len(runs) > RUNS_MAX
        ):
            self._close_settlement()
            settlement = self._settlement = Settlement(lease)
            self.link.out.append(settlement.message)
        settlement.runs += [list(run[:4] if run.delay_ms < 0 else run) for run in runs]
        settlement.message += frames

    def to_send(self) -> list[list[bytes]]:
        """Messages that should go out now, in order."""
        self._close_settlement()
        return super().to_send()

    def _close_settlement(self) -> None:
        settlement, self._settlement = self._settlement, None
        if settlement is not None:
            fields = (settlement.lease, self._credit, settlement.runs)
            settlement.message[0] = encode(make(Settle, fields))

    def progress(self, lease: int, position: int, done: int, total: int) -> None:
        """Say how far a task has come; ``position`` counts through all batches of the lease."""
        if lease in self._leases:
            self._close_settlement()  # What is settled from now on is said after this.
            self.link.send(Progress(lease, position, done, total))

    def lost(self) -> set[int]:
        """The leases that were over with the link that was there before."""
        lost, self._lost = self._lost, set()
        return lost

    def report(self, figures: dict[str, object]) -> None:
        """Send the worker's own figures."""
        if self.link.is_ready:
            self.link.send(Report(), [pack(figures)])

    def _on_link(self, event: LinkEvent) -> None:
        super()._on_link(event)
        if isinstance(event, Disconnected | Connected):
            self._lost |= self._leases
            self._leases.clear()
            self.held = 0
            self._close_settlement()  # It may be about to be sent, and must have a header then.
        if isinstance(event, Connected):
            self.link.send(Credit(self._credit))

    def _on_message(self, message: Message, frames: list[bytes], now: float) -> None:
        if not self.link.is_ready:
            return  # We have said goodbye: with that the broker took back what it was sending.
        if type(message) is Deliver and len(message.batches) == len(frames):
            self._leases.add(message.lease)
            batches = []
            for (task, flags, tasks, attempt, *rest), body in zip(
                message.batches, frames, strict=True
            ):
                age_us, origin, sequence, first, retries_left = [*rest, 0, 0, 0, 0, 0][:5]
                leased = (
                    message.queue, task, bool(flags & REPLY), tasks, attempt, age_us, body,
                    origin, sequence, first, retries_left,
                )  # fmt: skip
                batches.append(make(LeasedBatch, leased))
                self.held += tasks
            self._events.append(make(Leased, (message.lease, batches)))
        elif type(message) is Stop and message.lease in self._leases:
            self._events.append(Unwanted(*message))
