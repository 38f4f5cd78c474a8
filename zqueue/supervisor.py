"""The supervisor: keeps a pool of worker processes alive, and answers for them.

It runs no user code. Workers are started as fresh interpreters (never forked, so no socket or
thread is ever inherited half-way), restarted with growing pauses when they die, and killed when
a task overruns its time-out. The broker hears from here that a worker is alive, however deep it
is in a handler, and hears at once when it is not.

Drain order: ask the workers to finish what they run and return the rest; wait for them; say
goodbye. A second signal, or the deadline, ends the workers in the middle of their tasks and
returns those; a third ends everything.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import random
import resource
import signal
import socket as stdlib_socket
from time import monotonic

import zmq

from .config import Address, WorkerConfig
from .core.backoff import Backoff
from .core.pauses import Pauses
from .net.collector import tame_collector, watch_collector
from .net.dealer import Dealer
from .net.processes import rss_bytes, start_python
from .net.signals import Signals
from .net.slot import READY, Slot
from .protocol.codec import FRAME_BYTES_MAX, pack
from .protocol.link import Connected, Disconnected, State
from .protocol.messages import CRASHED, STOPPED, TIMEOUT
from .protocol.worker import SupervisorProtocol
from .version import __version__
from .worker_process import WorkerSpec

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
"""How often the workers' slots are looked at, for overrun time-outs."""

START_LOOK_EVERY_S = 0.02

STABLE_S = 5.0
"""A worker that lived this long was no failed start: the next restart is quick again."""

RESTART_LOW_S, RESTART_HIGH_S = 0.05, 15.0

GOODBYE_S = 1.0
REPORT_EVERY_S = 1.0

LOAD_FAILED = 2
DEADLINE_HIT = 5


class Child:
    """One worker process."""

    def __init__(self, config: WorkerConfig, supervisor: bytes) -> None:
        self.id = os.urandom(16)
        self.slot = Slot.create()
        self.started = monotonic()
        self.was_ready = False
        self.killed_for = ""
        self._life_reader, self._life = os.pipe()
        spec = WorkerSpec(
            app=config.app,
            url=config.url,
            queues=config.queues,
            concurrency=config.concurrency,
            id=self.id.hex(),
            supervisor=supervisor.hex(),
            slot_fd=self.slot.fd,
            life_fd=self._life_reader,
            log_level=logging.getLevelName(logging.getLogger("zqueue").getEffectiveLevel()),
            log_format=config.log_format,
        )
        self.process = start_python(
            "zqueue.worker_process",
            "main",
            json.dumps(dataclasses.asdict(spec)),
            pass_fds=(self.slot.fd, self._life_reader),
        )
        os.close(self._life_reader)

    def __repr__(self) -> str:
        return f"<Child {self.process.pid}>"

    def is_ready(self) -> bool:
        """Whether it has loaded its app."""
        if not self.was_ready:
            self.was_ready = self.slot.read().state == READY
        return self.was_ready

    def stop(self, why: str) -> None:
        """Ask it to finish."""
        self.killed_for = self.killed_for or why
        self.process.send_signal(signal.SIGTERM)

    def kill(self, why: str) -> None:
        """End it now."""
        self.killed_for = self.killed_for or why
        self.process.kill()

    def close(self) -> None:
        """Give back what it used. The process has ended."""
        os.close(self._life)
        self.slot.close()


class Supervisor:
    """A pool of worker processes."""

    def __init__(self, config: WorkerConfig, signals: Signals) -> None:
        self._config = config
        self._signals = signals
        self._id = os.urandom(16)
        about = {"pid": os.getpid(), "host": stdlib_socket.gethostname(), "version": __version__}
        self._protocol = SupervisorProtocol(self._id, pack(about), random.random)
        self._dealer: Dealer | None = None
        self._children: list[Child] = []
        self._to_reload: list[Child] = []
        self._reloads = 0
        self._restart = Backoff(random.random, low_s=RESTART_LOW_S, high_s=RESTART_HIGH_S)
        self._restart_at = 0.0
        self._restarts = 0
        self._pauses = Pauses()
        self._report_at = 0.0
        self._drain_until: float | None = None
        self._has_loaded = False  # Once the app was loaded, a broken reload does not end the pool.
        self._code = 0

    def run(self) -> int:
        """Keep the pool until a signal says to stop. Returns the exit code."""
        tame_collector()
        watch_collector(self._pauses)
        poller = zmq.Poller()
        poller.register(self._signals.fd, zmq.POLLIN)
        try:
            while self._drain_until is None or self._children:
                now = monotonic()
                self._reap(now)
                self._obey(now)
                self._look(now)
                self._fill(now)
                self._connect()
                if self._dealer is not None:
                    self._converse(self._dealer)
                    poller.register(self._dealer.socket, self._dealer.wanted)
                if any(fd == self._signals.fd for fd, _ in poller.poll(self._wait_ms())):
                    self._signals.clear()
            if self._dealer is not None:
                self._leave(self._dealer)
        finally:
            for child in self._children:
                child.kill("the supervisor ended")
                child.process.wait()
        return self._code

    # --- children ---

    def _fill(self, now: float) -> None:
        """Start workers until the pool is full; the first alone, to see that the app loads."""
        if self._drain_until is not None or now < self._restart_at:
            return
        while len(self._children) < self._config.processes:
            if any(not child.is_ready() for child in self._children):
                return
            child = Child(self._config, self._id)
            self._children.append(child)
            self._protocol.joined(child.id)

    def _reap(self, now: float) -> None:
        """See which workers have ended, and why."""
        for child in list(self._children):
            code = child.process.poll()
            if code is None:
                continue
            self._children.remove(child)
            self._ended(child, code, now)
            child.close()

    def _ended(self, child: Child, code: int, now: float) -> None:
        pid = child.process.pid
        running = child.slot.read()
        if child.killed_for == TIMEOUT and running.deadline:
            self._protocol.departed(
                child.id, TIMEOUT, lease=running.lease, position=running.position,
                text="ran longer than its timeout; its process was killed",
            )  # fmt: skip
        elif child.killed_for or code == 0:
            self._protocol.departed(child.id, STOPPED)
        elif code == LOAD_FAILED and not child.was_ready:
            self._protocol.departed(child.id, STOPPED)
            if not self._has_loaded:
                self._code = LOAD_FAILED
                self._drain(now)
                return
            logger.error("worker %d could not load the app; trying again", pid)
        else:
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            self._protocol.departed(child.id, CRASHED, text=how)
            logger.error("worker %d died (%s); its tasks go to others", pid, how)
        if child in self._to_reload or self._drain_until is not None:
            return
        if now - child.started > STABLE_S:
            self._restart.reset()
        self._restarts += 1
        if not child.killed_for:
            self._restart_at = now + self._restart.next()

    def _look(self, now: float) -> None:
        """Kill workers whose task has overrun its time-out."""
        for child in self._children:
            running = child.slot.read()
            if running.deadline and now > running.deadline and not child.killed_for:
                logger.warning("worker %d is killed: a task ran longer than its timeout",
                               child.process.pid)  # fmt: skip
                child.kill(TIMEOUT)

    # --- signals ---

    def _obey(self, now: float) -> None:
        asked = self._signals.count(signal.SIGTERM, signal.SIGINT)
        if asked and self._drain_until is None:
            logger.info("draining, for up to %g s", self._config.drain_timeout_s)
            self._drain(now)
        if self._drain_until is not None and self._children:
            if asked > 1 or now >= self._drain_until:
                self._code = DEADLINE_HIT
                for child in self._children:
                    child.kill("drain")
            return
        if self._signals.count(signal.SIGHUP) > self._reloads:
            self._reloads = self._signals.count(signal.SIGHUP)
            self._to_reload = list(self._children)
            logger.info("reloading %d workers, one after the other", len(self._to_reload))
        self._reload_next()

    def _drain(self, now: float) -> None:
        self._drain_until = now + self._config.drain_timeout_s
        for child in self._children:
            child.stop("drain")

    def _reload_next(self) -> None:
        """Stop the next worker to be reloaded, once the one before is replaced."""
        if not self._to_reload or len(self._children) < self._config.processes:
            return
        if all(child.is_ready() for child in self._children):
            child = self._to_reload[0]
            if child in self._children:
                if not child.killed_for:
                    child.stop("reload")
            else:
                self._to_reload.pop(0)

    # --- the broker ---

    def _connect(self) -> None:
        """Go where the workers go: the app may name the broker, and only they have loaded it."""
        if self._dealer is not None:
            return
        for child in self._children:
            if child.is_ready():
                self._has_loaded = True
                address = Address.parse(child.slot.url())
                self._dealer = Dealer(address, frame_bytes_max=FRAME_BYTES_MAX, frames_max=2)
                return

    def _converse(self, dealer: Dealer) -> None:
        protocol = self._protocol
        now = monotonic()
        dealer.flush()
        while (frames := dealer.receive()) is not None:
            protocol.receive(frames, now)
        protocol.tick(now)
        if now >= self._report_at:
            self._report_at = now + REPORT_EVERY_S
            self._report()
        while (event := protocol.next_event()) is not None:
            if not isinstance(event, Connected | Disconnected):
                logger.warning("the broker refuses: %s (%s)", event.text, event.code)
        dealer.send(protocol.to_send(), afresh=protocol.link.is_greeting)

    def _report(self) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._protocol.report(
            {
                "processes": len(self._children),
                "restarts": self._restarts,
                "gc": self._pauses.stats(),
                "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
                "rss_bytes": rss_bytes(),
            }
        )

    def _leave(self, dealer: Dealer) -> None:
        link = self._protocol.link
        link.leave(monotonic())
        deadline = monotonic() + GOODBYE_S
        self._converse(dealer)
        while link.state is not State.LEFT and monotonic() < deadline:
            dealer.socket.poll(50, dealer.wanted)
            self._converse(dealer)
        dealer.close()

    def _wait_ms(self) -> int:
        now = monotonic()
        look = LOOK_EVERY_S
        if len(self._children) < self._config.processes or not all(
            child.is_ready() for child in self._children
        ):
            look = START_LOOK_EVERY_S
        deadline = self._protocol.next_deadline() if self._dealer is not None else None
        wait_s = look if deadline is None else min(look, deadline - now)
        return max(0, int(wait_s * 1000) + 1)


def run_supervisor(config: WorkerConfig) -> int:
    """Run a pool of workers until told to stop. Returns the exit code."""
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    with Signals(wanted) as signals:
        return Supervisor(config, signals).run()
