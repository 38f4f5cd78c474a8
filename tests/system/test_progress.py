"""How far tasks have come, which task is which, and what its sender sent along with it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter

import msgpack
import pytest
import zmq

from tests.system.harness import (
    APPS,
    HELLO,
    WELCOME,
    bare,
    header,
    receive,
    wait_until,
)

pytestmark = pytest.mark.system

CREDIT, DELIVER, PROGRESS = 20, 21, 24
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
STEPS = 12


@pytest.fixture
def steps(load, broker, workers):
    """The app whose tasks say how far they have come, and a worker of it."""
    workers(broker, "steps.py", 1)
    return load(broker, "steps.py")


def heard_of(future):
    """All that a future hears from now on, and in which threads."""
    heard, threads = [], set()

    def hear(same):
        assert same is future
        heard.append(future.progress)
        threads.add(threading.current_thread())

    future.add_progress_callback(hear)
    return heard, threads


def open_gate(record):
    """Let the tasks go on that wait."""
    (record.path.parent / (record.path.name + ".gate")).touch()


# --- progress ---


@pytest.mark.parametrize("name", ["plain", "timed", "softly", "threaded", "climb_async"])
def test_its_submitter_hears_how_far_a_task_has_come(steps, name):
    future = getattr(steps, name).submit(STEPS)
    assert future.progress is None
    heard, threads = heard_of(future)
    future.result(20)
    assert future.progress == (STEPS, STEPS), "the end is always told"
    assert heard[-1] == (STEPS, STEPS)
    assert heard == sorted(heard)
    assert {total for _, total in heard} == {STEPS}
    assert 3 <= len(heard) <= STEPS, "ten times a second, not twenty"
    assert len(threads) == 1
    assert threads != {threading.main_thread()}


@pytest.mark.parametrize("name", ["plain", "climb_async"])
def test_each_of_many_hears_of_its_own(steps, name):
    """Tasks of one batch, and of several, run before and beside one another."""
    task = getattr(steps, name)
    futures = [task.submit(count) for count in (1, 2, 3, 4, 5, 6)]
    ids = [future.result(30) for future in futures]
    assert len(set(ids)) == len(ids)
    for count, future in enumerate(futures, 1):
        assert future.progress == (count, count)


def test_what_a_batch_handler_says_is_nobodys(steps, record):
    """It runs many tasks at once: it finds no id, and may say what it likes."""
    futures = [steps.index.submit(number) for number in range(3)]
    for future in futures:
        assert future.result(20) is None
    (entry, *_) = record.entries()
    assert (entry["task"], entry["queue"], entry["id"]) == ("index", "batches", "")


def test_the_broker_tells_what_runs_and_how_far_it_is(steps, broker, record):
    steps.wait.send("a", 5)
    wait_until(lambda: record.entries(), what="its beginning")

    def running():
        (worker,) = broker.info()["workers"]
        return worker["report"].get("running")

    task, seconds, done, total = wait_until(running, what="what it runs in its report")
    assert (task, done, total) == ("wait", 5, 9)
    assert seconds > 0
    open_gate(record)
    wait_until(lambda: not running(), what="a report of nothing that runs")


def test_what_runs_in_the_event_loop_is_told_too(steps, broker):
    future = steps.patient.submit(40)

    def running():
        (worker,) = broker.info()["workers"]
        return worker["report"].get("running")

    first = wait_until(running, what="what it runs in its report")
    assert (first[0], first[3]) == ("patient", 40)
    wait_until(lambda: running()[2] > first[2], what="later steps")
    assert running()[1] > first[1]
    future.result(20)


def test_nobody_is_told_who_wants_no_result(steps, broker, record):
    """It costs nothing then: the broker hears not a word of it."""
    steps.plain.send(3)
    broker.wait_idle()
    assert broker.count("garbage") == 0
    assert steps.plain.submit(1).result(20)


def test_a_future_that_says_nothing_has_none(steps):
    future = steps.who.submit("x")
    heard, _ = heard_of(future)
    future.result(20)
    assert future.progress is None
    assert heard == []


def test_a_callback_that_fails_harms_nobody(steps, caplog):
    future = steps.plain.submit(4)
    future.add_progress_callback(lambda _: 1 / 0)
    heard, _ = heard_of(future)
    future.result(20)
    assert heard
    assert "a callback for the progress of a task failed" in caplog.text
    assert steps.plain.submit(1).result(20)


def test_progress_begins_anew_when_a_task_runs_again(steps, broker, workers, record):
    future = steps.wait.submit("a", 7)
    heard, _ = heard_of(future)
    wait_until(lambda: heard == [(7, 9)], what="the first word")
    os.kill(record.entries()[0]["pid"], signal.SIGKILL)
    wait_until(lambda: len(heard) == 2, what="the same word of the second run")
    open_gate(record)
    assert future.result(20) == record.entries()[-1]["id"]


def test_a_soft_time_out_in_the_midst_of_it_breaks_nothing(steps):
    """The alarm may ring inside `progress`, where a lock is held."""
    for _ in range(20):
        with pytest.raises(Exception, match="TaskTimeout"):
            steps.hurry.submit().result(20)
    assert steps.plain.submit(1).result(20)


def test_what_comes_for_an_async_worker_is_not_kept_waiting_by_progress(steps):
    """What one thread sends must not make the other miss what came meanwhile."""
    busy = [steps.patient.submit(30) for _ in range(40)]
    slowest = 0.0
    for _ in range(100):
        began = time.monotonic()
        steps.who_async.submit("x").result(20)
        slowest = max(slowest, time.monotonic() - began)
    assert not all(future.done() for future in busy), "otherwise nothing was tried"
    assert slowest < 0.4
    for future in busy:
        assert future.result(60) is None


# --- who is who ---


def test_an_id_is_the_same_after_a_kill_and_no_other_tasks(steps, broker, workers, record):
    workers(broker, "steps.py", 1)
    futures = [steps.wait.submit(mark) for mark in range(12)]
    wait_until(lambda: len(record.entries()) >= 2, what="two that run")
    for pid in {entry["pid"] for entry in record.entries()}:
        os.kill(pid, signal.SIGKILL)
    open_gate(record)
    ids = [future.result(30) for future in futures]
    assert len(set(ids)) == 12
    runs = [entry for entry in record.entries() if entry["stage"] == "begin"]
    assert {entry["mark"]: entry["id"] for entry in runs} == dict(enumerate(ids))
    twice = [mark for mark, count in Counter(entry["mark"] for entry in runs).items() if count > 1]
    assert len(twice) >= 2
    for mark in twice:
        first, *_, last = [entry for entry in runs if entry["mark"] == mark]
        assert first["id"] == last["id"]
        assert first["attempt"] < last["attempt"]


def test_ids_of_a_batch_that_was_cut(load, broker, workers, record):
    """Two workers share one batch, and what one returns the other gets."""
    steps = load(broker, "steps.py")
    count = steps.quick.send_many(range(500))
    steps.app.flush()
    workers(broker, "steps.py", 2)
    broker.wait_idle()
    entries = record.entries()
    assert len({entry["id"] for entry in entries}) == count == 500
    by_mark = {entry["mark"]: entry["id"] for entry in entries}
    origins = {found.split("-")[0] for found in by_mark.values()}
    assert len(origins) == 1
    places = [tuple(map(int, by_mark[mark].split("-")[1:])) for mark in range(500)]
    assert places == sorted(places)


def test_two_producers_have_no_id_in_common(steps, broker, produce, record):
    first, second = produce(broker), produce(broker)
    for producer in (first, second):
        producer.send_many("quick", [["x"]] * 5, task="quick")
        producer.flush()
    wait_until(lambda: len(record.entries()) == 10, what="all of them")
    assert len({entry["id"] for entry in record.entries()}) == 10


def test_tasks_of_the_plain_lane_have_ids_too(start_broker, workers, record, tmp_path):
    ingest = f"ipc://{tmp_path}/in"
    broker = start_broker("--ingest", ingest)
    workers(broker, "steps.py", 1)
    with bare(zmq.PUSH, ingest) as push:
        for mark in range(3):
            push.send_multipart([b"quick", msgpack.packb([mark, -mark])])
        wait_until(lambda: len(record.entries()) == 6, what="all of them")
    assert len({entry["id"] for entry in record.entries()}) == 6
    origins = {entry["id"].split("-")[0] for entry in record.entries()}
    assert origins == {broker.info()["id"][:12]}


# --- trace contexts ---


@pytest.mark.parametrize("name", ["who", "who_async"])
def test_a_handler_finds_the_trace_context_of_its_task(steps, name):
    task = getattr(steps, name)
    futures = [
        task.options(traceparent=TRACEPARENT).submit(1),
        task.submit(2),
        task.options(traceparent=OTHER).submit(mark=3),
    ]
    found = [future.result(20)["traceparent"] for future in futures]
    assert found == [TRACEPARENT, "", OTHER]


def test_trace_contexts_of_all_ways_to_send(steps, record):
    traced = steps.quick.options(traceparent=TRACEPARENT)
    traced.send("send")
    traced.send_many(["many", "more"])
    assert len(list(traced.map(["map"]))) == 1
    steps.quick.send("without")
    wait_until(lambda: len(record.entries()) == 5, what="all of them")
    assert {entry["mark"]: entry["traceparent"] for entry in record.entries()} == {
        "send": TRACEPARENT, "many": TRACEPARENT, "more": TRACEPARENT, "map": TRACEPARENT,
        "without": "",
    }  # fmt: skip


def test_bodies_for_a_batch_handler_come_as_they_were_sent(steps, record):
    steps.index.options(traceparent=TRACEPARENT).submit({"traced": 1}).result(20)
    steps.index.submit("plain").result(20)
    bodies = [body for entry in record.entries() for body in entry["bodies"]]
    assert bodies == [{"traced": 1}, "plain"]


BROKEN = [
    msgpack.ExtType(116, b""),
    msgpack.ExtType(116, bytes(26)),
    msgpack.ExtType(116, bytes(26) + b"\xc1"),
    msgpack.ExtType(116, bytes(26) + b"\x01\x02"),
]


@pytest.mark.parametrize(("queue", "task"), [("quick", "quick"), ("default", "who_async"),
                                             ("default", "timed")])  # fmt: skip
def test_a_broken_trace_context_fails_its_task_only(steps, broker, produce, queue, task):
    (pid,) = broker.worker_pids()
    producer = produce(broker)
    for body in BROKEN:
        with pytest.raises(Exception, match="ProtocolError"):
            producer.submit(queue, body, task=task).result(20)
    assert steps.quick.submit("fine").result(20)
    assert broker.worker_pids() == [pid]


def test_a_broken_trace_context_kills_no_batch_handler(steps, broker, produce):
    """A worker is no place to die for a stranger's bytes."""
    (pid,) = broker.worker_pids()
    producer = produce(broker)
    for body in BROKEN:
        with pytest.raises(Exception, match="ProtocolError"):
            producer.submit("batches", body, task="index").result(20)
    assert steps.index.submit("fine").result(20) is None
    assert broker.worker_pids() == [pid]
    assert broker.count("workers_lost") == 0


# --- hostile words ---


def stranger(dealer, role, **about):
    """Greets; the number of the role's first message comes next."""
    dealer.send_multipart([header(HELLO, role, os.urandom(16)), msgpack.packb(about)])
    assert msgpack.unpackb(receive(dealer)[0])[1] == WELCOME


BIG = (1 << 63) - 1


@pytest.mark.parametrize(
    "fields",
    [(), (1,), (1, 0, 1), (-1, 0, 1, 1), (1, 0, 1 << 63, 1), ("1", 0, 1, 1), (1, 0, 1.5, 2),
     (1, 0, None, 2), ([], 0, 1, 2)],
)  # fmt: skip
def test_progress_that_is_none_is_refused(broker, fields):
    with bare(zmq.DEALER, broker.url) as dealer:
        stranger(dealer, "worker", queues=["q"])
        dealer.send(header(PROGRESS, *fields))
        assert msgpack.unpackb(receive(dealer)[0])[2:4] == ["malformed", 0]
    assert broker.count("garbage") == 1


def test_nobody_can_speak_of_the_tasks_of_another(steps, broker, record):
    """Only who has the lease; and numbers of any size harm nothing."""
    future = steps.wait.submit("a", 1)
    heard, _ = heard_of(future)
    wait_until(lambda: heard, what="the first word")
    with bare(zmq.DEALER, broker.url) as dealer:
        stranger(dealer, "worker", queues=["mine"])
        for lease in (0, 1, BIG):
            for position in (0, 1, BIG):
                dealer.send(header(PROGRESS, lease, position, BIG, BIG))
        dealer.send(header(30, "info"))
        assert msgpack.unpackb(receive(dealer)[0])[1] == 31, "all of it was passed over"
        for role in ("producer", "observer"):
            stranger(dealer, role)
            dealer.send(header(PROGRESS, 1, 0, 1, 1))
            assert msgpack.unpackb(receive(dealer)[0])[2] == "wrong-role"
    open_gate(record)
    future.result(20)
    assert heard == [(1, 9)]


def test_a_worker_can_say_no_more_than_its_tasks_have(broker, produce):
    """Whatever it says of a task of its own comes as it is said: its submitter takes it."""
    producer = produce(broker)
    with bare(zmq.DEALER, broker.url) as dealer:
        stranger(dealer, "worker", queues=["q"])
        dealer.send(header(CREDIT, 5))
        future = producer.submit("q", 1)
        heard, _ = heard_of(future)
        frames = receive(dealer)
        _, kind, lease, _, batches = msgpack.unpackb(frames[0])
        assert (kind, batches[0][2]) == (DELIVER, 1)
        for position, done, total in ((1, 1, 1), (BIG, 1, 1), (0, BIG, 0), (0, 5, 2)):
            dealer.send(header(PROGRESS, lease, position, done, total))
        wait_until(lambda: len(heard) == 2, what="what it said of its task")
        assert heard == [(BIG, 0), (5, 2)]
        dealer.send_multipart([header(22, lease, 5, [[0, 0, 1, 1]]), msgpack.packb(["done"])])
        assert future.result(20) == "done"
        dealer.send(header(PROGRESS, lease, 0, 9, 9))
        dealer.send(header(30, "info"))
        assert msgpack.unpackb(receive(dealer)[0])[1] == 31
    assert heard == [(BIG, 0), (5, 2)]


def test_an_earlier_brokers_tasks_have_no_such_numbers(processes, record, tmp_path):
    """A worker takes batches of four and five elements. It cannot know their ids then."""
    url = f"ipc://{tmp_path}/old"
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.setsockopt(zmq.LINGER, 0)
        router.bind(url)
        processes.zqueue("worker", str(APPS / "steps.py"), "-p", "1", "--url", url)
        while len(record.entries()) < 2:
            assert router.poll(15_000), "a worker that says something"
            peer, head, *_ = router.recv_multipart()
            kind = msgpack.unpackb(head)[1]
            if kind == HELLO:
                router.send_multipart([peer, header(WELCOME, b"oldest", 1000, 5000)])
            elif kind == CREDIT:
                for lease, batch in enumerate((["quick", 0, 1, 1], ["quick", 0, 1, 1, 250]), 1):
                    said = header(DELIVER, lease, "quick", [batch])
                    router.send_multipart([peer, said, msgpack.packb([[lease]])])
    assert [entry["mark"] for entry in record.entries()[:2]] == [1, 2]
    assert {entry["id"] for entry in record.entries()} == {""}
