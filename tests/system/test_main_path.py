"""The way of a task, from the caller to the handler and back, with nothing going wrong outside."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from concurrent.futures import wait

import pytest

import zqueue
from tests.system.harness import APPS, wait_until

pytestmark = pytest.mark.system


@pytest.fixture
def jobs(broker, workers, load):
    """The tasks of ``apps/jobs.py``, with two workers that serve them."""
    workers(broker, "jobs.py", 2)
    return load(broker, "jobs.py")


# --- calls ---


def test_a_task_is_still_a_plain_function(load, broker):
    assert load(broker, "jobs.py").add(1, 2) == 3


def test_send_runs_each_call_once(jobs, record, broker):
    for i in range(1_000):
        jobs.run.send(i)
    jobs.app.flush()
    record.wait_for(range(1_000))
    assert Counter(record.ids()) == Counter(range(1_000))
    state = broker.wait_idle()
    assert state["counters"]["published"] == 1_000
    assert state["counters"]["done"] == 1_000
    assert state["counters"]["redelivered"] == 0


def test_calls_of_one_sender_run_in_order_in_one_worker(broker, workers, load, record):
    workers(broker, "jobs.py", 1)
    jobs = load(broker, "jobs.py")
    for i in range(2_000):
        jobs.run.send(i)
    record.wait_for(range(2_000))
    assert record.ids() == list(range(2_000))


def test_send_many_takes_one_iterable_a_parameter(jobs, broker):
    assert jobs.add.send_many(range(5_000), range(5_000)) == 5_000
    jobs.app.flush()
    state = broker.wait_idle()
    assert state["counters"]["done"] == 5_000
    assert state["counters"]["failed"] == 0


def test_submit_gives_a_future(jobs):
    assert jobs.add.submit(1, 2).result(timeout=5) == 3


def test_many_futures_each_get_their_own_result(jobs):
    futures = [jobs.echo.submit(i) for i in range(3_000)]
    done, _ = wait(futures, timeout=20)
    assert len(done) == 3_000
    assert [future.result() for future in futures] == list(range(3_000))


def test_arguments_by_name(jobs):
    assert jobs.add.submit(1, b=2, c=3).result(timeout=5) == 6
    assert jobs.add.submit(a=1).result(timeout=5) == 1
    assert jobs.add.submit(b=1, a=1).result(timeout=5) == 2


VALUES = [
    None, True, -1, 2**63, 1.5, "", "ä€😀", b"\x00\xff", [], [[1], {"a": None}], {}, {"*": 1},
    {"a": [1, {"b": b"c"}]},
]  # fmt: skip


def test_values_come_back_as_they_were_sent(jobs):
    futures = [jobs.echo.submit(value) for value in VALUES]
    assert [future.result(timeout=5) for future in futures] == VALUES


def test_a_body_of_megabytes(jobs):
    value = b"x" * (8 << 20)
    assert jobs.echo.submit(value).result(timeout=20) == value


def test_map_gives_results_in_order(jobs):
    assert list(jobs.add.map(range(5_000), range(5_000))) == [2 * i for i in range(5_000)]


def test_map_stops_at_the_shortest(jobs):
    assert list(jobs.add.map([1, 2, 3], [10, 20])) == [11, 22]


def test_map_of_nothing(jobs):
    assert list(jobs.add.map([])) == []


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


def test_with_app_waits_for_the_confirms(jobs, broker):
    with jobs.app:
        for i in range(100):
            jobs.echo.send(i)
    assert broker.count("published") == 100


def test_an_app_connects_anew_after_close(jobs):
    jobs.app.close()
    assert jobs.add.submit(1, 1).result(timeout=5) == 2


def test_a_closed_producer_says_so(broker, produce):
    producer = produce(broker)
    producer.send("q", 1)
    producer.close()
    with pytest.raises(zqueue.Closed):
        producer.send("q", 2)
    assert broker.queue("q")["ready"] == 1


# --- failures of handlers ---


def test_an_exception_arrives_with_its_remote_traceback(jobs):
    with pytest.raises(zqueue.RemoteError) as caught:
        jobs.fail.submit("no luck").result(timeout=5)
    assert caught.value.type_name == "ValueError"
    assert "no luck" in str(caught.value)
    cause = str(caught.value.__cause__)
    assert "Traceback (most recent call last)" in cause
    assert "raise ValueError(text)" in cause


def test_a_failure_fails_nobody_else(jobs):
    futures = [
        jobs.fail.submit(str(i)) if i % 10 == 0 else jobs.echo.submit(i) for i in range(1_000)
    ]
    for i, future in enumerate(futures):
        if i % 10 == 0:
            assert isinstance(future.exception(timeout=10), zqueue.RemoteError)
        else:
            assert future.result(timeout=10) == i


def test_a_failed_task_that_was_sent_is_a_dead_letter(jobs, broker, run):
    jobs.fail.send("nobody waits")
    jobs.app.flush()
    wait_until(lambda: broker.count("dead") == 1, what="a dead letter")
    (letter,) = broker.dead()
    assert letter["queue"] == "default"
    assert letter["task"] == "fail"
    assert letter["reason"] == "failed"
    assert letter["body"] == ["nobody waits"]
    assert letter["error"][:2] == ["ValueError", "nobody waits"]
    assert "nobody waits" in run("info", "--dead", "--url", broker.url).stdout


def test_a_failure_that_was_sent_is_logged_by_the_worker(broker, workers, load):
    pool = workers(broker, "jobs.py", 1)
    jobs = load(broker, "jobs.py")
    jobs.fail.send("a word in the log")
    wait_until(lambda: "a word in the log" in pool.process.err, what="a log line")
    assert "ValueError" in pool.process.err


def test_stop_iteration_is_an_exception_like_any_other(jobs):
    with pytest.raises(zqueue.RemoteError, match="StopIteration"):
        jobs.no_such_element.submit().result(timeout=5)


def test_stop_iteration_does_not_shift_the_results_of_others(jobs):
    futures = [jobs.stop_on.submit(number) for number in range(1, 301)]
    for number, future in enumerate(futures, 1):
        if number % 3 == 0:
            assert "StopIteration" in repr(future.exception(timeout=5)), number
        else:
            assert future.result(timeout=5) == number


def test_stop_iteration_that_was_sent_is_a_dead_letter(jobs, broker):
    jobs.no_such_element.send()
    jobs.app.flush()
    state = broker.wait_idle()
    assert state["counters"]["dead"] == 1


def test_system_exit_in_a_handler_is_a_failure_and_ends_no_worker(jobs, broker):
    pids = set(broker.worker_pids())
    with pytest.raises(zqueue.RemoteError, match="SystemExit"):
        jobs.leave.submit(3).result(timeout=5)
    assert jobs.add.submit(1, 1).result(timeout=5) == 2
    assert set(broker.worker_pids()) == pids


def test_a_result_that_cannot_be_packed_is_an_error(jobs):
    with pytest.raises(zqueue.RemoteError, match="cannot be sent") as caught:
        jobs.unsendable.submit().result(timeout=5)
    assert caught.value.type_name == "BodyError"


def test_a_result_that_cannot_be_packed_harms_no_other(jobs):
    futures = [jobs.half_unsendable.submit(number) for number in range(200)]
    for number, future in enumerate(futures):
        if number % 2:
            assert isinstance(future.exception(timeout=5), zqueue.RemoteError)
        else:
            assert future.result(timeout=5) == number


def test_wrong_arguments_are_the_handler_s_type_error(jobs):
    with pytest.raises(zqueue.RemoteError, match="TypeError"):
        jobs.add.submit(1, 2, 3, 4).result(timeout=5)


# --- unknown tasks ---


def test_submitting_an_unknown_task(jobs, produce, broker):
    with pytest.raises(zqueue.UnknownTask, match="no_such_task"):
        produce(broker).submit("default", [1], task="no_such_task").result(timeout=5)
    assert jobs.add.submit(1, 1).result(timeout=5) == 2


def test_sending_an_unknown_task_makes_a_dead_letter(jobs, produce, broker, run):
    produce(broker).send("default", [1], task="no_such_task")
    wait_until(lambda: broker.count("dead") == 1, what="a dead letter")
    done = run("info", "--dead", "--json", "--url", broker.url)
    assert done.returncode == 0
    data = json.loads(done.stdout)
    assert data["total"] == 1
    assert data["letters"][0]["task"] == "no_such_task"
    assert data["letters"][0]["body"] == [[1]] or data["letters"][0]["body"] == [1]
    assert data["letters"][0]["error"][0] == "UnknownTask"
    assert jobs.add.submit(1, 1).result(timeout=5) == 2


# --- async handlers ---


def test_async_tasks_run_side_by_side(broker, workers, load, record):
    workers(broker, "jobs.py", 1)
    jobs = load(broker, "jobs.py")
    began = time.monotonic()
    futures = [jobs.nap.submit(i, 0.5) for i in range(40)]
    assert [future.result(timeout=15) for future in futures] == list(range(40))
    assert time.monotonic() - began < 5, "one after the other they take 20 s"


def test_an_async_exception_arrives(jobs):
    with pytest.raises(zqueue.RemoteError, match="LookupError: gone") as caught:
        jobs.fail_soon.submit("gone").result(timeout=5)
    assert "raise LookupError(text)" in str(caught.value.__cause__)


# --- batch handlers ---


@pytest.fixture
def batches(broker, workers, load, monkeypatch):
    """The handlers of ``apps/batches.py``, with a worker that serves them."""
    workers(broker, "batches.py", 1)
    monkeypatch.syspath_prepend(str(APPS))
    return load(broker, "batches.py")


def test_a_batch_handler_gets_bodies_as_sent(batches, record, broker):
    assert batches.index.send_many({"id": n} for n in range(1_000)) == 1_000
    record.wait_for(range(1_000))
    assert Counter(record.ids()) == Counter(range(1_000))
    sizes = {entry["size"] for entry in record.entries()}
    assert max(sizes) <= 50
    assert max(sizes) > 10, "many were waiting: calls should be well filled"


def test_only_the_failures_of_a_partial_failure_fail(batches, record, broker):
    batches.index.send_many({"id": n, "bad": n % 7 == 0} for n in range(500))
    good = [n for n in range(500) if n % 7]
    record.wait_for(good)
    batches.app.flush()
    state = broker.wait_idle()
    assert Counter(record.ids()) == Counter(good)
    assert state["counters"]["dead"] == 500 - len(good)
    assert sorted(letter["body"]["id"] for letter in broker.dead()) == list(range(0, 500, 7))


def test_a_submitted_body_learns_of_its_own_failure_only(batches):
    futures = [batches.index.submit({"id": n, "bad": n % 5 == 0}) for n in range(100)]
    for n, future in enumerate(futures):
        if n % 5:
            assert future.result(timeout=5) is None
        else:
            with pytest.raises(zqueue.RemoteError, match=f"event {n} is bad"):
                future.result(timeout=5)


def test_a_batch_that_raises_fails_as_a_whole(batches, broker):
    futures = [batches.refuse_all.submit({"id": n}) for n in range(10)]
    for future in futures:
        with pytest.raises(zqueue.RemoteError, match="none of"):
            future.result(timeout=5)


def test_an_async_batch_handler(batches, record):
    batches.index_async.send_many({"id": n} for n in range(200))
    record.wait_for(range(200))
    assert Counter(record.ids()) == Counter(range(200))


def test_a_plain_producer_feeds_a_batch_queue(batches, record, broker):
    with zqueue.Producer(broker.url) as producer:
        producer.send("events", {"id": "one"})
        assert producer.send_many("events", ({"id": n} for n in range(300))) == 300
        producer.flush(timeout=10)
    record.wait_for(["one", *range(300)])


# --- threads ---


def test_threads_share_one_producer(jobs, record, produce, broker):
    producer = produce(broker)

    def send(number):
        for i in range(500):
            producer.send("default", [f"{number}-{i}"], task="run")

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    producer.flush()
    wanted = {f"{number}-{i}" for number in range(8) for i in range(500)}
    record.wait_for(wanted, 30)
    assert Counter(record.ids()) == Counter(wanted)


def test_threads_submit_through_one_app(jobs):
    results: dict[int, list[int]] = {}

    def ask(number):
        results[number] = [jobs.add.submit(number, i).result(timeout=10) for i in range(100)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == {n: [n + i for i in range(100)] for n in range(8)}


def test_a_callback_of_a_future_may_send(jobs, record):
    jobs.add.submit(1, 1).add_done_callback(lambda future: jobs.run.send(future.result()))
    record.wait_for([2])


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
    producer.flush(timeout=5)


def test_a_body_that_contains_itself(broker, produce):
    body: list[object] = []
    body.append(body)
    with pytest.raises(zqueue.BodyError):
        produce(broker).send("q", body)


def test_a_body_over_the_limit(broker, produce):
    producer = produce(broker)
    body = b"x" * (17 << 20)
    with pytest.raises(zqueue.BodyTooLarge, match="over the limit"):
        producer.send("q", body)
    with pytest.raises(zqueue.BodyTooLarge, match="over the limit"):
        producer.send_many("q", [body])
    producer.send("q", "small")
    producer.flush(timeout=5)
    assert broker.queue("q")["ready"] == 1


def test_bodies_that_are_large_only_together(broker, produce):
    producer = produce(broker)
    producer.send_many("q", [b"x" * (6 << 20)] * 5)
    producer.flush(timeout=20)
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
