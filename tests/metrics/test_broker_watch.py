"""A watch that is fed by a real broker's machine. Time is an argument."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.broker.conftest import Talk
from zqueue.metrics.broker_watch import FINE_MAX, KEPT_MAX, RETURN_S, Watch
from zqueue.stats.histogram import Histogram
from zqueue.wire.messages import Goodbye

from .conftest import Json, Watched, meter


def replace(watched: Watched, uptime_s: float = 1.0) -> None:
    """The broker is gone, and another one answers."""
    talk = Talk(id=b"broker-2")
    talk.now = watched.talk.now
    began = talk.now - uptime_s
    talk.broker.teller.about = lambda: {"uptime_s": talk.now - began}
    watched.talk = talk
    talk.producer()


def total(watched: Watched, *, window: str = "300") -> Json:
    """The only queue's rates."""
    (queue,) = watched.look()["queues"]
    return {key: queue[key][window] for key in ("in", "out", "failed")}


# --- what the snapshot says ---


def test_before_there_was_an_answer() -> None:
    watch = Watch("tcp://somewhere:1", 1000.0)
    reported = watch.snapshot(1000.0)
    assert set(reported) == {"url", "state", "problem", "seen_s", "conditions"}
    assert (reported["state"], reported["seen_s"]) == ("waiting", None)
    assert "tcp://somewhere:1" in reported["problem"]


def test_a_steady_stream_of_tasks(watched: Watched) -> None:
    watched.join()
    for _ in range(20):
        watched.publish(100)
        watched.report(tasks={"t": meter(50, 0.01)})
        reported = watched.pass_s()
    assert reported["state"] == "ok"
    assert reported["in"] == {"10": 100.0, "60": 100.0, "300": 100.0}
    (queue,) = reported["queues"]
    assert queue["in"]["10"] == 100.0
    assert queue["history"]["in"][-20:] == [100.0] * 20
    assert queue["history"]["ready"][-1] == queue["ready"] == 2000
    assert queue["batch"]["p50"] == 100
    (task,) = reported["tasks"]
    assert (task["name"], task["queue"], task["done"]) == ("t", "q", 1000)
    assert task["rate"]["10"] == 50.0
    assert task["total_ms"]["10"]["p50"] == pytest.approx(20, rel=0.011)
    assert queue["run_ms"]["60"] == task["run_ms"]["60"]
    assert sum(map(sum, reported["heatmap"]["columns"])) == 50 * 20


def test_tasks_that_wait(watched: Watched) -> None:
    watched.publish(10)
    watched.pass_s(3.0)
    watched.join(credit=10)
    watched.talk.hear()
    (queue,) = watched.pass_s()["queues"]
    assert queue["leased"] == 10
    assert queue["wait_ms"]["10"]["count"] == 10
    assert queue["wait_ms"]["10"]["p50"] == pytest.approx(3000, rel=0.011)


def test_workers_and_supervisors(watched: Watched) -> None:
    watched.join(pid=7, host="here", version="9")
    watched.talk.hello("supervisor", b"s", pid=6, host="here")
    watched.report(b"s", processes=1, restarts=2)
    watched.report(done=5, failed=1, running=["t", 0.5])
    reported = watched.pass_s()
    (worker,) = reported["workers"]
    assert (worker["pid"], worker["host"], worker["version"]) == (7, "here", "9")
    assert (worker["done"], worker["failed"]) == (5, 1)
    assert worker["running"]["task"] == "t"
    (supervisor,) = reported["supervisors"]
    assert (supervisor["pid"], supervisor["processes"], supervisor["restarts"]) == (6, 1, 2)


def test_the_keys_of_a_broker(watched: Watched) -> None:
    """What everybody relies on who reads snapshots."""
    watched.join()
    watched.publish(1)
    watched.report(tasks={"t": meter(1, 0.01)})
    reported = watched.pass_s()
    assert set(reported) >= {
        "url", "state", "problem", "seen_s", "conditions", "id", "version", "compiled", "pid",
        "host", "uptime_s", "rss_bytes", "cpu", "bytes", "bytes_max", "draining", "producers",
        "in", "out", "failed", "counters", "queues", "other_queues", "tasks", "workers",
        "supervisors", "dead", "confirm_ms", "gc", "heatmap",
    }  # fmt: skip
    assert set(reported["queues"][0]) >= {
        "name", "state", "ready", "delayed", "due_in_s", "leased", "tasks_max", "bytes",
        "bytes_max", "workers", "withheld", "oldest_s", "plain", "in", "out", "failed", "counters",
        "history", "wait_ms", "run_ms", "batch",
    }  # fmt: skip
    assert set(reported["tasks"][0]) >= {
        "name", "queue", "done", "failed", "rate", "failed_rate", "run_ms", "total_ms"
    }  # fmt: skip
    assert set(reported["workers"][0]) >= {
        "id", "pid", "host", "version", "compiled", "queues", "credit", "in_flight", "done",
        "failed", "rate", "busy", "cpu", "rss_bytes", "running", "gc",
    }  # fmt: skip
    assert set(reported["gc"]) == {"broker", "worker"}
    assert set(reported["heatmap"]) == {"bounds_ms", "column_s", "columns"}


# --- answers that are missing, and other brokers ---


def test_a_broker_that_is_gone(watched: Watched) -> None:
    watched.publish(100)
    before = watched.pass_s()
    watched.watch.miss("No answer.", watched.talk.now + 5)
    watched.talk.now += 60
    reported = watched.look()
    assert (reported["state"], reported["problem"], reported["seen_s"]) == (
        "lost",
        "No answer.",
        60,
    )
    assert reported["in"] == before["in"]
    assert reported["queues"] == before["queues"]


def test_what_grew_while_answers_were_missing_is_spread(watched: Watched) -> None:
    for _ in range(10):
        watched.publish(100)
        watched.pass_s()
    for _ in range(30):
        watched.talk.now += 1
        watched.publish(100)
        watched.watch.miss("", watched.talk.now)
        watched.look()
    watched.publish(100)
    watched.pass_s()
    for window in ("10", "60", "300"):
        assert total(watched, window=window)["in"] == pytest.approx(100, rel=0.04)
    (queue,) = watched.look()["queues"]
    assert max(queue["history"]["in"]) <= 104


def test_another_broker_counts_from_zero_and_histories_go_on(watched: Watched) -> None:
    for _ in range(10):
        watched.publish(100)
        watched.pass_s()
    replace(watched)
    for _ in range(2):
        watched.publish(30)
        reported = watched.pass_s()
    (queue,) = reported["queues"]
    assert queue["counters"]["published"] == 60
    assert queue["history"]["in"][-12:-2] == [100.0] * 10
    assert queue["history"]["in"][-1] == 30.0
    assert queue["in"]["300"] == pytest.approx((1000 + 60) / 12, abs=3)


def test_queues_and_workers_have_time_to_come_back(watched: Watched) -> None:
    watched.join()
    for _ in range(5):
        watched.publish(100)
        watched.report(done=100, tasks={"t": meter(10, 0.01)})
        watched.pass_s()
    replace(watched)
    reported = watched.pass_s()
    assert (reported["queues"], reported["tasks"], reported["workers"]) == ([], [], [])
    watched.join()
    watched.publish(7)
    watched.report(done=110, tasks={"t": meter(10, 0.01)})
    reported = watched.pass_s(RETURN_S - 5)
    (queue,), (task,), (worker,) = reported["queues"], reported["tasks"], reported["workers"]
    assert 100.0 in queue["history"]["in"]
    assert queue["in"]["300"] > 10
    assert task["run_ms"]["300"]["count"] == 60
    assert worker["done"] == 110


def test_what_did_not_come_back_is_forgotten(watched: Watched) -> None:
    watched.publish(1)
    watched.pass_s()
    replace(watched)
    watched.pass_s()
    assert "q" in watched.watch.queues
    watched.pass_s(RETURN_S + 1)
    assert watched.watch.queues == {}


def test_a_worker_that_leaves_is_forgotten_and_its_tasks_still_count(watched: Watched) -> None:
    watched.join()
    watched.report(tasks={"t": meter(5, 0.01)})
    watched.pass_s()
    watched.talk.say(b"w", Goodbye())
    reported = watched.pass_s()
    assert reported["workers"] == []
    assert reported["tasks"][0]["done"] == 5


def test_an_older_broker_tells_less(watched: Watched) -> None:
    info = watched.talk.broker.teller.info()
    watch = Watch("u", 0.0)
    watch.feed_old({**info, "version": "0.0.9"}, 1.0)
    reported = watch.snapshot(1.0)
    assert reported["state"] == "old"
    assert "0.0.9" in reported["problem"]
    assert reported["bytes_max"] == info["bytes_max"]


# --- bounds and strangers ---


def test_at_most_so_much_is_kept() -> None:
    watch = Watch("u", 0.0)
    many = range(3 * KEPT_MAX)
    stats = {
        "queues": {f"q{n}": {"ready": 1} for n in many},
        "figures": {f"t{n}": [1, 0, [5, 0, 0, 0], [5, 0, 0, 0]] for n in many},
        "workers": [{"id": str(n)} for n in many],
        "supervisors": [{"pid": n, "host": "h"} for n in many],
        "other_queues": {"queues": 7},
    }
    watch.feed(stats, 0.0)
    reported = watch.snapshot(0.0)
    for kind in ("queues", "tasks", "workers", "supervisors"):
        assert len(reported[kind]) == KEPT_MAX
    assert reported["other_queues"] == 7 + 2 * KEPT_MAX


def test_the_first_are_kept_finely() -> None:
    watch = Watch("u", 0.0)
    counted = Histogram()
    names = [f"q{n}" for n in range(FINE_MAX + 1)]
    for second in (0, 1):
        watch.feed({"queues": {n: {"wait": counted.to_wire()} for n in names}}, float(second))
        counted.record(0.1)
    schemas = [watch.queues[name].wait.over(1.0)["10"].schema for name in names]
    assert schemas == [5] * FINE_MAX + [3]


def mutations(value: Any) -> st.SearchStrategy[Any]:
    """The same with something else in some place."""
    nonsense = st.sampled_from([None, -1, "x", b"\xff", [], {}, 1e300, float("nan"), [[]], True])
    if isinstance(value, dict) and value:
        return st.sampled_from(sorted(value)).flatmap(
            lambda key: mutations(value[key]).map(lambda changed: {**value, key: changed})
        ) | nonsense  # fmt: skip
    if isinstance(value, list) and value:
        return st.integers(0, len(value) - 1).flatmap(
            lambda i: mutations(value[i]).map(lambda new: [*value[:i], new, *value[i + 1 :]])
        ) | nonsense  # fmt: skip
    return nonsense


def stats_of_a_broker() -> Json:
    """All that a broker may tell."""
    made = Watched()
    made.join(pid=1, host="h", version="1")
    made.talk.hello("supervisor", b"s", pid=1, host="h")
    made.publish(3)
    made.report(done=1, running=["t", 1.0], gc={"count": 1}, tasks={"t": meter(2, 0.1)})
    return made.talk.broker.teller.stats()


@given(st.data())
def test_nothing_that_a_broker_tells_raises(data: st.DataObject) -> None:
    stats = stats_of_a_broker()
    watch = Watch("u", 0.0)
    watch.feed(stats, 1.0)
    changed = data.draw(mutations(stats))
    watch.feed(changed if isinstance(changed, dict) else {}, 2.0)
    watch.feed(stats, 3.0)
    json.dumps(watch.snapshot(3.0), allow_nan=False)


def test_time_that_stands_still(watched: Watched) -> None:
    watched.publish(10)
    for _ in range(3):
        watched.pass_s(0.0)
    assert watched.look()["queues"][0]["history"]["in"][-3:] == [20.0, 0.0, 0.0]
