"""Watching a broker: its answers, one a second, become one snapshot for all observers.

Theory of operation. A `Watch` is fed every answer to `Ask` ``stats``, and every miss. Answers hold
totals since the broker's start; their growth goes into windows (`series`). While answers are
missing, a snapshot keeps the figures of the last one, and says how old they are. The page, ``zqueue
top`` and Prometheus get the same snapshot, at the cost of one answer a second for any number of
observers.

When another broker answers at the address (its id differs), totals count from zero, and histories
and windows go on. A queue, task or peer that is missing from answers is forgotten, but not before
the peers had time to reconnect to a new broker.

Instants are seconds of one monotonic clock. Keys may be added to a snapshot; `SCHEMA`
changes when one changes its meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from ..stats.histogram import Histogram
from ..stats.window import WIDTHS_S
from ..version import __version__
from . import untrusted
from .conditions import conditions_of
from .heatmap import Heatmap
from .parts import QueueWatch, SupervisorWatch, TaskWatch, WorkerWatch, done_of, taken_of
from .pause_watch import PauseWatches
from .series import Counter, Durations, Json, Slope, Step, add_over

SCHEMA = 1
"""Of snapshots."""

DEAD_GROUPS_MAX = 100
"""Groups of dead letters that are shown: those that got one last."""

KEPT_MAX = 500
"""Most queues, tasks, workers and supervisors that are watched of one broker, each. A broker lists
no more either."""

RETURN_S = 30.0
"""Seconds that peers have to reconnect to a restarted broker, before they and their queues are
forgotten."""

FINE_MAX = 32
"""Queues and tasks whose windows are kept at full resolution, each: those that came first."""

Part = TypeVar("Part")


class Watch:
    """The state of the broker at an address. Pure, and not thread-safe."""

    def __init__(self, url: str, now: float) -> None:
        self.url = url
        self.stats: dict[str, Any] = {}
        """The last answer, as it came; empty if there was none."""
        self.state = "waiting"
        self.problem = f"No broker answers at {url}."
        self._fed_at: float | None = None
        self._id = self._life = ""
        self._forget_at = now
        """From then on, what is missing from an answer is forgotten."""
        self._heatmap = Heatmap(now)
        self.pauses = PauseWatches()
        self.confirm = Durations()
        self.commit = Durations()
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
        version = untrusted.line(info.get("version"))
        self.state = "old"
        self.problem = (
            f"The broker is of version {version or '?'} and reports little; this is {__version__}."
        )

    def miss(self, problem: str, now: float) -> None:
        """There was no answer, because of ``problem``, a sentence for people."""
        self.state = "waiting" if self._fed_at is None else "lost"
        self.problem = problem

    def snapshot(self, now: float) -> Json:
        """The broker's part of the snapshot."""
        broker: Json = {
            "url": self.url,
            "state": self.state,
            "problem": self.problem,
            "seen_s": None if self._fed_at is None else round(now - self._fed_at, 3),
            "conditions": [],
        }
        if self._fed_at is not None:
            broker |= self._figures(self._fed_at, now)
        broker["conditions"] = conditions_of(broker)
        return broker

    # --- feeding ---

    def _feed(self, stats: dict[str, Any], now: float) -> None:
        step = self._step(stats, now)
        self.stats = stats
        totals = untrusted.counters(stats.get("counters"))
        if step.first:
            self._in, self._out, self._failed = (Counter(step) for _ in range(3))
        self._in.feed(taken_of(totals), step)
        self._out.feed(done_of(totals), step)
        self._failed.feed(totals.get("failed", 0), step)
        if step.afresh:
            self._cpu = Slope()
        self._cpu.feed(untrusted.figure(stats.get("cpu_s")), now)
        self.confirm.feed(stats.get("confirm"), step)
        self.commit.feed(untrusted.table(stats.get("store")).get("commit"), step)
        self.pauses.feed(stats, step)
        self._feed_queues(stats, step)
        self._feed_tasks(stats, step)
        self._feed_peers(stats, step)

    def _step(self, stats: dict[str, Any], now: float) -> Step:
        name, life = untrusted.text(stats.get("id")), untrusted.text(stats.get("life"))
        is_new = (name, life) != (self._id, self._life)
        first, afresh = self._fed_at is None, self._fed_at is not None and is_new
        elapsed_s = 0.0 if self._fed_at is None else max(0.0, now - self._fed_at)
        if afresh and (uptime_s := untrusted.figure(stats.get("uptime_s"))):
            elapsed_s = min(elapsed_s, uptime_s)
        self._id, self._life, self._fed_at = name, life, now
        if afresh:
            self._forget_at = now + RETURN_S
        return Step(now, elapsed_s, first, afresh)

    def _feed_queues(self, stats: dict[str, Any], step: Step) -> None:
        reported = _first(untrusted.tables(stats.get("queues")))
        for name in self._gone(self.queues, reported):
            self.queues[name].feed({}, step)
        for name, queue in reported.items():
            watch = self.queues.get(name)
            if watch is None:
                fine = len(self.queues) < FINE_MAX
                watch = self.queues[name] = QueueWatch(name, step, fine=fine)
            watch.feed(queue, step)

    def _feed_tasks(self, stats: dict[str, Any], step: Step) -> None:
        reported, queues = (
            _first(untrusted.table(stats.get("figures"))),
            untrusted.table(stats.get("tasks")),
        )
        for name in self._gone(self.tasks, reported):
            self.tasks[name].feed(None, "", step)
        for name, wire in reported.items():
            watch = self.tasks.get(name)
            if watch is None:
                fine = len(self.tasks) < FINE_MAX
                watch = self.tasks[name] = TaskWatch(name, step, fine=fine)
            watch.feed(wire, untrusted.text(queues.get(name)), step)
        grown = [watch.grown for watch in self.tasks.values() if watch.grown is not None]
        self._heatmap.feed(grown, step)

    def _feed_peers(self, stats: dict[str, Any], step: Step) -> None:
        workers = _first(_by_id(untrusted.rows(stats.get("workers"))))
        supervisors = _first(_by_id(untrusted.rows(stats.get("supervisors"))))
        self._gone(self._workers, workers)
        self._gone(self._supervisors, supervisors)
        for name, worker in workers.items():
            if name in self._workers:
                self._workers[name].feed(worker, step)
            else:  # It may have worked long before it connected to this broker.
                self._workers[name] = WorkerWatch(step)
                self._workers[name].feed(worker, step._replace(first=True))
        self._here = set(workers) | set(supervisors)
        for name, supervisor in supervisors.items():
            self._supervisors.setdefault(name, SupervisorWatch()).feed(supervisor, step)

    def _gone(self, watched: dict[str, Any], reported: dict[str, Any]) -> list[str]:
        """The names that are missing from an answer, but not forgotten yet."""
        gone = [name for name in watched if name not in reported]
        if (self._fed_at or 0.0) < self._forget_at:
            return gone
        for name in gone:
            del watched[name]
        return []

    # --- the snapshot ---

    def _figures(self, at: float, now: float) -> Json:
        stats = self.stats
        runs = {name: task.run.over(at) for name, task in self.tasks.items()}
        by_queue: dict[str, list[dict[str, Histogram]]] = {}
        for name, run in runs.items():
            if run:
                by_queue.setdefault(self.tasks[name].queue, []).append(run)
        return {
            "id": self._id,
            "version": untrusted.text(stats.get("version")),
            "compiled": stats.get("compiled") is True,
            "pid": untrusted.number(stats.get("pid")),
            "host": untrusted.text(stats.get("host")),
            "uptime_s": untrusted.figure(stats.get("uptime_s")),
            "rss_bytes": untrusted.number(stats.get("rss_bytes")),
            "cpu": self._cpu.per_s,
            "cpu_s": untrusted.figure(stats.get("cpu_s")),
            "batches_made": {
                key: untrusted.number(untrusted.table(stats.get("batches_made")).get(key))
                for key in ("hits", "misses")
            },
            "bytes": untrusted.number(stats.get("bytes")),
            "bytes_max": untrusted.number(stats.get("bytes_max")),
            "draining": stats.get("draining") is True,
            "producers": untrusted.number(stats.get("producers")),
            "in": self._in.rates(at),
            "out": self._out.rates(at),
            "failed": self._failed.rates(at),
            "counters": untrusted.counters(stats.get("counters")),
            "queues": [
                queue.snapshot(at, add_over(by_queue.get(name, ())))
                for name, queue in self.queues.items()
                if queue.is_reported
            ],
            "other_queues": self._other_queues(),
            "tasks": [
                task.snapshot(at, runs[name])
                for name, task in self.tasks.items()
                if task.is_reported
            ],
            "workers": [
                worker.snapshot(at) for name, worker in self._workers.items() if name in self._here
            ],
            "supervisors": [
                supervisor.snapshot()
                for name, supervisor in self._supervisors.items()
                if name in self._here
            ],
            "dead": self._dead(),
            "confirm_ms": self.confirm.percentiles_ms(at),
            "store": self._store(at),
            "gc": self.pauses.snapshot(at, now),
            "heatmap": self._heatmap.snapshot(at),
        }

    def _store(self, at: float) -> Json:
        """What survives the broker; level ``memory``: nothing."""
        store = untrusted.table(self.stats.get("store"))
        return {
            "level": untrusted.text(store.get("level")) or "memory",
            "data_dir": untrusted.text(store.get("data_dir")),
            "full": store.get("full") is True,
            "recovering": store.get("recovering") is True,
            **{
                key: untrusted.number(store.get(key))
                for key in (
                    "loss_window_ms", "recovered", "recoverable", "segments", "disk_bytes",
                    "live_bytes", "moved", "syncs",
                )
            },
            "commit_ms": self.commit.percentiles_ms(at),
        }  # fmt: skip

    def _dead(self) -> Json:
        """How many dead letters there are, and the groups that got one last."""
        dead = untrusted.table(self.stats.get("dead"))
        groups = untrusted.rows(self.stats.get("dead_groups"))[:DEAD_GROUPS_MAX]
        return {
            **{
                key: untrusted.number(dead.get(key))
                for key in ("kept", "evicted", "replayed", "dropped", "total", "groups_kept")
            },
            "groups": [
                {
                    **{
                        key: untrusted.text(group.get(key))
                        for key in ("queue", "task", "error", "reason", "text")
                    },
                    "letters": untrusted.number(group.get("letters")),
                    "newest": untrusted.number(group.get("newest")),
                    "first_s": untrusted.figure(group.get("first_s")),
                    "last_s": untrusted.figure(group.get("last_s")),
                }
                for group in groups
            ],
        }

    def _other_queues(self) -> int:
        reported = untrusted.number(untrusted.table(self.stats.get("other_queues")).get("queues"))
        return reported + max(0, len(untrusted.tables(self.stats.get("queues"))) - KEPT_MAX)


def snapshot_of(watches: Iterable[Watch], now: float, wall_time: float) -> Json:
    """The whole snapshot; ``wall_time`` is unix time, seconds."""
    return {
        "schema": SCHEMA,
        "time": round(wall_time, 3),
        "version": __version__,
        "windows_s": list(WIDTHS_S),
        "brokers": [watch.snapshot(now) for watch in watches],
    }


def _first(reported: dict[str, Part]) -> dict[str, Part]:
    return reported if len(reported) <= KEPT_MAX else dict(list(reported.items())[:KEPT_MAX])


def _by_id(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Peers by what distinguishes them."""
    return {
        untrusted.text(row.get("id"))
        or f"{untrusted.text(row.get('host'))}/{untrusted.number(row.get('pid'))}": row
        for row in rows
    }
