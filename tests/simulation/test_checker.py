"""The checker: what it says of histories that are made by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .checker import (
    BOUNDS,
    CANCELLED,
    CULPRIT,
    EARLY,
    ENDS,
    FAILURE,
    FORGET,
    INVENTED,
    KEY,
    LATE,
    LOST,
    NEIGHBOURS,
    ONCE,
    ORDER,
    OUTCOME,
    OVER,
    PLAIN,
    RESULT,
    SENTENCES,
    TWICE,
    check,
)
from .facts import OUT
from .history import (
    Asked,
    Began,
    Cancelled,
    Confirmed,
    Dead,
    Delivered,
    Dropped,
    Ended,
    Event,
    Fault,
    HandedOut,
    History,
    Jumped,
    Kept,
    Left,
    Measured,
    Postponed,
    PowerLost,
    Replayed,
    Revived,
    Sent,
    Told,
    Unwanted,
    Withdrawn,
)

ROOT = Path(__file__).parents[2]


def sent(task: int, *, reply: bool = False) -> Sent:
    return Sent(1.0, task, "producer-1", "q", "t", reply)


def confirmed(task: int) -> Confirmed:
    return Confirmed(2.0, task, "broker-1")


def ran(task: int, how: str = "done", *, at: float = 3.0, worker: str = "s/w1") -> list[Event]:
    return [Began(at, task, worker, 1), Ended(at + 0.1, task, worker, how)]


def fault(kind: str, whom: str, at: float = 2.5) -> Fault:
    return Fault(at, kind, whom, at)


def out(task: int) -> Sent:
    return sent(task)._replace(queue=OUT)


def key(task: int) -> list[Event]:
    return [Asked(1.0, task, key="order-7", window_s=3600.0)]


DEAD: list[Event] = [Dead(4.0, 1, "crashed"), Kept(9.0, 1)]

GOOD: dict[str, list[Event]] = {
    "done": [sent(1), confirmed(1), *ran(1)],
    "neither confirmed nor run": [sent(1)],
    "run again, for its worker died": [
        sent(1), confirmed(1), *ran(1, "cut"), fault("kill", "s/w1", 3.05), *ran(1, at=4.0),
    ],
    "run again, for its supervisor was stopped": [
        sent(1), *ran(1), Fault(0.5, "freeze", "s", 9.0), *ran(1, at=4.0, worker="s/w2"),
    ],
    "failed": [sent(1), confirmed(1), *ran(1, "failed"), Dead(4.0, 1, "failed"), Kept(9.0, 1)],
    "failed, and replayed": [
        sent(1), confirmed(1), *ran(1, "failed"), Dead(4.0, 1, "failed"), Replayed(5.0, 1),
        *ran(1, "failed", at=6.0), Dead(7.0, 1, "failed"), Kept(9.0, 1),
    ],
    "failed, and dropped": [
        sent(1), confirmed(1), *ran(1, "failed"), Dead(4.0, 1, "failed"), Dropped(5.0, 1),
    ],
    "handed out in order": [sent(1), sent(2), Delivered(2.0, 1), Delivered(2.0, 2)],
    "out of order after it was postponed": [
        sent(1), sent(2), Postponed(1.5, (1,)), Delivered(2.0, 2), Delivered(2.0, 1),
    ],
    "a result": [sent(1, reply=True), *ran(1), Told(4.0, 1, "value", 1)],
    "too late": [sent(1, reply=True), *ran(1, "late"), Told(4.0, 1, "TaskTimeout")],
    "lost with its connection": [
        sent(1, reply=True), *ran(1), fault("cut", "producer-1"), Told(4.0, 1, "ResultLost"),
    ],
    "given up": [
        sent(1, reply=True), confirmed(1), *ran(1, "cut"), *ran(1, "cut"), *ran(1, "cut"),
        *(fault("crash", "s/w1") for _ in range(3)), Told(4.0, 1, "WorkerLost"),
    ],
    "an hour after it was due": [
        sent(1), Asked(1.0, 1, due=2.0), confirmed(1), *ran(1, at=3600.0),
    ],
    "before it was due, for the clock was set": [
        sent(1), Asked(1.0, 1, due=9.0), confirmed(1), Jumped(2.0, 7200.0), *ran(1),
    ],
    "expired": [
        sent(1, reply=True), Asked(1.0, 1, expires_s=0.5), confirmed(1), Told(2.0, 1, "Expired"),
    ],
    "cancelled": [
        sent(1, reply=True), confirmed(1), Unwanted(2.0, 1), Cancelled(2.1, 1),
        Told(2.2, 1, "CancelledError"),
    ],
    "cancelled, and done before that was heard of": [
        sent(1, reply=True), Unwanted(2.0, 1), *ran(1), Told(4.0, 1, "value", 1),
    ],
    "the second of its key": [
        sent(1, reply=True), sent(2, reply=True), *key(1), *key(2), confirmed(1), *ran(1),
        confirmed(2), Told(4.0, 2, "value", 1),
    ],
    "the second of its key, of another program": [
        sent(1), sent(2, reply=True), *key(1), *key(2), confirmed(1), *ran(1), confirmed(2),
        Told(4.0, 2, "AlreadySent"),
    ],
    "the second of its key, after its window": [
        sent(1), confirmed(1), *key(1), *ran(1), sent(2)._replace(at=3700.0), *key(2),
        Confirmed(3701.0, 2, "broker-1"), *ran(2, at=3702.0),
    ],
    "out by the plain lane": [out(1), confirmed(1), HandedOut(3.0, 1)],
    "over before the broker was killed": [
        sent(1, reply=True), confirmed(1), *ran(1), Told(3.2, 1, "value", 1),
        fault("kill", "broker-1", 9.0),
    ],
    "at its bound": [Measured(1.0, "tasks", 5, 5)],
}  # fmt: skip

BAD: list[tuple[str, list[Event]]] = [
    (LOST, [sent(1), confirmed(1)]),
    (LOST, [sent(1), confirmed(1), *ran(1, "cut")]),
    (LOST, [sent(1, reply=True), confirmed(1), fault("kill", "producer-1")]),
    (ENDS, [Left("a task in the broker")]),
    (INVENTED, [*ran(7)]),
    (INVENTED, [confirmed(7)]),
    (TWICE, [sent(1), *ran(1), *ran(1, at=4.0)]),
    (TWICE, [sent(1), *ran(1), fault("kill", "s/w2"), *ran(1, at=4.0)]),
    (TWICE, [sent(1), *ran(1), fault("kill", "s/w1", 9.0), *ran(1, at=4.0)]),
    (TWICE, [sent(1), *ran(1), fault("kill", "s/w1"), *ran(1), *ran(1, at=4.0)]),
    (ONCE, [sent(1), *ran(1), Revived(5.0, 1)]),
    (ORDER, [sent(1), sent(2), Delivered(2.0, 2), Delivered(2.0, 1)]),
    (BOUNDS, [Measured(1.0, "tasks", 6, 5)]),
    (OUTCOME, [sent(1), *ran(1), Told(4.0, 1, "value", 1), Told(4.1, 1, "value", 1)]),
    (RESULT, [sent(1), *ran(1), Told(4.0, 1, "value", 2)]),
    (RESULT, [sent(1), Told(4.0, 1, "value", 1)]),
    (RESULT, [sent(1), *ran(1), Told(4.0, 1, "Failure")]),
    (RESULT, [sent(1), *ran(1), Told(4.0, 1, "TaskTimeout")]),
    (RESULT, [sent(1), *ran(1), Told(4.0, 1, "WorkerLost")]),
    (RESULT, [sent(1), *ran(1), Told(4.0, 1, "ResultLost")]),
    (RESULT, [sent(1), *ran(1), Told(4.0, 1, "UnknownTask")]),
    (RESULT, [sent(1), *ran(1), Told(4.0, 1, "Surprise")]),
    (FAILURE, [sent(1), confirmed(1), *ran(1, "failed")]),
    (FAILURE, [sent(1), confirmed(1), *ran(1, "failed"), Dead(4.0, 1, "failed")]),
    (EARLY, [sent(1), Asked(1.0, 1, due=3.1), confirmed(1), *ran(1)]),
    (LATE, [sent(1), Asked(1.0, 1, expires_s=0.5), confirmed(1), HandedOut(2.9, 1), *ran(1)]),
    (
        LATE,
        [
            sent(1),
            Asked(1.0, 1, expires_s=9.0),
            confirmed(1),
            Dead(4.0, 1, "expired"),
            Kept(9.0, 1),
        ],
    ),
    (RESULT, [sent(1, reply=True), Told(4.0, 1, "Expired")]),
    (RESULT, [sent(1, reply=True), Told(4.0, 1, "CancelledError")]),
    (RESULT, [sent(1, reply=True), Told(4.0, 1, "AlreadySent")]),
    (CANCELLED, [sent(1), confirmed(1), Unwanted(2.0, 1), Cancelled(2.1, 1), *ran(1)]),
    (NEIGHBOURS, [sent(1), confirmed(1), Cancelled(2.1, 1)]),
    (
        KEY,
        [
            sent(1),
            sent(2),
            *key(1),
            *key(2),
            confirmed(1),
            confirmed(2),
            *ran(1),
            *ran(2),
        ],
    ),
    (LOST, [sent(1), *key(1), confirmed(1)]),
    (PLAIN, [out(1), confirmed(1), HandedOut(3.0, 1), HandedOut(3.1, 1)]),
    (LOST, [out(1), confirmed(1)]),
    (
        OVER,
        [
            sent(1, reply=True),
            confirmed(1),
            *ran(1),
            Told(3.2, 1, "value", 1),
            fault("kill", "broker-1", 9.0),
            *ran(1, at=9.5),
        ],
    ),
    (CULPRIT, [sent(1), confirmed(1), fault("crash", "s/w1"), *DEAD]),
]


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("durable", [False, True])
def test_a_history_that_is_as_promised(name: str, durable: bool) -> None:
    assert not list(check(History(GOOD[name], durable=durable)))


@pytest.mark.parametrize(("sentence", "events"), BAD)
def test_a_history_that_is_not(sentence: str, events: list[Event]) -> None:
    found = list(check(History(events, durable=True)))
    assert [violation.sentence for violation in found] == [sentence], found


def test_only_memory_is_lost_with_its_broker() -> None:
    events: list[Event] = [sent(1), confirmed(1), fault("kill", "broker-1")]
    assert not list(check(History(events, durable=False)))
    assert list(check(History(events, durable=True)))


def test_the_page_says_what_is_checked() -> None:
    page = re.sub(r"\s+", " ", (ROOT / "docs" / "guarantees.md").read_text())
    assert not [sentence for sentence in SENTENCES if sentence not in page]


def test_level_os_loses_what_was_confirmed_last() -> None:
    """And nothing else."""
    events: list[Event] = [sent(1), confirmed(1), fault("kill", "broker-1", 2.03)]
    assert not list(check(History([*events, PowerLost(2.03, since=1.98)], durable=True)))
    assert list(check(History([*events, PowerLost(2.1, since=2.05)], durable=True)))
    late: list[Event] = [sent(1), fault("kill", "broker-1", 1.9), confirmed(1)]
    assert not list(check(History([*late, PowerLost(1.9, since=1.85)], durable=True)))


def test_a_dead_letter_is_lost_with_a_task_that_was_confirmed_last() -> None:
    """However long before its confirm it expired."""
    events: list[Event] = [
        sent(1), Asked(1.0, 1, expires_s=0.5), Dead(1.9, 1, "expired"), confirmed(1),
        fault("kill", "broker-1", 2.03),
    ]  # fmt: skip
    assert not list(check(History([*events, PowerLost(2.03, since=1.98)], durable=True)))
    assert list(check(History([*events, PowerLost(2.1, since=2.05)], durable=True)))


def test_what_went_to_another_broker_is_forgotten_by_the_first() -> None:
    events: list[Event] = [
        sent(1), Withdrawn(2.0, 1, "broker-1"), HandedOut(9.0, 1, "broker-1"), *ran(1),
    ]  # fmt: skip
    (found,) = check(History(events, brokers=2))
    assert found.sentence == FORGET
    for more in (
        HandedOut(2.5, 1, "broker-1"),  # A worker had it.
        fault("freeze", "broker-1", 3.0),  # It has not heard of it.
        Withdrawn(5.0, 1, "broker-2"),  # It may have come back.
    ):
        assert not list(check(History([*events, more], brokers=2)))


def test_with_several_brokers_one_may_be_given_up() -> None:
    twice: list[Event] = [sent(1), *ran(1), *ran(1, at=4.0)]
    for why in (fault("cut", "producer-1"), fault("stop", "broker-1")):
        assert not list(check(History([*twice, why], brokers=2)))
        assert list(check(History([*twice, why])))


def test_each_sentence_is_broken_by_some_history() -> None:
    assert {sentence for sentence, _ in BAD} | {FORGET} == set(SENTENCES)
