"""The two ends of one numbering."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.core.confirm import GAPS_MAX, ConfirmWindow, Taken, to_ranges


class TestWindow:
    def test_numbers_from_one(self) -> None:
        window: ConfirmWindow[str] = ConfirmWindow(3)
        assert [window.add(item) for item in "abc"] == [1, 2, 3]
        assert window.is_full()
        assert repr(window) == "<ConfirmWindow 3 of 3, next #4>"
        with pytest.raises(AssertionError):
            window.add("d")

    def test_forgets_what_is_confirmed(self) -> None:
        window: ConfirmWindow[str] = ConfirmWindow(3)
        for item in "abc":
            window.add(item)
        assert window.remove(2) == "b"
        assert window.remove(2) is None
        assert window.get(2) is None
        assert window.get(3) == "c"
        assert list(window.items()) == [(1, "a"), (3, "c")]
        assert not window.is_full()
        assert window.add("d") == 4
        assert len(window) == 3

    def test_may_change_while_it_is_walked(self) -> None:
        window: ConfirmWindow[str] = ConfirmWindow(3)
        for item in "abc":
            window.add(item)
        for sequence, _ in window.items():
            window.remove(sequence)
        assert len(window) == 0


class TestTaken:
    def test_each_number_counts_once(self) -> None:
        taken = Taken()
        assert [taken.add(number) for number in (1, 3, 1, 2, 3, 4, 2)] == [
            True, True, False, True, False, True, False,
        ]  # fmt: skip
        assert repr(taken) == "<Taken up to #4, 0 missing>"

    def test_zero_was_always_taken(self) -> None:
        assert 0 in Taken()
        assert not Taken().add(0)

    @given(st.lists(st.integers(1, 60), max_size=100))
    def test_equals_a_set(self, numbers: list[int]) -> None:
        taken, model = Taken(), set()
        for number in numbers:
            assert taken.add(number) is (number not in model)
            model.add(number)
            assert all((n in taken) == (n in model) for n in range(1, 62))
        assert taken.highest == max(model, default=0)

    @given(st.permutations(range(1, 41)))
    def test_order_does_not_matter(self, numbers: list[int]) -> None:
        taken = Taken()
        assert all(taken.add(number) for number in numbers)
        assert repr(taken) == "<Taken up to #40, 0 missing>"

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
