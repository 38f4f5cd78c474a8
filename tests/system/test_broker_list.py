"""A list of brokers that changes: they join, are drained and left, and nothing is started again."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import zqueue
from tests.system.harness import APPS, Broker, Pool, Record, wait_until

pytestmark = pytest.mark.system

TASKS = 200


class BrokerFile:
    """The file that names brokers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"file://{path}"

    def name(self, *brokers: Broker) -> None:
        new = self._path.with_suffix(".new")
        new.write_text("# brokers\n" + "".join(f"{broker.url}\n" for broker in brokers))
        new.rename(self._path)


@pytest.fixture
def listed(tmp_path: Path) -> BrokerFile:
    return BrokerFile(tmp_path / "brokers")


def wait_for_workers(broker: Broker, count: int) -> None:
    there = f"{count} workers at {broker.url}"
    wait_until(lambda: len(broker.worker_pids()) == count, 60, what=there)


def producers_at(broker: Broker) -> int:
    return int(broker.info()["producers"])


def send(producer: zqueue.Producer, first: int) -> set[int]:
    ids = set(range(first, first + TASKS))
    for number in sorted(ids):
        producer.send("default", [number], task="run")
    return ids


def test_brokers_join_and_are_left_while_work_goes_on(
    listed: BrokerFile, start_broker: Any, processes: Any, produce: Any, record: Record, run: Any
) -> None:
    first, second = start_broker(), start_broker()
    listed.name(first)
    pool = Pool(processes.zqueue("worker", str(APPS / "jobs.py"), "-p", "2", "--url", listed.url))
    wait_for_workers(first, 2)
    pids = pool.pids
    producer = produce(listed.url)
    ids = send(producer, 0)
    listed.name(first, second)
    wait_for_workers(second, 2)
    wait_until(lambda: producers_at(second) == 1, 20, what="the producer at the second broker")
    ids |= send(producer, TASKS)
    assert run("queue", "ls", "--url", listed.url).stdout.count("ipc://") == 2
    listed.name(second)
    ids |= send(producer, 2 * TASKS)
    producer.flush()
    wait_for_workers(first, 0)
    wait_until(lambda: producers_at(first) == 0, 20, what="nobody at the first broker")
    published = first.count("published")
    ids |= send(producer, 3 * TASKS)
    producer.flush()
    assert Counter(record.wait_for(ids)) == dict.fromkeys(ids, 1)
    assert first.count("published") == published
    first.process.send(signal.SIGTERM)
    assert first.process.wait(20) == 0
    assert pool.pids == pids


def test_results_of_one_that_is_left_are_received(
    listed: BrokerFile, start_broker: Any, processes: Any, record: Record
) -> None:
    """And its workers end what they run there, before they leave it."""
    first, second = start_broker(), start_broker()
    listed.name(first)
    Pool(processes.zqueue("worker", str(APPS / "jobs.py"), "--url", listed.url))
    wait_for_workers(first, 1)
    with zqueue.Producer(listed.url) as producer:
        future = producer.submit("default", [1], task="run_slowly")
        wait_until(lambda: first.queue("default")["leased"] == 1, 20, what="the task to run")
        listed.name(second)
        wait_until(lambda: producers_at(second) == 1, 20, what="the producer at the second")
        assert len(first.worker_pids()) == 1
        record.open_gate()
        assert future.result(20) == 1
    wait_for_workers(first, 0)


def test_nobody_is_named(listed: BrokerFile, produce: Any, run: Any) -> None:
    """Neither who sends nor who asks waits for long, or sees a traceback."""
    with pytest.raises(zqueue.BrokerLost, match=r"no broker is known: cannot read .*/brokers"):
        produce(listed.url, connect_timeout=0.3).send("q", 1)
    done = run("info", "--url", listed.url)
    assert done.returncode == 2
    assert "cannot read" in done.stderr
    assert "Traceback" not in done.stderr
