"""Producers with a name: what one process of it leaves behind, the next finds."""

from __future__ import annotations

import contextlib
import json
import os
import signal

import pytest

import zqueue
from tests.system.harness import DEADLINE_S, wait_until

pytestmark = pytest.mark.system

SUBMITS = """
import os, sys, zqueue
app = zqueue.App(name="billing")
run = app.task(lambda id: id, name="run")
futures = [run.submit(f"a{i}") for i in range(int(sys.argv[1]))]
app.flush()
print(*(future.id for future in futures), flush=True)
sys.stdin.read()
"""

TAKES = """
import json, zqueue
with zqueue.App(name="billing") as app:
    for id, value, error in app.earlier_results(timeout=3):
        print(json.dumps([id, value, error and str(error)]))
"""


def start(processes, program, broker, *arguments):
    import subprocess

    return processes.python(
        program, *arguments, env={**os.environ, "ZQUEUE_URL": broker.url}, stdin=subprocess.PIPE
    )


def taken(processes, broker):
    """What a process that takes earlier results prints."""
    process = start(processes, TAKES, broker)
    assert process.wait() == 0, process.err
    return [json.loads(line) for line in process.out.splitlines()]


def test_results_of_a_process_that_was_killed_are_the_next_ones(broker, processes, workers, record):
    first = start(processes, SUBMITS, broker, "300")
    wait_until(lambda: first.out.endswith("\n"), what="the tasks are confirmed")
    first.send(signal.SIGKILL)
    first.wait()
    ids = first.out.split()
    workers(broker, "jobs.py", 2)
    broker.wait_idle()
    assert sorted(record.ids()) == sorted(f"a{i}" for i in range(300))
    found = taken(processes, broker)
    assert sorted(found) == sorted([name, f"a{i}", None] for i, name in enumerate(ids))
    assert len(found) == 300
    assert taken(processes, broker) == [], "they were taken"
    info = broker.info()
    assert (info["bytes_held"], info["counters"]["results_lost"]) == (0, 0)


def test_who_dies_before_it_is_done_with_them_leaves_them_to_the_next(
    broker, processes, workers, produce
):
    first = start(processes, SUBMITS, broker, "1")
    wait_until(lambda: first.out.endswith("\n"), what="the task is confirmed")
    first.send(signal.SIGKILL)
    workers(broker, "jobs.py", 1)
    broker.wait_idle()
    second = start(
        processes,
        "import os, zqueue\n"
        "for _ in zqueue.App(name='billing').earlier_results(timeout=60):\n"
        "    os.kill(os.getpid(), 9)\n",
        broker,
    )
    assert second.wait() == -signal.SIGKILL
    third = produce(broker, name="billing")
    for _ in third.earlier_results(timeout=DEADLINE_S):
        break  # Not done with it, either.
    _, value, error = next(third.earlier_results(timeout=DEADLINE_S))
    assert (value, error) == ("a0", None)


def test_the_second_of_one_name_takes_over_and_the_first_is_told_once(
    broker, workers, produce, record
):
    first, second = (produce(broker, name="billing") for _ in range(2))
    first.send("default", ["from the first"], task="run")
    first.flush()
    second.send("default", ["from the second"], task="run")
    second.flush()
    pending = first
    with pytest.raises(zqueue.NameTaken, match=r"'billing'.*name of its own"):
        wait_until(lambda: pending.send("default", ["too late"], task="run"), what="the error")
    with pytest.raises(zqueue.NameTaken):
        first.submit("default", ["too late"], task="run")
    second.send("default", ["still here"], task="run")
    second.flush()
    workers(broker, "jobs.py", 1)
    broker.wait_idle()
    assert {"from the first", "from the second", "still here"} <= set(record.ids())
    assert len(record.ids()) == len(set(record.ids()))
    with contextlib.suppress(zqueue.NameTaken):  # What came too late, if it was accepted.
        first.close()
    second.close()
    assert broker.info()["producers"] == 0


def test_the_name_is_the_programs_and_not_its_workers(broker, workers, load, record):
    workers(broker, "named.py", 2)
    named = load(broker, "named.py")
    assert list(named.branch.map(range(20))) == list(range(20))
    broker.wait_idle()
    assert sorted(record.wait_for(range(20))) == list(range(20))
    read, write = os.pipe()
    child = os.fork()
    if not child:
        named.leaf.send("child")
        named.app.flush(DEADLINE_S)
        os.write(write, b"sent")
        os._exit(0)
    assert os.read(read, 4) == b"sent"
    os.waitpid(child, 0)
    assert named.branch.submit("parent").result(DEADLINE_S) == "parent", "it still has the name"
    record.wait_for(["child", "parent"])


def test_a_future_knows_the_id_that_its_handler_sees(broker, workers, produce):
    workers(broker, "steps.py", 1)
    producer = produce(broker)
    futures = [producer.submit("default", [0], task="plain") for _ in range(50)]
    assert futures[0].id is not None, "no batch was unconfirmed"
    assert [future.result(DEADLINE_S) for future in futures] == [future.id for future in futures]
    with pytest.raises(zqueue.ConfigError, match="name="):
        producer.earlier_results()


def test_results_outlive_submitter_and_broker(start_broker, tmp_path, processes, workers, record):
    """Both are killed, and what ran before and what ran after is there."""
    broker = start_broker("--data-dir", str(tmp_path / "data"))
    first = start(processes, SUBMITS, broker, "200")
    wait_until(lambda: first.out.endswith("\n"), what="the tasks are confirmed")
    first.send(signal.SIGKILL)
    first.wait()
    ids = first.out.split()
    workers(broker, "jobs.py", 1)
    wait_until(lambda: len(record.ids()) > 20, what="some ran")
    broker.restart()
    broker.wait_idle()
    found = taken(processes, broker)
    assert {name: value for name, value, _ in found} == {
        name: f"a{i}" for i, name in enumerate(ids)
    }
