"""Answers by idempotency key: time is an argument."""

from __future__ import annotations

import pytest

from zqueue.gateway.problems import Problem
from zqueue.gateway.repeats import ENTRY_BYTES, Repeats
from zqueue.http.asgi import Answer

KEY = ("token", "/path", "key")
ANSWER = Answer(202, b"application/json", b"x" * 100)


def status_of(repeats: Repeats, body: bytes, now: float = 0.0) -> int:
    with pytest.raises(Problem) as caught:
        repeats.begin(KEY, body, now)
    return caught.value.status


def test_the_same_again_has_the_same_answer() -> None:
    repeats = Repeats(kept_s=10.0)
    assert repeats.begin(KEY, b"a", 0.0) is None
    repeats.end(KEY, ANSWER, 1.0)
    assert repeats.begin(KEY, b"a", 10.9) is ANSWER
    assert repeats.begin((*KEY[:2], "other"), b"b", 10.9) is None
    assert repeats.begin(KEY, b"a", 11.0) is None, "that was long ago"


def test_another_body() -> None:
    repeats = Repeats()
    assert repeats.begin(KEY, b"a", 0.0) is None
    assert status_of(repeats, b"b") == 422
    repeats.end(KEY, ANSWER, 0.0)
    assert status_of(repeats, b"b") == 422


def test_while_the_first_one_is_under_way() -> None:
    repeats = Repeats()
    assert repeats.begin(KEY, b"a", 0.0) is None
    assert status_of(repeats, b"a") == 409
    repeats.forget(KEY)
    assert repeats.begin(KEY, b"b", 0.0) is None, "it came to nothing"


def test_they_are_bounded() -> None:
    for repeats in (Repeats(keys_max=3), Repeats(bytes_max=3 * (ENTRY_BYTES + 100))):
        for i in range(5):
            assert repeats.begin((str(i),), b"", 0.0) is None
            repeats.end((str(i),), ANSWER, 0.0)
        assert [repeats.begin((str(i),), b"", 0.0) for i in (4, 3, 2)] == [ANSWER] * 3
        assert repeats.begin(("1",), b"", 0.0) is None
