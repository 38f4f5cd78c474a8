"""A client written from docs/protocol.md alone: zmq and msgpack, nothing of zqueue.

No threads. All peers of a test share one `Wires`, which polls their sockets together, so that
whoever is waited for, everybody's heartbeats go out and everybody's messages come in.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

import msgpack
import zmq

VERSION = 1
HELLO, WELCOME, REFUSE, HEARTBEAT, GOODBYE = 1, 2, 3, 4, 5
PUBLISH, CONFIRM, RESULT, AWAIT, CANCEL, KNOWN, WITHDRAW = 10, 11, 12, 13, 14, 15, 16
CREDIT, DELIVER, SETTLE, DEPARTED, PROGRESS, STOP = 20, 21, 22, 23, 24, 25
ASK, TELL, REPORT, CONTROL = 30, 31, 32, 33

REPLY = 1
DONE, RESULTS, FAILED, RETURNED, OPEN, RETRY, CANCELLED, EXPIRED = range(8)

FRAME_BYTES_MAX = 16777216
PATIENCE_S = 20.0
"""No story takes anywhere near as long; it only ends tests that would hang."""

pack: Callable[[Any], bytes] = msgpack.packb
unpack: Callable[[bytes], Any] = msgpack.unpackb


def traced(traceparent: str, body: Any) -> bytes:
    """A packed body with a trace context: section 10."""
    context = bytes.fromhex(traceparent.replace("-", ""))
    return pack(msgpack.ExtType(116, context + pack(body)))


Message = tuple[int, list[Any], list[bytes]]
"""Kind, fields, further frames."""


Counts = dict[int, int]
"""Number of a bucket to how many values are in it."""


def histogram(seconds: Iterable[float], schema: int = 5) -> list[int]:
    """Durations as a histogram of section 17."""
    edges = [2.0 ** (-20 + i / 2**schema) for i in range(32 * 2**schema + 1)]
    counts: Counts = {}
    total = longest = 0
    for value in seconds:
        bucket = bisect_left(edges, value)
        counts[bucket] = counts.get(bucket, 0) + 1
        ns = min(round(value * 1e9), 2**53)
        total += ns
        longest = max(longest, ns)
    return write_histogram(schema, total, longest, counts)


def write_histogram(schema: int, total: int, longest: int, counts: Counts) -> list[int]:
    """The wire form of what is counted."""
    wire = [schema, *divmod(total, 2**53), longest]
    run, end = 0, 0
    for bucket in sorted(counts):
        if not run or bucket > end:
            run = len(wire)
            wire += [bucket - end, 0]
        wire[run + 1] += 1
        wire.append(counts[bucket])
        end = bucket + 1
    return wire


def read_histogram(wire: list[int]) -> tuple[int, int, int, Counts]:
    """Schema, sum and maximum in nanoseconds, and what is counted."""
    schema, high, low, longest, *rest = wire
    counts: Counts = {}
    bucket = 0
    while rest:
        skipped, n = rest[:2]
        bucket += skipped
        for count in rest[2 : 2 + n]:
            counts[bucket] = count
            bucket += 1
        del rest[: 2 + n]
    return schema, high * 2**53 + low, longest, counts


def coarser(counts: Counts, schema: int) -> Counts:
    """The same counts, of a schema one lower."""
    last = 32 * 2**schema + 1
    made: Counts = {}
    for bucket, count in counts.items():
        to = 32 * 2 ** (schema - 1) + 1 if bucket == last else (bucket + 1) // 2
        made[to] = made.get(to, 0) + count
    return made


class TookTooLong(AssertionError):
    """What was waited for did not happen."""


class Wires:
    """The sockets of several peers, polled together."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.peers: list[Peer] = []
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def __enter__(self) -> Wires:
        return self

    def __exit__(self, *_: object) -> None:
        for peer in list(self.peers):
            peer.close()
        self._context.destroy(0)

    def dealer(self) -> zmq.Socket[bytes]:
        """A socket with the options of section 2."""
        return self.socket(zmq.DEALER, self.url)

    def socket(self, kind: int, url: str) -> zmq.Socket[bytes]:
        """Any socket, connected."""
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        socket.connect(url)
        return socket

    def turn(self, wait_s: float = 0.05) -> None:
        """Send what is due, wait for somebody to speak, and take what came."""
        poller = zmq.Poller()
        for peer in self.peers:
            peer.flush()
            poller.register(peer.socket, zmq.POLLIN | (zmq.POLLOUT if peer.outbox else 0))
        poller.poll(int(wait_s * 1000))
        for peer in self.peers:
            peer.take()

    def until(self, happened: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
        """Take turns until something happened; what it was."""
        deadline = monotonic() + patience_s
        while not (what := happened()):
            if monotonic() > deadline:
                raise TookTooLong(f"{self.peers}")
            self.turn()
        return what


class Peer:
    """What all roles have in common: a socket, a link, and what was heard."""

    role = "observer"

    def __init__(self, wires: Wires, id: bytes | None = None, **about: Any) -> None:
        self.wires = wires
        self.id = id or os.urandom(16)
        self.about = about
        self.broker = b""
        self.is_ready = False
        self.is_leaving = False
        self.is_mute = False
        """Sends no heartbeats and does not greet again, as if stopped or hung."""
        self.answered = 0
        """Heartbeats that the broker answered."""
        self.heard: list[Message] = []
        self.outbox: list[list[bytes]] = []
        self.vouched: list[bytes] = []
        self._heartbeat_s = 1.0
        self._heartbeat_at = 0.0
        self.socket = wires.dealer()
        wires.peers.append(self)

    def __repr__(self) -> str:
        kinds = [(kind, fields) for kind, fields, _ in self.heard[-5:]]
        return f"<{self.role} ready={self.is_ready} heard={kinds}>"

    # --- saying ---

    def say(self, kind: int, *fields: Any, frames: tuple[bytes, ...] = ()) -> None:
        """Send a message."""
        self.say_raw(pack([VERSION, kind, *fields]), *frames)

    def say_raw(self, *frames: bytes) -> None:
        """Send frames as they are."""
        self.outbox.append(list(frames))
        self.flush()

    def flush(self) -> None:
        """Send what waits, and a heartbeat if one is due."""
        now = monotonic()
        if self.is_ready and not self.is_mute and now >= self._heartbeat_at:
            self._heartbeat_at = now + self._heartbeat_s
            self.outbox.append([pack([VERSION, HEARTBEAT, self.vouched])])
        while self.outbox:
            try:
                self.socket.send_multipart(self.outbox[0], zmq.NOBLOCK)
            except zmq.Again:
                return
            del self.outbox[0]

    def hello(self) -> Peer:
        """Greet, and wait for the welcome."""
        self.greet()
        self.wires.until(lambda: self.is_ready)
        return self

    def greet(self) -> None:
        """Greet, instead of whatever still waits to be said."""
        self.outbox.clear()
        self.say(HELLO, self.role, self.id, frames=(pack(self.about),))

    def goodbye(self) -> None:
        """Leave, and wait until the broker has heard all that was said before."""
        self.is_leaving = True
        self.say(GOODBYE)
        self.hear(GOODBYE)
        self.close()

    def reconnect(self) -> None:
        """Lose the connection; the broker is not told."""
        self.socket.close(0)
        self.socket = self.wires.dealer()

    def close(self) -> None:
        """Vanish."""
        self.socket.close(0)
        if self in self.wires.peers:
            self.wires.peers.remove(self)

    # --- hearing ---

    def take(self) -> None:
        """Take what came."""
        while self.socket.poll(0):
            header, *frames = self.socket.recv_multipart()
            version, kind, *fields = unpack(header)
            assert version == VERSION
            self.on_message(kind, fields, frames)

    def on_message(self, kind: int, fields: list[Any], frames: list[bytes]) -> None:
        """One message from the broker."""
        if kind == HEARTBEAT:
            self.answered += 1
            return
        self.heard.append((kind, fields, frames))
        if kind == WELCOME:
            broker, heartbeat_ms, _ = fields[:3]
            same, self.broker, self.is_ready = broker == self.broker, broker, True
            self._heartbeat_s = heartbeat_ms / 1000
            self.on_welcome(same)
        elif kind == REFUSE and fields[0] == "unknown-peer" and self.is_ready and not self.is_mute:
            self.is_ready = False
            self.greet()
        elif kind == GOODBYE and self.is_ready and not self.is_leaving:
            self.is_ready = False  # The broker ends: nothing that it said is unread.
            self.outbox.clear()
            self.say(GOODBYE)

    def on_welcome(self, same: bool) -> None:
        """The broker knows us (again); ``same``: it is the one that did before."""

    def pop(self, kind: int) -> Message | None:
        """The first message of a kind that was heard, removed; None if there is none."""
        for i, message in enumerate(self.heard):
            if message[0] == kind:
                return self.heard.pop(i)
        return None

    def hear(self, kind: int) -> Message:
        """Wait for a message of a kind."""
        message: Message = self.wires.until(lambda: self.pop(kind))
        return message

    def refused(self) -> tuple[str, int]:
        """Wait for a refusal: code and sequence."""
        _, (code, sequence, text), _ = self.hear(REFUSE)
        assert text
        return code, sequence

    def report(self, **figures: Any) -> None:
        """Send figures of one's own."""
        self.say(REPORT, frames=(pack(figures),))

    def is_settled(self) -> None:
        """Wait until the broker has answered all that was said so far."""
        self.say(ASK, "info")
        self.hear(TELL)


class Observer(Peer):
    """Only looks. Needs no greeting."""

    def ask(self, what: str = "info") -> dict[str, Any]:
        """What the broker tells."""
        self.say(ASK, what)
        _, fields, frames = self.hear(TELL)
        told: dict[str, Any] = unpack(frames[0])
        letters = told.get("letters", [])
        assert (fields, len(frames)) == ([], 1 + len(letters))
        for letter, body in zip(letters, frames[1:], strict=True):
            letter["body"] = unpack(body)
        return told

    def control(self, action: str, queue: str) -> tuple[bool, bool]:
        """Do something to a queue. Whether it is paused, and whether it drains."""
        self.say(CONTROL, action, queue)
        _, fields, frames = self.hear(TELL)
        told = unpack(frames[0])
        assert (fields, len(frames), told["queue"]) == ([], 1, queue)
        return told["paused"], told["draining"]

    def until(self, true: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Ask until the answer is as wanted."""
        deadline = monotonic() + PATIENCE_S
        while not true(told := self.ask()):
            if monotonic() > deadline:
                raise TookTooLong(f"{told}")
            self.wires.turn(0.01)
        return told


class Producer(Peer):
    """Numbers batches, keeps them until they are confirmed, takes results."""

    role = "producer"

    def __init__(self, wires: Wires, id: bytes | None = None) -> None:
        super().__init__(wires, id, pid=os.getpid())
        self.next = 1
        self.unconfirmed: dict[int, list[bytes]] = {}
        self.confirmed: set[int] = set()
        self.awaited: dict[int, set[int]] = {}
        """Batch to positions without a result."""
        self.resent: set[int] = set()
        self.outcomes: dict[tuple[int, int], tuple[int, Any]] = {}
        """(batch, position) to (status, value or error)."""
        self.lost: set[int] = set()

    def publish(self, queue: str, bodies: list[Any], *, task: str = "", reply: bool = False) -> int:
        """Send a batch. Its number."""
        return self.publish_raw(queue, pack(bodies), len(bodies), task=task, reply=reply)

    def publish_raw(
        self, queue: str, batch: bytes, tasks: int, *, task: str = "", reply: bool = False
    ) -> int:
        """Send bytes that may be a batch."""
        return self.publish_frames(queue, (batch,), tasks, task=task, reply=reply)

    def publish_frames(
        self,
        queue: str,
        batch: tuple[bytes, ...],
        tasks: int,
        *,
        task: str = "",
        reply: bool = False,
        age_us: int | None = None,
    ) -> int:
        """Send any number of frames in the place of a batch. No age: leave the field out."""
        number, self.next = self.next, self.next + 1
        header = [VERSION, PUBLISH, number, queue, task, REPLY if reply else 0]
        frames = [pack(header if age_us is None else [*header, age_us]), *batch]
        self.unconfirmed[number] = frames
        if reply:
            self.awaited[number] = set(range(tasks))
        self.say_raw(*frames)
        return number

    def confirm(self, *numbers: int) -> None:
        """Wait until these are confirmed."""
        self.wires.until(lambda: self.confirmed.issuperset(numbers))

    def results(self, number: int, tasks: int) -> list[tuple[int, Any]]:
        """Wait for all results of a batch."""
        self.wires.until(lambda: number not in self.awaited)
        return [self.outcomes[number, position] for position in range(tasks)]

    def on_welcome(self, same: bool) -> None:
        confirmed = [n for n in self.awaited if n not in self.unconfirmed]
        if confirmed and same:
            self.say(AWAIT, confirmed)
        elif confirmed:
            self._lose(confirmed)
        for number, frames in sorted(self.unconfirmed.items()):
            self.say_raw(*frames)
            self.resent.add(number)

    def on_message(self, kind: int, fields: list[Any], frames: list[bytes]) -> None:
        super().on_message(kind, fields, frames)
        if kind == CONFIRM:
            for first, last in zip(fields[0][::2], fields[0][1::2], strict=True):
                for number in range(first, last + 1):
                    self.unconfirmed.pop(number, None)
                    self.confirmed.add(number)
                    if number in self.resent and number in self.awaited:
                        self.say(AWAIT, [number])
                    self.resent.discard(number)
        elif kind == RESULT:
            number, first, tasks, status = fields[:4]
            self._on_result(number, first, tasks, status, frames)
        elif kind == REFUSE and fields[1] and fields[0] not in ("full", "draining"):
            self.unconfirmed.pop(fields[1], None)
            self.awaited.pop(fields[1], None)

    def _on_result(
        self, number: int, first: int, tasks: int, status: int, frames: list[bytes]
    ) -> None:
        if number not in self.awaited:
            return
        if status == OPEN:
            if tasks < len(self.awaited[number]):
                self._lose([number])
            return
        values: list[Any] = [None] * tasks
        if status in (RESULTS, FAILED):
            values = unpack(frames[0])
            if status == FAILED and len(values) == 1:
                values *= tasks
        assert len(values) == tasks
        for position, value in enumerate(values, first):
            if position in self.awaited[number]:
                self.awaited[number].remove(position)
                self.outcomes[number, position] = (status, value)
        if not self.awaited[number]:
            del self.awaited[number]

    def _lose(self, numbers: list[int]) -> None:
        self.lost.update(numbers)
        for number in numbers:
            del self.awaited[number]


class Delivery:
    """What one `Deliver` said."""

    def __init__(self, fields: list[Any], frames: list[bytes]) -> None:
        self.lease, self.queue, batches = fields[:3]
        assert len(batches) == len(frames)
        self.batches = [
            (task, bool(flags & REPLY), attempt, unpack(frame))
            for (task, flags, _, attempt, *_), frame in zip(batches, frames, strict=True)
        ]
        self.ages_us = [batch[4] for batch in batches]
        self.ids = [
            f"{origin:012x}-{sequence}-{first + position}"
            for _, _, count, _, _, origin, sequence, first, *_ in batches
            for position in range(count)
        ]
        assert [len(bodies) for *_, bodies in self.batches] == [batch[2] for batch in batches]

    @property
    def bodies(self) -> list[Any]:
        """All bodies, in order."""
        return [body for *_, bodies in self.batches for body in bodies]

    @property
    def attempts(self) -> set[int]:
        """Of the batches."""
        return {attempt for _, _, attempt, _ in self.batches}


class Worker(Peer):
    """Takes deliveries; the test says what becomes of them."""

    role = "worker"

    def __init__(
        self, wires: Wires, *queues: str, id: bytes | None = None, supervisor: bytes | None = None
    ) -> None:
        super().__init__(wires, id, queues=list(queues))
        if supervisor is not None:
            self.about["supervisor"] = supervisor

    def credit(self, tasks: int) -> Worker:
        """State the credit."""
        self.say(CREDIT, tasks)
        return self

    def delivery(self) -> Delivery:
        """Wait for the next delivery."""
        _, fields, frames = self.hear(DELIVER)
        return Delivery(fields, frames)

    def progress(self, lease: int, position: int, done: int, total: int) -> None:
        """Say how far a task has come."""
        self.say(PROGRESS, lease, position, done, total)

    def settle(
        self, lease: int, *runs: list[int], carry: tuple[Any, ...] = (), credit: int
    ) -> None:
        """Settle runs ``[batch, first, count, status]``; ``carry`` has what they carry."""
        self.say(SETTLE, lease, credit, list(runs), frames=tuple(map(pack, carry)))


class Supervisor(Peer):
    """Speaks for workers."""

    role = "supervisor"

    def speak_for(self, *workers: bytes) -> Supervisor:
        """Name these in the heartbeats."""
        self.vouched = list(workers)
        return self

    def departed(
        self, worker: bytes, reason: str, lease: int = 0, position: int = 0, text: str = ""
    ) -> None:
        """Report that a worker is gone."""
        self.say(DEPARTED, worker, reason, lease, position, text)
