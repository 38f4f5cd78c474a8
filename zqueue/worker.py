"""The worker process: takes leased tasks, runs handlers, settles.

Theory of operation. Handlers run in the main thread, one batch after the other, and between
batches the same thread speaks with the broker: no hand-over costs anything. Two helpers step in
where that is not enough:

- The *warden*, a thread that looks ten times a second whether the main thread has been in a
  handler for long. If so it speaks with the broker in its place, and gives back every task that
  has not begun, so that nothing waits behind a slow one. Tasks are claimed from an iterator
  (see `handlers.Calls`), so the two never run the same one.
- The *loop*, a thread with an asyncio event loop, which runs ``async`` handlers side by side.

`_lock` guards the socket, the machine, and what is pending. It is held between handlers, never
while one runs.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import random
import resource
import signal
import socket as stdlib_socket
import threading
from collections import deque
from time import monotonic
from typing import Any

from .app import App
from .calls import Calls
from .config import Address
from .core.credit import CreditMeter
from .core.meter import NUMBERS_MAX, TaskMeter
from .core.pauses import Pauses
from .current import Current, set_in_main
from .errors import PartialFailure, ProtocolError, UnknownTask
from .failures import FailureLog
from .handlers import Handler
from .net.collector import tame_collector, watch_collector
from .net.dealer import Dealer
from .net.processes import rss_bytes
from .net.signals import Signals
from .net.slot import Slot
from .net.waiting import Waiter
from .protocol.codec import COMPILED, FRAME_BYTES_MAX, pack
from .protocol.link import Connected, Disconnected, Rejected, State
from .protocol.messages import FAILED, RESULTS, RETURNED
from .protocol.traced import take_contexts
from .protocol.unpacking import unpack_bodies
from .protocol.worker import RUNS_MAX, Leased, LeasedBatch, Run, WorkerProtocol
from .results import Failure, error_frame, pack_outcomes
from .running import Gathered, Loop, Work, call_in_time, call_with_alarm, current_of, shielded
from .version import __version__

logger = logging.getLogger(__name__)

FRAMES_MAX = 66
"""A delivery has at most 64 batches."""

SETTLE_EVERY_S = 0.01
"""How long a finished task may wait for others before it is settled."""

OVERRUN_S = 0.2
"""A handler that takes longer than this is slow: what waits behind it is given back."""

WARDEN_EVERY_S = 0.1
REPORT_EVERY_S = 1.0
PROGRESS_WAIT_S = 0.2
GOODBYE_S = 2.0


class Worker:
    """One worker process's life."""

    def __init__(
        self,
        app: App,
        *,
        url: str,
        queues: tuple[str, ...],
        concurrency: int,
        id: bytes,
        supervisor: bytes,
        slot: Slot,
        signals: Signals,
    ) -> None:
        self._app = app
        self._url = url
        self._signals = signals
        self._slot = slot
        self._queues = list(queues) or sorted({h.queue for h in app.handlers.values()})
        self._sole = _sole_handlers(app)
        self._pauses = Pauses()
        served = [h for h in app.handlers.values() if h.queue in self._queues]
        slots = max([1, *(h.batch_max for h in served)])
        if any(h.is_async and not h.batch_max for h in served):
            slots = max(slots, concurrency)
        self._meter = CreditMeter(slots)
        self._loop = (
            Loop(concurrency, signals.wake, self._tell_progress, app.tracer)
            if any(h.is_async for h in app.handlers.values())
            else None
        )
        about = {
            "pid": os.getpid(),
            "host": stdlib_socket.gethostname(),
            "version": __version__,
            "supervisor": supervisor,
            "queues": self._queues,
            "tasks": {h.name: h.queue for h in app.handlers.values()},
        }
        self._protocol = WorkerProtocol(id, pack(about), random.random, credit=slots)
        self._dealer = Dealer(
            Address.parse(url), frame_bytes_max=FRAME_BYTES_MAX, frames_max=FRAMES_MAX
        )
        self._lock = threading.Lock()
        self._meters: dict[str, TaskMeter] = {}
        self._busy_s = 0.0
        self._running = ""
        self._pending: deque[Work] = deque()
        self._gathered: dict[str, Gathered] = {}
        self._busy_since: float | None = None
        self._calls: tuple[Calls, Work] | None = None
        self._draining = False
        self._done = 0
        self._failed = 0
        self._report_at = 0.0
        self._tick_at = 0.0
        self._conversed_at = 0.0
        self._unsaid = 0
        self._failures = FailureLog()
        self._current: tuple[Work, int, Current] | None = None
        """What runs, and its position in its batch, once somebody asked."""
        self._silence_said = False
        self._started = monotonic()

    def run(self) -> int:
        """Work until told to stop. Returns the exit code."""
        tame_collector()
        watch_collector(self._pauses)
        threading.Thread(target=self._watch, name="zqueue-warden", daemon=True).start()
        waiter = Waiter(self._signals.fd)
        waiter.add(self._dealer.socket)
        while True:
            with self._lock:
                if self._loop is not None:
                    self._settle_async()
                if self._signals.came and self._must_drain() and not self._draining:
                    self._begin_drain()
                self._protocol.set_credit(0 if self._draining else self._meter.credit)
                moved = 0 if self._may_go_on() else self._converse()
                if self._draining:
                    self._give_back()  # What was on its way when we asked for no more.
                work = self._pending.popleft() if self._pending else None
            if work is not None:
                self._run_work(work)
                continue
            if self._run_gathered(everything=self._draining):
                continue
            if self._draining and self._is_idle():
                return self._leave()
            if moved:
                continue  # The socket tells of changes only: see `net.waiting`.
            if waiter.wait(self._next_deadline()):
                self._signals.clear()

    # --- speaking with the broker; all with the lock ---

    def _may_go_on(self) -> bool:
        """Whether there is work here, and the broker needs nothing from us yet.

        Settlements then leave together: half the credit is still unspent at the broker's side,
        so it has something to send while they are on their way.
        """
        return (
            bool(self._pending)
            and not self._draining
            and 2 * self._unsaid < self._meter.credit
            and monotonic() < self._conversed_at + SETTLE_EVERY_S
        )

    def _converse(self) -> int:
        """Take what came, send what should go. Returns how many messages that was."""
        protocol, dealer = self._protocol, self._dealer
        now = self._conversed_at = monotonic()
        self._unsaid = 0
        moved = 0
        idle = not self._pending
        while (frames := dealer.receive()) is not None:
            moved += 1
            protocol.receive(frames, now)
            while (event := protocol.next_event()) is not None:
                self._on_event(event)
            if idle and self._pending:
                break  # Somebody waits for this work; what else came can wait in the pipe.
        if now >= self._tick_at:
            protocol.tick(now)
            while (event := protocol.next_event()) is not None:
                self._on_event(event)
            if now >= self._report_at:
                self._report_at = now + REPORT_EVERY_S
                self._report()
            self._tick_at = min(self._report_at, protocol.next_deadline() or now + 1.0)
        dealer.flush()
        messages = protocol.to_send()
        if messages:
            moved += len(messages)
            dealer.send(messages, afresh=protocol.link.is_greeting)
        return moved

    def _on_event(self, event: Connected | Disconnected | Rejected | Leased) -> None:
        if isinstance(event, Leased):
            left = [0]
            for index, batch in enumerate(event.batches):
                sent_at = self._conversed_at - batch.age_us / 1e6
                self._pending.append(Work(event.lease, index, left[0], batch, left, sent_at))
                left[0] += batch.tasks
        elif isinstance(event, Connected):
            logger.info("connected to the broker at %s", self._url)
            self._silence_said = True
            self._forget()
        elif isinstance(event, Disconnected):
            logger.warning("the broker at %s is lost: %s; waiting for it", self._url, event.reason)
            self._forget()
        else:
            logger.warning("the broker at %s refuses: %s (%s)", self._url, event.text, event.code)

    def _forget(self) -> None:
        """The leases are lost: drop every task that has not begun."""
        self._pending.clear()
        self._gathered.clear()
        if self._calls is not None:
            self._calls[0].give_up()

    def _settle(self, work: Work, runs: list[tuple[int, int, int, bytes]]) -> None:
        """Say what became of tasks: ``(first, tasks, status, frame)`` each."""
        for i in range(0, len(runs), RUNS_MAX):
            some = runs[i : i + RUNS_MAX]
            tasks = sum(run[1] for run in some)
            work.left[0] -= tasks
            self._unsaid += tasks
            self._protocol.settle(
                work.lease,
                [Run(work.index, first, tasks, status) for first, tasks, status, _ in some],
                [frame for _, _, status, frame in some if status in (RESULTS, FAILED)],
                credit=0 if self._draining else self._meter.credit,
                last=not work.left[0],
            )

    def _give_back(self) -> None:
        """Return every task that has not begun. The last first: each goes to the front."""
        while self._pending:
            work = self._pending.pop()
            self._settle(work, [(0, work.batch.tasks, RETURNED, b"")])
        for gathered in self._gathered.values():
            for work, first, bodies in reversed(gathered.parts):
                self._settle(work, [(first, len(bodies), RETURNED, b"")])
        self._gathered.clear()
        if self._calls is not None:
            calls, work = self._calls
            taken = calls.give_up()
            if taken:
                first = calls.total - calls.given_up
                self._settle(work, [(first, taken, RETURNED, b"")])

    def _report(self) -> None:
        """Tell how it is here, and what is new since the last time."""
        now = monotonic()
        since = self._busy_since
        usage = resource.getrusage(resource.RUSAGE_SELF)
        report: dict[str, Any] = {
            "done": self._done,
            "failed": self._failed,
            "gc": self._pauses.stats(),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            "rss_bytes": rss_bytes(),
            "busy_s": round(self._busy_s + (now - since if since is not None else 0.0), 3),
            "compiled": COMPILED,
        }
        if since is not None:
            report["running"] = [self._running, round(now - since, 3), *self._progress()]
        elif self._loop is not None and (oldest := self._loop.oldest()) is not None:
            began, current = oldest
            report["running"] = [current.task, round(now - began, 3), current.done, current.total]
        if self._protocol.link.is_ready:
            met = {name: meter for name, meter in self._meters.items() if meter}
            numbers_max = max(56, NUMBERS_MAX // (2 * max(1, len(met))))
            some = itertools.islice(met.items(), NUMBERS_MAX // (2 * numbers_max))
            report["tasks"] = {name: meter.take(numbers_max) for name, meter in some}
            for name in report["tasks"]:  # Those that had no room come first the next time.
                self._meters[name] = self._meters.pop(name)
        self._protocol.report(report)

    def _progress(self) -> tuple[int, int]:
        """How far the task that runs has come, if it said so."""
        if self._current is None:
            return 0, 0
        _, position, current = self._current
        if self._calls is not None and position != self._calls[0].position - 1:
            return 0, 0  # It is over, and the next one has said nothing.
        return current.done, current.total

    def _tell_progress(self, work: Work, position: int, done: int, total: int) -> None:
        """Called from inside a handler. What finds no time is not told: more will come."""
        if not work.batch.reply:
            return
        in_main = threading.current_thread() is threading.main_thread()
        # A soft time-out must not ring while the lock is held.
        with shielded() if in_main else contextlib.nullcontext():
            if not self._lock.acquire(timeout=PROGRESS_WAIT_S):
                return
            try:
                self._protocol.progress(work.lease, work.offset + position, done, total)
                self._dealer.send(self._protocol.to_send())
            finally:
                self._lock.release()
        if not in_main:
            self._signals.wake()  # The socket may just have told us what the main thread awaits.

    def _meter_of(self, handler: Handler) -> TaskMeter:
        meter = self._meters.get(handler.name)
        if meter is None:
            meter = self._meters[handler.name] = TaskMeter()
        return meter

    # --- running ---

    def _run_work(self, work: Work) -> None:
        batch = work.batch
        calls: Calls | None = None
        bodies: list[Any] = []
        try:
            handler = self._find_handler(batch)
            if handler.batch_max or handler.is_async:
                bodies = unpack_bodies(batch.body)
                if len(bodies) != batch.tasks:
                    raise ProtocolError("malformed", "the batch does not hold what it says")
                if handler.batch_max:
                    work.contexts = take_contexts(bodies)
            else:
                named = bool(batch.task)
                calls = Calls(
                    handler, batch.body, batch.tasks, named=named, keep=batch.reply,
                    meter=self._meter_of(handler), sent_at=work.sent_at,
                )  # fmt: skip
        except (ProtocolError, UnknownTask) as error:
            self._fail_all(work, error)
            return
        if calls is not None:
            self._run_calls(handler, work, calls)
        elif handler.batch_max:
            self._gather(handler, work, bodies)
        else:
            assert self._loop is not None
            with self._lock:
                self._loop.start(handler, work, bodies)

    def _find_handler(self, batch: LeasedBatch) -> Handler:
        if batch.task:
            handler = self._app.handlers.get(batch.task)
            if handler is None:
                known = ", ".join(sorted(self._app.handlers)) or "none"
                raise UnknownTask(
                    "UnknownTask", f"this worker has no task {batch.task!r} (it has: {known})"
                )
            return handler
        handler = self._sole.get(batch.queue)
        if handler is None:
            raise UnknownTask(
                "UnknownTask",
                f"a body without a task name, and queue {batch.queue!r} has not one handler",
            )
        return handler

    def _fail_all(self, work: Work, error: BaseException) -> None:
        self._failures.add(work.batch, error, work.batch.tasks)
        with self._lock:
            self._failed += work.batch.tasks
            self._settle(work, [(0, work.batch.tasks, FAILED, error_frame(error))])

    def _run_calls(self, handler: Handler, work: Work, calls: Calls) -> None:
        """Run the tasks of a batch one after the other, settling as they are done."""
        settled = 0
        with self._lock:
            self._calls = (calls, work)
        set_in_main(lambda: self._current_in_main(handler, work, calls))
        try:
            while True:
                began = monotonic()
                self._busy_since, self._running = began, handler.name
                stop = settled + self._slice(calls.total)
                if handler.is_timed or self._app.tracer is not None:
                    self._run_timed(handler, work, calls, stop - settled)
                else:
                    self._run_plain(work.batch, calls, settled, stop)
                with self._lock:
                    self._busy_since = None
                    position = calls.position
                    self._after(handler, work, calls, settled, position, monotonic() - began)
                    settled = position
                    if self._holds_too_much():
                        self._give_back()
                    if position + calls.given_up >= calls.total:
                        return
                    self._converse()
        finally:
            set_in_main(None)
            with self._lock:
                self._calls = self._current = None

    def _holds_too_much(self) -> bool:
        """Whether others should have some of what waits here: it turned out to take long."""
        held_s = sum(self._meter.expect(work.kind, work.batch.tasks) for work in self._pending)
        if self._calls is not None:
            calls, work = self._calls
            left = calls.total - calls.given_up - calls.position
            held_s += self._meter.expect(work.kind, left)
        return held_s > OVERRUN_S

    def _current_in_main(self, handler: Handler, work: Work, calls: Calls) -> Current:
        """What runs in the main thread, made when somebody asks for it."""
        position = calls.position - 1
        if self._current is None or self._current[:2] != (work, position):
            current = current_of(handler, work, position, calls.traceparent, self._tell_progress)
            self._current = (work, position, current)
        return self._current[2]

    def _slice(self, total: int) -> int:
        """Tasks to run before settling: about `SETTLE_EVERY_S` of them."""
        task_s = self._meter.task_s
        return max(1, int(SETTLE_EVERY_S / task_s)) if task_s else 1 + total // 8

    def _run_plain(self, batch: LeasedBatch, calls: Calls, position: int, stop: int) -> None:
        while position < stop:
            try:
                calls.run(stop - position, SETTLE_EVERY_S)
                return
            except BaseException as error:
                calls.fail(error)
                position = calls.position
                self._failures.add(batch, error, 1)

    def _run_timed(self, handler: Handler, work: Work, calls: Calls, count: int) -> None:
        soft_s, slot = handler.soft_timeout, self._slot
        for _ in range(count):
            task = calls.next_task()
            if task is None:
                return
            if handler.timeout is not None:
                position = work.offset + calls.position - 1
                slot.begin(work.lease, position, monotonic() + handler.timeout)
            try:
                with self._span(handler, work, calls):
                    value = call_with_alarm(task, soft_s) if soft_s else task()
            except BaseException as error:
                calls.fail(error)
                self._failures.add(work.batch, error, 1)
            else:
                calls.keep(value)
            finally:
                slot.clear()

    def _span(
        self, handler: Handler, work: Work, calls: Calls
    ) -> contextlib.AbstractContextManager[object]:
        """What traces the task that runs, if anybody does."""
        tracer = self._app.tracer
        if tracer is None:
            return contextlib.nullcontext()
        current = self._current_in_main(handler, work, calls)
        return tracer.run(current, monotonic() - work.sent_at)

    def _after(
        self, handler: Handler, work: Work, calls: Calls, first: int, stop: int, elapsed_s: float
    ) -> None:
        """Settle tasks ``first .. stop`` and learn from how long they took. With the lock."""
        tasks = stop - first
        self._busy_s += elapsed_s
        if not tasks:
            return
        self._meter.measure(tasks, elapsed_s, work.kind)
        values, failures = calls.take_outcomes()
        self._count(handler, tasks - len(failures), len(failures))
        self._settle(work, pack_outcomes(first, tasks, values, failures))

    # --- batch handlers ---

    def _gather(self, handler: Handler, work: Work, bodies: list[Any]) -> None:
        with self._lock:
            gathered = self._gathered.get(handler.name)
            if gathered is None:
                gathered = self._gathered[handler.name] = Gathered(handler, monotonic())
            gathered.add(work, bodies)
        while gathered.bodies >= handler.batch_max:
            self._call_batch(gathered)

    def _run_gathered(self, *, everything: bool) -> bool:
        """Call the batch handlers whose bodies have waited long enough."""
        now = monotonic()
        for gathered in list(self._gathered.values()):
            if everything or now >= gathered.due:
                self._call_batch(gathered)
                return True
        return False

    def _call_batch(self, gathered: Gathered) -> None:
        handler = gathered.handler
        with self._lock:
            parts = gathered.cut()
            if not gathered.bodies:
                self._gathered.pop(handler.name, None)
            gathered.since = monotonic()
            began = self._busy_since = monotonic()
            self._running = handler.name
        if not parts:
            return
        bodies = [body for _, _, some in parts for body in some]
        work, first, _ = parts[0]
        current = Current(handler.name, handler.queue, attempt=work.batch.attempt)
        set_in_main(lambda: current)
        self._current = (work, first, current)
        failures: dict[int, BaseException] = {}
        if handler.timeout is not None:
            self._slot.begin(work.lease, work.offset + first, began + handler.timeout)
        tracer = self._app.tracer
        span: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if tracer is not None:
            contexts = [c for w, at, some in parts for c in w.contexts_of(at, len(some))]
            span = tracer.run(current, began - work.sent_at, contexts)
        try:
            with span:
                self._call_with_bodies(handler, bodies, current)
        except PartialFailure as error:
            failures = {p: e for p, e in error.failures.items() if 0 <= p < len(bodies)}
        except BaseException as error:
            failures = dict.fromkeys(range(len(bodies)), error)
        finally:
            self._slot.clear()
            set_in_main(None)
            self._current = None
        if failures:
            self._failures.add(work.batch, next(iter(failures.values())), len(failures))
        with self._lock:
            self._busy_since = None
            now = monotonic()
            self._busy_s += now - began
            self._meter.measure(len(bodies), now - began)
            self._count(handler, len(bodies) - len(failures), len(failures))
            start = 0
            for work, first, some in parts:
                self._meter_of(handler).record(now - began, now - work.sent_at, len(some))
                theirs: list[Failure] = [
                    (first + p, failures[start + p])
                    for p in range(len(some))
                    if start + p in failures
                ]
                self._settle(work, pack_outcomes(first, len(some), None, theirs))
                start += len(some)

    def _call_with_bodies(self, handler: Handler, bodies: list[Any], current: Current) -> None:
        if handler.is_async:
            assert self._loop is not None
            self._loop.call(call_in_time(handler, bodies, current))
        elif handler.soft_timeout:
            call_with_alarm(lambda: handler.function(bodies), handler.soft_timeout)
        else:
            handler.function(bodies)

    # --- async handlers ---

    def _settle_async(self) -> None:
        """Settle what the event loop has done. With the lock."""
        loop = self._loop
        while loop is not None and loop.done:
            handler, work, position, current, took_s, value, error = loop.done.popleft()
            loop.running -= 1
            self._meter_of(handler).record(took_s, monotonic() - work.sent_at, 1)
            self._count(handler, error is None, error is not None)
            values = [value] if work.batch.reply and error is None else None
            failures: list[Failure] = []
            if error is not None:
                failures.append((position, error))
                self._failures.add(work.batch, error, 1, current)
            self._settle(work, pack_outcomes(position, 1, values, failures))

    def _count(self, handler: Handler, done: int, failed: int) -> None:
        self._done += done
        self._failed += failed
        meter = self._meter_of(handler)
        meter.done += done
        meter.failed += failed

    # --- the warden ---

    def _watch(self) -> None:
        """Step in for the main thread while it is in a slow handler."""
        pause = threading.Event()
        while True:
            pause.wait(WARDEN_EVERY_S)
            with self._lock:
                since = self._busy_since
                if since is None or monotonic() - since < OVERRUN_S:
                    continue
                self._meter.overrun(monotonic() - since)
                if self._must_drain():
                    self._begin_drain()
                self._protocol.set_credit(0)
                self._settle_async()
                self._give_back()
                self._converse()
                self._give_back()
                self._dealer.send(self._protocol.to_send())

    # --- leaving ---

    def _must_drain(self) -> bool:
        return self._signals.count(signal.SIGTERM) > 0

    def _begin_drain(self) -> None:
        self._draining = True
        self._protocol.set_credit(0)
        self._give_back()

    def _is_idle(self) -> bool:
        """Nothing runs in the event loop either."""
        return self._loop is None or not self._loop.running

    def _leave(self) -> int:
        """Say goodbye and wait until the broker has heard all that was said before."""
        link = self._protocol.link
        with self._lock:
            self._report()
            link.leave(monotonic())
            self._dealer.send(self._protocol.to_send())
        deadline = monotonic() + GOODBYE_S
        while link.state is not State.LEFT and monotonic() < deadline:
            self._dealer.socket.poll(50, self._dealer.wanted)
            with self._lock:
                self._converse()
        self._dealer.close()
        return 0

    # --- waiting ---

    def _next_deadline(self) -> float:
        now = monotonic()
        deadlines = [self._tick_at, *(g.due for g in self._gathered.values())]
        if not self._silence_said and now - self._started > 2.0:
            logger.warning("no broker answers at %s; waiting for it", self._url)
            self._silence_said = True
        return min(deadlines)


def _sole_handlers(app: App) -> dict[str, Handler]:
    """Queue to handler, for queues that have just one."""
    sole: dict[str, Handler] = {}
    shared: set[str] = set()
    for handler in app.handlers.values():
        if handler.queue in sole:
            shared.add(handler.queue)
        sole[handler.queue] = handler
    return {queue: handler for queue, handler in sole.items() if queue not in shared}
