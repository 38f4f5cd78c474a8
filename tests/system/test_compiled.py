"""That what is tested is what was meant to be: compiled, or interpreted."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.system.harness import wait_until
from zqueue.protocol.codec import COMPILED

EXPECTED = os.environ.get("ZQUEUE_TEST_EXPECTS")


@pytest.mark.skipif(EXPECTED is None, reason="nobody said what to expect (ZQUEUE_TEST_EXPECTS)")
def test_as_expected(broker, workers):
    workers(broker, "jobs.py", 1)

    def reported() -> dict[str, Any] | None:
        state = broker.info()
        return state if state["workers"][0]["report"] else None

    state = wait_until(reported, what="the worker's first report")
    assert state["compiled"] is (EXPECTED == "compiled")
    assert state["workers"][0]["report"]["compiled"] is (EXPECTED == "compiled")
    assert COMPILED is (EXPECTED == "compiled")


def test_a_broker_says_how_often_a_batch_was_made_of_a_dropped_one(broker, produce):
    producer = produce(broker)
    for n in range(20):
        producer.send("nobody", n)
        producer.flush()
    assert sum(broker.info()["batches_made"].values()) == (20 if COMPILED else 0)
