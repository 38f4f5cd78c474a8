"""The exposition: renders the last answer of every broker as metrics for Prometheus.

Theory of operation. Totals, histograms and states are rendered as the broker reported them, so
nothing is lost between two scrapes, and what Prometheus computes from them is right over any time.
Percentiles of the last 10 seconds, minute and 5 minutes are rendered as gauges beside them, for
observers that do not compute. Their label is ``q``: ``quantile`` is reserved for summaries, and
``promtool check metrics`` rejects it on a gauge.

A classic histogram's bounds are powers of two. They are edges of every histogram of ours, however
coarse, so every bucket holds exactly what its ``le`` says, and none is interpolated. A scrape that
accepts OpenMetrics 2.0 gets native histograms instead, at full resolution; the other text formats
have none.

Names of brokers, queues, tasks and workers are label values: escaped, cut off at
`untrusted.TEXT_CHARS_MAX`, and no more of them than a watch keeps (`broker_watch.KEPT_MAX` of each
kind).

The lines of brokers are written here: there may be ten thousand of them, and the client library
takes 7 to 10 µs for each. It chooses the format, and renders the metrics of this process.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client import generate_latest as generate_text
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from ..stats.histogram import Histogram
from .broker_watch import Watch
from .families import (
    BATCH,
    BESIDE_COUNTERS,
    BROKER_COUNTERS,
    BROKER_GAUGES,
    COMMIT,
    CONFIRM,
    DEAD,
    DEAD_COUNTERS,
    DEATHS,
    DURATION_EDGES_S,
    INTERVAL,
    MADE,
    PAUSE,
    PAUSE_HERE,
    QUANTILES,
    QUEUE_COUNTERS,
    QUEUE_GAUGES,
    RESTARTS,
    RUN,
    RUNNING,
    STORE_GAUGES,
    SUPERVISOR_GAUGES,
    TASKS_EDGES,
    TOTAL,
    WAIT,
    WINDOWS,
    WORKER_COUNTERS,
    WORKER_GAUGES,
)
from .series import Json
from .untrusted import TEXT_CHARS_MAX


class Form(enum.Enum):
    """A format of the exposition; the value is its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    OPENMETRICS_2 = "application/openmetrics-text; version=2.0.0; charset=utf-8"


class Source(NamedTuple):
    """One broker and its poller."""

    broker: Json
    """Its part of the snapshot."""
    watch: Watch
    """For its histograms."""
    polls: int
    failures: int
    poll_s: float


def form_for(accept: str) -> Form:
    """The format for an ``Accept`` header, chosen by the client library. Our names need no
    escaping, so all escaping schemes are the same."""
    try:
        _, content_type = choose_encoder(accept[:1000])
    except (TypeError, ValueError):
        return Form.TEXT  # The version is not a number.
    kind, _, parameters = content_type.partition(";")
    if kind != "application/openmetrics-text":
        return Form.TEXT
    return Form.OPENMETRICS if "version=1." in parameters else Form.OPENMETRICS_2


def expose(sources: Iterable[Source], form: Form, pauses: Histogram) -> bytes:
    """All metrics: of brokers, and of this process, whose collector's pauses are ``pauses``."""
    lines = _Lines(form)
    for source in sources:
        _add_sidecar(lines, source)
        if source.broker["seen_s"] is not None:
            labels = _labels(broker=source.broker["url"])
            _add_broker(lines, source, labels)
            if source.broker["store"]["level"] != "memory":
                _add_store(lines, source, labels)
            _add_queues(lines, source, labels)
            _add_tasks(lines, source, labels)
            _add_pauses(lines, source, labels)
            _add_workers(lines, source, labels)
            _add_supervisors(lines, source, labels)
    lines.histogram("zqueue_sidecar_gc_pause_seconds", PAUSE_HERE, "", pauses)
    return lines.text() + _of_process(form)


def _of_process(form: Form) -> bytes:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    if form is Form.TEXT:
        return generate_text(registry)
    text: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
    return text


# --- parts ---


def _add_sidecar(lines: _Lines, source: Source) -> None:
    labels = _labels(broker=source.broker["url"])
    up = source.broker["state"] in ("ok", "old")
    lines.gauge("zqueue_up", "1 while the broker answers.", labels, up)
    lines.counter("zqueue_sidecar_polls", "Queries to the broker.", labels, source.polls)
    lines.counter(
        "zqueue_sidecar_poll_failures", "Queries without an answer.", labels, source.failures
    )
    lines.gauge(
        "zqueue_sidecar_poll_seconds", "How long the last query took.", labels, source.poll_s
    )


def _add_broker(lines: _Lines, source: Source, labels: str) -> None:
    broker = source.broker
    info = _labels(
        labels, id=broker["id"], version=broker["version"], host=broker["host"],
        compiled=str(broker["compiled"]).lower(), pid=str(broker["pid"]),
    )  # fmt: skip
    lines.gauge("zqueue_broker_info", "Identity and version of the broker.", info, 1)
    for name, text, key in BROKER_GAUGES:
        lines.gauge(name, text, labels, broker[key])
    lines.gauge("zqueue_workers", "Connected workers.", labels, len(broker["workers"]))
    lines.gauge(
        "zqueue_dead_letters_kept",
        "Dead letters that the broker keeps.",
        labels,
        broker["dead"]["kept"],
    )
    for name, text, key in DEAD_COUNTERS:
        lines.counter(name, text, labels, broker["dead"][key])
    totals = {**broker["counters"], "cpu_s": broker["cpu_s"]}
    for name, text, key in BROKER_COUNTERS:
        lines.counter(name, text, labels, totals.get(key, 0))
    for memory, key in (("reused", "hits"), ("new", "misses")):
        made = broker["batches_made"][key]
        lines.counter("zqueue_broker_batches_made", MADE, _labels(labels, memory=memory), made)
    for name, text, key in BESIDE_COUNTERS:
        lines.counter(name, text, _labels(labels, queue=""), totals.get(key, 0))
    lines.histogram("zqueue_confirm_seconds", CONFIRM, labels, source.watch.confirm.total)
    lines.quantiles("zqueue_confirm_quantile_seconds", CONFIRM, labels, broker["confirm_ms"])


def _add_store(lines: _Lines, source: Source, labels: str) -> None:
    store = source.broker["store"]
    info = _labels(labels, level=store["level"], data_dir=store["data_dir"])
    lines.gauge("zqueue_store_info", "Durability level, and the data dir.", info, 1)
    for name, text, key in STORE_GAUGES:
        lines.gauge(name, text, labels, store[key])
    lines.gauge(
        "zqueue_store_loss_window_seconds",
        "What was confirmed so long before the power is lost may be lost.",
        labels,
        store["loss_window_ms"] / 1000,
    )
    lines.counter("zqueue_store_moved_entries", "Entries moved to free files.", labels,
                  store["moved"])  # fmt: skip
    lines.histogram("zqueue_store_commit_seconds", COMMIT, labels, source.watch.commit.total)
    lines.quantiles("zqueue_store_commit_quantile_seconds", COMMIT, labels, store["commit_ms"])


def _add_queues(lines: _Lines, source: Source, of_broker: str) -> None:
    for queue in source.broker["queues"]:
        watch = source.watch.queues.get(queue["name"])
        if watch is None:
            continue  # It was forgotten just now.
        labels = _labels(of_broker, queue=queue["name"])
        for name, text, key in QUEUE_GAUGES:
            if queue[key] is not None:
                lines.gauge(name, text, labels, queue[key])
        counters = queue["counters"]
        for name, text, key in QUEUE_COUNTERS:
            if key in counters:
                lines.counter(name, text, labels, counters[key])
        for reason in DEATHS:
            if counters.get(f"dead_{reason}"):
                which = _labels(labels, reason=reason)
                lines.counter("zqueue_dead_letters", DEAD, which, counters[f"dead_{reason}"])
        lines.histogram("zqueue_queue_wait_seconds", WAIT, labels, watch.wait.total)
        lines.quantiles("zqueue_queue_wait_quantile_seconds", WAIT, labels, queue["wait_ms"])
        lines.histogram("zqueue_queue_batch_tasks", BATCH, labels, watch.batches, TASKS_EDGES)


def _add_tasks(lines: _Lines, source: Source, of_broker: str) -> None:
    for task in source.broker["tasks"]:
        watch = source.watch.tasks.get(task["name"])
        if watch is None:
            continue  # It was forgotten just now.
        labels = _labels(of_broker, task=task["name"])
        lines.counter("zqueue_task_done", "Tasks done.", labels, task["done"])
        lines.counter("zqueue_task_failed", "Tasks failed.", labels, task["failed"])
        lines.histogram("zqueue_task_run_seconds", RUN, labels, watch.run.total)
        lines.quantiles("zqueue_task_run_quantile_seconds", RUN, labels, task["run_ms"])
        lines.histogram("zqueue_task_total_seconds", TOTAL, labels, watch.total.total)
        lines.quantiles("zqueue_task_total_quantile_seconds", TOTAL, labels, task["total_ms"])


def _add_pauses(lines: _Lines, source: Source, of_broker: str) -> None:
    for role, pauses in source.broker["gc"].items():
        watch = source.watch.pauses.roles[role]
        labels = _labels(of_broker, role=role)
        for generation, (count, _, longest_ms) in enumerate(pauses["generations"]):
            one = _labels(labels, generation=str(generation))
            lines.counter("zqueue_gc_pauses", "Pauses of garbage collectors.", one, count)
            lines.gauge(
                "zqueue_gc_pause_max_seconds",
                "The longest pause since the start.",
                one,
                longest_ms / 1000,
            )
        lines.histogram("zqueue_gc_pause_seconds", PAUSE, labels, watch.lengths.total)
        lines.histogram("zqueue_gc_interval_seconds", INTERVAL, labels, watch.intervals.total)


def _add_workers(lines: _Lines, source: Source, of_broker: str) -> None:
    seen: set[str] = set()
    for worker in source.broker["workers"]:
        labels = _labels(of_broker, worker=f"{worker['host']}/{worker['pid']}")
        if labels in seen:
            continue  # The same series twice would spoil all of them.
        seen.add(labels)
        info = _labels(
            labels, version=worker["version"], compiled=str(worker["compiled"]).lower(),
            queues=",".join(worker["queues"]),
        )  # fmt: skip
        lines.gauge("zqueue_worker_info", "Version and queues of the worker.", info, 1)
        for name, text, key in WORKER_COUNTERS:
            lines.counter(name, text, labels, worker[key])
        for name, text, key in WORKER_GAUGES:
            lines.gauge(name, text, labels, worker[key])
        running_s = worker["running"]["for_s"] if worker["running"] else 0
        lines.gauge("zqueue_worker_running_seconds", RUNNING, labels, running_s)


def _add_supervisors(lines: _Lines, source: Source, of_broker: str) -> None:
    seen: set[str] = set()
    for supervisor in source.broker["supervisors"]:
        labels = _labels(of_broker, supervisor=f"{supervisor['host']}/{supervisor['pid']}")
        if labels in seen:
            continue  # It reconnected, and is listed twice for a while.
        seen.add(labels)
        for name, text, key in SUPERVISOR_GAUGES:
            lines.gauge(name, text, labels, supervisor[key])
        lines.counter("zqueue_supervisor_restarts", RESTARTS, labels, supervisor["restarts"])


# --- lines ---


def _labels(before: str = "", **labels: str) -> str:
    """Rendered labels, behind those in ``before``."""
    written = [f'{name}="{_escaped(value)}"' for name, value in labels.items()]
    return ",".join([before, *written] if before else written)


def _escaped(value: str) -> str:
    value = value[:TEXT_CHARS_MAX]
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


class _Lines:
    """Lines, gathered by metric."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._families: dict[str, list[str]] = {}

    def gauge(self, name: str, text: str, labels: str, value: float) -> None:
        """One value."""
        self._family(name, text, "gauge").append(f"{name}{{{labels}}} {value + 0}\n")

    def counter(self, name: str, text: str, labels: str, value: float) -> None:
        """One total; the name is without its ending."""
        self._family(name, text, "counter").append(f"{name}_total{{{labels}}} {value}\n")

    def quantiles(self, name: str, text: str, labels: str, by_window: Json) -> None:
        """Percentiles of each window that is not empty."""
        for window, window_name in WINDOWS:
            if by_window[window]["count"]:
                for quantile, key in QUANTILES:
                    which = f'{labels},q="{quantile}",window="{window_name}"'
                    self.gauge(name, text, which, by_window[window][key] / 1000)

    def histogram(
        self, name: str, text: str, labels: str, counted: Histogram | None,
        edges: tuple[float, ...] = DURATION_EDGES_S,
    ) -> None:  # fmt: skip
        """A whole histogram; nothing if there is none."""
        if counted is None:
            return
        family = self._family(name, text, "histogram")
        if self._form is Form.OPENMETRICS_2:
            family.append(f"{name}{{{labels}}} {_native(counted)}\n")
            return
        comma = "," if labels else ""
        buckets = counted.coarsened(0).cumulative(edges)  # These are its edges, too.
        for edge, count in zip(edges, buckets, strict=True):
            family.append(f'{name}_bucket{{{labels}{comma}le="{edge}"}} {count}\n')
        family.append(f'{name}_bucket{{{labels}{comma}le="+Inf"}} {counted.count}\n')
        braces = f"{{{labels}}}" if labels else ""
        family.append(f"{name}_count{braces} {counted.count}\n")
        family.append(f"{name}_sum{braces} {counted.sum}\n")

    def text(self) -> bytes:
        """All of them, one metric after the other."""
        return "".join(line for family in self._families.values() for line in family).encode()

    def _family(self, name: str, text: str, kind: str) -> list[str]:
        family = self._families.get(name)
        if family is None:
            total = "_total" if kind == "counter" and self._form is Form.TEXT else ""
            head = [f"# HELP {name}{total} {text}\n", f"# TYPE {name}{total} {kind}\n"]
            family = self._families[name] = head
        return family


def _native(counted: Histogram) -> str:
    native = counted.native()
    spans = ",".join(f"{offset}:{length}" for offset, length in native.pos_spans)
    deltas = ",".join(map(str, native.pos_deltas))
    buckets = f",positive_spans:[{spans}],positive_deltas:[{deltas}]" if spans else ""
    return (
        f"{{count:{native.count_value},sum:{native.sum_value},schema:{native.schema},"
        f"zero_threshold:{native.zero_threshold},zero_count:{native.zero_count}{buckets}}}"
    )
