"""A side: tasks that run side by side, from their lease to their settlement. Pure.

A worker has two of them: ``async`` tasks in its event loop, and plain ones in its threads, if it
has any. What waits for a place is in a `work.SideRow`. As in the desk, nothing waits behind slow
tasks: what would begin only after `OVERRUN_S` goes back, and credit falls to what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..core.credit import CreditMeter
from ..current import Current
from ..errors import Cancelled
from ..handlers import Handler
from ..wire.messages import RETURNED
from ..wire.results import Failure, OutcomeRun, pack_outcomes
from .leases import LeasedBatch, Unwanted
from .tally import Tally
from .work import Running, SideEnd, SideRow, SideTask, Work

OVERRUN_S = 0.2
"""A handler that takes longer than this is slow: what waits behind it is returned."""

Failed = Callable[[LeasedBatch, BaseException, int, Handler | None, Current | None], None]
"""Hears of tasks that failed: their batch, why, how many, whose, and which, if that is known."""

Settle = Callable[[Work, Iterable[OutcomeRun]], None]
"""Says what became of tasks of a batch."""


class Side:
    """What becomes of the tasks of a row. ``held`` tells how many tasks the worker has in all."""

    def __init__(
        self,
        row: SideRow,
        meter: CreditMeter,
        tally: Tally,
        on_failure: Failed,
        settle: Settle,
        held: Callable[[], int],
    ) -> None:
        self.row = row
        self._meter = meter
        self._tally = tally
        self._on_failure = on_failure
        self._settle = settle
        self._held = held

    def __repr__(self) -> str:
        return f"<Side {self.row!r}>"

    def add(self, task: SideTask) -> None:
        """A task was leased."""
        row = self.row
        row.open += 1
        row.waiting.append(task)
        if row.open <= row.places:
            self._meter.placed()

    def settle(self, now: float) -> None:
        """Settle what is over."""
        over = self.row.over
        while over:
            self._settle_end(over.popleft(), now)
        self.shed()

    def _settle_end(self, end: SideEnd, now: float) -> None:
        task, took_s, value, error = end
        work, handler = task.work, task.handler
        self.row.open -= 1
        account = work.tally.account
        account.meter(handler).record(took_s, now - work.sent_at, 1)
        self._tally.ran.add(handler.name, took_s)
        failed = error is not None and not isinstance(error, Cancelled)
        account.count(handler, error is None, failed)
        # Side by side, a worker is through with a task each time one of them ends.
        self._meter.measure_one(took_s / self.row.places, work.kind)
        values = [value] if work.batch.reply and error is None else None
        failures: list[Failure] = []
        if error is not None:
            failures.append((task.position, error))
            self._on_failure(work.batch, error, 1, handler, task.current)
        runs = pack_outcomes(task.position, 1, values, failures, handler.retry_ms)
        self._settle(work, runs)

    # --- what goes back ---

    def shed(self) -> None:
        """Return what would wait long for one of those that run.

        The last one stands for all: a look at each would cost more than it tells.
        """
        row, meter = self.row, self._meter
        if not row.waiting or row.open <= row.places:
            return
        kind = row.waiting[-1].work.kind
        if not meter.knows(kind) or meter.expect(kind, len(row.waiting)) > OVERRUN_S:
            self.give_back(row.open - row.places)
            meter.limit(self._held())

    def look(self, now: float) -> None:
        """Settle what is over, and return what waits where all that run are slow."""
        row = self.row
        self.settle(now)
        oldest = row.oldest()
        if oldest is None or not row.waiting or len(row.running) < row.places:
            return
        took_s = now - oldest[1]
        if took_s >= OVERRUN_S:
            self._meter.overrun(took_s / row.places)
            self.give_back(len(row.waiting))

    def next_deadline(self) -> float:
        """When to look at the latest."""
        if self.row.waiting and (oldest := self.row.oldest()) is not None:
            return oldest[1] + OVERRUN_S
        return float("inf")

    def give_back(self, tasks_max: int) -> None:
        """Return up to so many that have not begun, the last first."""
        for work, first, tasks in self.row.give_up(tasks_max):
            self._settle(work, [(first, tasks, RETURNED, b"", -1)])

    def stop(self, unwanted: Unwanted) -> list[Running]:
        """Return those that are not wanted and have not begun. Returns those that run."""
        for task in self.row.take_out(unwanted):
            self._settle(task.work, [(task.position, 1, RETURNED, b"", -1)])
        return self.row.running_of(unwanted)
