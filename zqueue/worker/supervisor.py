"""The supervisor: runs the processes of a pool, and answers for them to the broker.

It runs no user code and decides nothing: `pool` does, and is told here what happens. Workers are
fresh interpreters (never forked, so no socket or thread is ever inherited half-way), each in a
process group of its own: what its tasks have started dies with a worker that is killed, and
Ctrl-C in a terminal reaches the supervisor alone, which asks them to finish.

Drain order: ask the workers to finish what they run and return the rest; wait for them; say
goodbye. A second signal, or the deadline, ends the workers in the middle of their tasks and
returns those; a third ends everything.
"""

from __future__ import annotations

import logging
import os
import random
import resource
import signal
import socket as stdlib_socket
from time import monotonic

import zmq

from ..client.watcher import Watcher
from ..config import Address, BrokerList, WorkerConfig
from ..core.backoff import Backoff
from ..errors import ZQueueError
from ..interpreted import note
from ..net.collector import tame_collector, watch_collector
from ..net.dealer import Dealer
from ..net.notify import Notifier
from ..net.processes import adopt_orphans, reap_orphans, rss_bytes
from ..net.signals import Signals
from ..stats.pauses import Pauses
from ..version import __version__
from ..wire.codec import FRAME_BYTES_MAX, pack
from ..wire.link import Link, Rejected, State
from ..wire.messages import STOPPED
from .child import Child
from .liaison import SupervisorProtocol
from .pool import Departure, Kill, Log, Pool, Start, Stop
from .slot import STARTING
from .start import WorkerSpec

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
"""How often the workers' slots are looked at, for overrun time-outs."""

START_LOOK_EVERY_S = 0.02
MEASURE_EVERY_S = 1.0

STARTS_MIN = 4
"""Workers that may load the app at the same time, at least; twice the processors, if those are
more: some imports wait for a disk or a database."""

RESTART_LOW_S, RESTART_HIGH_S = 0.05, 15.0

GOODBYE_S = 1.0
REPORT_EVERY_S = 1.0


class Supervisor:
    """Drives a `Pool`: starts, stops and kills what it says, and reports to it and the broker."""

    def __init__(self, config: WorkerConfig, signals: Signals) -> None:
        self._config = config
        self._signals = signals
        self._id = os.urandom(16)
        self._pool = Pool(
            config.processes,
            Backoff(random.random, low_s=RESTART_LOW_S, high_s=RESTART_HIGH_S),
            drain_timeout_s=config.drain_timeout_s,
            starts_max=max(STARTS_MIN, 2 * len(os.sched_getaffinity(0))),
            tasks_max=config.tasks_max,
            rss_bytes_max=config.rss_bytes_max,
        )
        self._children: dict[int, Child] = {}
        self._brokers: dict[str, tuple[SupervisorProtocol, Dealer]] = {}
        """By address, once a worker has said where they are."""
        self._links: list[Link] = []
        self._watcher: Watcher | None = None
        self._named: list[Address] | None = None
        """The brokers that there are now, until that is seen to."""
        self._poller = zmq.Poller()
        self._pauses = Pauses()
        self._report_at = self._measure_at = 0.0
        self._notifier = Notifier()

    def run(self) -> int:
        """Keep the pool until a signal says to stop. Returns the exit code."""
        tame_collector()
        watch_collector(self._pauses)
        poller = self._poller
        poller.register(self._signals.fd, zmq.POLLIN)
        try:
            while True:
                self._look(now := monotonic())
                self._act()
                self._tell(now)
                reap_orphans(self._children)
                if self._pool.is_over:
                    break
                self._connect()
                self._follow(monotonic())
                self._report(monotonic())
                for protocol, dealer in self._brokers.values():
                    self._converse(protocol, dealer)
                    poller.register(dealer.socket, dealer.wanted)
                if any(fd == self._signals.fd for fd, _ in poller.poll(self._wait_ms())):
                    self._signals.clear()
            self._leave()
        finally:
            for child in self._children.values():
                child.kill()
                child.close()
        return self._pool.code

    def _tell(self, now: float) -> None:
        """Ready: each worker has loaded the app. A broker may come later."""
        self._notifier.alive(now)
        if self._pool.is_settled:
            self._notifier.ready()
        if self._signals.count(signal.SIGTERM, signal.SIGINT):
            self._notifier.stopping()

    # --- the pool ---

    def _look(self, now: float) -> None:
        """Report to the pool what happened."""
        pool, signals = self._pool, self._signals
        is_due = bool(self._config.rss_bytes_max) and now >= self._measure_at
        if is_due:
            self._measure_at = now + MEASURE_EVERY_S
        for pid, child in self._children.items():
            code = child.exit_code()  # Before the slot: what that shows then is final.
            pool.shows(pid, child.slot.read(), now, rss_bytes=rss_bytes(pid) if is_due else 0)
            if code is not None:
                pool.ended(pid, code, now)
        terms = signals.count(signal.SIGTERM, signal.SIGINT)
        pool.signals(terms, signals.count(signal.SIGHUP), now)
        pool.tick(now)

    def _act(self) -> None:
        """Carry out what the pool says."""
        while (action := self._pool.next_action()) is not None:
            if isinstance(action, Start):
                self._start(action)
            elif isinstance(action, Stop):
                self._children[action.pid].stop()
            elif isinstance(action, Kill):
                self._children[action.pid].kill()
            elif isinstance(action, Departure):
                self._depart(action)
            elif isinstance(action, Log):
                getattr(logger, action.level)("%s", action.text)

    def _start(self, action: Start) -> None:
        config = self._config
        spec = WorkerSpec(
            app=config.app,
            url=config.url,
            queues=config.queues,
            concurrency=config.concurrency,
            threads=config.threads,
            id=os.urandom(16).hex(),
            supervisor=self._id.hex(),
            speaks=action.speaks,
            log_level=logging.getLevelName(logging.getLogger("zqueue").getEffectiveLevel()),
            log_format=config.log_format,
            cancel_grace_s=config.cancel_grace_s,
        )
        try:
            child = Child(spec)
        except OSError as error:
            self._pool.not_started(str(error), monotonic())
            return
        self._children[child.pid] = child
        for protocol, _ in self._brokers.values():
            protocol.joined(child.id)
        self._pool.started(child.pid, monotonic())

    def _depart(self, action: Departure) -> None:
        pid, reason, lease, position, text = action
        child = self._children.pop(pid)
        if reason != STOPPED:
            child.kill()  # What its tasks had started, and nobody waits for any more.
        child.close()
        for protocol, _ in self._brokers.values():
            protocol.departed(child.id, reason, lease=lease, position=position, text=text)

    # --- the broker ---

    def _connect(self) -> None:
        """Go where the workers go: the app may name the broker, and only they have loaded it."""
        if self._watcher is not None:
            return
        for child in self._children.values():
            if child.slot.read().state != STARTING:
                if note():
                    logger.info("workers run %s", note())
                brokers = BrokerList.parse(child.slot.url())
                self._named = list(brokers.addresses)
                self._watcher = Watcher(brokers, self._are_named, logger)
                self._watcher.start()
                return

    def _are_named(self, addresses: list[Address]) -> None:
        self._named = addresses
        self._signals.wake()

    def _follow(self, now: float) -> None:
        """Have the brokers that are named now; leave others once the workers have left them."""
        leaving = any(child.slot.read().leaving for child in self._children.values())
        for url, (protocol, dealer) in list(self._brokers.items()):
            protocol.look(now, leaving)
            if protocol.link.state is State.LEFT:
                self._poller.unregister(dealer.socket)
                self._links.remove(protocol.link)
                dealer.close()
                del self._brokers[url]
        if self._named is not None:
            named, self._named = self._named, None
            urls = {address.url for address in named}
            for url, (protocol, _) in self._brokers.items():
                protocol.named(url in urls, now)
            for address in named:
                if address.url not in self._brokers:
                    self._join(address)

    def _join(self, address: Address) -> None:
        try:
            dealer = Dealer(address, frame_bytes_max=FRAME_BYTES_MAX, frames_max=2)
        except ZQueueError as error:
            logger.error("the broker at %s is left out: %s", address.url, error)
            return
        protocol = self._protocol()
        self._links.append(protocol.link)
        protocol.link.siblings = self._links
        self._brokers[address.url] = (protocol, dealer)

    def _protocol(self) -> SupervisorProtocol:
        """For one broker: it speaks for all workers that there are."""
        about = {"pid": os.getpid(), "host": stdlib_socket.gethostname(), "version": __version__}
        protocol = SupervisorProtocol(self._id, pack(about), random.random)
        for child in self._children.values():
            protocol.joined(child.id)
        return protocol

    def _converse(self, protocol: SupervisorProtocol, dealer: Dealer) -> None:
        now = monotonic()
        dealer.flush()
        while (frames := dealer.receive()) is not None:
            protocol.receive(frames, now)
        protocol.tick(now)
        while (event := protocol.next_event()) is not None:
            if isinstance(event, Rejected):
                logger.warning("the broker refuses: %s (%s)", event.text, event.code)
        dealer.send(protocol.to_send(), afresh=protocol.link.is_greeting)

    def _report(self, now: float) -> None:
        if now < self._report_at:
            return
        self._report_at = now + REPORT_EVERY_S
        usage = resource.getrusage(resource.RUSAGE_SELF)
        report = {
            "processes": len(self._pool),
            "restarts": self._pool.restarts,
            "gc": self._pauses.stats(),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            "rss_bytes": rss_bytes(),
        }
        for protocol, _ in self._brokers.values():
            protocol.report(report)

    def _leave(self) -> None:
        deadline = monotonic() + GOODBYE_S
        if self._watcher is not None:
            self._watcher.stop()
        for protocol, dealer in self._brokers.values():
            protocol.link.leave(monotonic())
            self._converse(protocol, dealer)
        for protocol, dealer in self._brokers.values():
            while protocol.link.state is not State.LEFT and monotonic() < deadline:
                if self._is_hurried():
                    break
                dealer.socket.poll(50, dealer.wanted)
                self._converse(protocol, dealer)
            dealer.close()

    def _is_hurried(self) -> bool:
        return self._signals.count(signal.SIGTERM, signal.SIGINT) > 2

    def _wait_ms(self) -> int:
        look = LOOK_EVERY_S if self._pool.is_settled else START_LOOK_EVERY_S
        deadlines = [protocol.next_deadline() for protocol, _ in self._brokers.values()]
        first = min((each for each in deadlines if each is not None), default=None)
        wait_s = look if first is None else min(look, first - monotonic())
        return max(0, int(wait_s * 1000) + 1)


def run_supervisor(config: WorkerConfig) -> int:
    """Run a pool of workers until told to stop. Returns the exit code."""
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    adopt_orphans()
    with Signals(wanted) as signals:
        return Supervisor(config, signals).run()
