"""Workers that die, hang, are stopped, overrun, reload and drain: every task still runs."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

import pytest

import zqueue
from tests.system.harness import DEADLINE_S, is_running, wait_until

pytestmark = pytest.mark.system


def send_runs(broker, ids, *, task="run", queue="default"):
    with zqueue.Producer(broker.url) as producer:
        producer.send_many(queue, ([each] for each in ids), task=task)


def send_slow(broker, ids, seconds):
    with zqueue.Producer(broker.url) as producer:
        for each in ids:
            producer.send("default", [each, seconds], task="run_slowly")


def begun(record):
    return [entry["id"] for entry in record.entries() if entry.get("stage") == "begin"]


def ended(record):
    return [entry["id"] for entry in record.entries() if entry.get("stage") == "end"]


# --- kill -9 of a worker ---


def test_every_task_runs_when_all_workers_are_killed_again_and_again(broker, workers, record):
    pool = workers(broker, "jobs.py", 2)
    ids = [f"{i}" for i in range(200)]
    send_slow(broker, ids, 0.005)
    for _ in range(2):  # A third time would make them suspects of being poison.
        count = len(ended(record))
        wait_until(lambda: len(ended(record)) > count + 20, what="progress")  # noqa: B023
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
    state = broker.wait_idle()
    assert set(ended(record)) == set(ids)
    assert state["counters"]["dead"] == 0
    twice = [each for each, runs in Counter(begun(record)).items() if runs > 1]
    assert 1 <= len(twice) <= state["counters"]["redelivered"]
    wait_until(lambda: len(pool.pids) == 2, what="new workers in their place")


def test_a_killed_worker_s_work_is_redelivered_at_once(start_broker, workers, record):
    broker = start_broker("--heartbeat", "1", "--liveness", "100", quick=False)
    pool = workers(broker, "jobs.py", 1)
    send_slow(broker, ["long"], 60)
    wait_until(lambda: begun(record) == ["long"], what="the task's beginning")
    (pid,) = pool.pids
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(begun(record)) == 2, what="its second beginning, though not silent long")
    record.open_gate()
    broker.wait_idle()
    assert ended(record) == ["long"]


# --- poison ---


def test_a_poisonous_task_ends_as_worker_lost(broker, workers, load, record):
    workers(broker, "jobs.py", 1)
    future = load(broker, "jobs.py").run_or_die.submit("die")
    with pytest.raises(zqueue.WorkerLost, match="exit code 70"):
        future.result(DEADLINE_S)
    assert record.ids() == ["die"] * 3
    state = broker.wait_idle()
    assert state["counters"]["workers_lost"] == 3


def test_a_poisonous_task_does_not_take_its_neighbours_along(broker, workers, record):
    workers(broker, "jobs.py", 2)
    ids = [*range(200), "die", *range(200, 400)]
    send_runs(broker, ids, task="run_or_die", queue="poison")
    state = broker.wait_idle(40)
    assert set(record.ids()) == set(ids)
    (letter,) = broker.dead()
    assert letter["body"] == ["die"]
    assert letter["reason"] == "crashed"
    assert letter["error"][0] == "WorkerLost"
    assert record.ids().count("die") == 3
    assert state["counters"]["dead"] == 1


# --- time-outs ---


def test_a_hard_timeout_kills_only_the_culprit(broker, workers, load, record):
    workers(broker, "jobs.py", 1)
    jobs = load(broker, "jobs.py")
    before = [jobs.run_in_half_a_second.submit(f"before {i}", 0) for i in range(20)]
    culprit = jobs.run_in_half_a_second.submit("culprit", 60)
    after = [jobs.run_in_half_a_second.submit(f"after {i}", 0) for i in range(20)]
    with pytest.raises(zqueue.TaskTimeout):
        culprit.result(DEADLINE_S)
    for future in before + after:
        future.result(DEADLINE_S)
    assert record.ids().count("culprit") == 1
    state = broker.wait_idle()
    assert state["counters"]["workers_lost"] == 0, "it was killed on purpose"


def test_a_soft_timeout_is_raised_inside_the_task(broker, workers, load, record):
    pool = workers(broker, "jobs.py", 1)
    pids = pool.pids
    jobs = load(broker, "jobs.py")
    with pytest.raises(zqueue.TaskTimeout):
        jobs.notice_the_time.submit("slow", 15).result(DEADLINE_S)
    assert [entry.get("stage") for entry in record.entries()] == ["noticed"]
    jobs.notice_the_time.submit("quick", 0).result(DEADLINE_S)
    assert pool.pids == pids, "no process had to be killed"


def test_a_timeout_of_an_async_task(broker, workers, load):
    pool = workers(broker, "jobs.py", 1)
    pids = pool.pids
    jobs = load(broker, "jobs.py")
    slow, quick = jobs.nap_in_half_a_second.submit(1, 30), jobs.nap_in_half_a_second.submit(2, 0)
    assert quick.result(DEADLINE_S) == 2
    with pytest.raises(zqueue.TaskTimeout):
        slow.result(DEADLINE_S)
    assert pool.pids == pids


# --- slow tasks ---


def test_short_tasks_do_not_wait_behind_a_long_one(broker, workers, load, record):
    workers(broker, "jobs.py", 2)
    jobs = load(broker, "jobs.py")
    # Teach the workers that tasks are short, so that they ask for many at once.
    list(jobs.echo.map(range(5_000)))
    short = [jobs.run.submit(i) for i in range(500)]
    long = jobs.run_slowly.submit("long")
    short += [jobs.run.submit(i) for i in range(500, 1_000)]
    for future in short:
        future.result(DEADLINE_S)
    assert not long.done()


def test_a_long_task_outlives_the_liveness_time(broker, workers, load, record):
    workers(broker, "jobs.py", 1)
    assert load(broker, "jobs.py").run_slowly.submit("long", 2.0).result(DEADLINE_S) == "long"
    assert begun(record) == ["long"], "twice the liveness time, and never given to another"
    assert broker.count("redelivered") == 0


def test_a_busy_worker_does_not_take_its_broker_for_lost(broker, workers, record):
    """It has always something to run; the broker's signs of life wait among what it must read."""
    pool = workers(broker, "jobs.py", 1)
    send_slow(broker, range(150), 0.02)
    state = broker.wait_idle()
    assert "is lost" not in pool.process.err
    assert state["counters"]["redelivered"] == 0
    assert Counter(ended(record)) == Counter(range(150))


def test_async_results_do_not_wait_behind_a_slow_task(broker, workers, load, record):
    workers(broker, "jobs.py", 1)
    jobs = load(broker, "jobs.py")
    nap = jobs.nap.submit("nap", 1.0)
    wait_until(lambda: broker.queue("default")["leased"] == 1, what="the nap's beginning")
    slow = jobs.run_slowly.submit("slow")
    wait_until(lambda: begun(record), what="the slow task's beginning")
    assert nap.result(DEADLINE_S) == "nap"
    assert not slow.done()


# --- stopped and silent ---


def test_a_stopped_pool_s_work_goes_to_another(broker, workers, record):
    stopped = workers(broker, "jobs.py", 2)
    ids = [f"{i}" for i in range(8)]
    send_slow(broker, ids, 0.4)
    wait_until(lambda: len(begun(record)) >= 2, what="two beginnings")
    stopped.signal_all(signal.SIGSTOP)
    wait_until(lambda: not broker.info()["workers"], what="the loss of the stopped pool")
    workers(broker, "jobs.py", 2)
    record.open_gate()
    state = broker.wait_idle()
    assert set(ended(record)) == set(ids)
    assert state["counters"]["done"] == len(ids)
    stopped.signal_all(signal.SIGCONT)
    wait_until(lambda: len(broker.info()["workers"]) == 4, what="the return of the pool")
    state = broker.wait_idle()
    assert state["counters"]["done"] == len(ids), "a late settlement counts no task twice"
    send_runs(broker, range(100))
    record.wait_for(range(100))


def test_pauses_of_a_pool_do_not_make_a_task_poisonous(broker, workers, record, load):
    pool = workers(broker, "jobs.py", 1)
    future = load(broker, "jobs.py").run_slowly.submit("long", 0.5)
    for number in range(1, 4):
        wait_until(lambda: len(begun(record)) >= number, what="a beginning")  # noqa: B023
        pool.signal_all(signal.SIGSTOP)
        wait_until(lambda: not broker.info()["workers"], what="the loss of the pool")
        pool.signal_all(signal.SIGCONT)
        wait_until(lambda: broker.info()["workers"], what="its return")
    assert future.result(DEADLINE_S) == "long", "no worker died under it"


def test_pauses_of_the_broker_do_not_make_a_task_poisonous(broker, workers, record, load):
    workers(broker, "jobs.py", 1)
    future = load(broker, "jobs.py").run_slowly.submit("long")
    wait_until(lambda: begun(record), what="the beginning")
    for _ in range(3):
        broker.process.send(signal.SIGSTOP)
        stopped = time.monotonic()
        wait_until(lambda: time.monotonic() - stopped > 1.2, what="over the liveness time")  # noqa: B023
        broker.process.send(signal.SIGCONT)
        wait_until(lambda: broker.info()["workers"], what="the worker's return")
    record.open_gate()
    assert future.result(DEADLINE_S) == "long", "no worker died under it"


# --- the supervisor's death ---


def test_workers_end_when_their_supervisor_is_killed(broker, workers, record):
    pool = workers(broker, "jobs.py", 2)
    ids = [f"{i}" for i in range(20)]
    send_slow(broker, ids, 0.2)
    wait_until(lambda: begun(record), what="a beginning")
    pids = pool.pids
    pool.process.kill()
    wait_until(lambda: not any(map(is_running, pids)), what="the end of its workers")
    wait_until(lambda: not broker.info()["workers"], what="the broker's noticing")
    record.open_gate()
    workers(broker, "jobs.py", 2)
    broker.wait_idle()
    assert set(ended(record)) == set(ids)


# --- reload ---


def test_sighup_replaces_every_worker_and_loses_nothing(broker, workers, record, load):
    pool = workers(broker, "jobs.py", 2)
    jobs = load(broker, "jobs.py")
    before = set(pool.pids)
    futures = [jobs.run_slowly.submit(f"{i}", 0.02) for i in range(50)]
    pool.process.send(signal.SIGHUP)
    futures += [jobs.run_slowly.submit(f"{i}", 0.02) for i in range(50, 150)]
    for future in futures:
        future.result(DEADLINE_S)
    wait_until(lambda: len(pool.pids) == 2 and not before & set(pool.pids), what="two new workers")
    state = broker.wait_idle()
    assert state["counters"]["workers_lost"] == 0
    assert Counter(ended(record)) == Counter(f"{i}" for i in range(150)), "each ran once"
    assert jobs.add.submit(1, 1).result(DEADLINE_S) == 2


def test_reload_takes_new_code_and_a_mistake_in_it_does_not_end_the_pool(
    processes, broker, tmp_path
):
    code = "import zqueue\napp = zqueue.App()\n@app.task\ndef version():\n    return {}\n"
    file = tmp_path / "changing.py"
    file.write_text(code.format(1))
    pool = processes.zqueue("worker", str(file), "--url", broker.url, "-p", "2")
    with zqueue.Producer(broker.url) as producer:

        def version():
            return producer.submit("default", [], task="version").result(DEADLINE_S)

        assert version() == 1
        wait_until(lambda: len(broker.worker_pids()) == 2, what="two workers")
        before = set(broker.worker_pids())
        file.write_text(code.format(2))
        pool.send(signal.SIGHUP)
        wait_until(lambda: not before & set(broker.worker_pids()), what="new workers")
        wait_until(lambda: len(broker.worker_pids()) == 2, what="two new workers")
        assert version() == 2
        file.write_text("def (")
        pool.send(signal.SIGHUP)
        wait_until(lambda: "SyntaxError" in pool.err, what="a word about the mistake")
        assert pool.is_running()
        assert version() == 2, "the worker that has not been replaced goes on"


# --- drain ---


def test_sigterm_finishes_what_runs_and_returns_the_rest(broker, workers, record):
    pool = workers(broker, "jobs.py", 2)
    ids = [f"{i}" for i in range(10)]
    send_slow(broker, ids, 0.5)
    wait_until(lambda: len(begun(record)) >= 2, what="two beginnings")
    pool.process.send(signal.SIGTERM)
    assert pool.process.wait() == 0
    assert sorted(begun(record)) == sorted(ended(record)), "what began was finished"
    assert broker.queue("default")["leased"] == 0
    assert broker.queue("default")["ready"] == len(ids) - len(ended(record)) > 0
    record.open_gate()
    workers(broker, "jobs.py", 2)
    broker.wait_idle()
    assert Counter(ended(record)) == Counter(ids), "each ran once"


def test_batch_bodies_that_wait_for_company_are_not_lost_by_a_drain(broker, workers, record):
    pool = workers(broker, "batches.py", 1)
    with zqueue.Producer(broker.url) as producer:
        producer.send_many("events", ({"id": n} for n in range(2_000)))
    pool.process.send(signal.SIGTERM)
    assert pool.process.wait() == 0
    workers(broker, "batches.py", 1)
    broker.wait_idle()
    assert Counter(record.ids()) == Counter(range(2_000))


def test_a_drain_deadline_returns_the_work(broker, workers, record):
    pool = workers(broker, "jobs.py", 1, "--drain-timeout", "0.3")
    send_slow(broker, ["long"], 60)
    wait_until(lambda: begun(record), what="the beginning")
    pool.process.send(signal.SIGTERM)
    assert pool.process.wait() == 5
    assert "draining, for up to 0.3 s" in pool.process.err
    assert ended(record) == []
    assert broker.queue("default")["ready"] == 1
    assert broker.count("workers_lost") == 0, "it was no crash"
    record.open_gate()
    workers(broker, "jobs.py", 1)
    broker.wait_idle()
    assert ended(record) == ["long"]


def test_a_second_signal_returns_the_work_at_once(broker, workers, record):
    pool = workers(broker, "jobs.py", 1, "--drain-timeout", "300")
    pids = pool.pids
    send_slow(broker, ["long"], 60)
    wait_until(lambda: begun(record), what="the beginning")
    pool.process.send(signal.SIGTERM)
    wait_until(lambda: "draining" in pool.process.err, what="the first signal's effect")
    pool.process.send(signal.SIGTERM)
    assert pool.process.wait() == 5
    assert not any(map(is_running, pids))
    assert broker.queue("default")["ready"] == 1
    record.open_gate()
    workers(broker, "jobs.py", 1)
    broker.wait_idle()
    assert ended(record) == ["long"]


def test_a_draining_broker_hands_out_what_is_there(start_broker, workers, record):
    broker = start_broker()
    send_slow(broker, [f"{i}" for i in range(10)], 0.05)
    workers(broker, "jobs.py", 1)
    broker.process.send(signal.SIGTERM)
    assert broker.process.wait() == 0
    assert len(ended(record)) == 10


def test_a_broker_s_drain_deadline(start_broker):
    broker = start_broker("--drain-timeout", "0.3")
    send_runs(broker, range(7))
    broker.process.send(signal.SIGTERM)
    assert broker.process.wait() == 5
    assert "draining, for up to 0.3 s" in broker.process.err
    assert "7 tasks" in broker.process.err


def test_a_second_signal_stops_the_broker_at_once(start_broker):
    broker = start_broker("--drain-timeout", "300")
    send_runs(broker, range(7))
    broker.process.send(signal.SIGTERM)
    wait_until(lambda: "draining" in broker.process.err, what="the first signal's effect")
    broker.process.send(signal.SIGTERM)
    assert broker.process.wait() == 5
