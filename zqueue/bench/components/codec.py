"""The codec: batches of small bodies packed, unpacked and split, beside plain ``msgpack``.

The collector is set as in a broker or a worker. An operation is one body.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from time import perf_counter_ns
from typing import Any

import msgpack

from ...net.collector import tame_collector
from ...protocol import codec, unpacking
from ..allocations import Operation
from ..bodies import body
from ..lab import Contest, Lab
from ..measure import percentiles
from ..scale import Scale

OURS, PLAIN = "zqueue", "msgpack"
BATCHES = (1, 16, 64, 512, 4096)
TYPICAL = 512
"""The batch of which allocations are looked at."""


def measure(lab: Lab) -> None:
    """All of it."""
    with _collector_as_in_a_worker():
        lab.hold(
            *(_contest(what, batch, lab.scale) for what in ("pack", "unpack", "split")
              for batch in BATCHES)
        )  # fmt: skip
        for what in ("pack", "unpack", "split"):
            for subject in (OURS, PLAIN):
                lab.add_allocations(
                    _name(what, TYPICAL), subject, make, what, subject, TYPICAL, by=TYPICAL
                )
    lab.note("latencies are of a whole batch, divided by its bodies")
    lab.note("to split is to find where each body begins; plain msgpack skips from body to body")


def _name(what: str, batch: int) -> str:
    return f"{what} {batch}"


def _contest(what: str, batch: int, scale: Scale) -> Contest:
    def do(subject: str) -> Callable[[], dict[str, float]]:
        operation = make(what, subject, batch)
        return lambda: time_calls(operation, max(1, scale.bodies // batch), batch)

    subjects = {subject: do(subject) for subject in (OURS, PLAIN)}
    return Contest(_name(what, batch), "body", subjects, family=what, x=float(batch))


def make(what: str, subject: str, batch: int) -> Operation:
    """One batch packed, unpacked or split, to be called again and again."""
    bodies = [body(i) for i in range(batch)]
    frame = codec.pack(bodies)
    return {
        ("pack", OURS): lambda: codec.pack(bodies),
        ("pack", PLAIN): lambda: msgpack.packb(bodies),
        ("unpack", OURS): lambda: unpacking.unpack_bodies(frame),
        ("unpack", PLAIN): lambda: msgpack.unpackb(frame, strict_map_key=False),
        ("split", OURS): lambda: unpacking.index_bodies(frame),
        ("split", PLAIN): lambda: _split(frame),
    }[what, subject]


def _split(frame: bytes) -> list[int]:
    unpacker: Any = msgpack.Unpacker(max_buffer_size=len(frame))
    unpacker.feed(frame)
    count = unpacker.read_array_header()
    offsets = [unpacker.tell()]
    for _ in range(count):
        unpacker.skip()
        offsets.append(unpacker.tell())
    return offsets


def time_calls(operation: Operation, calls: int, by: int) -> dict[str, float]:
    """Rate and latencies of calls that make so many operations each."""
    clock = perf_counter_ns
    taken = []
    for _ in repeat(None, calls):
        began = clock()
        operation()
        taken.append(clock() - began)
    elapsed_ns = sum(taken)
    operations = calls * by
    return {
        "rate": operations * 1e9 / elapsed_ns,
        "cost": elapsed_ns / operations,
        "operations": float(operations),
        **{name: ns / by for name, ns in percentiles(taken).items()},
    }


@contextmanager
def _collector_as_in_a_worker() -> Iterator[None]:
    before = gc.get_threshold()
    tame_collector()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
