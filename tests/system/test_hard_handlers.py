"""Handlers that do what they should not harm nobody else: real workers."""

from __future__ import annotations

import os
from concurrent.futures import wait

import msgpack
import pytest
import zmq

import zqueue
from tests.system.harness import DEADLINE_S, BarePeer, bare, is_running, wait_until
from zqueue.wire.codec import pack

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def shared(share):
    """A broker with a worker of ``apps/hard.py``."""
    return share("hard.py", 1)


@pytest.fixture
def app(shared, load):
    """The tasks of ``apps/hard.py``, with a worker that serves them."""
    shared.begin()
    return load(shared.broker, "hard.py")


def test_a_result_never_waits_for_the_task_behind_it(broker, workers, load):
    """Nor do those before a slow task run again when its worker is killed."""
    pool = workers(broker, "hard.py")
    app = load(broker, "hard.py")
    list(app.nap.map([0.0] * 20_000))  # It has learned that they are quick.
    futures = [app.nap.submit(seconds) for seconds in (0.0, 0.0, 0.0, 30.0, 0.0)]
    wait(futures[:3], DEADLINE_S)
    assert [future.done() for future in futures[:4]] == [True, True, True, False]
    redelivered = broker.count("redelivered")
    os.kill(pool.pids[0], 9)
    wait_until(lambda: broker.count("redelivered") > redelivered, what="the task that was killed")
    assert broker.count("redelivered") - redelivered <= 2, "the slow one, and the one behind it"


def test_async_tasks_are_shared_by_workers_that_have_learned_of_quick_ones(broker, workers, load):
    """Credit for a thousand quick tasks is not credit for a thousand slow ones side by side."""
    workers(broker, "hard.py", 3, "--concurrency", "20")
    app = load(broker, "hard.py")
    list(app.echo.map(range(100_000)))
    ran = list(app.anap.map([0.5] * 120))
    by_worker = {pid: ran.count(pid) for pid in set(ran)}
    assert len(by_worker) == 3
    assert max(by_worker.values()) < 100, by_worker


@pytest.mark.parametrize("task", ["echo", "aecho"])
def test_a_body_that_cannot_be_unpacked_harms_no_other(app, shared, task):
    """Our own clients refuse to send it; others may not."""
    with bare(zmq.DEALER, shared.broker.url) as socket:
        peer = BarePeer(socket)
        bodies = [[1]] * 50 + [[{(1, 2): 3}]] + [[2]] * 50
        peer.publish("default", msgpack.packb(bodies), task)
        wait_until(lambda: shared.count("done") + shared.count("failed") >= 101, what="all")
    assert (shared.count("done"), shared.count("failed")) == (100, 1)


def test_a_key_that_cannot_be_unpacked_is_refused_by_the_sender(app):
    for call in (app.echo.send, app.echo.submit):
        with pytest.raises(zqueue.BodyError, match="a tuple cannot be sent as the key of a dict"):
            call({(1, 2): 3})


def test_a_result_that_cannot_be_sent_fails_alone(app):
    futures = [app.tuple_key.submit(number) for number in range(20)]
    for number, future in enumerate(futures):
        if number == 7:
            with pytest.raises(zqueue.RemoteError, match="the result cannot be sent"):
                future.result(DEADLINE_S)
        else:
            assert future.result(DEADLINE_S) == number


def test_what_returns_a_coroutine_did_not_run(app, shared):
    with pytest.raises(zqueue.RemoteError, match="returned a coroutine and did not run"):
        app.wrapped.submit().result(DEADLINE_S)
    app.wrapped.send()
    wait_until(lambda: shared.count("dead") == 1, what="a dead letter")


def test_a_child_of_a_handler_is_no_worker(app, shared):
    for how in ("return", "exit"):
        pid = app.fork.submit(how).result(DEADLINE_S)
        wait_until(lambda pid=pid: not is_running(pid), what="the child's end")
    assert app.child_can_be_ended.submit().result(DEADLINE_S)
    assert shared.count("redelivered") == 0


def test_a_partial_failure_that_makes_no_sense_fails_the_call(app, shared):
    before = shared.pool.pids
    for body in ("a17", -1, 99):
        with pytest.raises(zqueue.RemoteError, match="PartialFailure names body"):
            app.partial.submit(body).result(DEADLINE_S)
    assert shared.pool.pids == before, "no worker died of it"


def test_a_soft_timeout_that_python_swallows_rings_again(app):
    with pytest.raises(zqueue.TaskTimeout):
        app.slow_finalizer.submit().result(DEADLINE_S)


def test_pack_refuses_what_nobody_could_unpack() -> None:
    for value in ({(1, 2): 3}, [{"a": {(): 1}}], ({(1,): 2},)):
        with pytest.raises(zqueue.BodyError):
            pack(value)
