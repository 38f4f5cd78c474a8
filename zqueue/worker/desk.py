"""The desk: what becomes of the tasks that a worker was leased. Pure.

Theory of operation. A task is *waiting* in a row, *running* once it was claimed, and *over* when
its outcome is known; then it is settled, once. The rows and the rule of claiming are in `work`.
Four parties share the desk, each holding the worker's lock for every call: the main thread runs
what `next` gives, threads (if there are any) run what waits `in_threads`, the event loop claims
``async`` tasks by itself, and a warden calls `look` while the main thread is in a handler. What
runs side by side is `side`'s to settle and to return.

Nothing waits behind a slow task: `look` settles what ran before it, and returns what waits behind
it. What is held is bounded by time, too: what is expected to take longer than `OVERRUN_S` before
it begins goes back, for others to run, and credit falls to what is left, so that it does not come
again. Credit then grows with what is settled (see `core.credit`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable
from typing import Any

from ..core.credit import CreditMeter
from ..errors import Cancelled, ProtocolError, UnknownTask
from ..handlers import Handler
from ..wire.messages import FAILED, RESULTS, RETRY, RETURNED
from ..wire.results import Failure, OutcomeRun, error_frame, pack_outcomes
from ..wire.traced import take_contexts
from .calls import Calls
from .leases import RUNS_MAX, Leased, Run, Settler, Unwanted
from .lookup import Lookup
from .side import OVERRUN_S, Failed, Side
from .tally import Tally
from .work import (
    BatchCall,
    BatchRow,
    CallRow,
    LeaseTally,
    Part,
    Running,
    SideRow,
    SideTask,
    Work,
)

SETTLE_EVERY_S = 0.01
"""How long a finished task may wait for others before it is settled."""

SETTLE_LATE_S = 0.02
"""A handler that takes longer than this holds up the outcomes of those before it: they are settled
by the warden."""

CARRYING = frozenset({RESULTS, FAILED, RETRY})
"""Runs of these have a frame."""


class Desk:
    """All tasks that one worker holds, from their lease to their settlement.

    ``slots`` is how many tasks it asks for before it knows how long they take; ``concurrency`` how
    many ``async`` tasks run side by side, 0 if there are none; ``threads`` how many others do, 0 if
    these run one after the other in the main thread.
    """

    def __init__(
        self,
        leases: Settler,
        lookup: Lookup,
        tally: Tally,
        on_failure: Failed,
        *,
        slots: int = 1,
        concurrency: int = 0,
        threads: int = 0,
    ) -> None:
        self._leases = leases
        self._lookup = lookup
        self._tally = tally
        self._on_failure = on_failure
        self.meter = CreditMeter(slots)
        self.in_loop = SideRow(concurrency)
        self.in_threads = SideRow(threads)
        self._sides = {
            is_async: Side(row, self.meter, tally, on_failure, self._settle, self._held)
            for is_async, row in ((True, self.in_loop), (False, self.in_threads))
            if row.places
        }
        self._waiting: deque[Work] = deque()
        self._row: CallRow | None = None
        self._batches: dict[str, BatchRow] = {}
        self._is_late = False
        """The main thread is in a slow handler."""
        self.draining = False
        self.unsent = 0
        """Tasks that are settled, and whose settlements wait to be sent."""
        self._sent_at = 0.0

    def __repr__(self) -> str:
        return f"<Desk {len(self._waiting)} batches waiting, {[*self._sides.values()]}>"

    @property
    def credit(self) -> int:
        """How many tasks the broker may lease to this worker, those it has among them."""
        return 0 if self.draining or self._is_late else self.meter.credit

    def is_idle(self) -> bool:
        """Whether nothing waits and nothing runs. For the main thread, between its tasks."""
        return not (self._waiting or self._batches or self._open_aside())

    # --- what comes ---

    def leased(self, event: Leased, now: float, whose: object = None) -> None:
        """Take tasks that a broker leased."""
        tally = LeaseTally(self._tally.of(whose))
        works: list[Work] = []
        for index, batch in enumerate(event.batches):
            works.append(
                Work(event.lease, index, tally.open, batch, tally, now - batch.age_us / 1e6)
            )
            tally.open += batch.tasks
        if self._sides and not self.draining:
            works = [work for work in works if not self._add_aside(work)]
            for side in self._sides.values():
                side.shed()
        self._waiting += works
        if self.draining or self._is_late:
            self._return_waiting()

    def forget(self, lost: Container[int]) -> None:
        """These leases are lost: drop every task of them that has not begun."""
        self._waiting = deque(work for work in self._waiting if work.lease not in lost)
        self._batches = {name: row for name, row in self._batches.items() if row.keep_but(lost)}
        if self._row is not None and self._row.work.lease in lost:
            self._row.calls.give_up()
        for side in self._sides.values():
            side.row.drop(lost)

    def _find(self, work: Work) -> Handler | None:
        try:
            return self._lookup.find(work.batch)
        except UnknownTask as error:
            self._fail(work, error, 0, work.batch.tasks)
            return None

    def _fail(self, work: Work, error: Exception, first: int, tasks: int) -> None:
        self._on_failure(work.batch, error, tasks, None, None)
        work.tally.account.failed += tasks
        self._settle(work, [(first, tasks, FAILED, error_frame(error), -1)])

    def _unpack(self, work: Work) -> list[Any]:
        try:
            return work.unpack()
        except ProtocolError as error:
            self._fail(work, error, 0, work.batch.tasks)
            return []

    # --- one after the other, and many at once: in the main thread ---

    def next(self, now: float) -> CallRow | BatchCall | None:
        """What the main thread runs next; None if there is nothing yet."""
        while True:
            for row in self._batches.values():
                if row.due() <= now:
                    return self._claim(row, now)
            if not self._waiting:
                return None
            work = self._waiting.popleft()
            handler = self._find(work)
            if handler is None:
                continue
            if handler.batch_max:
                self._gather(handler, work, now)
            elif (calls := self._make_row(handler, work)) is not None:
                return calls

    def _make_row(self, handler: Handler, work: Work) -> CallRow | None:
        batch = work.batch
        try:
            calls = Calls(
                handler, batch.body, batch.tasks, named=bool(batch.task), keep=batch.reply,
                meter=work.tally.account.meter(handler), sent_at=work.sent_at,
            )  # fmt: skip
        except ProtocolError as error:
            self._fail(work, error, 0, work.batch.tasks)
            return None
        self._row = CallRow(handler, work, calls)
        return self._row

    def begin(self, row: CallRow, now: float) -> int:
        """How many tasks of a row run now: about as many as are done in `SETTLE_EVERY_S`."""
        self._tally.begin(row.handler, now)
        task_s = self.meter.expect(row.work.kind, 1)
        return max(1, int(SETTLE_EVERY_S / task_s)) if task_s else 1 + row.calls.total // 8

    def done(self, row: CallRow, now: float) -> bool:
        """Tasks of a row have run. Returns whether there are more to run."""
        elapsed_s, self._is_late = self._tally.end(now), False
        tasks = self._settle_row(row, running=False)
        if tasks:
            self.meter.measure(tasks, elapsed_s, row.work.kind, self._least())
            self._shed(row)
        if row.calls.left and not self.draining:
            return True
        self._return_row()
        self._row = None
        return False

    def _settle_row(self, row: CallRow, *, running: bool) -> int:
        """Settle the tasks of a row that are over. Returns how many."""
        first, tasks, values, failures = row.calls.take_outcomes(running=running)
        if tasks:
            failed = sum(not isinstance(error, Cancelled) for _, error in failures)
            row.work.tally.account.count(row.handler, tasks - len(failures), failed)
            self._settle(
                row.work, pack_outcomes(first, tasks, values, failures, row.handler.retry_ms)
            )
        return tasks

    def _gather(self, handler: Handler, work: Work, now: float) -> None:
        bodies = self._unpack(work)
        contexts = take_contexts(bodies)
        row = self._batches.get(handler.name) or BatchRow(handler, now)
        first = 0
        for position, body in enumerate(bodies):
            if isinstance(body, ProtocolError):
                row.add(Part(work, first, bodies[first:position], contexts))
                self._fail(work, body, position, 1)
                first = position + 1
        row.add(Part(work, first, bodies[first:], contexts))
        if row.count:
            self._batches[handler.name] = row

    def _claim(self, row: BatchRow, now: float) -> BatchCall:
        call = row.claim(now)
        if not row.parts:
            del self._batches[row.handler.name]
        self._tally.begin(row.handler, now)
        return call

    def called(self, call: BatchCall, failures: dict[int, BaseException], now: float) -> None:
        """A batch handler has returned; ``failures`` hold positions in what it was called with."""
        elapsed_s, self._is_late = self._tally.end(now), False
        handler = call.handler
        tasks = sum(len(part.bodies) for part in call.parts)
        if failures:
            error = max(failures.values(), key=lambda error: handler.retry_ms(error) is None)
            self._on_failure(call.hardest(), error, len(failures), handler, None)
        self.meter.measure(tasks, elapsed_s, call.parts[0].work.kind)
        start = 0
        for work, first, bodies, _ in call.parts:
            count = len(bodies)
            account = work.tally.account
            account.meter(handler).record(elapsed_s, now - work.sent_at, count)
            theirs: list[Failure] = [
                (first + at, failures[start + at]) for at in range(count) if start + at in failures
            ]
            account.count(handler, count - len(theirs), len(theirs))
            self._settle(work, pack_outcomes(first, count, None, theirs, handler.retry_ms))
            start += count

    # --- side by side: in the event loop, and in threads ---

    def _add_aside(self, work: Work) -> bool:
        """Give the tasks of a batch to a side. False: they are for the main thread."""
        handler = self._find(work)
        if handler is None:
            return True
        side = None if handler.batch_max else self._sides.get(handler.is_async)
        if side is None:
            return False
        for position, body in enumerate(self._unpack(work)):
            if isinstance(body, ProtocolError):
                self._fail(work, body, position, 1)
            else:
                side.add(SideTask(handler, work, position, body))
        return True

    def through(
        self, task: SideTask, took_s: float, value: Any, error: BaseException | None, now: float
    ) -> SideTask | None:
        """A thread is through with a task. Returns what it runs next, if something waits."""
        side, row = self._sides[False], self.in_threads
        self._tally.busy_s += (now - row.running[task]) / row.places
        row.end(task, took_s, value, error)
        side.settle(now)
        return row.claim(now)

    def late(self, now: float) -> list[SideTask]:
        """Tasks in threads whose soft time-out has come. Each is told once."""
        late = []
        for task, since in self.in_threads.running.items():
            limit_s = task.handler.soft_timeout
            if limit_s is not None and now >= since + limit_s and not task.is_late:
                task.is_late = True
                late.append(task)
        return late

    def has_aside(self) -> bool:
        """Whether tasks wait or run beside the main thread."""
        return self._open_aside() > 0

    def _open_aside(self) -> int:
        """Tasks that wait or run beside the main thread."""
        return self.in_loop.open + self.in_threads.open

    # --- what goes back ---

    def look(self, now: float) -> None:
        """See after what the main thread cannot: call it often, also while it is in a handler."""
        for side in self._sides.values():
            if side.row.open:
                side.look(now)
        since = self._tally.since
        if since is None or now - since < SETTLE_LATE_S:
            return
        if self._row is not None:
            self._settle_row(self._row, running=True)
        if now - since >= OVERRUN_S:
            self._is_late = True
            self.meter.overrun(now - since, None if self._row is None else self._least())
            self._return_waiting()

    def drain(self) -> None:
        """Ask for no more tasks, and return those that have not begun."""
        self.draining = True
        self._return_waiting()
        for side in self._sides.values():
            side.give_back(len(side.row.waiting))

    def stop(self, unwanted: Unwanted) -> list[Running]:
        """Tasks were cancelled: return what has not begun, with its batch (the broker knows which
        were meant). Returns those that run; a call of a batch handler is not among them."""
        for work in [work for work in self._waiting if work.unwanted(unwanted)]:
            self._waiting.remove(work)
            self._return(work, 0, work.batch.tasks)
        for row in list(self._batches.values()):
            for part in row.take_out(unwanted):
                self._return(part.work, part.first, len(part.bodies))
            if not row.parts:
                del self._batches[row.handler.name]
        running = [task for side in self._sides.values() for task in side.stop(unwanted)]
        if self._row is not None and (places := self._row.work.unwanted(unwanted)):
            if places[-1] >= self._row.calls.position:
                self._return_row()
            position = self._row.calls.position - 1
            if position in places and self._tally.since is not None:
                running.append(Running(self._row, position))
        return running

    def _shed(self, row: CallRow) -> None:
        """Return what waits for the main thread if it turned out to take long."""
        held = row.calls.left
        expected_s = self.meter.expect(row.work.kind, held)
        for work in self._waiting:
            held += work.batch.tasks
            expected_s += self.meter.expect(work.kind, work.batch.tasks)
        if held > 1 and expected_s > OVERRUN_S:
            self._return_waiting()
            self.meter.limit(self._least())

    def _least(self) -> int:
        """How many tasks to hold while those of the main thread are slow. One of these is enough:
        it has no places, and another worker may be idle."""
        return self._open_aside() + 1

    def _held(self) -> int:
        """Tasks that are here: those that wait for the main thread, and those beside it."""
        held = self._open_aside() + sum(work.batch.tasks for work in self._waiting)
        held += sum(row.count for row in self._batches.values())
        return held if self._row is None else held + self._row.calls.left

    def _return_waiting(self) -> None:
        """Return what waits for the main thread. The last first: each goes to the front."""
        while self._waiting:
            work = self._waiting.pop()
            self._return(work, 0, work.batch.tasks)
        for row in self._batches.values():
            for part in reversed(row.give_up()):
                self._return(part.work, part.first, len(part.bodies))
        self._batches.clear()
        self._return_row()

    def _return_row(self) -> None:
        if self._row is not None and (tasks := self._row.calls.give_up()):
            calls = self._row.calls
            self._return(self._row.work, calls.total - calls.given_up, tasks)

    def _return(self, work: Work, first: int, tasks: int) -> None:
        self._settle(work, [(first, tasks, RETURNED, b"", -1)])

    # --- what is sent ---

    def may_go_on(self, now: float) -> bool:
        """Whether there is work here, and the broker needs nothing from us yet.

        Settlements then leave together: half the credit is still unspent at the broker's side,
        so it has something to send while they are on their way.
        """
        return (
            bool(self._waiting)
            and not self.draining
            and 2 * self.unsent < self.meter.credit
            and now < self._sent_at + SETTLE_EVERY_S
        )

    def has_waiting(self) -> bool:
        """Whether a batch waits for the main thread."""
        return bool(self._waiting)

    def sent(self, now: float) -> None:
        """What was settled has been sent."""
        self.unsent, self._sent_at = 0, now

    def next_deadline(self) -> float:
        """When the main thread should come back at the latest, though nothing comes."""
        deadlines = [row.due() for row in self._batches.values()]
        deadlines += [side.next_deadline() for side in self._sides.values()]
        for task, since in self.in_threads.running.items():
            if task.handler.soft_timeout is not None and not task.is_late:
                deadlines.append(since + task.handler.soft_timeout)
        return min(deadlines, default=float("inf"))

    def _settle(self, work: Work, runs: Iterable[OutcomeRun]) -> None:
        """Say what became of tasks."""
        runs = list(runs)
        for i in range(0, len(runs), RUNS_MAX):
            some = runs[i : i + RUNS_MAX]
            tasks = sum(run[1] for run in some)
            work.tally.open -= tasks
            self.unsent += tasks
            self._leases.settle(
                work.lease,
                [Run(work.index, first, tasks, status, ms) for first, tasks, status, _, ms in some],
                [frame for _, _, status, frame, _ in some if status in CARRYING],
                credit=self.credit,
                last=not work.tally.open,
            )
