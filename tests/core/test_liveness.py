"""Liveness: who was not heard from for too long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.core.liveness import Liveness


def test_the_most_silent_one_is_lost_first() -> None:
    liveness: Liveness = Liveness(5.0)
    assert liveness.next_deadline() is None
    for now, who in ((1.0, "a"), (2.0, "b"), (3.0, "a"), (4.0, "c")):
        liveness.hear(who, now)
    assert liveness.next_deadline() == 7.0
    assert liveness.lost(6.999) == []
    assert liveness.lost(7.0) == ["b"]
    assert liveness.lost(9.0) == ["a", "c"]
    assert len(liveness) == 0
    assert liveness.next_deadline() is None


def test_is_lost_once() -> None:
    liveness: Liveness = Liveness(5.0)
    liveness.hear("a", 0.0)
    assert liveness.lost(100.0) == ["a"]
    assert liveness.lost(200.0) == []


def test_forgotten_ones_are_not_lost() -> None:
    liveness: Liveness = Liveness(5.0)
    liveness.hear("a", 0.0)
    liveness.hear("b", 1.0)
    liveness.forget("a")
    liveness.forget("nobody")
    assert liveness.next_deadline() == 6.0
    assert liveness.lost(10.0) == ["b"]


def test_forgets_the_most_silent_one() -> None:
    liveness: Liveness = Liveness(5.0)
    for now, who in ((1.0, "a"), (2.0, "b"), (3.0, "a")):
        liveness.hear(who, now)
    assert liveness.forget_longest() == "b"
    assert repr(liveness) == "<Liveness of 1, timeout 5.0 s>"
    liveness.forget("a")
    with pytest.raises(KeyError):
        liveness.forget_longest()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.booleans()), max_size=60))
def test_equals_a_dict(steps: list[tuple[int, int, bool]]) -> None:
    liveness: Liveness = Liveness(5.0)
    model: dict[int, float] = {}
    now = 0.0
    for who, elapsed, forget in steps:
        now += elapsed
        lost = liveness.lost(now)
        assert sorted(lost) == sorted(key for key, heard in model.items() if heard + 5.0 <= now)
        model = {key: heard for key, heard in model.items() if key not in lost}
        if forget:
            liveness.forget(who)
            model.pop(who, None)
        else:
            liveness.hear(who, now)
            model[who] = now
        expected = min(model.values()) + 5.0 if model else None
        assert liveness.next_deadline() == expected
        assert len(liveness) == len(model)
