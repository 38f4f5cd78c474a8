"""Conditions of a real broker."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.metrics.conditions import KINDS
from zqueue.wire.messages import Control

from .conftest import Watched


def kinds(snapshot: dict[str, Any]) -> list[str]:
    return [condition["kind"] for condition in snapshot["conditions"]]


def test_no_broker() -> None:
    made = Watched()
    assert kinds(made.look()) == ["no-broker"]
    made.pass_s()
    made.watch.miss("Nobody there.", made.talk.now + 1)
    assert made.look()["conditions"][0] == {
        "kind": "no-broker", "queue": "", "text": "Nobody there."
    }  # fmt: skip


def test_nobody_works(watched: Watched) -> None:
    assert kinds(watched.pass_s()) == ["no-workers"]
    watched.publish(3)
    (condition,) = watched.pass_s()["conditions"]
    assert condition["kind"] == "no-workers"
    assert "3 tasks" in condition["text"]


def test_nobody_serves_a_queue(watched: Watched) -> None:
    watched.join()
    watched.publish(1, "misspelt")
    (condition,) = watched.pass_s()["conditions"]
    assert (condition["kind"], condition["queue"]) == ("unserved", "misspelt")
    assert "1 task " in condition["text"]


@pytest.mark.parametrize(("action", "kind"), [("pause", "paused"), ("drain", "draining")])
def test_somebody_stopped_a_queue(watched: Watched, action: str, kind: str) -> None:
    watched.join()
    watched.talk.say(b"x", Control(action, "q"))
    snapshot = watched.pass_s()
    assert [(c["kind"], c["queue"]) for c in snapshot["conditions"]] == [(kind, "q")]
    assert snapshot["queues"][0]["state"] == kind


def test_a_full_queue() -> None:
    made = Watched()
    made.talk = type(made.talk)(queue_tasks_max=10)
    made.talk.producer()
    made.join()
    made.publish(10)
    snapshot = made.pass_s()
    assert kinds(snapshot) == ["full"]
    assert snapshot["queues"][0]["state"] == "full"


def test_a_broker_that_stops(watched: Watched) -> None:
    watched.join()
    watched.talk.broker.drain()
    assert kinds(watched.pass_s()) == ["broker-draining"]


def test_the_worst_comes_first(watched: Watched) -> None:
    watched.publish(1, "a")
    watched.publish(1, "b")
    watched.talk.say(b"x", Control("pause", "a"))
    watched.talk.broker.drain()
    found = kinds(watched.pass_s())
    assert found == ["no-workers", "broker-draining", "paused"]
    assert found == sorted(found, key=KINDS.index)


def test_a_queue_that_pullers_empty_needs_no_worker() -> None:
    made = Watched()
    made.talk = type(made.talk)(egress=frozenset({"out"}))
    made.talk.producer()
    made.publish(1, "out")
    assert made.pass_s()["conditions"] == []
