"""Parts of zqueue inside one process, each beside what does the like work: for the report, and for
the check against a baseline. All that `perf/` knows of zqueue's insides is here.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from itertools import repeat, starmap
from time import monotonic, perf_counter_ns
from typing import Any

import msgpack

from zqueue.broker.machine import BrokerProtocol
from zqueue.client.lane import Lane
from zqueue.config import Limits
from zqueue.handlers import Handler
from zqueue.stats.meter import TaskMeter
from zqueue.wire.codec import Packer, pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.messages import DONE, Confirm, Credit, Deliver, Hello, Message, Publish, Settle
from zqueue.wire.unpacking import Reader, index_bodies
from zqueue.worker.calls import Calls

from .bodies import BATCH, body
from .queues import (
    BLOCK_NS,
    BODIES,
    Block,
    batches,
    hand_overs,
    on_each,
    pairs,
    puts,
    threads,
    timed,
)

ROUND = 16
"""Batches that are with the broker's machine together."""

SIZES = (1, 16, BATCH, 4096)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """What is measured, and by whom it is done."""

    name: str
    unit: str
    units: int
    """In one call."""
    subjects: Mapping[str, Callable[[], Block]]
    """Who does it, each made anew for a measurement. The first one is ours, the second is the
    reference of the check."""
    family: str = ""
    x: float | None = None
    block_ns: int = BLOCK_NS
    is_checked: bool = False
    """Whether `perf/check.py` holds it against the baseline."""
    is_threaded: bool = False
    """Then nothing is said of the memory of an operation."""
    is_yardstick: bool = False
    """The reference does other work, and only tells how fast the machine is."""

    @property
    def component(self) -> str:
        """Where it stands in the report."""
        return {"lane": "task", "calls": "task", "broker": "machine"}.get(
            word := self.name.partition(".")[0], word
        )


# --- packing and unpacking ---


def _bodies(count: int) -> list[object]:
    return [body(i) for i in range(count)]


def pack_one_by_one() -> Block:
    """The reference gathers packed bodies in one buffer, too."""
    bodies, packer = _bodies(BODIES), msgpack.Packer(autoreset=False)

    def operation() -> None:
        for each in bodies:
            packer.pack(each)
        packer.bytes()
        packer.reset()

    return timed(operation)


def codec_add() -> Block:
    """Pack bodies one by one."""
    bodies, packer = _bodies(BODIES), Packer(BODIES, 1 << 20)

    def operation() -> None:
        for each in bodies:
            packer.add(each)
        assert packer.take()

    return timed(operation)


def codec_fill(count: int) -> Block:
    """Pack bodies in one call."""
    bodies, packer = _bodies(count), Packer(count, 1 << 20)

    def operation() -> None:
        assert packer.fill(iter(bodies))
        packer.take()

    return timed(operation)


def pack_at_once(count: int) -> Block:
    """The reference of `codec_fill`."""
    bodies, pack = _bodies(count), msgpack.Packer().pack
    return timed(lambda: pack(bodies))


def lane_add() -> Block:
    """Send into a lane that gathers, and cut the batch."""

    class NoProducer:
        def make_room(self, lane: Lane, timeout: float | None) -> None:
            raise AssertionError("there is room")

        def service(self, lane: Lane | None = None) -> None:
            raise AssertionError("nothing is full")

    bodies = _bodies(BODIES)
    lane = Lane(NoProducer(), "queue", "task")
    lane.open()
    lane.numbered(1)  # A batch is in flight: the next one gathers.

    def operation() -> None:
        for each in bodies:
            lane.add(each)
        batch = lane.cut()
        assert batch is not None
        assert batch.tasks == BODIES

    return timed(operation)


def _stream(values: list[object]) -> Callable[[], msgpack.Unpacker]:
    """Gives all values of a stream, one by one."""
    packed = b"".join(map(msgpack.packb, values))
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=1 << 20)

    def fed() -> msgpack.Unpacker:
        unpacker.feed(packed)
        return unpacker

    return fed


def codec_unpack(count: int) -> Block:
    """Unpack bodies one by one; none of them is kept."""
    frame = msgpack.packb(_bodies(count))
    return timed(lambda: deque(Reader(frame), maxlen=0))


def unpack_stream(count: int) -> Block:
    """The reference of `codec_unpack`."""
    fed = _stream(_bodies(count))
    return timed(lambda: deque(fed(), maxlen=0))


def codec_index(count: int) -> Block:
    """Find where each body begins."""
    frame = msgpack.packb(_bodies(count))
    return timed(lambda: index_bodies(frame))


def skip_bodies(count: int) -> Block:
    """The reference of `codec_index`."""
    frame = msgpack.packb(_bodies(count))
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=1 << 20)
    skip = unpacker.skip

    def skip_all() -> None:
        unpacker.feed(frame)
        for _ in repeat(None, unpacker.read_array_header()):
            skip()

    return timed(skip_all)


# --- calling handlers ---


def noop(event: object) -> None:
    """A handler that does nothing."""


def calls_run() -> Block:
    """Unpack the arguments of calls, and call a handler that does nothing, by the clock."""
    handler = Handler("noop", "queue", noop)
    frame = msgpack.packb([(each,) for each in _bodies(BODIES)])
    meter, sent_at = TaskMeter(), monotonic()

    def run() -> None:
        calls = Calls(handler, frame, BODIES, named=True, keep=False, meter=meter, sent_at=sent_at)
        calls.run(BODIES)
        assert calls.position == BODIES

    return timed(run)


def call_plainly() -> Block:
    """The reference of `calls_run`. It looks at the clock, too: what that costs depends on the
    machine more than the rest."""
    fed = _stream([(each,) for each in _bodies(BODIES)])

    def run() -> None:
        deque(zip(starmap(noop, fed()), iter(monotonic, None), strict=False), maxlen=0)

    return timed(run)


# --- the broker's decisions ---

QUEUE = "noop"
CREDIT = 1 << 24
"""So much that the broker never has to cut a batch."""

NOW = 1000.0


class Machine:
    """A broker's machine with one producer and one worker that are bytes on a shelf."""

    def __init__(self, tasks: int) -> None:
        self._batch = pack(_bodies(tasks))
        self._sequence = 0
        self._broker = BrokerProtocol(b"broker-1", Limits())
        self._turn(b"producer", [[encode(Hello("producer", b"producer")), pack({})]])
        hello = [encode(Hello("worker", b"worker")), pack({"queues": [QUEUE]})]
        self._turn(b"worker", [hello, [encode(Credit(CREDIT))]])

    def round(self, batches: int) -> int:
        """So many batches in and out. Nanoseconds spent in the machine: only its calls are timed;
        what the two peers would do is done in between."""
        first = self._sequence + 1
        self._sequence += batches
        published = [
            [encode(Publish(i, QUEUE, "noop", 0)), self._batch]
            for i in range(first, self._sequence + 1)
        ]
        taken, delivered = self._turn(b"producer", published)
        settled = [
            [encode(Settle(message.lease, CREDIT, _all_done(message)))]
            for message in delivered
            if isinstance(message, Deliver)
        ]
        more, rest = self._turn(b"worker", settled)
        last = [m.ranges[-1] for m in [*delivered, *rest] if isinstance(m, Confirm)]
        assert last[-1] == self._sequence
        assert self._broker.book.is_empty()
        return taken + more

    def _turn(self, peer: bytes, messages: list[list[bytes]]) -> tuple[int, list[Message]]:
        receive, to_send = self._broker.receive, self._broker.to_send
        sent: list[tuple[bytes, list[bytes]]] = []
        began = perf_counter_ns()
        for frames in messages:
            receive(peer, "", frames, NOW)
        while more := to_send():
            sent += more
        return perf_counter_ns() - began, [decode(frames[0]) for _, frames in sent]


def _all_done(message: Deliver) -> list[list[int]]:
    return [[i, 0, batch[2], DONE] for i, batch in enumerate(message.batches)]


def rounds(tasks: int, batches: int) -> Block:
    """The broker's machine: batches published, delivered, settled and confirmed."""
    machine = Machine(tasks)

    def block(calls: int) -> float:
        machine.round(batches)
        return sum(machine.round(batches) for _ in repeat(None, calls))

    return block


def pickle_things() -> Block:
    """The kinds of things that a broker handles, made and taken apart by C code."""
    things = [(b"queue", "noop", {"id": i, "x": 1.5}, [i, 1, 2]) for i in range(50)]
    return timed(lambda: pickle.loads(pickle.dumps(things, 4)))


def _broker(name: str, tasks: int, batches: int = ROUND, *, is_checked: bool = False) -> Part:
    subjects = {"BrokerProtocol": partial(rounds, tasks, batches), "pickle": pickle_things}
    family = "broker" if batches > 1 else ""
    return Part(name, "batch", batches, subjects, family, float(tasks), is_checked=is_checked,
                is_yardstick=True)  # fmt: skip


def _codec(family: str, ours: Any, theirs: Any, checked: int) -> list[Part]:
    """One way through the codec, by the number of bodies; one of these is checked."""
    return [
        Part(
            family if count == checked else f"{family} {count}", "body", count,
            {"zqueue": partial(ours, count), "msgpack": partial(theirs, count)},
            family, float(count), is_checked=count == checked,
        )
        for count in sorted({*SIZES, checked})
    ]  # fmt: skip


PARTS = (
    Part("queue.pair", "pair", BODIES, on_each(pairs, BODIES), is_checked=True),
    Part("queue.pair alone", "pair", 1, on_each(pairs, 1)),
    Part("queue.put", "item", BODIES, on_each(puts)),
    Part("queue.batch 64", "item", 64, on_each(batches, 64), "queue.batch", 64.0),
    Part("queue.batch", "item", BATCH, on_each(batches, BATCH), "queue.batch", float(BATCH),
         is_checked=True),
    Part("queue.batch 4096", "item", 4096, on_each(batches, 4096), "queue.batch", 4096.0),
    *(Part(f"queue.threads, {text}", "item", BODIES, on_each(threads, *how),
           block_ns=20_000_000, is_threaded=True)
      for text, how in (("1 to 1", (1, 1, 0)), ("4 to 4", (4, 4, 0)), ("4 do both", (0, 0, 4)))),
    Part("queue.hand-over", "item", 1, on_each(hand_overs), is_threaded=True),
    Part("codec.add", "body", BODIES, {"zqueue": codec_add, "msgpack": pack_one_by_one},
         is_checked=True),
    *_codec("codec.fill", codec_fill, pack_at_once, BODIES),
    *_codec("codec.unpack", codec_unpack, unpack_stream, BODIES),
    *_codec("codec.index", codec_index, skip_bodies, BATCH),
    Part("lane.add", "body", BODIES, {"zqueue": lane_add, "msgpack": pack_one_by_one},
         is_checked=True),
    Part("calls.run", "task", BODIES, {"zqueue": calls_run, "msgpack": call_plainly},
         is_checked=True),
    _broker("broker.batch", 2048, is_checked=True),
    _broker("broker.batch of 64", 64),
    _broker("broker.single", 1, is_checked=True),
    _broker("broker.single, alone", 1, 1),
)  # fmt: skip
