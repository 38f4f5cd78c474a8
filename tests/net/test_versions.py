"""Versions of libraries that have known faults."""

from __future__ import annotations

import pytest

from zqueue.net.versions import OLDEST, too_old, versions


def test_those_that_tests_run_with_are_new_enough() -> None:
    found = versions()
    assert set(found) == set(OLDEST)
    assert too_old(found) == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("libzmq", "4.3.4", "4.3.5"), ("pyzmq", "26.4.0", "27.2.0b1"), ("msgpack", "1.2.0", "1.10")],
)
def test_what_is_said_of_old_ones(name: str, old: str, new: str) -> None:
    (said,) = too_old({name: old})
    assert said.startswith(f"{name} {old} has known faults")
    assert too_old({name: new}) == []
