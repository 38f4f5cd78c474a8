"""What is watched of one queue, task, worker or supervisor: each is fed what a broker told of it,
and tells its part of the snapshot."""

from __future__ import annotations

from typing import Any

from ..core.histogram import Histogram
from . import told as read
from .series import (
    Counter,
    Durations,
    History,
    Slope,
    Step,
    Told,
    percentiles,
    percentiles_ms,
    short,
)


class QueueWatch:
    """A queue."""

    __slots__ = ("_batches_told", "_batches_wire", "_counters", "_done", "_failed", "_history",
                 "_taken", "_told", "batches", "name", "wait")  # fmt: skip

    def __init__(self, name: str, step: Step, *, fine: bool) -> None:
        self.name = name
        self._told: dict[str, Any] = {}
        self._counters: dict[str, int] = {}
        self._taken, self._done, self._failed = (Counter(step) for _ in range(3))
        self.wait = Durations(fine=fine)
        self._batches_wire: object = None
        self._batches_told = percentiles(None, 1)
        self.batches: Histogram | None = None
        """Tasks in its batches (in place of seconds)."""
        self._history = History()

    def feed(self, told: dict[str, Any], step: Step) -> None:
        """What was told of it."""
        self._told = told
        self._counters = counters = read.counters(told.get("counters"))
        self._taken.feed(taken_of(counters), step)
        self._done.feed(done_of(counters), step)
        self._failed.feed(counters.get("failed", 0), step)
        self.wait.feed(told.get("wait"), step)
        if told.get("batches") != self._batches_wire:
            self._batches_wire = told.get("batches")
            self.batches = read.histogram(self._batches_wire)
            self._batches_told = _in_tasks(percentiles(self.batches, 1))
        self._history.feed(
            self._taken.grown, self._done.grown, read.number(told.get("ready")), step
        )

    @property
    def is_told(self) -> bool:
        """Whether the last answer told of it."""
        return bool(self._told)

    def told(self, at: float, run: dict[str, Histogram]) -> Told:
        """For the snapshot; ``run`` is what its tasks took."""
        told = self._told
        paused, draining = told.get("paused") is True, told.get("draining") is True
        withheld = read.number(told.get("withheld"))
        state = "paused" if paused else "draining" if draining else "full" if withheld else ""
        return {
            "name": self.name,
            "state": state or "running",
            "paused": paused,
            "draining": draining,
            **{
                key: read.number(told.get(key))
                for key in ("ready", "leased", "tasks_max", "bytes", "bytes_max", "workers")
            },
            "withheld": withheld,
            "oldest_s": short(read.figure(told.get("oldest_s"))),
            "plain": told.get("plain") is True,
            "in": self._taken.rates(at),
            "out": self._done.rates(at),
            "failed": self._failed.rates(at),
            "counters": self._counters,
            "history": self._history.told(),
            "wait_ms": self.wait.percentiles_ms(at),
            "run_ms": percentiles_ms(run),
            "batch": self._batches_told,
        }


class TaskWatch:
    """A task name."""

    __slots__ = ("_done", "_done_total", "_failed", "_failed_total", "grown", "is_told", "name",
                 "queue", "run", "total")  # fmt: skip

    def __init__(self, name: str, step: Step, *, fine: bool) -> None:
        self.name = name
        self.queue = ""
        self.is_told = False
        """Whether the last answer told of it."""
        self.grown: Histogram | None = None
        """How long those took, from being sent, that ended since the look before."""
        self._done_total = self._failed_total = 0
        self._done, self._failed = Counter(step), Counter(step)
        self.run, self.total = Durations(fine=fine), Durations(fine=fine)

    def feed(self, wire: object, queue: str, step: Step) -> None:
        """What was told of it: its meter (`core.meter`) as it is on the wire."""
        self.is_told = type(wire) is list and len(wire) >= 4
        if type(wire) is not list or len(wire) < 4:
            wire = [0, 0, None, None]
        self.queue = queue
        self._done_total, self._failed_total = read.number(wire[0]), read.number(wire[1])
        self._done.feed(self._done_total + self._failed_total, step)
        self._failed.feed(self._failed_total, step)
        self.run.feed(wire[2], step)
        self.grown = self.total.feed(wire[3], step)

    def told(self, at: float, run: dict[str, Histogram]) -> Told:
        """For the snapshot; ``run`` is what `run` holds by window."""
        return {
            "name": self.name,
            "queue": self.queue,
            "done": self._done_total,
            "failed": self._failed_total,
            "rate": self._done.rates(at),
            "failed_rate": self._failed.rates(at),
            "run_ms": percentiles_ms(run),
            "total_ms": self.total.percentiles_ms(at),
        }


class WorkerWatch:
    """A worker process."""

    __slots__ = ("_busy", "_cpu", "_done", "_fed_at", "_told")

    def __init__(self, step: Step) -> None:
        self._told: dict[str, Any] = {}
        self._fed_at = step.now
        self._done = Counter(step)
        self._busy, self._cpu = Slope(), Slope()

    def feed(self, told: dict[str, Any], step: Step) -> None:
        """What was told of it."""
        self._told = told
        report = read.table(told.get("report"))
        # What it counts goes on when the broker begins anew, and while it is on its way there.
        elapsed_s = max(step.elapsed_s, step.now - self._fed_at)
        step = step._replace(afresh=False, elapsed_s=elapsed_s)
        self._fed_at = step.now
        self._done.feed(read.number(report.get("done")) + read.number(report.get("failed")), step)
        self._busy.feed(read.figure(report.get("busy_s")), step.now)
        self._cpu.feed(read.figure(report.get("cpu_s")), step.now)

    def told(self, at: float) -> Told:
        """For the snapshot."""
        told, report = self._told, read.table(self._told.get("report"))
        pauses = read.table(report.get("gc"))
        return {
            "id": read.text(told.get("id")),
            "pid": read.number(told.get("pid")),
            "host": read.text(told.get("host")),
            "version": read.text(told.get("version")),
            "compiled": report.get("compiled") is True,
            "queues": read.names(told.get("queues")),
            "credit": read.number(told.get("credit")),
            "in_flight": read.number(told.get("in_flight")),
            "done": read.number(report.get("done")),
            "failed": read.number(report.get("failed")),
            "rate": self._done.rates(at),
            "busy": min(1.0, self._busy.per_s),
            "busy_s": read.figure(report.get("busy_s")),
            "cpu": self._cpu.per_s,
            "cpu_s": read.figure(report.get("cpu_s")),
            "rss_bytes": read.number(report.get("rss_bytes")),
            "running": running_of(report),
            "gc": {
                "count": read.number(pauses.get("count")),
                "total_ms": read.figure(pauses.get("total")),
                "max_ms": read.figure(pauses.get("max")),
            },
        }


class SupervisorWatch:
    """A supervisor."""

    __slots__ = ("_cpu", "_told")

    def __init__(self) -> None:
        self._told: dict[str, Any] = {}
        self._cpu = Slope()

    def feed(self, told: dict[str, Any], step: Step) -> None:
        """What was told of it."""
        self._told = told
        self._cpu.feed(read.figure(read.table(told.get("report")).get("cpu_s")), step.now)

    def told(self) -> Told:
        """For the snapshot."""
        report = read.table(self._told.get("report"))
        return {
            "pid": read.number(self._told.get("pid")),
            "host": read.text(self._told.get("host")),
            "processes": read.number(report.get("processes")),
            "restarts": read.number(report.get("restarts")),
            "rss_bytes": read.number(report.get("rss_bytes")),
            "cpu": self._cpu.per_s,
        }


def taken_of(counters: dict[str, int]) -> int:
    """Tasks that came in."""
    return counters.get("published", 0) + counters.get("ingested", 0)


def done_of(counters: dict[str, int]) -> int:
    """Tasks that left: for good, whatever became of them."""
    return counters.get("done", 0) + counters.get("failed", 0) + counters.get("egressed", 0)


def running_of(report: dict[str, Any]) -> Told | None:
    """What a worker runs, and how far it has come; None if it is idle."""
    running = report.get("running")
    if type(running) is not list or len(running) < 2 or type(running[0]) is not str:
        return None
    progress: list[int] | None = None
    if len(running) >= 4 and (steps := read.number(running[3])):
        progress = [read.number(running[2]), steps]
    return {
        "task": read.text(running[0]),
        "for_s": short(read.figure(running[1])),
        "progress": progress,
    }


def _in_tasks(told: Told) -> Told:
    """Percentiles as whole numbers of tasks."""
    return {key: value if value is None else round(value) for key, value in told.items()}
