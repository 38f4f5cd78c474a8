"""What a broker has taken."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.core.confirm import GAPS_MAX, MOVED_MAX, Moved, Taken, to_ranges


class TestTaken:
    @given(st.lists(st.integers(1, 60), max_size=100))
    def test_equals_a_set(self, numbers: list[int]) -> None:
        taken, model = Taken(), set()
        for number in numbers:
            assert taken.add(number) is (number not in model)
            model.add(number)
            assert all((n in taken) == (n in model) for n in range(1, 62))
        assert taken.highest == max(model, default=0)

    def test_a_gap_is_kept_open_however_far_others_get(self) -> None:
        taken = Taken()
        for number in range(2, 20 * GAPS_MAX):
            assert not taken.is_too_far(number)
            taken.add(number)
        assert 1 not in taken
        assert repr(taken) == f"<Taken up to #{20 * GAPS_MAX - 1}, 1 missing>"
        assert taken.add(1)
        assert 1 in taken

    def test_begins_with_the_first_number_heard(self) -> None:
        taken = Taken(5000)
        assert 4999 in taken
        assert not taken.is_too_far(5000)
        assert taken.add(5000)
        assert repr(taken) == "<Taken up to #5000, 0 missing>"

    def test_memory_is_bounded_whatever_comes(self) -> None:
        taken = Taken()
        for number in [*range(2, 20_000, 3), (1 << 63) - 1]:
            if not taken.is_too_far(number):
                taken.add(number)
        assert len(taken._missing) <= GAPS_MAX
        assert taken.is_too_far((1 << 63) - 1)
        assert not taken.is_too_far(1)


class TestRanges:
    @pytest.mark.parametrize(
        ("numbers", "ranges"),
        [([], []), ([5], [5, 5]), ([3, 1, 2, 7], [1, 3, 7, 7]), ([2, 2, 3], [2, 3])],
    )
    def test_examples(self, numbers: list[int], ranges: list[int]) -> None:
        assert to_ranges(numbers) == ranges

    @given(st.lists(st.integers(1, 50)))
    def test_hold_just_the_numbers(self, numbers: list[int]) -> None:
        ranges = to_ranges(numbers)
        pairs = list(zip(ranges[::2], ranges[1::2], strict=True))
        assert [n for a, b in pairs for n in range(a, b + 1)] == sorted(set(numbers))
        assert all(b + 1 < c for (_, b), (c, _) in itertools.pairwise(pairs))


def test_numbers_of_other_brokers_count_once_in_any_order() -> None:
    moved = Moved()
    assert [moved.add(number) for number in (1 << 40, 7, 1 << 40, 7)] == [True, True, False, False]
    assert 7 in moved
    assert 8 not in moved


def test_of_numbers_of_other_brokers_the_last_are_remembered() -> None:
    moved = Moved(range(MOVED_MAX))
    moved.add(MOVED_MAX)
    assert 0 not in moved
    assert 1 in moved
    assert MOVED_MAX in moved
    assert len(moved.numbers) == MOVED_MAX
