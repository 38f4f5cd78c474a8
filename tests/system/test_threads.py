"""Workers with threads: tasks that wait run side by side, and every one has its end."""

from __future__ import annotations

import os
import signal
from collections import Counter
from concurrent.futures import CancelledError

import pytest

import zqueue
from tests.system.harness import APPS, wait_until

pytestmark = pytest.mark.system

LONG_S = 40.0
THREADS = ("--threads", "8")


def stages(record, stage):
    return [entry["id"] for entry in record.entries() if entry.get("stage") == stage]


@pytest.fixture
def waits(broker, load, monkeypatch):
    monkeypatch.syspath_prepend(str(APPS))
    return load(broker, "waits.py")


@pytest.fixture
def pool(broker, workers):
    return workers(broker, "waits.py", 1, *THREADS)


def test_eight_run_at_a_time_and_each_knows_which_it_is(pool, waits):
    futures = [waits.meet.submit(i) for i in range(24)]
    seen = [future.result(LONG_S) for future in futures]
    assert [each for each, _ in seen] == [future.id for future in futures]
    assert len({thread for _, thread in seen}) == 8


def test_naps_overlap(pool, waits, record):
    futures = [waits.nap.submit(i) for i in range(200)]
    assert [future.result(LONG_S) for future in futures] == list(range(200))
    depth = most = 0
    for entry in record.entries():
        depth += 1 if entry["stage"] == "begin" else -1
        most = max(most, depth)
    assert most == 8
    assert len({entry["pid"] for entry in record.entries()}) == 1


def test_a_result_does_not_wait_for_its_neighbours(pool, waits, record):
    held = [waits.hold.submit(i) for i in range(7)]
    wait_until(lambda: len(stages(record, "begin")) == 7, what="seven that run")
    naps = [waits.nap.submit(f"nap {i}") for i in range(20)]
    assert [nap.result(LONG_S) for nap in naps] == [f"nap {i}" for i in range(20)]
    assert not any(future.done() for future in held)
    record.open_gate()
    assert [future.result(LONG_S) for future in held] == list(range(7))


def test_what_waits_behind_slow_ones_goes_to_others(pool, broker, workers, waits, record):
    held = [waits.hold.submit(i) for i in range(8)]
    wait_until(lambda: len(stages(record, "begin")) == 8, what="eight that run")
    workers(broker, "waits.py", 1)
    naps = [waits.nap.submit(f"nap {i}") for i in range(10)]
    assert [nap.result(LONG_S) for nap in naps] == [f"nap {i}" for i in range(10)]
    record.open_gate()
    assert [future.result(LONG_S) for future in held] == list(range(8))


def test_batch_and_async_handlers_work_beside(pool, broker, waits, record):
    held = [waits.hold.submit(i) for i in range(4)] + [waits.dream.submit(i) for i in range(4, 8)]
    wait_until(lambda: len(stages(record, "begin")) == 8, what="all that run")
    waits.gather.send_many(range(100, 120))
    record.wait_for(range(100, 120))
    record.open_gate()
    assert [future.result(LONG_S) for future in held] == list(range(8))


def test_every_task_runs_when_the_worker_is_killed(pool, broker, waits, record):
    futures = [waits.nap.submit(i) for i in range(300)]
    for count in (30, 120):
        wait_until(lambda: len(stages(record, "end")) > count, what="progress")  # noqa: B023
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
    assert [future.result(LONG_S) for future in futures] == list(range(300))
    counters = broker.wait_idle()["counters"]
    assert counters["dead"] == 0
    assert len([n for n in Counter(stages(record, "begin")).values() if n > 1]) >= 1


def test_the_poisonous_one_is_found(pool, broker, waits):
    futures = [waits.nap.submit(i) for i in range(40)]
    culprit = waits.die.submit("die")
    futures += [waits.nap.submit(i) for i in range(40, 80)]
    with pytest.raises(zqueue.WorkerLost):
        culprit.result(LONG_S)
    assert [future.result(LONG_S) for future in futures] == list(range(80))
    assert broker.wait_idle()["counters"]["dead"] == 0, "all were asked for"


def test_draining_finishes_what_runs_and_returns_the_rest(pool, broker, waits, record):
    futures = [waits.hold.submit(i) for i in range(30)]
    wait_until(lambda: len(stages(record, "begin")) == 8, what="eight that run")
    pool.process.send(signal.SIGTERM)
    wait_until(lambda: broker.info()["queues"]["default"]["leased"] == 8, what="the rest")
    record.open_gate()
    assert pool.process.wait(LONG_S) == 0
    done = [future for future in futures if future.done()]
    assert [future.result(LONG_S) for future in futures[:8]] == list(range(8))
    assert sorted(stages(record, "end")) == list(range(8)), done


def test_the_late_one_is_blamed_and_no_other(pool, broker, waits, record):
    (pid,) = pool.pids
    held = [waits.hold.submit(i) for i in range(3)]
    wait_until(lambda: len(stages(record, "begin")) == 3, what="three that run")
    late = waits.overrun.submit("late", 60)
    quick = [waits.overrun.submit(i, 0) for i in range(20)]
    with pytest.raises(zqueue.TaskTimeout, match="its process was killed"):
        late.result(LONG_S)
    record.open_gate()
    assert [future.result(LONG_S) for future in held] == list(range(3))
    assert [future.result(LONG_S) for future in quick] == list(range(20))
    assert stages(record, "begin").count("late") == 1
    assert broker.wait_idle()["counters"]["workers_lost"] == 0
    wait_until(lambda: pool.pids and pid not in pool.pids, what="another process")


def test_a_soft_timeout_is_raised_in_its_thread(pool, waits, record):
    (pid,) = pool.pids
    held = [waits.hold.submit(i) for i in range(3)]
    with pytest.raises(zqueue.TaskTimeout, match=r"ran longer than 0\.3 s"):
        waits.notice.submit("slow").result(LONG_S)
    record.open_gate()
    assert [future.result(LONG_S) for future in held] == list(range(3))
    assert pool.pids == [pid]


def test_one_that_runs_is_cancelled_and_no_other(pool, waits, record):
    (pid,) = pool.pids
    held = [waits.hold.submit(i) for i in range(8)]
    wait_until(lambda: len(stages(record, "begin")) == 8, what="eight that run")
    for one in (5, 2):
        held[one].cancel(running=True)
        with pytest.raises(CancelledError):
            held[one].result(LONG_S)
    assert sorted(stages(record, "cancelled")) == [2, 5]
    record.open_gate()
    left = [i for i in range(8) if i not in (2, 5)]
    assert [held[i].result(LONG_S) for i in left] == left
    assert pool.pids == [pid]


def test_one_that_hears_of_nothing_ends_with_its_process(broker, workers, waits, record):
    pool = workers(broker, "waits.py", 1, *THREADS, "--cancel-grace", "0.3")
    (pid,) = pool.pids
    held = [waits.hold.submit(i) for i in range(3)]
    deaf = waits.nap.submit("deaf", 60)
    wait_until(lambda: len(stages(record, "begin")) == 4, what="four that run")
    deaf.cancel(running=True)
    with pytest.raises(CancelledError):
        deaf.result(LONG_S)
    record.open_gate()
    assert [future.result(LONG_S) for future in held] == list(range(3))
    assert stages(record, "begin").count("deaf") == 1
    assert broker.wait_idle()["counters"]["workers_lost"] == 0
    wait_until(lambda: pool.pids and pid not in pool.pids, what="another process")


def test_progress_is_told_of_each(pool, waits, record):
    futures = [waits.tell.submit(i, i) for i in range(1, 9)]
    wait_until(
        lambda: [future.progress for future in futures] == [(i, i + 1) for i in range(1, 9)],
        what="all of their progress",
    )
    record.open_gate()
    assert [future.result(LONG_S) for future in futures] == list(range(1, 9))


def test_a_child_that_returns_is_no_worker(pool, waits, record):
    futures = [waits.fork.submit(i) for i in range(16)]
    assert [future.result(LONG_S) for future in futures] == list(range(16))
    assert sorted(stages(record, "parent")) == list(range(16))
    assert sorted(stages(record, "child")) == list(range(16))


def test_a_worker_is_replaced_when_it_has_run_enough(broker, workers, waits, record):
    workers(broker, "waits.py", 1, *THREADS, "--max-tasks", "50")
    futures = [waits.nap.submit(i) for i in range(300)]
    assert [future.result(LONG_S) for future in futures] == list(range(300))
    assert len({entry["pid"] for entry in record.entries()}) > 1
    assert broker.wait_idle()["counters"]["workers_lost"] == 0
    assert len(stages(record, "begin")) == 300
