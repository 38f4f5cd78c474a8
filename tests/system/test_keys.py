"""Keys: what is sent twice under one runs once, whoever sends it."""

from __future__ import annotations

import os
import signal

import pytest

import zqueue
from tests.system.harness import DEADLINE_S, wait_until

pytestmark = pytest.mark.system

SENDS = """
import sys, zqueue
app = zqueue.App()
run = app.task(lambda id: id, name="run")
for i in range(1000):
    run.options(key=f"order-{i}").send(i)
app.flush()
"""


def test_two_programs_that_send_the_same_at_once(broker, processes, workers, record):
    workers(broker, "jobs.py", 2)
    env = {**os.environ, "ZQUEUE_URL": broker.url}
    both = [processes.python(SENDS, env=env) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    broker.wait_idle()
    assert sorted(record.ids()) == list(range(1000))
    assert broker.count("deduplicated") == 1000


def test_a_program_that_was_killed_sends_all_again(broker, processes, workers, record):
    workers(broker, "jobs.py", 1)
    env = {**os.environ, "ZQUEUE_URL": broker.url}
    first = processes.python(SENDS, env=env)
    wait_until(lambda: broker.count("published") > 50, what="some of it")
    first.send(signal.SIGKILL)
    first.wait()
    second = processes.python(SENDS, env=env)
    assert second.wait() == 0
    broker.wait_idle()
    assert sorted(record.ids()) == list(range(1000))


def test_who_submits_again(broker, workers, produce):
    pool = workers(broker, "steps.py", 1)
    mine, other = produce(broker), produce(broker)
    how = {"task": "plain", "options": zqueue.task_options(key="k", key_window=60)}
    os.kill(pool.pids[0], signal.SIGSTOP)
    first = mine.submit("default", [0], **how)
    mine.flush()
    second = mine.submit("default", [0], **how)
    third = other.submit("default", [0], **how)
    with pytest.raises(zqueue.AlreadySent) as caught:
        third.result(DEADLINE_S)
    assert caught.value.id == third.id == first.id
    mine.flush()
    assert second.id == first.id
    assert not second.done()
    os.kill(pool.pids[0], signal.SIGCONT)
    assert first.result(DEADLINE_S) == second.result(DEADLINE_S) == first.id
    with pytest.raises(zqueue.AlreadySent):
        mine.submit("default", [0], **how).result(DEADLINE_S)
    other.send("default", [0], **how)
    other.flush()
    free = zqueue.task_options(key="other")
    assert mine.submit("default", [0], task="plain", options=free).result(DEADLINE_S) != first.id


def test_keys_outlive_a_broker_that_is_killed(start_broker, tmp_path, workers, produce, record):
    broker = start_broker("--data-dir", str(tmp_path / "data"))
    producer = produce(broker)
    for i in range(50):
        producer.send("default", [i], task="run", options=zqueue.task_options(key=f"k{i}"))
    producer.flush()
    workers(broker, "jobs.py", 1)
    record.wait_for(range(50))
    broker.restart()
    again = produce(broker)
    for i in range(60):
        again.send("default", [i], task="run", options=zqueue.task_options(key=f"k{i}"))
    again.flush(DEADLINE_S)
    assert broker.count("deduplicated") == 50
    record.wait_for(range(50, 60))
