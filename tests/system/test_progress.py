"""How far tasks have come, which task is which, and what its sender sent along with it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import wait

import msgpack
import pytest
import zmq

from tests.system.harness import APPS, DEADLINE_S, HELLO, WELCOME, bare, header, receive, wait_until

pytestmark = pytest.mark.system

CREDIT, DELIVER, PROGRESS = 20, 21, 24
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
STEPS = 12


@pytest.fixture(scope="module")
def served(share):
    """A broker with a worker of ``apps/steps.py``."""
    return share("steps.py", 1)


@pytest.fixture
def steps(served, load):
    """The app whose tasks say how far they have come, and a worker of it."""
    served.begin()
    yield load(served.broker, "steps.py")
    served.record.open_gate()


@pytest.fixture
def own_steps(broker, workers, load):
    """The same for a test that kills that worker."""
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


# --- progress ---


@pytest.mark.parametrize("name", ["plain", "timed", "softly", "threaded", "climb_async"])
def test_its_submitter_hears_how_far_a_task_has_come(steps, name):
    future = getattr(steps, name).submit(STEPS)
    heard, threads = heard_of(future)
    future.result(DEADLINE_S)
    assert future.progress == (STEPS, STEPS), "the end is always told"
    assert heard[-1] == (STEPS, STEPS)
    assert heard == sorted(heard)
    assert {total for _, total in heard} == {STEPS}
    assert 3 <= len(heard) <= STEPS, "ten times a second, not twenty"
    assert len(threads - {threading.main_thread()}) == 1, "but what was said before, in ours"


@pytest.mark.parametrize("name", ["plain", "climb_async"])
def test_each_of_many_hears_of_its_own(steps, name):
    """Tasks of one batch, and of several, run before and beside one another."""
    task = getattr(steps, name)
    futures = [task.submit(count) for count in (1, 2, 3, 4, 5, 6)]
    ids = [future.result(DEADLINE_S) for future in futures]
    assert len(set(ids)) == len(ids)
    for count, future in enumerate(futures, 1):
        assert future.progress == (count, count)


def test_the_broker_tells_what_runs_and_how_far_it_is(steps, served):
    steps.wait.send("a", 5)
    wait_until(lambda: served.record.entries(), what="its beginning")

    def running():
        (worker,) = served.broker.info()["workers"]
        found = worker["report"].get("running")
        return found if found and found[0] == "wait" else None

    _, seconds, done, total = wait_until(running, what="what it runs in its report")
    assert (done, total) == (5, 9)
    assert seconds > 0
    served.record.open_gate()
    wait_until(lambda: not running(), what="a report of nothing that runs")


def test_what_runs_in_the_event_loop_is_told_too(steps, served):
    future = steps.patient.submit(40)

    def running():
        (worker,) = served.broker.info()["workers"]
        found = worker["report"].get("running")
        return found if found and found[0] == "patient" else None

    first = wait_until(running, what="what it runs in its report")
    assert first[3] == 40
    wait_until(lambda: running()[2] > first[2], what="later steps")
    assert running()[1] > first[1]
    future.result(DEADLINE_S)


def test_progress_begins_anew_when_a_task_runs_again(own_steps, broker, workers, record):
    future = own_steps.wait.submit("a", 7)
    heard, _ = heard_of(future)
    wait_until(lambda: heard == [(7, 9)], what="the first word")
    os.kill(record.entries()[0]["pid"], signal.SIGKILL)
    wait_until(lambda: len(heard) == 2, what="the same word of the second run")
    record.open_gate()
    assert future.result(DEADLINE_S) == record.entries()[-1]["id"]


def test_a_soft_time_out_in_the_midst_of_it_breaks_nothing(steps):
    """The alarm may ring inside `progress`, where a lock is held."""
    for _ in range(20):
        with pytest.raises(Exception, match="TaskTimeout"):
            steps.hurry.submit().result(DEADLINE_S)
    assert steps.plain.submit(1).result(DEADLINE_S)


@pytest.mark.alone
def test_what_comes_for_an_async_worker_is_not_kept_waiting_by_progress(steps):
    """What one thread sends must not make the other miss what came meanwhile."""
    busy = [steps.patient.submit(10_000) for _ in range(40)]
    took_s = []
    for _ in range(100):
        began = time.monotonic()
        steps.who_async.submit("x").result(DEADLINE_S)
        took_s.append(time.monotonic() - began)
    assert sorted(took_s)[-5] < 0.4, "all but a few, for the machine may stand still"
    assert steps.app.cancel(*busy, running=True).stopping == 40
    assert not wait(busy, DEADLINE_S).not_done


# --- who is who ---


def test_an_id_is_the_same_after_a_kill_and_no_other_tasks(own_steps, broker, workers, record):
    workers(broker, "steps.py", 1)
    futures = [own_steps.wait.submit(mark) for mark in range(12)]
    wait_until(lambda: len(record.entries()) >= 2, what="two that run")
    for pid in {entry["pid"] for entry in record.entries()}:
        os.kill(pid, signal.SIGKILL)
    record.open_gate()
    ids = [future.result(DEADLINE_S) for future in futures]
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
    found = [future.result(DEADLINE_S)["traceparent"] for future in futures]
    assert found == [TRACEPARENT, "", OTHER]


def test_trace_contexts_of_all_ways_to_send(steps, served):
    traced = steps.quick.options(traceparent=TRACEPARENT)
    traced.send("send")
    traced.send_many(["many", "more"])
    assert len(list(traced.map(["map"]))) == 1
    steps.quick.send("without")
    wait_until(lambda: len(served.record.entries()) == 5, what="all of them")
    assert {entry["mark"]: entry["traceparent"] for entry in served.record.entries()} == {
        "send": TRACEPARENT, "many": TRACEPARENT, "more": TRACEPARENT, "map": TRACEPARENT,
        "without": "",
    }  # fmt: skip


BROKEN = [
    msgpack.ExtType(116, b""),
    msgpack.ExtType(116, bytes(26)),
    msgpack.ExtType(116, bytes(26) + b"\xc1"),
    msgpack.ExtType(116, bytes(26) + b"\x01\x02"),
]


def test_a_broken_trace_context_kills_no_batch_handler(steps, produce, served):
    """A worker is no place to die for a stranger's bytes."""
    (pid,) = served.broker.worker_pids()
    producer = produce(served.broker)
    for body in BROKEN:
        with pytest.raises(Exception, match="ProtocolError"):
            producer.submit("batches", body, task="index").result(DEADLINE_S)
    assert steps.index.submit("fine").result(DEADLINE_S) is None
    assert served.broker.worker_pids() == [pid]
    assert served.count("workers_lost") == 0


# --- hostile words ---


def stranger(dealer, role, **about):
    """Greets; the number of the role's first message comes next."""
    dealer.send_multipart([header(HELLO, role, os.urandom(16)), msgpack.packb(about)])
    assert msgpack.unpackb(receive(dealer)[0])[1] == WELCOME


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
