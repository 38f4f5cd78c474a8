"""What Prometheus is told: the last answer of every broker, as metrics.

Theory of operation. Totals, histograms and states are told as the broker told them, so nothing is
lost between two scrapes, and what Prometheus computes from them is right over any time. Percentiles
over the last 10 seconds, minute and 5 minutes come along as gauges, for those who only look.

A classic histogram's bounds are powers of two. They are edges of every histogram of ours, however
coarse it was made, so every bucket holds exactly what its ``le`` says, and none is interpolated.
Whoever asks for OpenMetrics 2.0 gets native histograms instead, as fine as they are kept here; in
the other text formats there are none.

Names of brokers, queues, tasks and workers are label values: escaped, cut off at
`told.TEXT_CHARS_MAX`, and no more of them than a watch keeps (`watch.KEPT_MAX` of each kind).

The lines of brokers are written here. There may be ten thousand of them, and the client library
takes 7 to 10 µs for each; it chooses the format, and tells of this process.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client import generate_latest as generate_text
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from ..core.histogram import EDGES_S, HIGH_S, Histogram
from .series import Told
from .told import TEXT_CHARS_MAX
from .watch import Watch

DURATION_EDGES_S = (*(edge for edge in EDGES_S if edge > 1e-4), 1024.0, 2048.0, HIGH_S)
"""0.12 ms to 68 minutes."""

TASKS_EDGES = tuple(2.0**power for power in range(13))
"""1 to 4096 tasks."""

QUANTILES = (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))

WINDOWS = (("10", "10s"), ("60", "1m"), ("300", "5m"))

WAIT = "From being taken to being handed out."
CONFIRM = "From sending a batch to its confirm."
RUN = "From the beginning of a task to its end."
TOTAL = "From sending a task to its end, but for the time on the network."
BATCH = "Tasks in a published batch."
PAUSE = "How long garbage collectors stopped processes."
PAUSE_HERE = "How long the garbage collector stopped this process."
MADE = "Batches made, of one that was dropped or of new memory."
RUNNING = "How long it has been running its task."
INTERVAL = "From the beginning of a pause to that of the next."

Names = tuple[tuple[str, str, str], ...]
"""Name of a metric, its help, and the key of its value."""

BROKER_GAUGES: Names = (
    ("zqueue_broker_uptime_seconds", "Since the broker began.", "uptime_s"),
    ("zqueue_broker_draining", "Whether it is about to stop.", "draining"),
    ("zqueue_broker_resident_memory_bytes", "Resident memory of the broker.", "rss_bytes"),
    ("zqueue_held_bytes", "What all queues hold.", "bytes"),
    ("zqueue_held_limit_bytes", "What all queues together may hold.", "bytes_max"),
    ("zqueue_producers", "Producers.", "producers"),
    ("zqueue_queues_unlisted", "Queues beyond those that are told one by one.", "other_queues"),
)

BROKER_COUNTERS: Names = (
    ("zqueue_broker_stale_tasks", "Settled, but the lease had been taken away.", "stale"),
    ("zqueue_broker_garbage_messages", "Messages that were none.", "garbage"),
    ("zqueue_broker_results", "Results sent to submitters.", "results"),
    ("zqueue_broker_results_lost", "Results whose submitter was gone.", "results_lost"),
    ("zqueue_broker_workers_lost", "Workers that died or fell silent.", "workers_lost"),
    ("zqueue_broker_refused_batches", "Batches refused.", "refused"),
    ("zqueue_broker_cpu_seconds", "Processor time, user and system.", "cpu_s"),
)

QUEUE_GAUGES: Names = (
    ("zqueue_queue_ready_tasks", "Tasks that wait for a worker.", "ready"),
    ("zqueue_queue_leased_tasks", "Tasks that workers hold.", "leased"),
    ("zqueue_queue_limit_tasks", "Tasks that the queue may hold.", "tasks_max"),
    ("zqueue_queue_bytes", "What the queue holds.", "bytes"),
    ("zqueue_queue_limit_bytes", "What the queue may hold.", "bytes_max"),
    ("zqueue_queue_workers", "Workers that serve the queue.", "workers"),
    ("zqueue_queue_withheld_batches", "Batches whose confirms wait for room.", "withheld"),
    ("zqueue_queue_oldest_seconds", "How long the task in front has waited.", "oldest_s"),
    ("zqueue_queue_paused", "Whether nothing is handed out.", "paused"),
    ("zqueue_queue_draining", "Whether nothing is taken.", "draining"),
)

QUEUE_COUNTERS: Names = (
    ("zqueue_queue_published_tasks", "Tasks taken from producers.", "published"),
    ("zqueue_queue_ingested_tasks", "Tasks taken from the plain lane.", "ingested"),
    ("zqueue_queue_delivered_tasks", "Tasks given to workers, again included.", "delivered"),
    ("zqueue_queue_egressed_tasks", "Tasks sent out on the plain lane.", "egressed"),
    ("zqueue_queue_done_tasks", "Tasks done.", "done"),
    ("zqueue_queue_failed_tasks", "Tasks failed.", "failed"),
    ("zqueue_queue_redelivered_tasks", "Tasks taken back from lost workers.", "redelivered"),
    ("zqueue_queue_returned_tasks", "Tasks given back unstarted.", "returned"),
    ("zqueue_queue_dead_tasks", "Tasks set aside for good.", "dead"),
    ("zqueue_queue_postponed_batches", "Batches to be sent again later.", "postponed"),
)

BESIDE_COUNTERS: Names = (
    ("zqueue_queue_duplicates_batches", "Batches sent again in vain.", "duplicates"),
    ("zqueue_queue_refused_batches", "Batches refused.", "refused"),
)

WORKER_COUNTERS: Names = (
    ("zqueue_worker_busy_seconds", "Time spent running tasks.", "busy_s"),
    ("zqueue_worker_cpu_seconds", "Processor time, user and system.", "cpu_s"),
)

WORKER_GAUGES: Names = (
    ("zqueue_worker_resident_memory_bytes", "Resident memory of the worker.", "rss_bytes"),
    ("zqueue_worker_in_flight_tasks", "Tasks that the worker holds.", "in_flight"),
    ("zqueue_worker_credit_tasks", "Tasks that it asks for beside.", "credit"),
)


SUPERVISOR_GAUGES: Names = (
    ("zqueue_supervisor_processes", "Worker processes of the supervisor.", "processes"),
    ("zqueue_supervisor_resident_memory_bytes", "Resident memory of the supervisor.", "rss_bytes"),
)

RESTARTS = "Worker processes that ended and were replaced."


class Form(enum.Enum):
    """A format of what is exposed; the value is its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    OPENMETRICS_2 = "application/openmetrics-text; version=2.0.0; charset=utf-8"


class Source(NamedTuple):
    """What is known of one broker."""

    broker: Told
    """Its part of the snapshot."""
    watch: Watch
    """For its histograms."""
    polls: int
    failures: int
    poll_s: float


def form_for(accept: str) -> Form:
    """The format for an ``Accept`` header, chosen by the client library. Names need no escaping
    here, so its schemes are all the same."""
    try:
        _, content_type = choose_encoder(accept[:1000])
    except (TypeError, ValueError):
        return Form.TEXT  # Some version that is no number.
    kind, _, parameters = content_type.partition(";")
    if kind != "application/openmetrics-text":
        return Form.TEXT
    return Form.OPENMETRICS if "version=1." in parameters else Form.OPENMETRICS_2


def expose(sources: Iterable[Source], form: Form, pauses: Histogram) -> bytes:
    """All metrics: of brokers, and of this process, whose own pauses these are."""
    lines = _Lines(form)
    for source in sources:
        _add_sidecar(lines, source)
        if source.broker["seen_s"] is not None:
            labels = _labels(broker=source.broker["url"])
            _add_broker(lines, source, labels)
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
    lines.gauge("zqueue_up", "Whether the broker answers.", labels, up)
    lines.counter("zqueue_sidecar_polls", "Questions to the broker.", labels, source.polls)
    lines.counter(
        "zqueue_sidecar_poll_failures", "Questions without an answer.", labels, source.failures
    )
    lines.gauge("zqueue_sidecar_poll_seconds", "How long the last one took.", labels, source.poll_s)


def _add_broker(lines: _Lines, source: Source, labels: str) -> None:
    broker = source.broker
    info = _labels(
        labels, id=broker["id"], version=broker["version"], host=broker["host"],
        compiled=str(broker["compiled"]).lower(), pid=str(broker["pid"]),
    )  # fmt: skip
    lines.gauge("zqueue_broker_info", "The broker.", info, 1)
    for name, text, key in BROKER_GAUGES:
        lines.gauge(name, text, labels, broker[key])
    lines.gauge("zqueue_workers", "Workers.", labels, len(broker["workers"]))
    lines.gauge("zqueue_dead_letters_kept", "Dead letters kept.", labels, broker["dead"]["kept"])
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


def _add_queues(lines: _Lines, source: Source, of_broker: str) -> None:
    for queue in source.broker["queues"]:
        watch = source.watch.queues.get(queue["name"])
        if watch is None:
            continue  # It was forgotten just now.
        labels = _labels(of_broker, queue=queue["name"])
        for name, text, key in QUEUE_GAUGES:
            lines.gauge(name, text, labels, queue[key])
        counters = queue["counters"]
        for name, text, key in QUEUE_COUNTERS:
            if key in counters:
                lines.counter(name, text, labels, counters[key])
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
    for role, told in source.broker["gc"].items():
        watch = source.watch.pauses.roles[role]
        labels = _labels(of_broker, role=role)
        for generation, (count, _, longest_ms) in enumerate(told["generations"]):
            one = _labels(labels, generation=str(generation))
            lines.counter("zqueue_gc_pauses", "Pauses of garbage collectors.", one, count)
            lines.gauge("zqueue_gc_pause_max_seconds", "The longest.", one, longest_ms / 1000)
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
        lines.gauge("zqueue_worker_info", "The worker.", info, 1)
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
            continue  # It lost its connection, and is here twice for a while.
        seen.add(labels)
        for name, text, key in SUPERVISOR_GAUGES:
            lines.gauge(name, text, labels, supervisor[key])
        lines.counter("zqueue_supervisor_restarts", RESTARTS, labels, supervisor["restarts"])


# --- lines ---


def _labels(before: str = "", **labels: str) -> str:
    """Labels as they are written, after those that are."""
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

    def quantiles(self, name: str, text: str, labels: str, told: Told) -> None:
        """Percentiles of each window in which anything was counted."""
        for window, window_name in WINDOWS:
            if told[window]["count"]:
                for quantile, key in QUANTILES:
                    which = f'{labels},quantile="{quantile}",window="{window_name}"'
                    self.gauge(name, text, which, told[window][key] / 1000)

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
