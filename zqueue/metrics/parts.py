"""Watches of one queue, task, worker or supervisor each: fed with what a broker reported of it,
they give its part of the snapshot."""

from __future__ import annotations

from typing import Any

from ..stats.histogram import Histogram
from . import untrusted
from .series import (
    Counter,
    Durations,
    History,
    Json,
    Slope,
    Step,
    percentiles,
    percentiles_ms,
    short,
)
from .strip import Strip


class QueueWatch:
    """A queue."""

    __slots__ = (
        "_batch",
        "_batches_wire",
        "_counters",
        "_done",
        "_failed",
        "_history",
        "_reported",
        "_taken",
        "batches",
        "name",
        "wait",
    )  # fmt: skip

    def __init__(self, name: str, step: Step, *, fine: bool) -> None:
        self.name = name
        self._reported: dict[str, Any] = {}
        self._counters: dict[str, int] = {}
        self._taken, self._done, self._failed = (Counter(step) for _ in range(3))
        self.wait = Durations(fine=fine)
        self._batches_wire: object = None
        self._batch = percentiles(None, 1)
        self.batches: Histogram | None = None
        """Tasks in each of its batches (in place of seconds)."""
        self._history = History()

    def feed(self, reported: dict[str, Any], step: Step) -> None:
        """Take what the broker reported of it."""
        self._reported = reported
        self._counters = counters = untrusted.counters(reported.get("counters"))
        self._taken.feed(taken_of(counters), step)
        self._done.feed(done_of(counters), step)
        self._failed.feed(counters.get("failed", 0), step)
        self.wait.feed(reported.get("wait"), step)
        if reported.get("batches") != self._batches_wire:
            self._batches_wire = reported.get("batches")
            self.batches = untrusted.histogram(self._batches_wire)
            self._batch = _in_tasks(percentiles(self.batches, 1))
        self._history.feed(
            self._taken.grown, self._done.grown, untrusted.number(reported.get("ready")), step
        )

    @property
    def is_reported(self) -> bool:
        """Whether the last answer had it."""
        return bool(self._reported)

    def snapshot(self, at: float, run: dict[str, Histogram]) -> Json:
        """For the snapshot; ``run`` are the run times of its tasks, by window."""
        reported = self._reported
        paused, draining = reported.get("paused") is True, reported.get("draining") is True
        withheld = untrusted.number(reported.get("withheld"))
        state = "paused" if paused else "draining" if draining else "full" if withheld else ""
        return {
            "name": self.name,
            "state": state or "running",
            "paused": paused,
            "draining": draining,
            **{
                key: untrusted.number(reported.get(key))
                for key in (
                    "ready",
                    "delayed",
                    "leased",
                    "tasks_max",
                    "bytes",
                    "bytes_max",
                    "workers",
                )
            },
            "withheld": withheld,
            "due_in_s": short(untrusted.figure(reported.get("due_in_s")))
            if untrusted.number(reported.get("delayed"))
            else None,
            "oldest_s": short(untrusted.figure(reported.get("oldest_s"))),
            "plain": reported.get("plain") is True,
            "in": self._taken.rates(at),
            "out": self._done.rates(at),
            "failed": self._failed.rates(at),
            "counters": self._counters,
            "history": self._history.snapshot(),
            "wait_ms": self.wait.percentiles_ms(at),
            "run_ms": percentiles_ms(run),
            "batch": self._batch,
        }


class TaskWatch:
    """A task name."""

    __slots__ = ("_done", "_done_total", "_failed", "_failed_total", "grown", "is_reported", "name",
                 "queue", "run", "total")  # fmt: skip

    def __init__(self, name: str, step: Step, *, fine: bool) -> None:
        self.name = name
        self.queue = ""
        self.is_reported = False
        """Whether the last answer had it."""
        self.grown: Histogram | None = None
        """Total times of the tasks that ended since the answer before."""
        self._done_total = self._failed_total = 0
        self._done, self._failed = Counter(step), Counter(step)
        self.run, self.total = Durations(fine=fine), Durations(fine=fine)

    def feed(self, wire: object, queue: str, step: Step) -> None:
        """Its meter (`stats.meter`), as a broker reported it."""
        self.is_reported = type(wire) is list and len(wire) >= 4
        if type(wire) is not list or len(wire) < 4:
            wire = [0, 0, None, None]
        self.queue = queue
        self._done_total, self._failed_total = untrusted.number(wire[0]), untrusted.number(wire[1])
        self._done.feed(self._done_total + self._failed_total, step)
        self._failed.feed(self._failed_total, step)
        self.run.feed(wire[2], step)
        self.grown = self.total.feed(wire[3], step)

    def snapshot(self, at: float, run: dict[str, Histogram]) -> Json:
        """For the snapshot; ``run`` are its run times, by window."""
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

    __slots__ = ("_busy", "_cpu", "_done", "_fed_at", "_reported", "_strip")

    def __init__(self, step: Step) -> None:
        self._reported: dict[str, Any] = {}
        self._fed_at = step.now
        self._done = Counter(step)
        self._busy, self._cpu = Slope(), Slope()
        self._strip = Strip()

    def feed(self, reported: dict[str, Any], step: Step) -> None:
        """Take what the broker reported of it."""
        self._reported = reported
        report = untrusted.table(reported.get("report"))
        # A worker outlives a restart of the broker, and goes on counting while it reconnects.
        elapsed_s = max(step.elapsed_s, step.now - self._fed_at)
        step = step._replace(afresh=False, elapsed_s=elapsed_s)
        self._fed_at = step.now
        self._done.feed(
            untrusted.number(report.get("done")) + untrusted.number(report.get("failed")), step
        )
        self._strip.feed(report, step)
        self._busy.feed(untrusted.figure(report.get("busy_s")), step.now)
        self._cpu.feed(untrusted.figure(report.get("cpu_s")), step.now)

    def snapshot(self, at: float) -> Json:
        """For the snapshot."""
        reported, report = self._reported, untrusted.table(self._reported.get("report"))
        pauses = untrusted.table(report.get("gc"))
        return {
            "id": untrusted.text(reported.get("id")),
            "pid": untrusted.number(reported.get("pid")),
            "host": untrusted.text(reported.get("host")),
            "version": untrusted.text(reported.get("version")),
            "compiled": report.get("compiled") is True,
            "queues": untrusted.names(reported.get("queues")),
            "credit": untrusted.number(reported.get("credit")),
            "in_flight": untrusted.number(reported.get("in_flight")),
            "done": untrusted.number(report.get("done")),
            "failed": untrusted.number(report.get("failed")),
            "rate": self._done.rates(at),
            "busy": min(1.0, self._busy.per_s),
            "busy_s": untrusted.figure(report.get("busy_s")),
            "cpu": self._cpu.per_s,
            "cpu_s": untrusted.figure(report.get("cpu_s")),
            "rss_bytes": untrusted.number(report.get("rss_bytes")),
            "running": running_of(report),
            "strip": self._strip.snapshot(),
            "gc": {
                "count": untrusted.number(pauses.get("count")),
                "total_ms": untrusted.figure(pauses.get("total")),
                "max_ms": untrusted.figure(pauses.get("max")),
            },
        }


class SupervisorWatch:
    """A supervisor."""

    __slots__ = ("_cpu", "_reported")

    def __init__(self) -> None:
        self._reported: dict[str, Any] = {}
        self._cpu = Slope()

    def feed(self, reported: dict[str, Any], step: Step) -> None:
        """Take what the broker reported of it."""
        self._reported = reported
        self._cpu.feed(
            untrusted.figure(untrusted.table(reported.get("report")).get("cpu_s")), step.now
        )

    def snapshot(self) -> Json:
        """For the snapshot."""
        report = untrusted.table(self._reported.get("report"))
        return {
            "pid": untrusted.number(self._reported.get("pid")),
            "host": untrusted.text(self._reported.get("host")),
            "processes": untrusted.number(report.get("processes")),
            "restarts": untrusted.number(report.get("restarts")),
            "rss_bytes": untrusted.number(report.get("rss_bytes")),
            "cpu": self._cpu.per_s,
        }


def taken_of(counters: dict[str, int]) -> int:
    """Tasks that the broker accepted."""
    return counters.get("published", 0) + counters.get("ingested", 0)


def done_of(counters: dict[str, int]) -> int:
    """Tasks that are over: done, failed or egressed."""
    return counters.get("done", 0) + counters.get("failed", 0) + counters.get("egressed", 0)


def running_of(report: dict[str, Any]) -> Json | None:
    """What a worker runs, and how far it has come; None if it is idle."""
    running = report.get("running")
    if type(running) is not list or len(running) < 2 or type(running[0]) is not str:
        return None
    progress: list[int] | None = None
    if len(running) >= 4 and (steps := untrusted.number(running[3])):
        progress = [untrusted.number(running[2]), steps]
    return {
        "task": untrusted.text(running[0]),
        "for_s": short(untrusted.figure(running[1])),
        "progress": progress,
    }


def _in_tasks(reported: Json) -> Json:
    """Percentiles as whole numbers of tasks."""
    return {key: value if value is None else round(value) for key, value in reported.items()}
