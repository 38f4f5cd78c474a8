"""The loops that call handlers with one argument."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from zqueue.worker.loops import call_each, keep_each


def test_calls_with_each_in_turn() -> None:
    seen: list[Any] = []
    call_each(seen.append, iter([1, "a", None]))
    assert seen == [1, "a", None]


def test_passes_on_what_comes_back() -> None:
    kept: list[Any] = []
    keep_each(lambda body: body * 2, iter([1, "a"]), kept.append)
    assert kept == [2, "aa"]


@pytest.mark.parametrize("error", [ZeroDivisionError, StopIteration, KeyboardInterrupt])
def test_an_exception_ends_it_before_the_next_body_is_taken(error: type[BaseException]) -> None:
    def fail(body: int) -> int:
        if body == 2:
            raise error
        return body

    bodies = iter([1, 2, 3])
    kept: list[int] = []
    with pytest.raises(error):
        keep_each(fail, bodies, kept.append)
    assert kept == [1]
    with pytest.raises(error):
        call_each(fail, iter([2]))
    assert next(bodies) == 3


class Body:
    """Something that is noticed when it goes."""


class OneAtATime:
    """Bodies, none of which is made before the one before it is gone."""

    def __init__(self, count: int) -> None:
        self.left = count
        self._last: Callable[[], Body | None] = lambda: None

    def __iter__(self) -> Iterator[Body]:
        return self

    def __next__(self) -> Body:
        assert self._last() is None, "there are two at a time"
        if not self.left:
            raise StopIteration
        self.left -= 1
        body = Body()
        self._last = weakref.ref(body)
        return body


def test_a_body_is_gone_before_the_next_one_is_made() -> None:
    bodies = OneAtATime(3)
    call_each(lambda body: None, bodies)
    assert not bodies.left
    bodies, kept = OneAtATime(3), list[str]()
    keep_each(lambda body: "done", bodies, kept.append)
    assert kept == ["done"] * 3
