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

Names of brokers, queues, tasks and workers are label values, cut off at `untrusted.TEXT_CHARS_MAX`,
and no more of them than a watch keeps (`broker_watch.KEPT_MAX` of each kind).

The client library chooses the format and renders. It takes 7 to 10 µs for each line, of which there
may be ten thousand: `board` has that done once a second at most, and nobody waits for it but who
asked.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector
from prometheus_client import generate_latest as generate_text
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import BucketSpan, NativeHistogram

from ..stats.histogram import Histogram
from .broker_watch import Watch
from .families import (
    BESIDE_COUNTERS,
    BROKER_COUNTERS,
    BROKER_GAUGES,
    DEAD_COUNTERS,
    DEATHS,
    DURATION_EDGES_S,
    QUANTILES,
    QUEUE_COUNTERS,
    QUEUE_GAUGES,
    STORE_GAUGES,
    SUPERVISOR_GAUGES,
    TASKS_EDGES,
    WINDOWS,
    WORKER_COUNTERS,
    WORKER_GAUGES,
)
from .glossary import means
from .series import Json
from .untrusted import TEXT_CHARS_MAX

Labels = dict[str, str]


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
    families = _Families(native=form is Form.OPENMETRICS_2)
    for source in sources:
        _add_sidecar(families, source)
        if source.broker["seen_s"] is not None:
            labels = _labels(broker=source.broker["url"])
            _add_broker(families, source, labels)
            if source.broker["store"]["level"] != "memory":
                _add_store(families, source, labels)
            _add_queues(families, source, labels)
            _add_tasks(families, source, labels)
            _add_pauses(families, source, labels)
            _add_workers(families, source, labels)
            _add_supervisors(families, source, labels)
    families.histogram("zqueue_sidecar_gc_pause_seconds", "pauses", {}, pauses)
    registry = CollectorRegistry()
    registry.register(families)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    if form is Form.TEXT:
        return generate_text(registry)
    version = "1.0.0" if form is Form.OPENMETRICS else "2.0.0"
    text: bytes = generate_openmetrics(registry, version=version)  # type: ignore[no-untyped-call]
    return text


# --- parts ---


def _add_sidecar(families: _Families, source: Source) -> None:
    labels = _labels(broker=source.broker["url"])
    up = source.broker["state"] in ("ok", "old")
    families.gauge("zqueue_up", "up", labels, up)
    families.counter("zqueue_sidecar_polls", "polls", labels, source.polls)
    families.counter("zqueue_sidecar_poll_failures", "poll_failures", labels, source.failures)
    families.gauge("zqueue_sidecar_poll_seconds", "poll", labels, source.poll_s)


def _add_broker(families: _Families, source: Source, labels: Labels) -> None:
    broker = source.broker
    info = _labels(
        labels, id=broker["id"], version=broker["version"], host=broker["host"],
        compiled=str(broker["compiled"]).lower(), pid=str(broker["pid"]),
    )  # fmt: skip
    families.gauge("zqueue_broker_info", "broker_info", info, 1)
    for name, term, key in BROKER_GAUGES:
        families.gauge(name, term, labels, broker[key])
    families.gauge("zqueue_workers", "workers", labels, len(broker["workers"]))
    families.gauge(
        "zqueue_dead_letters_kept",
        "kept",
        labels,
        broker["dead"]["kept"],
    )
    for name, term, key in DEAD_COUNTERS:
        families.counter(name, term, labels, broker["dead"][key])
    totals = {**broker["counters"], "cpu_s": broker["cpu_s"]}
    for name, term, key in BROKER_COUNTERS:
        families.counter(name, term, labels, totals.get(key, 0))
    for memory, key in (("reused", "hits"), ("new", "misses")):
        made = broker["batches_made"][key]
        families.counter(
            "zqueue_broker_batches_made", "batches_made", _labels(labels, memory=memory), made
        )
    for name, term, key in BESIDE_COUNTERS:
        families.counter(name, term, _labels(labels, queue=""), totals.get(key, 0))
    families.histogram("zqueue_confirm_seconds", "confirm", labels, source.watch.confirm.total)
    families.quantiles("zqueue_confirm_quantile_seconds", "confirm", labels, broker["confirm_ms"])


def _add_store(families: _Families, source: Source, labels: Labels) -> None:
    store = source.broker["store"]
    info = _labels(labels, level=store["level"], data_dir=store["data_dir"])
    families.gauge("zqueue_store_info", "store_info", info, 1)
    for name, term, key in STORE_GAUGES:
        families.gauge(name, term, labels, store[key])
    families.gauge(
        "zqueue_store_loss_window_seconds",
        "loss_window",
        labels,
        store["loss_window_ms"] / 1000,
    )
    families.counter("zqueue_store_moved_entries", "moved", labels,
                  store["moved"])  # fmt: skip
    families.histogram("zqueue_store_commit_seconds", "commit", labels, source.watch.commit.total)
    families.quantiles("zqueue_store_commit_quantile_seconds", "commit", labels, store["commit_ms"])


def _add_queues(families: _Families, source: Source, of_broker: Labels) -> None:
    for queue in source.broker["queues"]:
        watch = source.watch.queues.get(queue["name"])
        if watch is None:
            continue  # It was forgotten just now.
        labels = _labels(of_broker, queue=queue["name"])
        for name, term, key in QUEUE_GAUGES:
            if queue[key] is not None:
                families.gauge(name, term, labels, queue[key])
        counters = queue["counters"]
        for name, term, key in QUEUE_COUNTERS:
            if key in counters:
                families.counter(name, term, labels, counters[key])
        for reason in DEATHS:
            if counters.get(f"dead_{reason}"):
                which = _labels(labels, reason=reason)
                families.counter("zqueue_dead_letters", "dead", which, counters[f"dead_{reason}"])
        families.histogram("zqueue_queue_wait_seconds", "wait", labels, watch.wait.total)
        families.quantiles("zqueue_queue_wait_quantile_seconds", "wait", labels, queue["wait_ms"])
        families.histogram("zqueue_queue_batch_tasks", "batch", labels, watch.batches, TASKS_EDGES)


def _add_tasks(families: _Families, source: Source, of_broker: Labels) -> None:
    for task in source.broker["tasks"]:
        watch = source.watch.tasks.get(task["name"])
        if watch is None:
            continue  # It was forgotten just now.
        labels = _labels(of_broker, task=task["name"])
        families.counter("zqueue_task_done", "done", labels, task["done"])
        families.counter("zqueue_task_failed", "failures", labels, task["failed"])
        families.histogram("zqueue_task_run_seconds", "run", labels, watch.run.total)
        families.quantiles("zqueue_task_run_quantile_seconds", "run", labels, task["run_ms"])
        families.histogram("zqueue_task_total_seconds", "total", labels, watch.total.total)
        families.quantiles("zqueue_task_total_quantile_seconds", "total", labels, task["total_ms"])


def _add_pauses(families: _Families, source: Source, of_broker: Labels) -> None:
    for role, pauses in source.broker["gc"].items():
        watch = source.watch.pauses.roles[role]
        labels = _labels(of_broker, role=role)
        for generation, (count, _, longest_ms) in enumerate(pauses["generations"]):
            one = _labels(labels, generation=str(generation))
            families.counter("zqueue_gc_pauses", "pauses", one, count)
            families.gauge(
                "zqueue_gc_pause_max_seconds",
                "longest_pause",
                one,
                longest_ms / 1000,
            )
        families.histogram("zqueue_gc_pause_seconds", "pauses", labels, watch.lengths.total)
        families.histogram("zqueue_gc_interval_seconds", "every", labels, watch.intervals.total)


def _add_workers(families: _Families, source: Source, of_broker: Labels) -> None:
    seen: set[str] = set()
    for worker in source.broker["workers"]:
        labels = _labels(of_broker, worker=f"{worker['host']}/{worker['pid']}")
        if (which := labels["worker"]) in seen:
            continue  # The same series twice would spoil all of them.
        seen.add(which)
        info = _labels(
            labels, version=worker["version"], compiled=str(worker["compiled"]).lower(),
            queues=",".join(worker["queues"]),
        )  # fmt: skip
        families.gauge("zqueue_worker_info", "worker_info", info, 1)
        for name, term, key in WORKER_COUNTERS:
            families.counter(name, term, labels, worker[key])
        for name, term, key in WORKER_GAUGES:
            families.gauge(name, term, labels, worker[key])
        running_s = worker["running"]["for_s"] if worker["running"] else 0
        families.gauge("zqueue_worker_running_seconds", "running", labels, running_s)


def _add_supervisors(families: _Families, source: Source, of_broker: Labels) -> None:
    seen: set[str] = set()
    for supervisor in source.broker["supervisors"]:
        labels = _labels(of_broker, supervisor=f"{supervisor['host']}/{supervisor['pid']}")
        if (which := labels["supervisor"]) in seen:
            continue  # It reconnected, and is listed twice for a while.
        seen.add(which)
        for name, term, key in SUPERVISOR_GAUGES:
            families.gauge(name, term, labels, supervisor[key])
        families.counter("zqueue_supervisor_restarts", "restarts", labels, supervisor["restarts"])


# --- families ---


def _labels(before: Labels | None = None, **labels: str) -> Labels:
    """Labels, behind those in ``before``."""
    cut = {name: value[:TEXT_CHARS_MAX] for name, value in labels.items()}
    return {**before, **cut} if before else cut


class _Families(Collector):
    """Samples, gathered by metric."""

    def __init__(self, *, native: bool) -> None:
        self._native = native
        self._families: dict[str, Metric] = {}

    def describe(self) -> Iterator[Metric]:
        """Nothing: no other collector has any of these."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """One metric after the other."""
        return iter(self._families.values())

    def gauge(self, name: str, term: str, labels: Labels, value: float) -> None:
        """One value."""
        self._family(name, term, "gauge").add_sample(name, labels, value)

    def counter(self, name: str, term: str, labels: Labels, value: float) -> None:
        """One total; the name is without its ending."""
        self._family(name, term, "counter").add_sample(f"{name}_total", labels, value)

    def quantiles(self, name: str, term: str, labels: Labels, by_window: Json) -> None:
        """Percentiles of each window that is not empty."""
        for window, window_name in WINDOWS:
            if by_window[window]["count"]:
                for quantile, key in QUANTILES:
                    which = _labels(labels, q=quantile, window=window_name)
                    self.gauge(name, term, which, by_window[window][key] / 1000)

    def histogram(
        self, name: str, term: str, labels: Labels, counted: Histogram | None,
        edges: tuple[float, ...] = DURATION_EDGES_S,
    ) -> None:  # fmt: skip
        """A whole histogram; nothing if there is none."""
        if counted is None:
            return
        family = self._family(name, term, "histogram")
        if self._native:
            family.add_sample(name, labels, 0, native_histogram=_native(counted))
            return
        buckets = counted.coarsened(0).cumulative(edges)  # These are its edges, too.
        for edge, count in zip(edges, buckets, strict=True):
            family.add_sample(f"{name}_bucket", _labels(labels, le=str(edge)), count)
        family.add_sample(f"{name}_bucket", _labels(labels, le="+Inf"), counted.count)
        family.add_sample(f"{name}_count", labels, counted.count)
        family.add_sample(f"{name}_sum", labels, counted.sum)

    def _family(self, name: str, term: str, kind: str) -> Metric:
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = Metric(name, means(term), kind)
        return family


def _native(counted: Histogram) -> NativeHistogram:
    native = counted.native()
    return NativeHistogram(
        count_value=native.count_value,
        sum_value=native.sum_value,
        schema=native.schema,
        zero_threshold=native.zero_threshold,
        zero_count=native.zero_count,
        pos_spans=[BucketSpan(*span) for span in native.pos_spans],
        pos_deltas=native.pos_deltas,
    )
