"""The broker process: sockets in front of the broker's machine.

One loop, one thread. Each turn: wait until somebody speaks or a deadline comes, take a bounded
number of messages, let the machine decide, send what it says. No send ever blocks: what a
peer's pipe has no room for waits in that peer's outbox, and a peer whose outbox overflows is
treated as gone.

Drain order: stop intake (publishers are told to come back), go on handing out until nothing is
ready or leased or the deadline is over, send what is due, close.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import random
import resource
import signal
import socket as stdlib_socket
from collections import deque
from time import monotonic
from typing import Any

import zmq

from .config import Address, BrokerConfig, check_bind
from .core.batch import reuse
from .errors import ConfigError
from .net.channel import Channel
from .net.collector import SWEEP_EVERY_S, stop_collector, sweep, watch_collector
from .net.device import Egress, Ingress
from .net.processes import rss_bytes
from .net.processor import LOOK_EVERY_S, Processor
from .net.signals import Signals
from .net.sockets import bind, hold_ipc_path, make_socket
from .net.waiting import Waiter
from .protocol.broker import BrokerProtocol, Limits
from .protocol.codec import COMPILED, FRAME_BYTES_MAX
from .protocol.intake import Ingest
from .version import __version__

logger = logging.getLogger(__name__)

TURN_MESSAGES = 256
"""Messages received before what they caused is sent. Bounds the wait of the first of them."""

MANY_MESSAGES = 8
"""In one turn: two threads then do more than one."""

FRAMES_MAX = 160
"""Frames in one message from a peer: a settlement of 128 runs has 130."""

GATHER_S = 0.001
"""How long messages gather while all workers have plenty to do, seconds. Waking up for each of them
took the broker twice the time, and took the processor from workers and producers. With more, those
run dry: half a worker's credit is 3 ms of the quickest tasks, and a producer's window 16 ms. A
confirm, or an answer to who asks for figures, may come so much later."""

OUTBOX_BYTES_MAX = 64 << 20
"""What may wait for one peer whose pipe is full, bytes."""

STUCK_RETRY_S = 0.005
"""How soon a full pipe is tried again. (A ROUTER cannot be polled for one peer's room.)"""

GOODBYE_S = 0.5
"""How long peers may take to answer the goodbye of a broker that ends."""

DEADLINE_HIT = 5


class Outboxes:
    """Sends to peers, and keeps in order what their pipes have no room for yet."""

    def __init__(self, router: Channel) -> None:
        self._router = router
        self._waiting: dict[bytes, deque[list[bytes]]] = {}
        self._bytes: dict[bytes, int] = {}
        self._lost: list[tuple[bytes, list[bytes]]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting or self._lost)

    def send(self, peer: bytes, frames: list[bytes]) -> bool:
        """Send, now or when there is room. False: the peer is gone, or hopelessly behind."""
        waiting = self._waiting.get(peer)
        if waiting is None:
            try:
                if self._router.send([peer, *frames]):
                    return True
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    raise
                return False
            waiting = self._waiting[peer] = deque()
            self._bytes[peer] = 0
        self._bytes[peer] += sum(map(len, frames))
        waiting.append(frames)
        if self._bytes[peer] > OUTBOX_BYTES_MAX:
            waiting.pop()
            self._lost += [(peer, earlier) for earlier in waiting]
            self._forget(peer)
            return False
        return True

    def retry(self) -> list[tuple[bytes, list[bytes]]]:
        """Try what waits. Returns the messages whose peers are gone."""
        gone, self._lost = self._lost, []
        for peer in list(self._waiting):
            waiting = self._waiting[peer]
            try:
                while waiting and self._router.send([peer, *waiting[0]]):
                    self._bytes[peer] -= sum(map(len, waiting.popleft()))
                if waiting:
                    continue
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    raise
                gone += [(peer, frames) for frames in waiting]
            self._forget(peer)
        return gone

    def _forget(self, peer: bytes) -> None:
        del self._waiting[peer], self._bytes[peer]


class Broker:
    """The sockets of one broker, and its loop."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        limits = Limits(
            **{field.name: getattr(config, field.name)
               for field in dataclasses.fields(Limits) if hasattr(config, field.name)}
        )  # fmt: skip
        self.protocol = BrokerProtocol(
            os.urandom(8),
            limits,
            # Leases of another broker's lifetime must never match ours.
            first_lease=random.getrandbits(32) << 24,
            egress=frozenset(config.egress),
        )
        self._started = monotonic()
        self.protocol.about = self._about
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._ingress: Ingress | None = None
        self._egresses: list[Egress] = []
        self._give_up_at: float | None = None
        self._is_quiet = True
        self._sweep_at = 0.0
        self._processor = None if config.roam else Processor()
        self._look_at = 0.0

    def open(self) -> str:
        """Bind everything. Returns the URL of the leased lane."""
        config, context = self._config, self._context
        address = check_bind(Address.parse(config.bind), insecure=config.insecure)
        router = make_socket(context, zmq.ROUTER, address, frame_bytes_max=FRAME_BYTES_MAX)
        self._router = Channel(router, FRAMES_MAX)
        self._outboxes = Outboxes(self._router)
        self.url = bind(router, address)
        if config.ingest is not None:
            address = check_bind(Address.parse(config.ingest), insecure=config.insecure)
            self._ingress = Ingress(context, address, self._ingest, frame_bytes_max=FRAME_BYTES_MAX)
            logger.info("plain lane in at %s", self._ingress.url)
        for name, url in config.egress.items():
            address = check_bind(Address.parse(url), insecure=config.insecure)
            egress = Egress(
                context,
                address,
                functools.partial(self.protocol.dispatch.take_egress, name),
                frame_bytes_max=FRAME_BYTES_MAX,
            )
            self._egresses.append(egress)
            logger.info("plain lane out of queue %r at %s", name, egress.url)
        return self.url

    def run(self, signals: Signals) -> int:
        """Serve until a signal says to stop. Returns the exit code."""
        waiter = Waiter(signals.fd)
        for channel in self._channels():
            waiter.add(channel.socket)
        while True:
            now = monotonic()
            moved = self._receive(now)
            moved += self._send(now)
            if now >= self._sweep_at:
                self._sweep_at = now + SWEEP_EVERY_S
                sweep()
            if now >= self._look_at and self._processor is not None:
                self._look_at = now + LOOK_EVERY_S
                self._processor.look(now)
            if now >= (self.protocol.next_deadline() or now):
                self.protocol.tick(now)
                moved += self._send(now)
            if self._ingress is not None or self._egresses:
                moved += self._move_plain_lane()
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
        self.protocol.say_goodbye()
        self._send(monotonic())
        # What a peer has not read when the connection breaks is lost to it: let them answer.
        deadline = monotonic() + GOODBYE_S
        while self.protocol.has_peers() and (left := deadline - monotonic()) > 0:
            self._router.socket.poll(int(left * 1000) + 1)
            self._receive(monotonic())
            self._send(monotonic())
        for channel in self._channels():
            channel.close(1000)
        self._context.term()

    # --- one turn ---

    def _may_gather(self) -> bool:
        """Whether nobody waits for what comes next, so that it may come together."""
        plain = self._ingress is not None or self._egresses
        return not plain and self.protocol.is_saturated()

    def _channels(self) -> list[Channel]:
        channels = [self._router, *(egress.channel for egress in self._egresses)]
        if self._ingress is not None:
            channels.append(self._ingress.channel)
        return channels

    def _next_deadline(self, now: float) -> float | None:
        deadline = self.protocol.next_deadline()
        if self._give_up_at is not None:
            deadline = min(self._give_up_at, deadline or self._give_up_at)
        if self._outboxes:
            deadline = min(now + STUCK_RETRY_S, deadline or now + STUCK_RETRY_S)
        return deadline

    def _receive(self, now: float) -> int:
        """Take what came. While little comes, the first message is answered before anything
        else is looked at; while much comes, answers gather so that small ones travel together."""
        receive, take = self._router.receive, self.protocol.receive
        received = 0
        while received < TURN_MESSAGES and (frames := receive()) is not None:
            try:
                take(frames[0], frames[1:], now)
            except Exception:
                # A fault of ours, not a reason to let everybody down.
                logger.exception("a message of %d frames met a fault", len(frames))
            received += 1
            if received == 1 and self._is_quiet:
                self._send(now)
                os.sched_yield()  # ZeroMQ's thread may wait for this processor.
        self._is_quiet = received <= 1
        if received > MANY_MESSAGES and self._processor is not None:
            self._processor.leave()
        return received

    def _send(self, now: float) -> int:
        """Send what is due. Returns how many messages that was."""
        protocol, outboxes = self.protocol, self._outboxes
        sent = 0
        if outboxes:
            for peer, frames in outboxes.retry():
                protocol.unreachable(peer, frames, now)
        # A lost peer's tasks go to others at once, hence again until nothing is left to say.
        while messages := protocol.to_send():
            sent += len(messages)
            for peer, frames in messages:
                if not outboxes.send(peer, frames):
                    protocol.unreachable(peer, frames, now)
        return sent

    def _ingest(self, frames: list[bytes]) -> bool:
        return self.protocol.ingest(frames, monotonic()) is not Ingest.FULL

    def _move_plain_lane(self) -> int:
        """Move what can be moved. Returns how many messages that was."""
        moved = 0
        if self._ingress is not None:
            moved += self._ingress.pump(read=not self.protocol.intake.draining)
        return moved + sum(egress.pump() for egress in self._egresses)

    def _stop_code(self, signals: Signals, now: float) -> int | None:
        if not signals.came:
            return None
        asked = signals.count(signal.SIGTERM, signal.SIGINT)
        if not asked:
            return None
        if self._give_up_at is None:
            self._give_up_at = now + self._config.drain_timeout_s
            self.protocol.drain()
            logger.info("draining, for up to %g s", self._config.drain_timeout_s)
        if self.protocol.is_empty() and not any(egress.is_held for egress in self._egresses):
            return 0
        if asked > 1 or now >= self._give_up_at:
            left = sum(queue.ready.tasks for queue in self.protocol.intake.queues.values())
            held = sum(egress.is_held for egress in self._egresses)
            logger.warning("stopping with %d tasks in memory queues, and %d batches that no "
                           "puller took: they are lost", left, held)  # fmt: skip
            return DEADLINE_HIT
        return None

    def _about(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "version": __version__,
            "compiled": COMPILED,
            "pid": os.getpid(),
            "host": stdlib_socket.gethostname(),
            "url": self.url,
            "uptime_s": round(monotonic() - self._started, 3),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            "rss_bytes": rss_bytes(),
            "batches_made": reuse(),
        }


def run_broker(config: BrokerConfig) -> int:
    """Run a broker in this process until it is told to stop. Returns the exit code.

    Raises `ConfigError` (`net.sockets.AddressInUse` if an address is taken).
    """
    _raise_file_limit(2 * config.peers_max + 64)
    stop = (signal.SIGTERM, signal.SIGINT)
    with Signals(stop) as signals, contextlib.ExitStack() as paths:
        for url in (config.bind, config.ingest, *config.egress.values()):
            if url is not None:
                paths.enter_context(hold_ipc_path(Address.parse(url)))
        broker = Broker(config)
        try:
            url = broker.open()
        except BaseException:
            broker._context.destroy(0)
            raise
        stop_collector()
        watch_collector(broker.protocol.pauses)
        if config.insecure:
            logger.warning("running without authentication: anybody who reaches %s may send "
                           "and take tasks", url)  # fmt: skip
        logger.info("broker at %s (zqueue %s, pid %d)", url, __version__, os.getpid())
        try:
            return broker.run(signals)
        finally:
            broker.close()


def _raise_file_limit(wanted: int) -> None:
    """Room for every peer's descriptors. Raises `ConfigError` if there cannot be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise ConfigError(
                f"{wanted} open files are needed and {hard} allowed: raise the limit "
                f"(ulimit -n {wanted}) or lower --peers"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
