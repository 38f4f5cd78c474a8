"""What errors are to a client."""

from __future__ import annotations

import json

import pytest

from zqueue.errors import (
    AlreadySent,
    BodyError,
    BodyTooLarge,
    BrokerLost,
    Closed,
    InvalidName,
    QueueFull,
    Refused,
    TimedOut,
    ZQueueError,
)
from zqueue.gateway.problems import Problem, problem_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (QueueFull("x"), 429),
        (BodyTooLarge("x"), 413),
        (BodyError("x"), 400),
        (InvalidName("x"), 400),
        (AlreadySent("id"), 409),
        (BrokerLost("x"), 503),
        (Closed("x"), 503),
        (Refused("draining", "x"), 503),
        (Refused("forbidden", "x"), 403),
        (Refused("malformed", "x"), 400),
        (TimedOut("x"), 503),
    ],
    ids=lambda value: value if isinstance(value, int) else f"{type(value).__name__}",
)
def test_each_error_has_a_status(error: ZQueueError, status: int) -> None:
    answer = problem_of(error).answer()
    told = json.loads(answer.body)
    assert (answer.status, told["status"]) == (status, status)
    assert answer.kind == b"application/problem+json"
    assert told["title"]
    assert (b"retry-after" in dict(answer.headers)) is (status in (429, 503))


def test_further_members() -> None:
    problem = Problem(429, "x" * 5_000, retry_s=0.5, line=3).with_members(accepted=7)
    told = json.loads(problem.answer().body)
    assert (told["line"], told["accepted"], told["retry_after_s"]) == (3, 7, 0.5)
    assert len(told["detail"]) == 1_000
    assert dict(problem.answer().headers)[b"retry-after"] == b"1"
