"""Retries, delays and expiry in real processes."""

from __future__ import annotations

import os
import signal
import time

import pytest

import zqueue
from tests.system.harness import DEADLINE_S, wait_until
from zqueue import task_options

pytestmark = pytest.mark.system


@pytest.fixture
def pool(broker, workers):
    return workers(broker, "retried.py", 2)


def runs_of(record, id):
    return [entry for entry in record.entries() if entry["id"] == id]


def counters(broker):
    return broker.info()["counters"]


def test_until_it_succeeds(broker, pool, record):
    with zqueue.Producer(broker.url) as producer:
        futures = [
            producer.submit("default", ["a", 3], task="flaky"),
            producer.submit("default", ["b", 2], task="awaited"),
        ]
        assert [future.result(DEADLINE_S) for future in futures] == [3, 2]
    assert [run["attempt"] for run in runs_of(record, "a")] == [1, 2, 3]
    assert [run["left"] for run in runs_of(record, "a")] == [3, 2, 1]
    assert [run["left"] for run in runs_of(record, "b")] == [3, 2], "async"
    state = counters(broker)
    assert (state["retried"], state["failed"], state["dead"]) == (3, 0, 0)


def test_the_last_error_is_heard_of_and_kept(broker, pool, record):
    with zqueue.Producer(broker.url) as producer:
        producer.send("default", ["kept", 99], task="flaky")
        future = producer.submit("default", ["heard", 99], task="flaky")
        with pytest.raises(zqueue.RemoteError, match="attempt 4"):
            future.result(DEADLINE_S)
        options = task_options(retries=1)
        future = producer.submit("default", ["less", 99], task="flaky", options=options)
        with pytest.raises(zqueue.RemoteError, match="attempt 2"):
            future.result(DEADLINE_S)
    assert [run["left"] for run in runs_of(record, "less")] == [1, 0]
    wait_until(lambda: counters(broker)["dead"] == 1, what="a dead letter")
    assert len(runs_of(record, "kept")) == len(runs_of(record, "heard")) == 4
    assert counters(broker)["retried"] == 3 + 3 + 1


def test_what_is_not_to_be_tried_again(broker, pool, record):
    with zqueue.Producer(broker.url) as producer:
        for body, task in ((["no"], "picky"), (["misfit", 1, 2], "flaky"), ([], "no_such_task")):
            with pytest.raises(zqueue.RemoteError):
                producer.submit("default", body, task=task).result(DEADLINE_S)
    assert [entry["id"] for entry in record.entries()] == ["no"]
    assert counters(broker)["retried"] == 0


def test_the_handler_asks_and_says_how_long(broker, pool, record):
    with zqueue.Producer(broker.url) as producer:
        options = task_options(retries=1)
        future = producer.submit("default", ["a", 0.5], task="asking", options=options)
        assert future.result(DEADLINE_S) == "done"
        with pytest.raises(zqueue.RemoteError, match="come again"):
            producer.submit("default", ["b", 0.5], task="asking").result(DEADLINE_S)
    first, second = (run["at"] for run in runs_of(record, "a"))
    assert second - first >= 0.45


def test_a_task_that_hangs_is_killed_and_tried_again(broker, pool, record):
    with zqueue.Producer(broker.url) as producer:
        assert producer.submit("default", ["a"], task="hanging").result(60) == "done"
    assert [run["attempt"] for run in runs_of(record, "a")] == [1, 2]
    assert counters(broker)["retried"] == 1


def test_of_a_batch_only_what_failed(broker, pool, record):
    with zqueue.Producer(broker.url) as producer:
        bodies = [{"id": f"{number}", "good": 1 + number % 2} for number in range(10)]
        producer.send_many("parts", bodies, task="parts")
    wait_until(lambda: counters(broker)["done"] == 10, what="all done")
    for number in range(10):
        assert len(runs_of(record, f"{number}")) == 1 + number % 2
        assert runs_of(record, f"{number}")[-1]["left"] in (2, 3)


def test_nothing_runs_before_its_time(broker, pool, record):
    with zqueue.Producer(broker.url) as producer:
        sent_at = time.time()
        producer.send("default", ["late", 1], task="flaky", options=task_options(delay=2))
        producer.send("default", ["then", 1], task="flaky", options=task_options(at=sent_at + 1.5))
        producer.send("default", ["never", 1], task="flaky", options=task_options(delay=600))
        producer.submit("default", ["now", 1], task="flaky").result(DEADLINE_S)
        producer.flush()
    wait_until(lambda: counters(broker)["done"] == 3, what="all done but one")
    assert broker.queue("default")["delayed"] == 1
    ((late,), (then,)) = (runs_of(record, name) for name in ("late", "then"))
    assert then["at"] >= sent_at + 1.49
    assert late["at"] >= sent_at + 1.99


def test_what_is_delayed_and_retried_outlives_its_worker(broker, pool, record):
    with zqueue.Producer(broker.url) as producer:
        options = task_options(delay=1.5)
        producer.send_many("default", ([f"{n}", 2] for n in range(50)), task="flaky",
                           options=options)  # fmt: skip
        producer.send("default", ["slow", 60], task="slow")
        wait_until(lambda: runs_of(record, "slow"), what="the slow one runs")
        os.kill(runs_of(record, "slow")[0]["pid"], signal.SIGKILL)
    wait_until(lambda: counters(broker)["done"] == 50, timeout=60, what="all done")
    assert all(len(runs_of(record, f"{n}")) == 2 for n in range(50))


def test_what_is_too_old_does_not_run(broker, workers, record):
    with zqueue.Producer(broker.url) as producer:
        options = task_options(expires=0.2)
        future = producer.submit("default", ["old", 1], task="flaky", options=options)
        producer.send("default", ["letter", 1], task="flaky", options=options)
        producer.flush()
        time.sleep(0.25)  # There is no worker, and it is time itself that makes them old.
        workers(broker, "retried.py", 1)
        with pytest.raises(zqueue.Expired):
            future.result(DEADLINE_S)
    wait_until(lambda: counters(broker)["dead_expired"] == 1, what="a dead letter")
    assert record.entries() == []
