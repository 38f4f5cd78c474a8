"""Cancelling: what waits does not run, what runs is ended, and every future has its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from concurrent.futures import CancelledError, wait

import pytest

import zqueue
import zqueue.testing
from tests.system.harness import wait_until

pytestmark = pytest.mark.system

LONG_S = 30.0


@pytest.fixture
def app(broker):
    with zqueue.App(broker.url) as opened:
        yield opened


def stages(record, stage):
    return [entry["id"] for entry in record.entries() if entry.get("stage") == stage]


def submit(app, task, *args, queue="default"):
    return app.producer.submit(queue, list(args), task=task)


def idle(broker):
    state = broker.wait_idle()
    assert all(q["ready"] == q["leased"] == 0 for q in state["queues"].values())
    return state


def test_what_waits_does_not_run_and_its_neighbours_do(app, broker, workers, record):
    futures = [submit(app, "quick", i) for i in range(200)]
    app.flush()
    done = []
    futures[7].add_done_callback(done.append)
    assert futures[7].cancel()
    assert futures[7].cancel(), "a second time it is so still"
    assert futures[7].cancelled()
    assert done == [futures[7]]
    with pytest.raises(CancelledError):
        futures[7].result(0)
    counts = app.cancel(*futures[100:150], futures[7])
    assert counts == zqueue.Cancellation(cancelled=50, unknown=1)
    assert wait(futures[100:150], LONG_S).done == set(futures[100:150])
    workers(broker, "cancels.py")
    left = [i for i in range(200) if i != 7 and not 100 <= i < 150]
    assert [futures[i].result(LONG_S) for i in left] == left
    assert sorted(entry["id"] for entry in record.entries()) == left
    counters = idle(broker)["counters"]
    assert (counters["cancelled"], counters["dead"], counters["done"]) == (51, 0, len(left))
    assert not futures[0].cancel()


def test_what_has_not_left_is_cancelled_at_once(app, broker, workers, record):
    submit(app, "quick", -1).cancel()
    os.kill(broker.pid, signal.SIGSTOP)  # Nothing is confirmed meanwhile: what comes now gathers.
    try:
        first = submit(app, "quick", 0)
        futures = [submit(app, "quick", i) for i in range(1, 6)]
        assert futures[0].cancel()
        assert app.cancel(*futures[2:4]) == zqueue.Cancellation(cancelled=2)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    workers(broker, "cancels.py")
    assert [f.result(LONG_S) for f in (first, futures[1], futures[4])] == [0, 2, 5]
    assert sorted(entry["id"] for entry in record.entries()) == [0, 2, 5]


@pytest.mark.parametrize("task", ["stay", "dream"])
def test_what_runs_is_ended_when_that_is_asked_for(app, broker, workers, record, task):
    workers(broker, "cancels.py")
    future, behind = submit(app, task, "x"), None
    wait_until(lambda: stages(record, "begin"), what="it runs")
    assert not future.cancel(), "a worker has it"
    future.cancel(running=True)  # It is asked to end: whether it has by now, nobody knows.
    with pytest.raises(CancelledError):
        future.result(LONG_S)
    assert stages(record, "cancelled") == ["x"]
    behind = submit(app, "quick", 1)
    assert behind.result(LONG_S) == 1
    state = idle(broker)
    assert state["counters"]["cancelled"] == 1
    assert state["counters"]["failed"] == state["counters"]["workers_lost"] == 0
    assert len(record.entries()) == 3


def test_one_that_goes_on_ends_with_its_process_and_the_innocent_run(app, broker, workers, record):
    pool = workers(broker, "cancels.py", 1, "--cancel-grace", "0.3")
    (pid,) = pool.pids
    dreams = [submit(app, "dream", i, 1.0) for i in range(3)]
    wait_until(lambda: len(stages(record, "begin")) == 3, what="they run")
    future = submit(app, "stubborn", "x")
    wait_until(lambda: "x" in stages(record, "begin"), what="it runs")
    assert app.cancel(future.id, running=True).stopping == 1
    with pytest.raises(CancelledError):
        future.result(LONG_S)
    assert [dream.result(LONG_S) for dream in dreams] == [0, 1, 2]
    wait_until(lambda: pool.pids and pid not in pool.pids, what="another process")
    counters = idle(broker)["counters"]
    assert (counters["cancelled"], counters["failed"], counters["workers_lost"]) == (1, 0, 0)
    assert stages(record, "begin").count("x") == 1


def test_what_waits_for_company_in_its_worker(app, broker, workers, record):
    workers(broker, "cancels.py")
    future = submit(app, "gather", 0, queue="batches")
    wait_until(lambda: broker.info()["queues"]["batches"]["leased"] == 1, what="it waits there")
    assert app.cancel(future, running=True).stopping == 1
    with pytest.raises(CancelledError):
        future.result(LONG_S)
    assert not record.entries()


def test_an_event_loop_is_not_held_up(app, broker, workers, record):
    workers(broker, "cancels.py", 1)

    async def main():
        future = submit(app, "dream", "x")
        wait_until(lambda: stages(record, "begin"), what="it runs")
        awaited = asyncio.wrap_future(future)
        future.cancel(running=True)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(awaited, LONG_S)

    asyncio.run(main())


def test_in_process(record):
    app = zqueue.App()

    began = threading.Event()

    @app.task
    async def dream():
        began.set()
        await asyncio.sleep(LONG_S)

    with zqueue.testing.InProcess(app):
        future = dream.submit()
        assert began.wait(LONG_S)
        assert app.cancel(future, running=True).stopping == 1
        with pytest.raises(CancelledError):
            future.result(LONG_S)


# --- the command line ---


@pytest.fixture
def cli(run, broker):
    def call(*arguments):
        return run(*arguments, "--url", broker.url)

    return call


def test_cancel_purge_and_peek(app, broker, cli):
    futures = [submit(app, "quick", i, {"name": "é"}) for i in range(5)]
    app.producer.send_many("mail", [[i] for i in range(30)], task="send_mail")
    app.flush()
    told = json.loads(cli("queue", "peek", "default", "-n", "2", "--json").stdout)
    assert [task["body"] for task in told["tasks"]] == [[0, {"name": "é"}], [1, {"name": "é"}]]
    assert told["ready"] == 5
    assert told["tasks"][0]["id"] == futures[0].id
    assert futures[1].id in cli("queue", "peek", "default").stdout
    answer = cli("cancel", futures[1].id, "1-1-0").stdout
    assert answer == "1 cancelled, 1 over already, or not there\n"
    with pytest.raises(CancelledError):
        futures[1].result(LONG_S)
    purged = cli("queue", "purge", "mail", "--task", "other").stdout
    assert purged == "dropped 0 tasks of queue 'mail'\n"
    purged = json.loads(cli("queue", "purge", "mail", "--json").stdout)
    assert purged == {"queue": "mail", "dropped": 30}
    told = json.loads(cli("cancel", "--queue", "default", "--json").stdout)
    assert told == {"cancelled": 4, "stopping": 0, "running": 0, "unknown": 0}
    assert broker.info()["counters"]["cancelled"] == 35


def test_mistakes(cli):
    for arguments, code, text in (
        (["cancel"], 2, "cancel which tasks?"),
        (["cancel", "nonsense"], 2, "is not the id of a task"),
        (["cancel", "1-1-0", "--task", "t"], 2, "--task"),
        (["queue", "purge", "nowhere", "--yes"], 1, "there is no queue 'nowhere'"),
        (["queue", "peek", "nowhere"], 1, "there is no queue 'nowhere'"),
    ):
        ended = cli(*arguments)
        assert text in ended.stderr
        assert "Traceback" not in ended.stderr
        assert ended.returncode == code


def test_one_that_is_known_by_its_key_alone(start_broker, workers, record, run, tmp_path):
    broker = start_broker("--data-dir", str(tmp_path / "data"))
    with zqueue.Producer(broker.url) as producer:
        for i, key in enumerate(["order-6", "order-7", "order-8"]):
            options = zqueue.task_options(key=key)
            producer.send("default", [i], task="quick", options=options)
        late = zqueue.task_options(key="order-9", delay=600)
        producer.send("default", [9], task="quick", options=late)
    broker.restart()
    with zqueue.App(broker.url) as app:
        assert app.cancel(queue="default", key="order-7") == zqueue.Cancellation(cancelled=1)
        again = app.cancel(queue="default", key="order-7")
        assert again == zqueue.Cancellation(unknown=1), "it is over"
    asked = ("cancel", "--url", broker.url, "--queue")
    done = run(*asked, "default", "--key", "order-9")
    assert (done.returncode, done.stdout) == (0, "1 cancelled\n"), "it was delayed"
    done = run(*asked, "default", "--key", "order-8", "--json")
    assert json.loads(done.stdout) == {"cancelled": 1, "stopping": 0, "running": 0, "unknown": 0}
    done = run(*asked, "default", "--key", "order-1")
    assert (done.returncode, done.stdout) == (0, "0 cancelled, 1 over already, or not there\n")
    workers(broker, "cancels.py")
    counters = idle(broker)["counters"]
    assert (counters["done"], counters["cancelled"]) == (1, 3)
    assert [entry["id"] for entry in record.entries()] == [0]
