"""The worker process: threads and a socket around the desk, which decides (see `desk`).

The main thread runs handlers, and between them speaks with the broker: no hand-over costs anything.
Others step in where that is not enough: the *warden*, which speaks with the broker while the main
thread is in a slow handler, the event `loop` of ``async`` handlers, and, if there are to be any,
`threads` for handlers that wait.

`_lock` guards the socket, the machine and the desk. It is held between handlers, never while one
runs.
"""

from __future__ import annotations

import logging
import os
import random
import resource
import signal
import socket as stdlib_socket
import threading
from time import monotonic
from typing import Any

from ..app import App
from ..config import CANCEL_GRACE_S, BrokerList
from ..handlers import policies_of
from ..net.collector import tame_collector, watch_collector
from ..net.processes import rss_bytes
from ..net.signals import Signals
from ..net.waiting import Waiter
from ..stats.pauses import Pauses
from ..version import __version__
from ..wire.codec import COMPILED, pack
from ..wire.link import Connected, Disconnected, Elsewhere, Rejected
from . import interrupts
from .alarm import shielded
from .brokers import SILENCE_AGAIN_S, Broker, Brokers
from .calling import Caller
from .desk import SETTLE_LATE_S, Desk
from .failures import FailureLog
from .forks import Forks
from .leases import Leased, Unwanted, WorkerProtocol
from .lookup import Lookup
from .loop import Loop
from .slot import Slot
from .stops import Stops
from .tally import Tally
from .threads import Threads
from .work import BatchCall, CallRow, SideTask, Work

logger = logging.getLogger(__name__)

WARDEN_EVERY_S = 0.025
WARDEN_REST_S = 0.1
"""How often the warden looks while the main thread runs handlers, and while it runs none, or one
task behind which nothing waits."""

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
        threads: int = 1,
        cancel_grace_s: float = CANCEL_GRACE_S,
    ) -> None:
        self._signals = signals
        self._slot = slot
        handlers = app.handlers.values()
        own = list(queues) or sorted({handler.queue for handler in handlers})
        served = [handler for handler in handlers if handler.queue in own]
        if not any(handler.is_async and not handler.batch_max for handler in served):
            concurrency = 0
        if threads == 1 or all(handler.is_async or handler.batch_max for handler in served):
            threads = 0  # The main thread runs what there is.
        slots = max([1, concurrency, threads, *(handler.batch_max for handler in served)])
        about = {
            "pid": os.getpid(),
            "host": stdlib_socket.gethostname(),
            "version": __version__,
            "supervisor": supervisor,
            "queues": own,
            "tasks": {handler.name: handler.queue for handler in handlers},
            "retries": policies_of(handlers),
        }
        self._brokers = Brokers(
            BrokerList.parse(url),
            lambda: WorkerProtocol(id, pack(about), random.random, credit=slots),
            slots, signals.wake,
        )  # fmt: skip
        self._links = self._brokers.links
        self._lock = threading.Lock()
        self._pauses = Pauses()
        self._tally = Tally()
        failures = FailureLog()
        self._desk = Desk(
            self._links, Lookup(app.handlers), self._tally, failures.add,
            slots=slots, concurrency=concurrency, threads=threads,
        )  # fmt: skip
        self._forks = forks = Forks(lambda: self._caller.abandon())
        self._loop = (
            Loop(self._desk.in_loop, signals.wake, self._tell_progress, app.tracer, forks)
            if any(handler.is_async for handler in handlers)
            else None
        )
        self._threads = (
            Threads(
                self._desk.in_threads, self._through, self._tell_progress, app.tracer, forks, slot
            )
            if threads
            else None
        )
        self._caller = Caller(slot, failures, forks, self._tell_progress, app.tracer, self._loop)
        self._stops = Stops(slot, self._caller, self._loop, self._threads, cancel_grace_s)
        self._warden = threading.Thread(target=self._watch, name="zqueue-warden", daemon=True)
        self._alert = threading.Event()
        self._warden_rests = False
        self._has_left = False
        self._report_at = self._tick_at = 0.0

    def run(self) -> int:
        """Work until told to stop. Returns the exit code."""
        tame_collector()
        watch_collector(self._pauses)
        self._warden.start()
        with self._stops:
            return self._work()

    def _work(self) -> int:
        waiter = Waiter(self._signals.fd)
        self._brokers.wait_with(waiter)
        desk = self._desk
        while True:
            with self._lock:
                now = monotonic()
                self._drain_if_asked()
                self._follow(now)
                desk.look(now)
                moved = 0 if desk.may_go_on(now) else self._exchange(now)
                todo = desk.next(now)
            if type(todo) is CallRow:
                self._run_row(todo)
            elif type(todo) is BatchCall:
                self._call_batch(todo)
            elif desk.draining and desk.is_idle():
                return self._leave()
            elif not moved:  # The socket tells of changes only: see `net.waiting`.
                self._warn_of_silence(now)
                if waiter.wait(min(self._tick_at, desk.next_deadline())):
                    self._signals.clear()

    def _drain_if_asked(self) -> None:
        if self._signals.came and self._signals.count(signal.SIGTERM) and not self._desk.draining:
            self._desk.drain()

    # --- running ---

    def _run_row(self, row: CallRow) -> None:
        """Run the tasks of a batch one after the other, settling as they are done."""
        desk, caller = self._desk, self._caller
        caller.enter(row)
        self._rouse(row.calls.total > 1)
        try:
            while True:
                caller.run(row, desk.begin(row, monotonic()))
                with self._lock:
                    now = monotonic()
                    if not desk.done(row, now):
                        return
                    self._exchange(now)
        finally:
            caller.leave()

    def _rouse(self, is_needed: bool) -> None:
        """A handler is called: have the warden look if it may hold up the outcomes of others."""
        if self._warden_rests and (is_needed or self._desk.unsent or self._desk.has_aside()):
            self._alert.set()

    def _call_batch(self, call: BatchCall) -> None:
        self._rouse(False)
        failures = self._caller.call(call)
        with self._lock:
            self._desk.called(call, failures, monotonic())

    # --- speaking with the broker; all with the lock ---

    def _exchange(self, now: float) -> int:
        """Take what came, send what should go. Returns how many messages that was."""
        self._stops.look()
        if self._threads is not None:
            for task in self._desk.late(now):
                self._threads.too_late(task)
            self._threads.look()
        self._slot.count(self._tally.over)
        moved = sum([self._receive(broker, now) for broker in self._brokers])
        if now >= self._tick_at:
            self._tick(now)
        self._links.set_credit(self._desk.credit, now)
        for broker in self._brokers:
            moved += broker.send()
        self._desk.sent(now)
        return moved

    def _receive(self, broker: Broker, now: float) -> int:
        """Take what came from a broker. Returns how many messages that was."""
        moved = 0
        desk = self._desk
        idle = not desk.has_waiting()
        while (frames := broker.dealer.receive()) is not None:
            moved += 1
            broker.protocol.receive(frames, now)
            self._handle(broker, now)
            if idle and desk.has_waiting():
                break  # Somebody waits for this work; what else came can wait in the pipe.
        return moved

    def _handle(self, broker: Broker, now: float) -> None:
        while (event := broker.protocol.next_event()) is not None:
            self._on_event(broker, event, now)

    def _tick(self, now: float) -> None:
        for broker in self._brokers:
            broker.protocol.tick(now)
            self._handle(broker, now)
        if now >= self._report_at:
            self._report_at = now + REPORT_EVERY_S
            self._report(now)
        deadlines = [broker.protocol.next_deadline() or now + 1.0 for broker in self._brokers]
        self._tick_at = min([self._report_at, *deadlines])

    def _follow(self, now: float) -> None:
        """Have the brokers that are named now."""
        for broker in self._brokers.follow(now):
            self._tally.close(broker)
        self._slot.leaving(self._links.leaving)

    def _on_event(
        self,
        broker: Broker,
        event: Connected | Disconnected | Elsewhere | Rejected | Leased | Unwanted,
        now: float,
    ) -> None:
        if isinstance(event, Leased):
            if self._links.leased(broker.protocol, event, now):
                self._desk.leased(event, now, broker)
            if self._loop is not None and self._desk.in_loop.waiting:
                self._loop.fill()
            if self._threads is not None:
                self._threads.fill(now)
        elif isinstance(event, Unwanted):
            self._stops.add(self._desk.stop(event), now)
        elif isinstance(event, Connected):
            logger.info("connected to the broker at %s", broker.url)
            broker.silence_at = float("inf")
            self._desk.forget(self._links.lost(broker.protocol))
        elif isinstance(event, Disconnected):
            logger.warning("the broker at %s is lost: %s; waiting for it", broker.url, event.reason)
            broker.silence_at = now + SILENCE_AGAIN_S
            self._desk.forget(self._links.lost(broker.protocol))
        elif isinstance(event, Rejected):
            logger.warning("the broker at %s refuses: %s (%s)", broker.url, event.text, event.code)

    def _warn_of_silence(self, now: float) -> None:
        for broker in self._brokers:
            broker.warn_of_silence(now)

    def _report(self, now: float) -> None:
        """Report what is new since the last time."""
        desk = self._desk
        report: dict[str, Any] = self._tally.report(
            now, self._caller.progress(), desk.in_threads.busy_s(now),
            [*desk.in_threads.now_running(now), *desk.in_loop.now_running(now)],
        )  # fmt: skip
        usage = resource.getrusage(resource.RUSAGE_SELF)
        report["gc"] = self._pauses.stats()
        report["cpu_s"] = round(usage.ru_utime + usage.ru_stime, 3)
        report["rss_bytes"] = rss_bytes()
        report["compiled"] = COMPILED
        oldest = desk.in_threads.oldest() or desk.in_loop.oldest()
        if "running" not in report and oldest is not None:
            current = oldest[0].current
            if current is not None:
                took_s = round(now - oldest[1], 3)
                report["running"] = [current.task, took_s, current.done, current.total]
        for broker in self._brokers:
            if broker.protocol.link.is_ready:
                broker.protocol.report(report | self._tally.report_of(broker))

    # --- other threads ---

    def _watch(self) -> None:
        """The warden: step in for the main thread while it is in a slow handler."""
        pause = threading.Event()
        while not self._has_left:
            since = self._tally.since
            if since is None:
                self._warden_rests = True
                self._alert.wait(WARDEN_REST_S)
                self._warden_rests = False
                self._alert.clear()
            else:
                pause.wait(WARDEN_EVERY_S)
            since = self._tally.since
            if since is not None and monotonic() - since >= SETTLE_LATE_S:
                with self._lock:
                    self._drain_if_asked()
                    self._desk.look(monotonic())
                    self._exchange(monotonic())

    def _tell_progress(self, work: Work, position: int, done: int, total: int) -> None:
        """Called from inside a handler. What finds no time is dropped: more will come."""
        if not work.batch.reply:
            return
        in_main = threading.current_thread() is threading.main_thread()
        # A soft time-out must not ring while the lock is held.
        with shielded() if in_main else interrupts.shielded():
            if not self._lock.acquire(timeout=PROGRESS_WAIT_S):
                return
            try:
                self._links.progress(work.lease, work.offset + position, done, total)
                for broker in self._brokers:
                    broker.send()
            finally:
                self._lock.release()
        if not in_main:
            self._signals.wake()  # The socket may just have told us what the main thread awaits.

    def _through(
        self, task: SideTask, took_s: float, value: Any, error: BaseException | None
    ) -> SideTask | None:
        """Called by a thread that is through with a task. Returns the next one for it."""
        with self._lock:
            following = self._desk.through(task, took_s, value, error, monotonic())
        self._signals.wake()  # The main thread sends what was settled.
        return following

    # --- leaving ---

    def _leave(self) -> int:
        """Say goodbye and wait until the broker has received all that was sent before."""
        with self._lock:
            now = monotonic()
            self._report(now)
            for broker in self._brokers:
                broker.protocol.link.leave(now)
                broker.send()
        deadline = now + GOODBYE_S
        while (left := [broker for broker in self._brokers if broker.is_here]) and (
            monotonic() < deadline
        ):
            left[0].dealer.socket.poll(50, left[0].dealer.wanted)
            with self._lock:
                self._exchange(monotonic())
        self._brokers.close()
        # In a process of its own all this ends with it. In a test's it must not outlive the worker.
        self._has_left = True
        self._alert.set()
        self._warden.join()
        self._forks.end()
        if self._threads is not None:
            self._threads.end()
        if self._loop is not None:
            self._loop.end()
        return 0
