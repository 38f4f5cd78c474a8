"""The exposition, read by the parsers of Prometheus' client library."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from zqueue.metrics.broker_watch import Watch
from zqueue.metrics.exposition import (
    DURATION_EDGES_S,
    Form,
    Source,
    expose,
    form_for,
)
from zqueue.metrics.glossary import GLOSSARY
from zqueue.stats.histogram import Histogram

from .conftest import Watched, histogram, meter

URL = "tcp://somewhere:1"

PROMETHEUS_3 = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;"
    "q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,"
    "*/*;q=0.1"
)


def text_of(watch: Watch, form: Form = Form.TEXT, now: float | None = None) -> str:
    at = (watch._fed_at or 0.0) if now is None else now
    source = Source(watch.snapshot(at), watch, 5, 1, 0.25)
    return expose([source], form, Histogram()).decode()


def samples(text: str, form: Form = Form.TEXT) -> Iterator[tuple[str, dict[str, str], float]]:
    families = read_text(text) if form is Form.TEXT else read_openmetrics(text)
    for family in families:
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def value(text: str, name: str, **labels: str) -> float:
    """The one sample with these labels, among others."""
    wanted = labels.items()
    (found,) = [v for n, of, v in samples(text) if n == name and wanted <= of.items()]
    return found


@pytest.fixture
def busy(watched: Watched) -> Watched:
    """A broker with a queue, a task and a worker that did something."""
    watched.join(pid=7, host="here", version="9")
    for second in range(3):
        watched.publish(10)
        watched.report(
            busy_s=0.5 * second, cpu_s=0.25 * second, rss_bytes=99, running=["t", 1.5],
            tasks={"t": meter(4, 0.01, failed=1)},
            gc={"count": 2, "total": 3.0, "max": 2.0, "generations": [[2, 3.0, 2.0]] * 3,
                "lengths": histogram(0.001, 0.002).to_wire(),
                "intervals": histogram(1.0).to_wire()},
        )  # fmt: skip
        watched.pass_s()
    return watched


def test_help_texts_are_those_of_the_glossary(busy: Watched) -> None:
    known = {term.means for term in GLOSSARY.values()}
    helped = [line.split(" ", 3) for line in text_of(busy.watch).splitlines() if "# HELP" in line]
    ours = {name: text for _, _, name, text in helped if name.startswith("zqueue_")}
    assert len(ours) > 50
    assert {name for name, text in ours.items() if text not in known} == set()


def test_the_names_that_rules_and_dashboards_use(busy: Watched) -> None:
    names = {name for name, _, _ in samples(text_of(busy.watch))}
    queue = ("published", "ingested", "delivered", "egressed", "done", "failed", "redelivered",
             "returned", "dead")  # fmt: skip
    assert names >= {
        "zqueue_up", "zqueue_broker_info", "zqueue_broker_uptime_seconds",
        "zqueue_broker_draining", "zqueue_broker_resident_memory_bytes", "zqueue_held_bytes",
        "zqueue_held_limit_bytes", "zqueue_producers", "zqueue_workers",
        "zqueue_dead_letters_kept", "zqueue_queue_ready_tasks", "zqueue_queue_leased_tasks",
        "zqueue_queue_limit_tasks", "zqueue_queue_bytes", "zqueue_queue_limit_bytes",
        "zqueue_queue_workers", "zqueue_queue_withheld_batches", "zqueue_queue_oldest_seconds",
        "zqueue_queue_paused", "zqueue_queue_draining", "zqueue_queues_unlisted",
        "zqueue_broker_cpu_seconds_total",
        *(f"zqueue_queue_{name}_tasks_total" for name in queue),
        "zqueue_queue_duplicates_batches_total", "zqueue_queue_refused_batches_total",
        "zqueue_queue_postponed_batches_total", "zqueue_broker_stale_tasks_total",
        "zqueue_broker_garbage_messages_total", "zqueue_broker_results_total",
        "zqueue_broker_results_lost_total", "zqueue_broker_workers_lost_total",
        "zqueue_broker_refused_batches_total", "zqueue_task_done_total",
        "zqueue_task_failed_total", "zqueue_queue_wait_seconds_bucket",
        "zqueue_queue_batch_tasks_bucket", "zqueue_task_run_seconds_bucket",
        "zqueue_task_total_seconds_sum", "zqueue_confirm_seconds_count",
        "zqueue_gc_pause_seconds_bucket", "zqueue_gc_interval_seconds_bucket",
        "zqueue_task_run_quantile_seconds", "zqueue_task_total_quantile_seconds",
        "zqueue_gc_pauses_total", "zqueue_gc_pause_max_seconds", "zqueue_worker_info",
        "zqueue_worker_busy_seconds_total", "zqueue_worker_cpu_seconds_total",
        "zqueue_worker_resident_memory_bytes", "zqueue_worker_in_flight_tasks",
        "zqueue_worker_credit_tasks", "zqueue_worker_running_seconds",
        "zqueue_sidecar_polls_total", "zqueue_sidecar_poll_failures_total",
        "zqueue_sidecar_poll_seconds", "zqueue_sidecar_gc_pause_seconds_count",
        "process_cpu_seconds_total", "process_resident_memory_bytes",
        "python_gc_collections_total",
    }  # fmt: skip


def test_a_store(busy: Watched) -> None:
    assert "zqueue_store" not in text_of(busy.watch)
    store = {
        "level": "os", "data_dir": "/d", "loss_window_ms": 50, "full": True, "segments": 3,
        "disk_bytes": 7, "live_bytes": 5, "commit": histogram(0.001, 0.002).to_wire(),
    }  # fmt: skip
    busy.talk.broker.teller.about = lambda: {"store": store}
    busy.pass_s()
    store["commit"] = histogram(0.001, 0.002, 0.003).to_wire()
    snapshot = busy.pass_s()
    assert snapshot["store"]["commit_ms"]["10"]["count"] == 3
    assert snapshot["conditions"][0]["kind"] == "full-disk"
    text = text_of(busy.watch)
    assert value(text, "zqueue_store_info", level="os", data_dir="/d") == 1
    assert value(text, "zqueue_store_loss_window_seconds") == 0.05
    assert value(text, "zqueue_store_disk_bytes") == 7
    assert value(text, "zqueue_store_full") == 1
    assert value(text, "zqueue_store_commit_seconds_count") == 3


def test_delayed_tasks(watched: Watched) -> None:
    watched.join()
    watched.pass_s()
    assert "zqueue_queue_next_due_seconds{" not in text_of(watched.watch)
    watched.talk.publish(b"p", 1, [1, 2], delay_ms=90_000)
    watched.pass_s()
    text = text_of(watched.watch)
    assert value(text, "zqueue_queue_delayed_tasks", queue="q") == 2
    assert 85 < value(text, "zqueue_queue_next_due_seconds", queue="q") <= 90


def test_values(busy: Watched) -> None:
    text = text_of(busy.watch)
    assert value(text, "zqueue_up", broker=URL) == 1
    assert value(text, "zqueue_sidecar_polls_total") == 5
    assert value(text, "zqueue_sidecar_poll_failures_total") == 1
    assert value(text, "zqueue_sidecar_poll_seconds") == 0.25
    assert value(text, "zqueue_queue_published_tasks_total", queue="q") == 30
    assert value(text, "zqueue_queue_ready_tasks", queue="q", broker=URL) == 30
    assert value(text, "zqueue_task_done_total", task="t") == 12
    assert value(text, "zqueue_task_failed_total", task="t") == 3
    assert value(text, "zqueue_queue_batch_tasks_sum") == 30
    assert value(text, "zqueue_worker_busy_seconds_total", worker="here/7") == 1.0
    assert value(text, "zqueue_worker_running_seconds", worker="here/7") == 1.5
    assert value(text, "zqueue_worker_info", queues="q", version="9") == 1
    assert value(text, "zqueue_gc_pauses_total", role="worker", generation="1") == 2
    assert value(text, "zqueue_gc_pause_max_seconds", role="worker", generation="0") == 0.002
    assert value(text, "zqueue_gc_pause_seconds_count", role="worker") == 2
    assert value(
        text, "zqueue_task_run_quantile_seconds", q="0.99", window="1m"
    ) == pytest.approx(0.01, rel=0.011)  # fmt: skip


def test_dead_letters(watched: Watched) -> None:
    watched.fail()
    watched.fail()
    watched.talk.control("drop", "")
    watched.fail()
    watched.pass_s()
    text = text_of(watched.watch)
    assert value(text, "zqueue_dead_letters_total", queue="d", reason="failed") == 3
    assert value(text, "zqueue_queue_dead_tasks_total", queue="d") == 3
    assert value(text, "zqueue_dead_letters_kept") == 1
    assert value(text, "zqueue_dead_letters_dropped_total") == 2
    assert value(text, "zqueue_dead_letters_evicted_total") == 0


def test_whether_memory_is_used_again(watched: Watched) -> None:
    watched.talk.broker.teller.about = lambda: {"batches_made": {"hits": 30, "misses": 4}}
    watched.pass_s()
    text = text_of(watched.watch)
    assert value(text, "zqueue_broker_batches_made_total", memory="reused") == 30
    assert value(text, "zqueue_broker_batches_made_total", memory="new") == 4


@pytest.mark.parametrize("form", [Form.TEXT, Form.OPENMETRICS])
def test_no_series_comes_twice(busy: Watched, form: Form) -> None:
    found = [(name, tuple(sorted(labels.items())))
             for name, labels, _ in samples(text_of(busy.watch, form), form)]  # fmt: skip
    assert len(found) == len(set(found))


def test_both_texts_tell_the_same(busy: Watched) -> None:
    of_brokers = [
        {(name, *sorted(labels.items())): value
         for name, labels, value in samples(text_of(busy.watch, form), form)
         if name.startswith("zqueue_")}
        for form in (Form.TEXT, Form.OPENMETRICS)
    ]  # fmt: skip
    assert of_brokers[0] == of_brokers[1]
    assert len(of_brokers[0]) > 200


def test_native_histograms(busy: Watched) -> None:
    text = text_of(busy.watch, Form.OPENMETRICS_2)
    assert "_bucket" not in text
    assert text.endswith("# EOF\n")
    (line,) = [line for line in text.splitlines() if line.startswith("zqueue_task_run_seconds{")]
    counted = Histogram.from_wire(busy.talk.broker.teller.stats()["figures"]["t"][2])
    native = counted.native()
    assert line.startswith(
        f'zqueue_task_run_seconds{{broker="{URL}",task="t"}} {{count:15,sum:{counted.sum},schema:5,'
    )
    (offset, length), *_ = native.pos_spans
    assert f"positive_spans:[{offset}:{length}]" in line
    assert "positive_deltas:[15]" in line
    head = "# TYPE zqueue_task_run_seconds histogram\n"
    (family,) = read_openmetrics(f"{head}{line}\n# EOF\n")
    (sample,) = family.samples
    reported = sample.native_histogram
    assert reported is not None
    assert (reported.count_value, reported.schema, reported.pos_deltas) == (15, 5, (15,))


def test_a_bucket_holds_all_that_is_at_or_below_its_edge(watched: Watched) -> None:
    """And nothing else, however coarse the histogram was made."""
    values = [1e-9, *DURATION_EDGES_S, 0.3, 0.6, 1.1, 5000.0]
    for schema in range(6):
        counted = histogram(*values).coarsened(schema)
        text = expose_one(watched, counted)
        for edge in (*DURATION_EDGES_S, inf):
            le = "+Inf" if edge == inf else str(edge)
            reported = value(text, "zqueue_confirm_seconds_bucket", le=le)
            assert reported == sum(value <= edge for value in values)


def expose_one(watched: Watched, counted: Histogram) -> str:
    watched.watch.feed({**watched.talk.broker.teller.stats(), "confirm": counted.to_wire()}, 5000.0)
    return text_of(watched.watch)


def test_a_broker_that_was_never_there() -> None:
    text = text_of(Watch(URL, 0.0))
    assert value(text, "zqueue_up", broker=URL) == 0
    assert "zqueue_broker_info" not in text


def test_a_broker_that_is_gone_keeps_its_totals(busy: Watched) -> None:
    """As Prometheus expects: what is no longer exposed would be stale at once."""
    busy.watch.miss("gone", busy.talk.now + 1)
    text = text_of(busy.watch)
    assert value(text, "zqueue_up") == 0
    assert value(text, "zqueue_queue_published_tasks_total", queue="q") == 30


def hostile(n: int) -> str:
    return f'{n}"}} 1\n# HELP evil\\'


def test_hostile_names_are_values_and_no_more() -> None:
    names = [hostile(n) for n in range(3)]
    stats: dict[str, Any] = {
        "id": hostile(9), "version": "\n", "host": '"', "counters": {},
        "queues": {name: {"ready": n, "counters": {"done": n}} for n, name in enumerate(names)},
        "figures": {name: [n, 0, histogram(1.0).to_wire(), histogram(1.0).to_wire()]
                    for n, name in enumerate(names)},
        "workers": [{"id": name, "host": name, "pid": 1, "version": name, "queues": [name]}
                    for name in names],
    }  # fmt: skip
    watch = Watch(hostile(7), 0.0)
    watch.feed(stats, 0.0)
    for form in (Form.TEXT, Form.OPENMETRICS):
        reported = list(samples(text_of(watch, form), form))
        assert {n.split("_")[0] for n, _, _ in reported} == {"zqueue", "process", "python"}
        found = {of["queue"]: v for n, of, v in reported if n == "zqueue_queue_ready_tasks"}
        assert found == {name: n for n, name in enumerate(names)}
        assert {of["task"] for n, of, _ in reported if n == "zqueue_task_done_total"} == set(names)
    text_of(watch, Form.OPENMETRICS_2).encode()


def test_ten_thousand_names_are_500() -> None:
    wire = histogram(1.0).to_wire()
    watch = Watch(URL, 0.0)
    watch.feed({"figures": {f"t{n}": [n, 0, wire, wire] for n in range(10_000)}}, 0.0)
    text = text_of(watch)
    assert sum(name == "zqueue_task_done_total" for name, _, _ in samples(text)) == 500


def test_an_old_broker_tells_what_there_is(watched: Watched) -> None:
    watched.publish(5)
    watch = Watch(URL, 0.0)
    watch.feed_old(watched.talk.broker.teller.info(), 0.0)
    text = text_of(watch)
    assert value(text, "zqueue_up") == 1
    assert value(text, "zqueue_queue_ready_tasks", queue="q") == 5
    assert "zqueue_queue_done_tasks_total" not in text


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form.TEXT),
        ("*/*", Form.TEXT),
        ("text/plain;version=0.0.4", Form.TEXT),
        ("text/plain;version=1.0.0;escaping=allow-utf-8", Form.TEXT),
        ("application/openmetrics-text", Form.OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", Form.TEXT),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1",
         Form.OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0", Form.OPENMETRICS_2),
        ("application/openmetrics-text;version=x", Form.TEXT),
        (PROMETHEUS_3, Form.OPENMETRICS),
        (",;=" * 100_000, Form.TEXT),
    ],
)  # fmt: skip
def test_the_format_that_is_asked_for(accept: str, form: Form) -> None:
    assert form_for(accept) is form
