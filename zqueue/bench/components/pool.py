"""The pool end to end: send, run, acknowledge; beside raw pyzmq that is sent the same.

A rate counts until the last task is acknowledged (raw pyzmq: was looked at by the worker). Both
systems stand side by side all the time and work in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .. import floor, ours
from ..bodies import BATCH, payload
from ..floor import Floor
from ..lab import Contest, Lab
from ..ours import Ours
from ..scale import Scale

OURS, RAW = "zqueue", "raw pyzmq"
FRAME_BYTES = 64 << 10
"""About what a batch of large bodies has at most."""

Work = Mapping[str, Callable[[], dict[str, float]]]


def measure(lab: Lab) -> None:
    """All of it."""
    scale = lab.scale
    with floor.running() as raw, ours.running() as us:
        lab.hold(
            Contest("send", "task", one_by_one(us, raw, scale)),
            Contest("send_many", "task", all_at_once(us, raw, scale), "workers", 1.0),
            *(Contest(f"batches of {batch}", "task", in_batches(us, raw, scale, batch),
                      "batch", float(batch)) for batch in scale.batches),
            *(Contest(f"payload of {size} bytes", "task", with_payload(us, raw, scale, size),
                      "payload", float(size)) for size in scale.payloads),
            *(Contest(f"{rate} tasks/s", "task", paced(us, raw, scale, rate),
                      "latency", float(rate)) for rate in scale.rates),
            Contest("backlog", "task", {OURS: lambda: us.drain(scale.tasks)}),
        )  # fmt: skip
    for workers in scale.workers:
        with floor.running(workers) as raw, ours.running(workers) as us:
            name = f"send_many, {workers} workers"
            work = all_at_once(us, raw, scale)
            lab.hold(Contest(name, "task", work, "workers", float(workers)))
    lab.note(f"raw pyzmq packs {BATCH} tasks in a frame where zqueue makes its own batches")
    lab.note("latency counts from the instant a task was due, also when it was sent late "
             "(corrected for coordinated omission)")  # fmt: skip
    lab.note(
        "a backlog is sent while the worker is stopped; it drains from the moment it goes on. "
        "Raw pyzmq cannot hold one: its pipes are full after some thousand messages"
    )


def one_by_one(us: Ours, raw: Floor, scale: Scale) -> Work:
    """`send`, beside one task in a frame."""
    return {
        OURS: lambda: us.send(scale.tasks),
        RAW: lambda: raw.one_by_one(max(1, scale.tasks // 4)),
    }


def all_at_once(us: Ours, raw: Floor, scale: Scale) -> Work:
    """`send_many` of all tasks, beside full frames."""
    return {OURS: lambda: us.send_many(scale.tasks), RAW: lambda: raw.many(scale.tasks)}


def in_batches(us: Ours, raw: Floor, scale: Scale, batch: int) -> Work:
    """`send_many` of so many tasks, again and again, beside frames of as many."""
    tasks = min(scale.tasks, batch * scale.messages)
    return {
        OURS: lambda: us.send_many(tasks, batch),
        RAW: lambda: raw.many(tasks, batch) if batch > 1 else raw.one_by_one(tasks),
    }


def with_payload(us: Ours, raw: Floor, scale: Scale, nbytes: int) -> Work:
    """`send_many` of bodies that are bytes."""
    tasks = max(1, min(scale.tasks, scale.payload_bytes // nbytes))
    in_frame = max(1, min(BATCH, FRAME_BYTES // nbytes))
    data = payload(nbytes)

    def make(i: int) -> bytes:
        return data

    return {
        OURS: lambda: us.send_many(tasks, make=make),
        RAW: lambda: raw.many(tasks, in_frame, make),
    }


def paced(us: Ours, raw: Floor, scale: Scale, rate: int) -> Work:
    """Latency at a rate that does not depend on how fast the tasks are done."""
    tasks = max(10, int(rate * scale.paced_s))

    def work(system: Ours | Floor) -> Callable[[], dict[str, float]]:
        return lambda: {**system.latency(tasks, 1 / rate).figures(), "operations": float(tasks)}

    return {OURS: work(us), RAW: work(raw)}
