"""The way of a task, from the caller to the handler and back, with nothing going wrong outside."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from concurrent.futures import wait
from pathlib import Path

import msgpack
import pytest
import zmq

import zqueue
from tests.system.harness import APPS, DEADLINE_S, HELLO, bare, header, receive, wait_until

pytestmark = pytest.mark.system

CREDIT, DELIVER, SETTLE, DONE = 20, 21, 22, 0


@pytest.fixture(scope="module")
def served(share):
    """A broker with two workers of ``apps/jobs.py``."""
    return share("jobs.py", 2)


@pytest.fixture
def jobs(served, load):
    """The tasks of ``apps/jobs.py``, with two workers that serve them."""
    served.begin()
    return load(served.broker, "jobs.py")


# --- calls ---


def test_send_runs_each_call_once(jobs, served):
    for i in range(1_000):
        jobs.run.send(i)
    jobs.app.flush()
    served.record.wait_for(range(1_000))
    assert Counter(served.record.ids()) == Counter(range(1_000))
    served.broker.wait_idle()
    assert served.count("published") == 1_000
    assert served.count("done") == 1_000
    assert served.count("redelivered") == 0


def test_what_one_thread_sends_is_handed_out_in_its_order(start_broker, load):
    """(A worker may return tasks, so nothing is promised of the order in which they run.)"""
    broker = start_broker(quick=False)
    jobs = load(broker, "jobs.py")
    for i in range(1_000):
        jobs.run.send(i)
    seen = []
    with bare(zmq.DEALER, broker.url) as worker:
        about = msgpack.packb({"queues": ["default"]})
        worker.send_multipart([header(HELLO, "worker", b"one that returns nothing"), about])
        worker.send(header(CREDIT, 100))
        for i in range(1_000, 2_000):
            jobs.run.send(i)
        while len(seen) < 2_000:
            head, *frames = receive(worker)
            _, kind, *fields = msgpack.unpackb(head)
            if kind == DELIVER:
                lease, _, batches = fields
                seen += [body[0] for frame in frames for body in msgpack.unpackb(frame)]
                runs = [[index, 0, batch[2], DONE] for index, batch in enumerate(batches)]
                worker.send(header(SETTLE, lease, 100, runs))
    assert seen == list(range(2_000))


def test_send_many_takes_one_iterable_a_parameter(jobs, served):
    assert jobs.add.send_many(range(5_000), range(5_000)) == 5_000
    jobs.app.flush()
    served.broker.wait_idle()
    assert served.count("done") == 5_000
    assert served.count("failed") == 0


def test_many_futures_each_get_their_own_result(jobs):
    futures = [jobs.echo.submit(i) for i in range(3_000)]
    done, _ = wait(futures, timeout=20)
    assert len(done) == 3_000
    assert [future.result() for future in futures] == list(range(3_000))


def test_arguments_by_name(jobs):
    assert jobs.add.submit(1, b=2, c=3).result(DEADLINE_S) == 6
    assert jobs.add.submit(a=1).result(DEADLINE_S) == 1
    assert jobs.add.submit(b=1, a=1).result(DEADLINE_S) == 2


def test_a_body_of_megabytes(jobs):
    value = b"x" * (8 << 20)
    assert jobs.echo.submit(value).result(DEADLINE_S) == value


def test_map_gives_results_in_order(jobs):
    assert list(jobs.add.map(range(5_000), range(5_000))) == [2 * i for i in range(5_000)]


def test_map_raises_where_the_result_would_stand(jobs):
    results = jobs.half_unsendable.map([0, 2, 3, 4])
    assert next(results) == 0
    assert next(results) == 2
    with pytest.raises(zqueue.RemoteError, match="cannot be sent"):
        next(results)


def test_options_choose_another_queue(broker, workers, load, record):
    workers(broker, "jobs.py", 1, "-Q", "side")
    jobs = load(broker, "jobs.py")
    jobs.run.send("not served")
    jobs.run.options(queue="side").send("served")
    record.wait_for(["served"])
    assert broker.queue("default")["ready"] == 1
    assert record.ids() == ["served"]


def test_with_app_waits_for_the_confirms(jobs, served):
    with jobs.app:
        for i in range(100):
            jobs.echo.send(i)
    assert served.count("published") == 100


def test_an_app_connects_anew_after_close(jobs):
    jobs.app.close()
    assert jobs.add.submit(1, 1).result(DEADLINE_S) == 2


# --- failures of handlers ---


def test_an_exception_arrives_with_its_remote_traceback(jobs):
    with pytest.raises(zqueue.RemoteError) as caught:
        jobs.fail.submit("no luck").result(DEADLINE_S)
    assert caught.value.type_name == "ValueError"
    assert "no luck" in str(caught.value)
    cause = str(caught.value.__cause__)
    assert "Traceback (most recent call last)" in cause
    assert "raise ValueError(text)" in cause


def test_a_failed_task_that_was_sent_is_a_dead_letter(jobs, served, run):
    jobs.fail.send("nobody waits")
    jobs.app.flush()
    wait_until(lambda: served.count("dead") == 1, what="a dead letter")
    letter, *_ = served.broker.dead()
    assert letter["queue"] == "default"
    assert letter["task"] == "fail"
    assert letter["reason"] == "failed"
    assert letter["body"] == ["nobody waits"]
    assert letter["error"][:2] == ["ValueError", "nobody waits"]
    assert "nobody waits" in run("dlq", "ls", "--url", served.broker.url).stdout


def test_a_failure_that_was_sent_is_logged_by_the_worker(jobs, served):
    jobs.fail.send("a word in the log")
    wait_until(lambda: "ValueError: a word in the log" in served.pool.process.err, what="a log")


def test_system_exit_in_a_handler_is_a_failure_and_ends_no_worker(jobs, served):
    pids = set(served.broker.worker_pids())
    with pytest.raises(zqueue.RemoteError, match="SystemExit"):
        jobs.leave.submit(3).result(DEADLINE_S)
    assert jobs.add.submit(1, 1).result(DEADLINE_S) == 2
    assert set(served.broker.worker_pids()) == pids


@pytest.mark.parametrize(
    ("task", "fails", "kind"),
    [
        ("stop_on", lambda number: number % 3 == 0, "StopIteration"),
        ("half_unsendable", lambda number: number % 2, "BodyError"),
    ],
    ids=["raises", "result"],
)
def test_a_failure_fails_nobody_else(jobs, task, fails, kind):
    futures = [getattr(jobs, task).submit(number) for number in range(300)]
    for number, future in enumerate(futures):
        if fails(number):
            error = future.exception(DEADLINE_S)
            assert isinstance(error, zqueue.RemoteError)
            assert kind in repr(error)
        else:
            assert future.result(DEADLINE_S) == number


def test_wrong_arguments_are_the_caller_s_type_error(jobs):
    with pytest.raises(TypeError, match="task 'add' takes"):
        jobs.add.submit(1, 2, 3, 4)


def test_wrong_arguments_of_others_are_the_handler_s_type_error(jobs):
    with pytest.raises(zqueue.RemoteError, match="TypeError"):
        jobs.app.producer.submit("default", [1, 2, 3, 4], task="add").result(DEADLINE_S)


# --- unknown tasks ---


def test_sending_an_unknown_task_makes_a_dead_letter(jobs, produce, served, run):
    produce(served.broker).send("default", [1], task="no_such_task")
    wait_until(lambda: served.count("dead") == 1, what="a dead letter")
    done = run("dlq", "ls", "--letters", "--json", "--url", served.broker.url)
    assert done.returncode == 0
    letter = json.loads(done.stdout)[0]
    assert (letter["task"], letter["body"]) == ("no_such_task", [1])
    assert letter["error"] == "UnknownTask"
    assert jobs.add.submit(1, 1).result(DEADLINE_S) == 2


# --- async handlers ---


def test_async_tasks_run_side_by_side(jobs):
    began = time.monotonic()
    futures = [jobs.nap.submit(i, 0.5) for i in range(40)]
    assert [future.result(DEADLINE_S) for future in futures] == list(range(40))
    assert time.monotonic() - began < 15, "one after the other they take 20 s"


def test_an_async_exception_arrives(jobs):
    with pytest.raises(zqueue.RemoteError, match="LookupError: gone") as caught:
        jobs.fail_soon.submit("gone").result(DEADLINE_S)
    assert "raise LookupError(text)" in str(caught.value.__cause__)


# --- batch handlers ---


@pytest.fixture(scope="module")
def gathering(share):
    """A broker with a worker of ``apps/batches.py``."""
    return share("batches.py", 1)


@pytest.fixture
def batches(gathering, load, monkeypatch):
    """The handlers of ``apps/batches.py``, with a worker that serves them."""
    gathering.begin()
    monkeypatch.syspath_prepend(str(APPS))
    return load(gathering.broker, "batches.py")


def test_a_batch_handler_gets_bodies_as_sent(batches, gathering):
    assert batches.index.send_many({"id": n} for n in range(1_000)) == 1_000
    gathering.record.wait_for(range(1_000))
    assert Counter(gathering.record.ids()) == Counter(range(1_000))
    sizes = {entry["size"] for entry in gathering.record.entries()}
    assert max(sizes) <= 50
    assert max(sizes) > 10, "many were waiting: calls should be well filled"


def test_only_the_failures_of_a_partial_failure_fail(batches, gathering):
    batches.index.send_many({"id": n, "bad": n % 7 == 0} for n in range(500))
    good = [n for n in range(500) if n % 7]
    gathering.record.wait_for(good)
    batches.app.flush()
    gathering.broker.wait_idle()
    assert Counter(gathering.record.ids()) == Counter(good)
    assert gathering.count("dead") == 500 - len(good)
    assert sorted(letter["body"]["id"] for letter in gathering.broker.dead()[:72]) == list(
        range(0, 500, 7)
    )


def test_a_submitted_body_learns_of_its_own_failure_only(batches):
    futures = [batches.index.submit({"id": n, "bad": n % 5 == 0}) for n in range(100)]
    for n, future in enumerate(futures):
        if n % 5:
            assert future.result(DEADLINE_S) is None
        else:
            with pytest.raises(zqueue.RemoteError, match=f"event {n} is bad"):
                future.result(DEADLINE_S)


def test_a_batch_that_raises_fails_as_a_whole(batches):
    futures = [batches.refuse_all.submit({"id": n}) for n in range(10)]
    for future in futures:
        with pytest.raises(zqueue.RemoteError, match="none of"):
            future.result(DEADLINE_S)


def test_an_async_batch_handler(batches, gathering):
    batches.index_async.send_many({"id": n} for n in range(200))
    gathering.record.wait_for(range(200))
    assert Counter(gathering.record.ids()) == Counter(range(200))


def test_a_plain_producer_feeds_a_batch_queue(batches, gathering):
    with zqueue.Producer(gathering.broker.url) as producer:
        producer.send("events", {"id": "one"})
        assert producer.send_many("events", ({"id": n} for n in range(300))) == 300
        producer.flush(DEADLINE_S)
    gathering.record.wait_for(["one", *range(300)])


# --- threads ---


def test_threads_share_one_producer(jobs, produce, served):
    producer = produce(served.broker)

    def send(number):
        for i in range(500):
            producer.send("default", [f"{number}-{i}"], task="run")

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    producer.flush()
    wanted = {f"{number}-{i}" for number in range(8) for i in range(500)}
    served.record.wait_for(wanted)
    assert Counter(served.record.ids()) == Counter(wanted)


def test_threads_submit_through_one_app(jobs):
    results: dict[int, list[int]] = {}

    def ask(number):
        results[number] = [jobs.add.submit(number, i).result(DEADLINE_S) for i in range(100)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert results == {n: [n + i for i in range(100)] for n in range(8)}


def test_a_callback_of_a_future_may_send(jobs, served):
    jobs.add.submit(1, 1).add_done_callback(lambda future: jobs.run.send(future.result()))
    served.record.wait_for([2])


# --- what cannot be sent ---


def test_a_body_that_cannot_be_packed(broker, produce):
    producer = produce(broker)
    for body in [object(), {1, 2}, [1, [lambda: 0]], 1 << 64, "\ud800"]:
        for call in (
            lambda body: producer.send("q", body),
            lambda body: producer.send_many("q", [1, body]),
            lambda body: producer.submit("q", body),
            lambda body: list(producer.call_many("q", [body])),
        ):
            with pytest.raises(zqueue.BodyError):
                call(body)
    producer.send("q", "still usable")
    producer.flush(DEADLINE_S)


def test_a_body_over_the_limit(broker, produce):
    producer = produce(broker)
    body = b"x" * (17 << 20)
    with pytest.raises(zqueue.BodyTooLarge, match="over the limit"):
        producer.send("q", body)
    with pytest.raises(zqueue.BodyTooLarge, match="over the limit"):
        producer.send_many("q", [body])
    producer.send("q", "small")
    producer.flush(DEADLINE_S)
    assert broker.queue("q")["ready"] == 1


def test_bodies_that_are_large_only_together(broker, produce):
    producer = produce(broker)
    producer.send_many("q", [b"x" * (6 << 20)] * 5)
    producer.flush(DEADLINE_S)
    assert broker.queue("q")["ready"] == 5


def test_a_bad_queue_name(broker, produce):
    producer = produce(broker)
    app = zqueue.App(broker.url)
    for name in ["", "a b", "ä", "x" * 129, "a/b", "q\n"]:
        with pytest.raises(zqueue.InvalidName):
            producer.send(name, 1)
        with pytest.raises(zqueue.InvalidName):
            producer.submit(name, 1)
        with pytest.raises(zqueue.InvalidName):
            app.task(queue=name)(print)


# --- opening and closing ---


def test_producers_come_and_go(broker):
    for number in range(200):
        with zqueue.Producer(broker.url) as producer:
            producer.send("q", number)
    state = broker.info()
    assert state["counters"]["published"] == 200
    assert state["producers"] == 0


def test_a_broker_that_nobody_speaks_to_sleeps(start_broker):
    broker = start_broker(quick=False)
    status = Path(f"/proc/{broker.process.pid}/stat")
    wait_until(
        lambda: status.read_text().rpartition(")")[2].split()[0] == "S",
        what="the broker to sleep, and not to look at its clock without end",
    )
