"""Skills: who has what, and when it makes a difference."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.broker.skills import Names, Skills, names_of

A, AB, C = frozenset("a"), frozenset("ab"), frozenset("c")


@pytest.mark.parametrize(
    ("tasks", "names"),
    [
        (None, None), ({}, None), ("a", None), ([1], None),
        ({"a": "q"}, {"a", ""}), ({"a": "q", "b": "other"}, {"a", "b", ""}),
        ({"a": "q", "b": "q"}, {"a", "b"}), ({"a": "other"}, {"a"}), ({"a": 7}, {"a"}),
    ],
)  # fmt: skip
def test_names_of_a_worker(tasks: Any, names: set[str] | None) -> None:
    """A body without a name is for the only handler of its queue."""
    assert names_of(tasks, "q") == (None if names is None else frozenset(names))


@pytest.mark.parametrize(
    ("here", "mixed"),
    [
        ([], False), ([None], False), ([None, None], False), ([A], False), ([A, A], False),
        ([A, AB], True), ([AB, C], True), ([None, A], True),
    ],
)  # fmt: skip
def test_a_difference(here: list[Names], mixed: bool) -> None:
    skills = Skills()
    for names in here:
        skills.join(names)
    assert skills.is_mixed is mixed
    assert skills.known == frozenset().union(*(names or () for names in here))
    assert skills.has_all is (None in here)


def test_what_the_last_one_had_counts_until_it_is_forgotten() -> None:
    skills = Skills()
    for names in (A, A, C):
        skills.join(names)
    assert not skills.leave(A)
    assert skills.leave(A)
    assert (skills.is_mixed, skills.known) == (True, A | C)
    skills.forget(A)
    assert (skills.is_mixed, skills.known) == (False, C)
    skills.forget(A)
    assert repr(skills) == "<Skills: 1 names, all alike>"


def test_who_came_back_is_not_forgotten() -> None:
    skills = Skills()
    skills.join(A)
    assert skills.leave(A)
    skills.join(A)
    skills.forget(A)
    assert skills.known == A


def test_who_has_more_than_those_who_left_makes_no_difference() -> None:
    """The end of a deploy, as a rule."""
    skills = Skills()
    skills.join(A)
    skills.join(AB)
    assert skills.leave(A)
    assert not skills.is_mixed


def test_names_that_nobody_said_are_for_who_has_all() -> None:
    skills = Skills()
    skills.join(A)
    assert skills.has_rest(A)
    skills.join(None)
    assert not skills.has_rest(A)
    assert skills.has_rest(None)
