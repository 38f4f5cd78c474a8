"""zqueue and raw pyzmq as processes, driven in the same way as all systems of `peers`.

A rate counts until the last task is acknowledged (raw pyzmq: was looked at by the worker). What is
compared stands side by side all the time and works in turn.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from peers.child import Child

import zqueue
from zqueue.errors import QueueFull, TimedOut, ZQueueError

from .bodies import BATCH, body
from .lab import Contest, Lab, Scale
from .measure import Sample, percentile, percentiles
from .usage import Stopwatch, pauses, pauses_between

OURS, RAW, BROKER = "zqueue", "raw pyzmq", "broker process"
FRAME_BYTES = 64 << 10
"""About what a batch of large bodies has at most."""

SETTLED_S = 1.2
"""After a load: by then workers have reported their collections."""

STEP_TASKS = 500_000
MANY = 100_000
SINGLE_PART = 4
"""A queue of single tasks takes long to fill: it is allowed this part of the bytes."""

STATED = (1.5, 64 << 20)
"""A broker may grow by so many times what its queues may hold, and so many bytes."""


class System:
    """One system: its driver, server and workers."""

    def __init__(self, child: Child, workers: int, broker: Sequence[str], key: str = "") -> None:
        self._child = child
        order = {"do": "start", "workers": workers, "bodies": BATCH, "broker": broker, "key": key}
        started = child.ask(order)
        self.url: str = started["url"]
        self.pids: dict[str, list[int]] = started["pids"]
        if workers:
            for bodies_a_call in (1, 0 if "broker" in self.pids else BATCH):
                self.throughput(2_000, bodies_a_call)
            self.latency(20, 500)

    def throughput(self, tasks: int, bodies_a_call: int, size: int = 0) -> Sample:
        """Send tasks, so many in a call (zqueue: 0 are all in one), and wait for the last one's
        end; with ``size``, bodies of so many bytes."""
        return self._work(do="throughput", tasks=tasks, bodies_a_call=bodies_a_call, size=size)

    def backlog(self, tasks: int) -> Sample:
        """Let tasks gather while the workers are stopped, and work them off."""
        return self._work(do="backlog", tasks=tasks)

    def latency(self, tasks: int, rate: int) -> Sample:
        """Latencies since a task was due, and since the call."""
        answer = self._child.ask({"do": "latency", "tasks": tasks, "rate": rate})
        due, call = zip(*answer["latencies_ns"], strict=True)
        late = sorted(d - c for d, c in answer["latencies_ns"])
        call = sorted(call)
        return {
            **percentiles(due), "operations": float(tasks),
            "call_p50": percentile(call, 50), "call_p99": percentile(call, 99),
            "late_p50": percentile(late, 50), "late_p99": percentile(late, 99),
        }  # fmt: skip

    def state(self) -> dict[str, Any]:
        """What zqueue's broker tells, as ``zqueue info``."""
        return self._child.ask({"do": "state"})

    def _work(self, **order: Any) -> Sample:
        stopwatch = Stopwatch(self.pids)
        answer = self._child.ask(order)
        found = stopwatch.sample(answer["tasks"], answer["seconds"])
        if "gc" in answer:
            found |= pauses(answer["gc"], answer["seconds"], "producer")
        return found


@contextmanager
def running(
    driver: str, workers: int = 1, python: Path | None = None, broker: Sequence[str] = (),
    key: str = "",
) -> Iterator[System]:  # fmt: skip
    """A system: ``ours`` (its ``broker`` with more options, and the key file of all who connect) or
    ``pyzmq``; gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="zqueue-perf-") as folder,
        Child(python or Path(sys.executable), driver, Path(folder)) as child,
    ):
        yield System(child, workers, broker, key)


@contextmanager
def both(workers: int) -> Iterator[tuple[System, System]]:
    """zqueue and raw pyzmq, side by side."""
    with ExitStack() as stack:
        yield (stack.enter_context(running("ours", workers)),
               stack.enter_context(running("pyzmq", workers)))  # fmt: skip


# --- the pool, end to end ---

Work = Mapping[str, Callable[[], Sample]]


def measure_pool(lab: Lab) -> None:
    """Send, run, acknowledge, beside raw pyzmq that is sent the same."""
    scale = lab.scale
    with both(1) as (us, raw):
        lab.hold(
            *beside_raw(us, raw, scale),
            *(Contest(f"batches of {batch}", "task", _batches(us, raw, scale, batch), "batch",
                      float(batch)) for batch in scale.batches),
            *(Contest(f"payload of {size} bytes", "task", _payload(us, raw, scale, size), "payload",
                      float(size)) for size in scale.payloads),
            *(paced(us, raw, scale, rate) for rate in scale.rates),
            Contest("backlog", "task", {OURS: lambda: us.backlog(scale.tasks)}),
        )  # fmt: skip
    for workers in scale.workers:
        with both(workers) as (us, raw):
            lab.hold(*beside_raw(us, raw, scale, workers))
    lab.note(f"raw pyzmq packs {BATCH} tasks in a frame where zqueue makes its own batches")
    lab.note("latency counts from the instant a task was due, also when it was sent late "
             "(corrected for coordinated omission)")  # fmt: skip
    lab.note(
        "a backlog is sent while the worker is stopped; it drains from the moment it goes on. "
        "Raw pyzmq cannot hold one: its pipes are full after some thousand messages"
    )


def beside_raw(us: System, raw: System, scale: Scale, workers: int = 1) -> list[Contest]:
    """`send` beside one task in a frame, `send_many` of all beside full frames."""
    more = "" if workers == 1 else f", {workers} workers"
    one = {
        OURS: lambda: us.throughput(scale.tasks, 1),
        RAW: lambda: raw.throughput(max(1, scale.tasks // 4), 1),
    }
    many = {
        OURS: lambda: us.throughput(scale.tasks, 0),
        RAW: lambda: raw.throughput(scale.tasks, BATCH),
    }
    return [
        Contest(f"send{more}", "task", one),
        Contest(f"send_many{more}", "task", many, "workers", float(workers)),
    ]


def paced(us: System, raw: System, scale: Scale, rate: int) -> Contest:
    """Latency at a rate that does not depend on how fast the tasks are done."""
    tasks = max(10, int(rate * scale.load_s))
    work = {OURS: lambda: us.latency(tasks, rate), RAW: lambda: raw.latency(tasks, rate)}
    return Contest(f"{rate} tasks/s", "task", work, "latency", float(rate))


def _batches(us: System, raw: System, scale: Scale, batch: int) -> Work:
    """`send_many` of so many tasks, again and again, beside frames of as many."""
    tasks = min(scale.tasks, batch * max(100, scale.tasks // 50))
    return {s: lambda x=x: x.throughput(tasks, batch) for s, x in ((OURS, us), (RAW, raw))}


def _payload(us: System, raw: System, scale: Scale, nbytes: int) -> Work:
    """`send_many` of bodies that are bytes."""
    tasks = max(1, min(scale.tasks, scale.payload_bytes // nbytes))
    in_frame = max(1, min(BATCH, FRAME_BYTES // nbytes))
    return {
        OURS: lambda: us.throughput(tasks, 0, nbytes),
        RAW: lambda: raw.throughput(tasks, in_frame, nbytes),
    }


# --- memory ---


def measure_memory(lab: Lab) -> None:
    """A broker with a full queue, and after many tasks went through."""
    nbytes, tasks = lab.scale.payload_bytes, 10 * lab.scale.tasks
    full = {BROKER: lambda: fill(nbytes, single=False)}
    single = {BROKER: lambda: fill(nbytes // SINGLE_PART, single=True)}
    passed = {BROKER: lambda: pass_through(tasks)}
    lab.hold(
        Contest("full queue, full batches", "task", full),
        Contest("full queue, one task a batch", "task", single),
        Contest("passed through", "task", passed),
        once=True,
    )


def fill(queue_bytes: int, *, single: bool) -> Sample:
    """Fill a queue that may hold so many bytes. Figures of the broker's memory."""
    told = str(queue_bytes)
    options = ("--queue-bytes", told, "--max-bytes", told, "--queue-tasks", "1000000000")
    with running("ours", 0, broker=options) as us:
        before = us.state()["rss_bytes"]
        producer = zqueue.Producer(us.url, timeout=0.5)
        sent = 0
        try:
            while True:
                if single:  # Every body is a batch of its own: the dearest way to hold tasks.
                    producer.send("full", body(sent))
                    producer.flush(0.5)
                    sent += 1
                else:
                    sent += producer.send_many("full", (body(i) for i in range(MANY)))
        except (QueueFull, TimedOut):
            pass  # It is full.
        state = us.state()
        with suppress(ZQueueError):
            producer.close(0)
    held = state["queues"]["full"]["ready"]
    return {
        "allowed": float(queue_bytes), "held": float(held),
        "bound": STATED[0] * queue_bytes + STATED[1],
        **_growth(before, state["rss_bytes"], max(1, held)),
    }  # fmt: skip


def pass_through(tasks: int) -> Sample:
    """Send so many tasks through a broker that is warm. Figures of its memory before and after."""
    step = min(tasks, STEP_TASKS)
    with running("ours") as us:
        us.throughput(step, 0)
        before = us.state()["rss_bytes"]
        moved = 0
        while moved < tasks:
            us.throughput(step, 0)
            moved += step
        return _growth(before, us.state()["rss_bytes"], moved)


def _growth(before: int, after: int, tasks: int) -> Sample:
    return {
        "rss_before:broker": float(before), "rss:broker": float(after),
        "grew": float(after - before), "grew_by_task:broker": (after - before) / tasks,
        "operations": float(tasks),
    }  # fmt: skip


# --- the garbage collector ---


def measure_gc(lab: Lab) -> None:
    """How often it runs in each process under full load, and for how long."""
    with running("ours") as us:
        lab.hold(
            Contest("full load, send_many", "task", {OURS: lambda: _load(us, lab.scale, 0)}),
            Contest("full load, send", "task", {OURS: lambda: _load(us, lab.scale, 1)}),
        )
    lab.note("where there was no collection there is no interval; the producer's collector is set "
             "as Python sets it, as in a user's program")  # fmt: skip


def _load(us: System, scale: Scale, bodies_a_call: int) -> Sample:
    """Full load for so long. The producer's collections are those of the last call."""
    step = max(1, scale.tasks // 5)
    us.throughput(step, bodies_a_call)
    threading.Event().wait(SETTLED_S)
    before, rss, began, tasks = us.state(), _rss(us), monotonic(), 0
    stopwatch = Stopwatch(us.pids)
    while monotonic() < began + scale.load_s:
        sample = us.throughput(step, bodies_a_call)
        tasks += step
    elapsed_s = monotonic() - began
    found = {**sample, **stopwatch.sample(tasks, elapsed_s)}
    threading.Event().wait(SETTLED_S)
    after = us.state()["gc_pause_ms"]
    for role in ("broker", "worker"):
        found |= pauses_between(before["gc_pause_ms"], after, elapsed_s, role)
    found["grew_by_task:worker"] = (_rss(us) - rss) / tasks
    return found


def _rss(us: System) -> int:
    return sum(worker["report"].get("rss_bytes", 0) for worker in us.state()["workers"])
