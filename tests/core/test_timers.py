"""Timers: against a dictionary that is searched, and the bound of what is left behind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zqueue.core.timers import STALE_MAX, Timers

KEYS = st.integers(0, 5)
STEPS = st.one_of(
    st.tuples(st.just("set"), KEYS, st.integers(0, 50)),
    st.tuples(st.just("cancel"), KEYS, st.just(0)),
    st.tuples(st.just("due"), st.just(0), st.integers(0, 50)),
)


@given(steps=st.lists(STEPS, max_size=60))
def test_it_is_a_dictionary_of_instants(steps: list[tuple[str, int, int]]) -> None:
    timers: Timers[int] = Timers()
    plain: dict[int, int] = {}
    for what, key, at in steps:
        if what == "set":
            timers.set(key, at)
            plain[key] = at
        elif what == "cancel":
            timers.cancel(key)
            plain.pop(key, None)
        else:
            due = timers.due(at)
            assert set(due) == {key for key, instant in plain.items() if instant <= at}
            instants = [plain.pop(key) for key in due]
            assert instants == sorted(instants)
        assert timers.next_deadline() == min(plain.values(), default=None)
        assert len(timers) == len(plain)
        assert all((key in timers) is (key in plain) for key in range(6))


def test_the_earliest_comes_first_and_of_equals_the_one_that_was_set_first() -> None:
    timers: Timers[str] = Timers()
    for key, at in (("late", 3.0), ("b", 2.0), ("a", 2.0), ("early", 1.0)):
        timers.set(key, at)
    assert timers.due(2.0) == ["early", "b", "a"]
    assert repr(timers) == "<Timers, 1 set>"
    assert timers.due(2.9) == []
    assert timers.due(3.0) == ["late"]


def test_what_was_set_again_or_cancelled_does_not_pile_up() -> None:
    timers: Timers[str | int] = Timers()
    timers.set("stays", 1e9)
    for i in range(10_000):
        timers.set("moves", 100.0 + i)
        timers.set(i, 5.0)
        timers.cancel(i)
        assert len(timers._heap) <= 2 * len(timers) + STALE_MAX
    assert timers.due(1e8) == ["moves"]
