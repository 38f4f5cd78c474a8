"""Several brokers: work goes over all of them, and goes on when one is lost."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import zqueue
from tests.gateway.conftest import served
from tests.system.harness import APPS, Broker, Pool, Record, wait_until
from zqueue.cli import cli
from zqueue.gateway import Gateway

pytestmark = pytest.mark.system

TASKS = 400


@pytest.fixture
def two(start_broker: Any) -> list[Broker]:
    """Two brokers with quick liveness."""
    return [start_broker(), start_broker()]


@pytest.fixture
def pool(processes: Any, record: Record, two: list[Broker]) -> Pool:
    """Two workers that serve both."""
    path = str(APPS / "jobs.py")
    pool = Pool(processes.zqueue("worker", path, "-p", "2", "--url", url_of(two)))
    for broker in two:
        wait_for_workers(broker)
    return pool


def url_of(brokers: list[Broker]) -> str:
    return ",".join(broker.url for broker in brokers)


def wait_for_workers(broker: Broker, count: int = 2) -> None:
    there = f"{count} workers at {broker.url}"
    wait_until(lambda: len(broker.worker_pids()) == count, 120, what=there)


def send(producer: zqueue.Producer, first: int, count: int = TASKS, pause: bool = True) -> set[int]:
    """Tasks one after the other; some of them alone, so that they are batches of their own."""
    ids = set(range(first, first + count))
    for number in sorted(ids):
        producer.send("default", [number], task="run")
        if pause and number % 10 == 0:
            producer.flush()
    return ids


def test_tasks_go_over_both_and_each_runs_once(
    two: list[Broker], pool: Pool, produce: Any, record: Record
) -> None:
    producers = [produce(url_of(two)) for _ in range(6)]
    ids: set[int] = set()
    for number, producer in enumerate(producers):
        ids |= send(producer, number * TASKS)
    for producer in producers:
        producer.flush()
    assert Counter(record.wait_for(ids)) == dict.fromkeys(ids, 1)
    # Each stays with one while it sends little; that all six chose the same has a chance of 1:32.
    assert sum(broker.count("published") for broker in two) == len(ids)


def test_results_come_from_both(two: list[Broker], pool: Pool) -> None:
    app = zqueue.App(url_of(two))

    @app.task
    def echo(value: int) -> int:
        return value

    with app:
        assert list(echo.map(range(20_000))) == list(range(20_000))
    assert all(broker.count("published") > 1000 for broker in two)


def test_what_one_that_stands_still_has_not_confirmed_goes_to_the_other(
    two: list[Broker], pool: Pool, produce: Any, record: Record
) -> None:
    producer = produce(url_of(two))
    before = send(producer, 0)
    two[0].process.send(signal.SIGSTOP)
    during = send(producer, TASKS, pause=False)
    producer.flush(timeout=20)
    two[0].process.send(signal.SIGCONT)
    after = send(producer, 2 * TASKS)
    producer.flush(timeout=20)
    runs = Counter(record.wait_for(before | during | after))
    for broker in two:
        broker.wait_idle()
    runs = Counter(record.ids())
    assert set(runs) == before | during | after
    assert max(runs.values()) <= 2
    assert all(runs[number] == 1 for number in after)


def test_work_goes_on_when_one_is_killed_and_when_it_is_back(
    two: list[Broker], pool: Pool, produce: Any, record: Record
) -> None:
    producer = produce(url_of(two))
    pids = pool.pids
    record.wait_for(send(producer, 0))
    two[0].kill()
    during = send(producer, TASKS, pause=False)
    producer.flush(timeout=20)
    assert during <= set(record.wait_for(during))
    two[0].start()
    wait_for_workers(two[0])
    others = [produce(url_of(two)) for _ in range(3)]
    for number, other in enumerate(others):
        ids = send(other, (2 + number) * TASKS, pause=False)
        other.flush(timeout=20)
        record.wait_for(ids)
    assert pool.pids == pids
    assert set(Counter(record.ids()).values()) == {1}


def test_one_that_is_told_to_stop_hands_its_work_on(
    two: list[Broker], pool: Pool, produce: Any, record: Record
) -> None:
    producer = produce(url_of(two))
    ids = send(producer, 0, pause=False)
    two[0].process.send(signal.SIGTERM)
    ids |= send(producer, TASKS, pause=False)
    producer.flush(timeout=20)
    two[0].process.wait(20)
    record.wait_for(ids)
    two[1].wait_idle()
    assert set(record.ids()) == ids


def test_a_key_is_of_one_broker_whoever_sends_it(
    two: list[Broker], pool: Pool, produce: Any, record: Record
) -> None:
    producers = [produce(url_of(two)) for _ in range(4)]
    options = [zqueue.task_options(key=f"order-{number}") for number in range(20)]
    for producer in producers:
        for number, option in enumerate(options):
            producer.send("default", [number], task="run", options=option)
        producer.flush()
    record.wait_for(range(20))
    for broker in two:
        broker.wait_idle()
    assert Counter(record.ids()) == dict.fromkeys(range(20), 1)
    assert sum(broker.count("deduplicated") for broker in two) == 60
    assert all(broker.count("published") for broker in two)


def test_without_any_the_first_call_says_so(tmp_path: Any, produce: Any) -> None:
    urls = f"ipc://{tmp_path}/a,ipc://{tmp_path}/b"
    with pytest.raises(zqueue.BrokerLost, match=r"/a.*/b"):
        produce(urls, connect_timeout=0.3).send("q", 1)


class TestVerbs:
    """What people look with shows all of them, and what controls a queue does so at each."""

    def test_info_queues_and_control(self, two: list[Broker], run: Any, produce: Any) -> None:
        for number, broker in enumerate(two):
            producer = produce(broker)
            producer.send(f"q{number}", 1)
            producer.flush()
        url = url_of(two)
        info = run("info", "--json", "--url", url).stdout
        assert [list(json.loads(line)["queues"]) for line in info.splitlines()] == [["q0"], ["q1"]]
        queues = json.loads(run("queue", "ls", "--json", "--url", url).stdout)
        assert [queue["broker"] for queue in queues] == [broker.url for broker in two]
        assert "paused" in run("queue", "pause", "q1", "--url", url).stdout
        assert two[1].queue("q1")["paused"]
        done = run("queue", "pause", "q2", "--url", url)
        assert done.returncode == 1
        assert "no queue" in done.stderr

    def test_what_is_purged_is_counted_over_all(
        self, two: list[Broker], run: Any, produce: Any
    ) -> None:
        for broker in two:
            producer = produce(broker)
            producer.send_many("q", range(5))
            producer.flush()
        done = run("queue", "purge", "q", "--yes", "--url", url_of(two))
        assert done.stdout == "dropped 10 tasks of queue 'q'\n"

    def test_health_is_that_of_each(self, two: list[Broker], run: Any) -> None:
        assert run("health", "--url", url_of(two)).stdout.count("is healthy") == 2
        two[0].kill()
        done = run("health", "--url", url_of(two))
        assert done.returncode == 6
        assert two[0].url in done.stdout


def again(broker: Broker) -> str:
    """Another address of the same broker."""
    head, _, name = broker.url.rpartition("/")
    return f"{head}/./{name}"


def test_a_broker_that_is_named_twice_counts_once(
    two: list[Broker], processes: Any, record: Record, produce: Any
) -> None:
    url = f"{url_of(two)},{again(two[0])}"
    pool = Pool(processes.zqueue("worker", str(APPS / "jobs.py"), "-p", "1", "--url", url))
    for broker in two:
        wait_for_workers(broker, 1)
    producers = [produce(url) for _ in range(4)]
    ids: set[int] = set()
    for number, producer in enumerate(producers):
        ids |= send(producer, number * TASKS)
        producer.flush()
    assert Counter(record.wait_for(ids)) == dict.fromkeys(ids, 1)
    assert sum(broker.count("published") for broker in two) == len(ids)
    assert not pool.process.err.count("is lost")
    named = produce(url, name="billing")
    more = send(named, len(ids))
    named.flush()
    assert Counter(record.wait_for(more)) == dict.fromkeys(ids | more, 1)


@pytest.fixture
def letters(two: list[Broker]) -> list[int]:
    """How many dead letters each has."""
    counts = [1, 2]
    for broker, count in zip(two, counts, strict=True):
        told = {"queue": "q", "reason": "failed", "body": 1, "died_s": 1e9}
        letter = zqueue.DeadLetter.from_json(json.dumps(told))
        with zqueue.DeadLetters(broker.url) as dead:
            assert dead.add([letter] * count) == count
    return counts


def test_dead_letters_of_all(two: list[Broker], letters: list[int], tmp_path: Path) -> None:
    url = f"{url_of(two)},{again(two[0])}"

    def dlq(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli, ["dlq", *arguments, "--url", url])
        assert done.exit_code == code, done.output
        return done.output

    (group,) = json.loads(dlq("ls", "--json"))
    assert group["letters"] == 3
    assert "3 kept, of at most 20,000" in dlq("ls")
    found = json.loads(dlq("ls", "--letters", "--json"))
    names = [f"{letter['broker']}-{letter['number']}" for letter in found]
    assert len(set(names)) == 3
    assert len({letter["broker"] for letter in found}) == 2
    assert f"dead letter {names[2]}" in dlq("show", names[2])
    assert "of which broker" in dlq("show", "1", code=2)
    assert "none of these brokers" in dlq("drop", "00000000-1", code=2)
    dlq("export", str(tmp_path / "letters"))
    assert dlq("drop", names[0]) == "1 dead letter dropped\n"
    assert dlq("replay", names[1]) == "1 dead letter replayed\n"
    assert sum(broker.queue("q")["ready"] for broker in two) == 1
    assert dlq("drop", "--queue", "q") == "1 dead letter dropped\n"
    assert dlq("import", str(tmp_path / "letters")) == "3 dead letters imported\n"
    assert zqueue.App(url).cancel("1-1-0").unknown == 1


def test_a_gateway_to_all(two: list[Broker], letters: list[int]) -> None:
    url = f"{url_of(two)},{again(two[0])}"
    for broker in two:
        with zqueue.Producer(broker.url) as producer:
            producer.send("q", 1)
    with served(Gateway(url), url) as client:
        assert client.lines("/v1/queues/q", b"1\n" * 5_000).data == {"accepted": 5_000}
        for number in range(20):
            assert client.post(f"/v1/queues/other-{number}", 1).status == 202
        (queue,) = [each for each in client.get("/v1/queues").data["queues"]
                    if each["queue"] == "q"]  # fmt: skip
        assert queue["ready"] == 5_002
        assert len(queue["brokers"]) == 2
        assert client.post("/v1/queues/q/pause").data["paused"] is True
        assert client.get("/v1/queues/q").data["state"] == "paused"
        found = client.get("/v1/dead-letters").data["letters"]
        assert len({letter["broker"] for letter in found}) == 2
        for letter in found:
            place = f"/v1/dead-letters/{letter['name']}"
            assert client.get(place).data["number"] == letter["number"]
            assert client.ask("DELETE", place).data == {"dropped": 1}
        assert client.get("/v1/dead-letters/1").status == 404
        two[1].process.kill()
        wait_until(lambda: client.post("/v1/queues/q", 1).status == 202, what="the other broker")
        assert client.get("/readyz").status == 200
        assert client.get("/v1/queues/q").status == 200
        assert client.post("/v1/queues/q/resume").status == 503
