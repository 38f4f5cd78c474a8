"""The broker process: sockets in front of the broker's machine.

One loop, one thread. Each turn: wait until somebody speaks or a deadline comes, take a bounded
number of messages, let the machine decide, send what it says. No send ever blocks: what a
peer's pipe has no room for waits in that peer's outbox, and a peer whose outbox overflows is
treated as gone.

Drain order: stop intake (publishers are told to come back), go on handing out until nothing is
ready or leased or the deadline is over, send what is due, close. What is in a store stays there, so
only leases are waited for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
from time import monotonic, time
from typing import Any

import zmq

from ..config import Address, BrokerConfig, check_bind
from ..interpreted import note
from ..net.channel import Channel
from ..net.collector import SWEEP_EVERY_S, stop_collector, sweep, watch_collector
from ..net.curve import Authenticator, keeps_strangers_out
from ..net.notify import Notifier
from ..net.processes import forbid_core_dumps, raise_file_limit
from ..net.signals import Signals
from ..net.sockets import bind, hold_ipc_path, make_socket
from ..net.versions import too_old, versions
from ..net.waiting import Waiter
from ..store.store import StoreDamaged, StoreError
from ..version import __version__
from ..wire.codec import FRAME_BYTES_MAX
from .door import LEASED, Door
from .host import describe
from .machine import BrokerProtocol
from .outbox import Outboxes
from .plain_lane import PlainLane
from .stopping import Stopping
from .storing import Storing, open_store

logger = logging.getLogger(__name__)

TURN_MESSAGES = 256
"""Messages received before what they caused is sent. Bounds the wait of the first of them."""

FRAMES_MAX = 160
"""Frames in one message from a peer: a settlement of 128 runs has 130."""

GATHER_S = 0.001
"""How long messages gather while all workers have plenty to do, seconds. Waking up for each of them
took the broker twice the time, and took the processor from workers and producers. With more, those
run dry: half a worker's credit is 3 ms of the quickest tasks, and a producer's window 16 ms. A
confirm, or an answer to who asks for figures, may come so much later."""

STUCK_RETRY_S = 0.005
"""How soon a full pipe is tried again. (A ROUTER cannot be polled for one peer's room.)"""

DAMAGED = 4
"""Exit code of a broker whose data dir is damaged."""

FAULT = 1
"""Exit code of a broker that met a fault of its own."""


class Broker:
    """The sockets of one broker, and its loop."""

    def __init__(
        self, config: BrokerConfig, storing: Storing | None = None, door: Door | None = None
    ) -> None:
        self._config = config
        self._storing = storing
        self._door = door
        self._authenticator: Authenticator | None = None
        self.protocol = BrokerProtocol(
            os.urandom(8) if storing is None else storing.id,
            config.limits,
            # Leases of another broker's lifetime must never match ours.
            first_lease=random.getrandbits(32) << 24,
            egress=frozenset(config.egress),
            journal=None if storing is None else storing.journal,
            users=None if door is None else door.users,
            chance=random.Random().random,
        )
        self._life = os.urandom(8).hex()
        """Tells this start of a broker from others of its data dir."""
        self._started = monotonic()
        self.protocol.set_wall(time(), self._started)
        if storing is not None:
            storing.recover(self.protocol, self._started)
        self.protocol.teller.about = self._about
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._stopping = Stopping(config.drain_timeout_s)
        self._notifier = Notifier()
        self._is_quiet = True
        self._hangups = 0
        self._sweep_at = 0.0

    def open(self) -> str:
        """Bind everything. Returns the URL of the leased lane."""
        config, context = self._config, self._context
        pair = None
        if self._door is not None:
            pair = self._door.pair
            self._authenticator = Authenticator(context, self._door.judge)
            keeps_strangers_out(context, pair, self._authenticator)
        address = Address.parse(config.bind)
        router = make_socket(
            context, zmq.ROUTER, address, frame_bytes_max=FRAME_BYTES_MAX, pair=pair, domain=LEASED
        )
        self._router = Channel(router, FRAMES_MAX, asks_user=pair is not None)
        self._outboxes = Outboxes(self._router.send, _is_gone, self.protocol.book.budget)
        self.url = bind(router, address)
        self._plain = PlainLane(context, config, self.protocol, pair)
        return self.url

    def run(self, signals: Signals) -> int:
        """Serve until a signal says to stop. Returns the exit code."""
        waiter = Waiter(signals.fd)
        for channel in self._channels():
            waiter.add(channel.socket)
        storing = self._storing
        if storing is not None:
            waiter.watch(storing.fileno())
        self._notifier.ready()
        while True:
            now = monotonic()
            self._notifier.alive(now)
            self.protocol.set_wall(time(), now)  # It may have been set since the last turn.
            moved = self._receive(now)
            if storing is not None:
                moved += storing.move(self.protocol, now)
            moved += self._send(now)
            if now >= self._sweep_at:
                self._sweep_at = now + SWEEP_EVERY_S
                self._look_at_clients(now)
                sweep()
            deadline = self.protocol.next_deadline()
            if deadline is not None and now >= deadline:
                self.protocol.tick(now)
                self._send(now)
                moved += 1  # What it did may be due to be stored.
            if self._plain:
                moved += self._plain.move()
            code = self._stop_code(signals, now)
            if code is not None:
                return code
            if moved:
                if self._may_gather() and waiter.gather(GATHER_S):
                    signals.clear()
                continue  # Sockets tell of changes only: see `net.waiting`.
            if waiter.wait(self._next_deadline(now)):
                signals.clear()

    def close(self) -> None:
        """Say goodbye and close all sockets, giving what was just sent a moment to leave."""
        if self._storing is not None:
            self._storing.finish(self.protocol)
            self._send(monotonic())  # Confirms.
        now = monotonic()
        self.protocol.say_goodbye(now)
        self._send(now)
        # What a peer has not read when the connection breaks is lost to it: let them answer.
        while (deadline := self.protocol.goodbye_deadline()) is not None and now < deadline:
            left = STUCK_RETRY_S if self._outboxes else deadline - now
            self._router.socket.poll(int(left * 1000) + 1)
            now = monotonic()
            self._receive(now)
            self._send(now)
        if self._storing is not None:
            self._storing.finish(self.protocol)
        for channel in self._channels():
            channel.close(1000)
        self._context.term()

    def abandon(self) -> None:
        """Close all sockets at once, without a word."""
        self._context.destroy(0)

    # --- one turn ---

    def _look_at_clients(self, now: float, *, at_once: bool = False) -> None:
        if self._door is not None and (users := self._door.look(at_once=at_once)) is not None:
            self.protocol.access.change(users, now)

    def _may_gather(self) -> bool:
        """Whether nobody waits for what comes next, so that it may come together."""
        return not self._plain and self.protocol.is_saturated()

    def _channels(self) -> list[Channel]:
        keys = [] if self._authenticator is None else [self._authenticator.channel]
        return [self._router, *self._plain.channels(), *keys]

    def _next_deadline(self, now: float) -> float | None:
        deadline = self.protocol.next_deadline()
        for other in (self._stopping.deadline, self._notifier.next_deadline):
            if other is not None:
                deadline = min(other, deadline or other)
        if self._outboxes:
            deadline = min(now + STUCK_RETRY_S, deadline or now + STUCK_RETRY_S)
        return deadline

    def _receive(self, now: float) -> int:
        """Take what came. While little comes, the first message is answered before anything
        else is looked at; while much comes, answers gather so that small ones travel together."""
        if self._authenticator is not None:
            self._authenticator.move()
        router, receive, take = self._router, self._router.receive, self.protocol.receive
        received = 0
        while received < TURN_MESSAGES and (frames := receive()) is not None:
            take(frames[0], router.user, frames[1:], now)
            received += 1
            if received == 1 and self._is_quiet:
                self._send(now)
                os.sched_yield()  # ZeroMQ's thread may wait for this processor.
        self._is_quiet = received <= 1
        return received

    def _send(self, now: float) -> int:
        """Send what is due. Returns how many messages that was."""
        protocol, outboxes = self.protocol, self._outboxes
        sent = 0
        if outboxes:
            for peer, frames, is_gone in outboxes.retry():
                protocol.unreachable(peer, frames, now, is_gone=is_gone)
        # A lost peer's tasks go to others at once, hence again until nothing is left to say.
        while messages := protocol.to_send():
            sent += len(messages)
            for peer, frames in messages:
                if not outboxes.send(peer, frames):
                    protocol.unreachable(peer, frames, now)
        return sent

    def _stop_code(self, signals: Signals, now: float) -> int | None:
        if not signals.came:
            return None
        if (hangups := signals.count(signal.SIGHUP)) > self._hangups:
            self._hangups = hangups
            self._look_at_clients(now, at_once=True)
        asked = signals.count(signal.SIGTERM, signal.SIGINT)
        if not asked:
            return None
        if self._stopping.asked(now):
            self.protocol.drain()
            self._notifier.stopping()
            logger.info("draining, for up to %g s", self._config.drain_timeout_s)
        book, held = self.protocol.book, self._plain.held()
        if self._storing is None:
            left = book.tasks_before(self._stopping.deadline or now)
        else:
            left = book.leased()
        code = self._stopping.code(asked, not held and not left, now)
        if code is None:
            return None
        if self._storing is not None and (kept := book.tasks()):
            logger.info("%d tasks stay in %s", kept, self._storing.data_dir)
        lost = book.tasks() if self._storing is None else 0
        if lost or held:
            logger.warning("stopping with %d tasks in memory queues, and %d batches that no "
                           "puller took: they are lost", lost, held)  # fmt: skip
            return code
        return 0

    def _about(self) -> dict[str, Any]:
        store = (
            {"level": "memory"} if self._storing is None else self._storing.status(self.protocol)
        )
        about = {**describe(self.url, self._started), "life": self._life, "store": store}
        if self._config.shard:
            about["shard"] = self._config.shard
        if self._door is not None and self._authenticator is not None:
            about["keys"] = self._door.status(self._authenticator.refused)
        return about


def _is_gone(error: Exception) -> bool:
    """Whether a send failed because its peer is not there."""
    return isinstance(error, zmq.ZMQError) and error.errno == zmq.EHOSTUNREACH


def run_broker(config: BrokerConfig) -> int:
    """Run a broker in this process until it is told to stop. Returns the exit code.

    No message can make it fail. An exception in it is a fault of its own code and ends the process:
    its peers then know that what it had is gone, and nobody goes on with books that are half done.

    Raises `ConfigError` (`net.sockets.AddressInUse` if an address is taken), and `StoreError`.
    """
    raise_file_limit(2 * config.limits.peers_max + 64, "--peers")
    urls = [url for url in (config.bind, config.ingest, *config.egress.values()) if url is not None]
    door = None if config.keys is None else Door(config.keys)
    has_keys = door is not None
    addresses = [
        check_bind(Address.parse(url), insecure=config.insecure, has_keys=has_keys) for url in urls
    ]
    stop = (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if has_keys else []))
    if has_keys:
        forbid_core_dumps()
    with Signals(stop) as signals, contextlib.ExitStack() as paths:
        for address in addresses:
            paths.enter_context(hold_ipc_path(address))
        stop_collector()  # A store makes as many objects as it finds, and none that is in a cycle.
        storing = open_store(config)
        if storing is not None:
            paths.callback(storing.close)
        broker = Broker(config, storing, door)
        try:
            url = broker.open()
        except BaseException:
            broker.abandon()
            raise
        watch_collector(broker.protocol.teller.pauses)
        if config.insecure and not has_keys:
            logger.warning("running without authentication: anybody who reaches %s may send "
                           "and take tasks", url)  # fmt: skip
        logger.info("broker at %s (zqueue %s, pid %d)%s", url, __version__, os.getpid(),
                    "" if storing is None else f", {storing.promise()}")  # fmt: skip
        for said in too_old(versions()):
            logger.warning("%s", said)
        if note():
            logger.info("the broker runs %s", note())
        try:
            code = broker.run(signals)
            broker.close()
        except StoreDamaged as error:
            logger.error("the broker ends, for what it has stored is damaged: %s", error)
            broker.abandon()
            return DAMAGED
        except StoreError as error:
            # No confirm may leave any more, not even what was about to.
            logger.error("the broker ends, for what it takes cannot be stored: %s", error)
            broker.abandon()
            return FAULT
        except Exception:
            # What was half done when it was raised may be anything: no word of it may leave.
            logger.exception(
                "the broker ends, for it met a fault of its own; what it held is %s",
                "lost" if storing is None else "kept as far as it is stored",
            )
            broker.abandon()
            return FAULT
        return code
