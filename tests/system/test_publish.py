"""`Producer.publish`: a batch at once, a future of its confirm, and no waiting."""

from __future__ import annotations

import time
from concurrent.futures import wait

import pytest

import zqueue
from zqueue.client.flow import BATCHES_LEAST
from zqueue.testing import InProcess, wait_until

LONG_S = 20.0
NOBODY = "tcp://127.0.0.1:9"


@pytest.fixture
def app():
    app = zqueue.App(retries=0)

    @app.task
    def double(number):
        return 2 * number

    return app


@pytest.fixture
def pool(app):
    with InProcess(app) as pool:
        yield pool


def test_a_batch_is_confirmed(app, pool):
    confirmation = app.producer.publish("default", [[1], [2], [3]], task="double")
    assert confirmation.result(LONG_S) is None
    assert confirmation.tasks == []
    assert pool.wait_idle()["counters"]["done"] == 3


def test_its_results_come_one_by_one(app, pool):
    confirmation = app.producer.publish("default", [[1], ["a"], [None]], task="double",
                                        results=True)  # fmt: skip
    first, second, third = confirmation.tasks
    assert first.result(LONG_S) == 2
    assert second.result(LONG_S) == "aa"
    assert isinstance(third.exception(LONG_S), zqueue.RemoteError)
    assert confirmation.result(LONG_S) is None


def test_nothing_is_confirmed_at_once(app):
    confirmation = app.producer.publish("default", [])
    assert confirmation.done()
    assert confirmation.result() is None
    app.close()


def test_a_callback_of_a_confirm_may_wait_for_another(app, pool):
    said = []

    def call(_):
        again = app.producer.publish("default", [[2]], task="double", results=True)
        said.append((again.result(LONG_S), again.tasks[0].result(LONG_S)))

    app.producer.publish("default", [[1]], task="double").add_done_callback(call)
    wait_until(lambda: said == [(None, 4)], what="the end of the callback")


def test_a_full_queue_is_an_answer(app):
    with InProcess(app, worker=False, queue_tasks_max=4) as pool:
        app.producer.publish("default", [[0]], task="double").result(LONG_S)
        confirmations, refused = [], 0
        for number in range(100):
            try:
                confirmations.append(app.producer.publish("default", [[number]], task="double"))
            except zqueue.QueueFull:
                refused += 1
        assert refused > 0  # So much is unconfirmed.
        errors = [c.exception(LONG_S) for c in confirmations]
        assert errors[:3] == [None] * 3
        assert all(isinstance(error, zqueue.QueueFull) for error in errors[3:])
        # What was withdrawn will not come later, and others go on.
        app.producer.publish("other", [1]).result(LONG_S)
        assert pool.queue("default")["ready"] == 4


def test_without_a_broker_it_does_not_wait():
    app = zqueue.App(NOBODY, connect_timeout=0.3)
    began = time.monotonic()
    confirmation = app.producer.publish("default", [1])
    assert not confirmation.done() or time.monotonic() - began > 0.3
    with pytest.raises(zqueue.BrokerLost, match="no broker answers"):
        confirmation.result(LONG_S)
    assert app.producer.is_alone
    app.close(1)  # It was withdrawn: nothing is lost by that.


def test_it_fills_up_without_a_broker():
    app = zqueue.App(NOBODY, connect_timeout=60)
    confirmations = [app.producer.publish("default", [number]) for number in range(BATCHES_LEAST)]
    with pytest.raises(zqueue.BrokerLost, match="no room to keep more"):
        app.producer.publish("default", ["one more"])
    with pytest.raises(zqueue.ZQueueError):
        app.close(0)
    assert all(isinstance(c.exception(LONG_S), zqueue.Closed) for c in confirmations)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("no name", [1]), zqueue.InvalidName),
        (("q", [1, object()]), zqueue.BodyError),
        (("q", range(4097)), zqueue.BodyTooLarge),
        (("q", [b"x" * (9 << 20)] * 2), zqueue.BodyTooLarge),
    ],
    ids=["name", "body", "number", "size"],
)
def test_what_cannot_be_published(app, arguments, error):
    with pytest.raises(error):
        app.producer.publish(*arguments)


def test_a_key_is_of_one_task(app):
    options = zqueue.task_options(key="k")
    with pytest.raises(zqueue.ConfigError):
        app.producer.publish("q", [1, 2], options=options)


def test_a_full_batch_is_published(app, pool):
    confirmation = app.producer.publish("default", [[n] for n in range(4096)], task="double",
                                        results=True)  # fmt: skip
    confirmation.result(LONG_S)
    wait(confirmation.tasks, LONG_S)
    assert [task.result(0) for task in confirmation.tasks] == list(range(0, 8192, 2))


def test_closed_is_closed(app, pool):
    producer = app.producer
    confirmation = producer.publish("default", [[1]], task="double")
    producer.close()
    assert confirmation.result(0) is None  # Closing waits for confirms.
    with pytest.raises(zqueue.Closed):
        producer.publish("default", [[1]], task="double")


def test_waiting_for_a_confirm_has_an_end():
    app = zqueue.App(NOBODY, connect_timeout=60)
    confirmation = app.producer.publish("default", [1])
    with pytest.raises(zqueue.TimedOut, match=r"not confirmed within 0\.01 s"):
        confirmation.result(0.01)
    with pytest.raises(zqueue.TimedOut):
        confirmation.exception(0)
    assert not confirmation.cancel()
    with pytest.raises(zqueue.ZQueueError):
        app.close(0)
