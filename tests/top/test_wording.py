"""Figures and names in few characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from zqueue.top import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.001, "0.01"), (0.25, "0.25"), (0.996, "1.0"), (7.54, "7.5"), (9.96, "10"),
     (842.4, "842"), (999.6, "1.00k"), (12_345, "12.3k"), (123_456, "123k"), (1.5e6, "1.50M")],
)  # fmt: skip
def test_rate(value: float, text: str) -> None:
    assert wording.rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (999_999, "999,999"), (1_234_567, "1.23M"), (10**12, "1.00T")]
)
def test_count(value: int, text: str) -> None:
    assert wording.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.85, "850 µs"), (3.21, "3.2 ms"), (320.4, "320 ms"), (999.7, "1.0 s"),
     (45_000, "45 s"), (240_000, "4 min"), (7_560_000, "2.1 h"), (3e8, "3.5 d")],
)  # fmt: skip
def test_ms(value: float | None, text: str) -> None:
    assert wording.ms(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.0 s"), (59.4, "59 s"), (59.6, "1 min"), (3599, "1 h 0 min"), (7500, "2 h 5 min"),
     (86_400 * 3 + 3600 * 4, "3 d 4 h")],
)  # fmt: skip
def test_duration(value: float, text: str) -> None:
    assert wording.duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(812, "812 B"), (45_000, "45 kB"), (3_100_000, "3.1 MB"), (999_600, "1.0 MB"),
     (1_100_000_000, "1.1 GB"), (5 * 10**12, "5,000 GB")],
)  # fmt: skip
def test_size(value: int, text: str) -> None:
    assert wording.size(value) == text


@given(st.floats(0, 1e9))
def test_an_age_fits_into_its_column(seconds: float) -> None:
    assert len(wording.age(seconds)) <= 9
    if seconds < 86_400 * 1000:
        assert len(wording.age(seconds)) <= 7


@given(st.text(), st.integers(0, 40), st.booleans())
def test_a_text_fits_exactly(text: str, width: int, left: bool) -> None:
    assert cell_len(wording.fit(wording.plain(text), width, left=left)) == width


@given(st.text())
def test_nothing_of_a_stranger_s_moves_the_cursor(text: str) -> None:
    assert wording.plain(text).isprintable()
    assert len(wording.plain(text)) == len(text)


def test_a_line_of_bars() -> None:
    assert wording.spark([0, 1, 50, 100], 4) == "▁▂▅█"
    assert wording.spark([0] * 4, 4) == "▁▁▁▁"
    assert wording.spark([], 4) == wording.spark([1.0], 0) == ""
    assert wording.spark([0, 0, 0, 9, 0, 0], 3) == "▁█▁", "the highest of each few"


@given(st.lists(st.floats(0, 1e15), max_size=300), st.integers(0, 80))
def test_a_line_of_bars_fits(values: list[float], width: int) -> None:
    assert len(wording.spark(values, width)) <= width
