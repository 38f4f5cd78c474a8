"""Watching a broker: what it told second by second becomes one snapshot for everybody.

Theory of operation. A `Watch` is fed every answer to `Ask` ``stats``, and every miss. Answers hold
totals since the broker's start; what grew goes into windows (`series`). A snapshot tells the
figures as of the last answer, also while further ones are missing, and how old that is. So it is
the same for the page, for ``zqueue top`` and for Prometheus, and costs are those of one answer a
second, however many look.

When another broker answers at the address (its id is another), totals count from zero, and
histories and windows go on. What is told no more is forgotten, but not before the peers had time
to come back to a new broker.

Instants are seconds of one clock that does not go back. Keys may be added to a snapshot; `SCHEMA`
changes when one changes its meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from ..core.histogram import Histogram
from ..core.window import WIDTHS_S
from ..version import __version__
from . import told as read
from .conditions import conditions_of
from .heatmap import Heatmap
from .parts import QueueWatch, SupervisorWatch, TaskWatch, WorkerWatch, done_of, taken_of
from .pauses import PausesByRole
from .series import Counter, Durations, Slope, Step, Told, add_over

SCHEMA = 1
"""Of snapshots."""

KEPT_MAX = 500
"""Queues, tasks, workers and supervisors that are watched of one broker, each. A broker lists no
more either."""

RETURN_S = 30.0
"""Seconds that peers have to come to a broker that began anew, before it is forgotten what they
and their queues were."""

FINE_MAX = 32
"""Queues and tasks whose windows are kept finely, each: the first ones, which were told first."""

Part = TypeVar("Part")


class Watch:
    """What is known of the broker at an address. Pure, and not thread-safe."""

    def __init__(self, url: str, now: float) -> None:
        self.url = url
        self.stats: dict[str, Any] = {}
        """The last answer, as it was told; empty if there was none."""
        self.state = "waiting"
        self.problem = f"No broker answers at {url}."
        self._fed_at: float | None = None
        self._id = ""
        self._forget_at = now
        """From then on, what is told no more is forgotten."""
        self._heatmap = Heatmap(now)
        self.pauses = PausesByRole()
        self.confirm = Durations()
        self._cpu = Slope()
        self._in: Counter
        self._out: Counter
        self._failed: Counter
        self.queues: dict[str, QueueWatch] = {}
        self.tasks: dict[str, TaskWatch] = {}
        self._workers: dict[str, WorkerWatch] = {}
        self._supervisors: dict[str, SupervisorWatch] = {}
        self._here: set[str] = set()
        """Workers and supervisors of the last answer."""

    def __repr__(self) -> str:
        return f"<Watch of {self.url}: {self.state}, {len(self.queues)} queues>"

    def feed(self, stats: dict[str, Any], now: float) -> None:
        """An answer to ``stats``."""
        self._feed(stats, now)
        self.state, self.problem = "ok", ""

    def feed_old(self, info: dict[str, Any], now: float) -> None:
        """An answer to ``info``, from a broker that does not know ``stats``."""
        self._feed(info, now)
        version = read.line(info.get("version"))
        self.state = "old"
        self.problem = (
            f"The broker is of version {version or '?'} and tells little; this is {__version__}."
        )

    def miss(self, problem: str, now: float) -> None:
        """There was no answer; the problem is a sentence for people."""
        self.state = "waiting" if self._fed_at is None else "lost"
        self.problem = problem

    def snapshot(self, now: float) -> Told:
        """A broker of the snapshot: plain data."""
        broker: Told = {
            "url": self.url,
            "state": self.state,
            "problem": self.problem,
            "seen_s": None if self._fed_at is None else round(now - self._fed_at, 3),
            "conditions": [],
        }
        if self._fed_at is not None:
            broker |= self._told(self._fed_at, now)
        broker["conditions"] = conditions_of(broker)
        return broker

    # --- feeding ---

    def _feed(self, stats: dict[str, Any], now: float) -> None:
        step = self._step(stats, now)
        self.stats = stats
        totals = read.counters(stats.get("counters"))
        if step.first:
            self._in, self._out, self._failed = (Counter(step) for _ in range(3))
        self._in.feed(taken_of(totals), step)
        self._out.feed(done_of(totals), step)
        self._failed.feed(totals.get("failed", 0), step)
        if step.afresh:
            self._cpu = Slope()
        self._cpu.feed(read.figure(stats.get("cpu_s")), now)
        self.confirm.feed(stats.get("confirm"), step)
        self.pauses.feed(stats, step)
        self._feed_queues(stats, step)
        self._feed_tasks(stats, step)
        self._feed_peers(stats, step)

    def _step(self, stats: dict[str, Any], now: float) -> Step:
        name = read.text(stats.get("id"))
        first, afresh = self._fed_at is None, self._fed_at is not None and name != self._id
        elapsed_s = 0.0 if self._fed_at is None else max(0.0, now - self._fed_at)
        if afresh and (uptime_s := read.figure(stats.get("uptime_s"))):
            elapsed_s = min(elapsed_s, uptime_s)
        self._id, self._fed_at = name, now
        if afresh:
            self._forget_at = now + RETURN_S
        return Step(now, elapsed_s, first, afresh)

    def _feed_queues(self, stats: dict[str, Any], step: Step) -> None:
        told = _first(read.tables(stats.get("queues")))
        for name in self._gone(self.queues, told):
            self.queues[name].feed({}, step)
        for name, queue in told.items():
            watch = self.queues.get(name)
            if watch is None:
                fine = len(self.queues) < FINE_MAX
                watch = self.queues[name] = QueueWatch(name, step, fine=fine)
            watch.feed(queue, step)

    def _feed_tasks(self, stats: dict[str, Any], step: Step) -> None:
        told, queues = _first(read.table(stats.get("figures"))), read.table(stats.get("tasks"))
        for name in self._gone(self.tasks, told):
            self.tasks[name].feed(None, "", step)
        for name, wire in told.items():
            watch = self.tasks.get(name)
            if watch is None:
                fine = len(self.tasks) < FINE_MAX
                watch = self.tasks[name] = TaskWatch(name, step, fine=fine)
            watch.feed(wire, read.text(queues.get(name)), step)
        grown = [watch.grown for watch in self.tasks.values() if watch.grown is not None]
        self._heatmap.feed(grown, step)

    def _feed_peers(self, stats: dict[str, Any], step: Step) -> None:
        workers = _first(_by_id(read.rows(stats.get("workers"))))
        supervisors = _first(_by_id(read.rows(stats.get("supervisors"))))
        self._gone(self._workers, workers)
        self._gone(self._supervisors, supervisors)
        for name, worker in workers.items():
            if name in self._workers:
                self._workers[name].feed(worker, step)
            else:  # It may have been at work long before it came to this broker.
                self._workers[name] = WorkerWatch(step)
                self._workers[name].feed(worker, step._replace(first=True))
        self._here = set(workers) | set(supervisors)
        for name, supervisor in supervisors.items():
            self._supervisors.setdefault(name, SupervisorWatch()).feed(supervisor, step)

    def _gone(self, watched: dict[str, Any], told: dict[str, Any]) -> list[str]:
        """What is told no more, but not forgotten yet."""
        gone = [name for name in watched if name not in told]
        if (self._fed_at or 0.0) < self._forget_at:
            return gone
        for name in gone:
            del watched[name]
        return []

    # --- telling ---

    def _told(self, at: float, now: float) -> Told:
        stats = self.stats
        runs = {name: task.run.over(at) for name, task in self.tasks.items()}
        by_queue: dict[str, list[dict[str, Histogram]]] = {}
        for name, run in runs.items():
            if run:
                by_queue.setdefault(self.tasks[name].queue, []).append(run)
        return {
            "id": self._id,
            "version": read.text(stats.get("version")),
            "compiled": stats.get("compiled") is True,
            "pid": read.number(stats.get("pid")),
            "host": read.text(stats.get("host")),
            "uptime_s": read.figure(stats.get("uptime_s")),
            "rss_bytes": read.number(stats.get("rss_bytes")),
            "cpu": self._cpu.per_s,
            "cpu_s": read.figure(stats.get("cpu_s")),
            "batches_made": {
                key: read.number(read.table(stats.get("batches_made")).get(key))
                for key in ("hits", "misses")
            },
            "bytes": read.number(stats.get("bytes")),
            "bytes_max": read.number(stats.get("bytes_max")),
            "draining": stats.get("draining") is True,
            "producers": read.number(stats.get("producers")),
            "in": self._in.rates(at),
            "out": self._out.rates(at),
            "failed": self._failed.rates(at),
            "counters": read.counters(stats.get("counters")),
            "queues": [
                queue.told(at, add_over(by_queue.get(name, ())))
                for name, queue in self.queues.items()
                if queue.is_told
            ],
            "other_queues": self._other_queues(),
            "tasks": [
                task.told(at, runs[name]) for name, task in self.tasks.items() if task.is_told
            ],
            "workers": [
                worker.told(at) for name, worker in self._workers.items() if name in self._here
            ],
            "supervisors": [
                supervisor.told()
                for name, supervisor in self._supervisors.items()
                if name in self._here
            ],
            "dead": {
                key: read.number(read.table(stats.get("dead")).get(key))
                for key in ("kept", "evicted", "total")
            },
            "confirm_ms": self.confirm.percentiles_ms(at),
            "gc": self.pauses.told(at, now),
            "heatmap": self._heatmap.told(at),
        }

    def _other_queues(self) -> int:
        told = read.number(read.table(self.stats.get("other_queues")).get("queues"))
        return told + max(0, len(read.tables(self.stats.get("queues"))) - KEPT_MAX)


def snapshot_of(watches: Iterable[Watch], now: float, wall_time: float) -> Told:
    """The whole snapshot; ``wall_time`` is unix time, seconds."""
    return {
        "schema": SCHEMA,
        "time": round(wall_time, 3),
        "version": __version__,
        "windows_s": list(WIDTHS_S),
        "brokers": [watch.snapshot(now) for watch in watches],
    }


def _first(told: dict[str, Part]) -> dict[str, Part]:
    return told if len(told) <= KEPT_MAX else dict(list(told.items())[:KEPT_MAX])


def _by_id(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Peers by what tells them apart."""
    return {
        read.text(row.get("id"))
        or f"{read.text(row.get('host'))}/{read.number(row.get('pid'))}": row
        for row in rows
    }
