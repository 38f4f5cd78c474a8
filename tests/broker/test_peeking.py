"""Peeking: tasks are told as they wait, and none is taken."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.broker.peeking import PEEK_BODY_BYTES_MAX, PEEK_MAX
from zqueue.wire.codec import pack
from zqueue.wire.headers import encode
from zqueue.wire.messages import CRASHED, DONE, RETRY, Ask, Departed, Refuse
from zqueue.wire.unpacking import unpack


def look(talk: Any, **which: Any) -> dict[str, Any]:
    """What is told; bodies unpacked."""
    talk.broker.receive(b"x", "", [encode(Ask("peek")), pack({"queue": "q", **which})], talk.now)
    ((_, _, (frame,)),) = talk.hear()
    told: dict[str, Any] = unpack(frame)
    for task in told["tasks"] + told["delayed_tasks"]:
        task["body"] = unpack(task["body"]) if task["body"] else task["body"]
    return told


def test_the_first_are_told_and_stay(talk: Any) -> None:
    t = talk()
    t.producer()
    t.publish(b"p", 1, [[0], {"a": 1}, None])
    t.publish(b"p", 2, ["x"] * 200)
    t.broker.ingest([b"q", pack([5])], t.now)
    t.hear()
    t.now += 2
    told = look(t, limit=4)
    assert [task["body"] for task in told["tasks"]] == [[0], {"a": 1}, None, "x"]
    assert [task["id"].split("-")[1:] for task in told["tasks"][2:]] == [["1", "2"], ["2", "0"]]
    assert told["tasks"][0] | {"id": ""} == {
        "id": "", "task": "t", "attempt": 1, "age_s": 2.0, "bytes": 2, "body": [0]
    }  # fmt: skip
    assert told["ready"] == t.ready() == 204
    assert len(look(t, limit=10**6)["tasks"]) == PEEK_MAX
    assert [task["body"] for task in look(t, task="other")["tasks"]] == []


def test_those_that_come_next_come_first(talk: Any) -> None:
    t = talk()
    t.producer()
    t.hello("supervisor", b"s")
    t.worker(credit=1, supervisor=b"s")
    t.publish(b"p", 1, [0])
    t.publish(b"p", 2, [1])
    t.hear()
    t.say(b"s", Departed(b"w", CRASHED, 0, 0, ""))
    told = look(t)["tasks"]
    assert [(task["body"], task["attempt"]) for task in told] == [(0, 2), (1, 1)]


def test_what_is_large_or_damaged_is_not_told(talk: Any) -> None:
    t = talk()
    t.producer()
    t.publish(b"p", 1, ["x" * PEEK_BODY_BYTES_MAX, 1])
    t.broker.ingest([b"q", b"\x92\xc1"], t.now)
    t.hear()
    large, small, *damaged = look(t)["tasks"]
    assert large["body"] is None
    assert large["bytes"] > PEEK_BODY_BYTES_MAX
    assert small["body"] == 1
    assert all(task["error"] for task in damaged)


@pytest.mark.parametrize(
    ("which", "code"),
    [({"queue": "r"}, "unknown-queue"), ({"queue": 1}, "malformed"), ({}, "malformed"),
     ({"queue": "q", "limit": 0}, "malformed"), ({"queue": "q", "task": 1}, "malformed")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(talk: Any, which: dict[str, Any], code: str) -> None:
    t = talk()
    t.broker.book.queue("q")
    (refusal,) = t.say(b"x", Ask("peek"), pack(which))
    assert isinstance(refusal, Refuse)
    assert refusal.code == code


def test_the_delayed_are_told_with_the_time_that_is_left(talk: Any) -> None:
    t = talk()
    t.producer()
    t.publish(b"p", 1, ["ready"])
    for sequence, delay_ms in ((2, 90_000), (3, 500), (4, 7_000)):
        t.publish(b"p", sequence, [sequence, -sequence], delay_ms=delay_ms)
    t.hear()
    told = look(t, limit=3)
    assert (told["ready"], told["delayed"]) == (1, 6)
    assert [task["body"] for task in told["tasks"]] == ["ready"]
    delayed = [(task["body"], task["due_in_s"]) for task in told["delayed_tasks"]]
    assert delayed == [(3, 0.5), (-3, 0.5), (4, 7.0)]
    t.now += 0.25
    assert look(t, task="other")["delayed_tasks"] == []
    info = t.broker.teller.info()["queues"]["q"]
    assert (info["delayed"], info["due_in_s"]) == (6, 0.25)


def test_one_of_the_middle_of_a_batch_is_told_while_it_waits_for_its_next_attempt(
    talk: Any,
) -> None:
    t = talk()
    t.producer()
    t.worker(credit=3, retries={"": [2, 9000, 9000, 1]})
    t.publish(b"p", 1, ["a", "b", "c"])
    ((_, lease, _),) = [heard for heard in t.hear() if hasattr(heard[1], "lease")]
    error = pack([["ValueError", "no", ""]])
    t.settle(b"w", lease.lease, [[0, 0, 2, DONE], [0, 2, 1, RETRY]], error, credit=0)
    (waits,) = look(t)["delayed_tasks"]
    assert (waits["body"], waits["attempt"], waits["due_in_s"]) == ("c", 2, 9.0)
    assert waits["id"].endswith("-1-2")
