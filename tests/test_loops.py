"""The loops that call handlers with one argument."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.loops import call_each, keep_each


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
