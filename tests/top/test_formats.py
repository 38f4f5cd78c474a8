"""Figures and names in few characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.top import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.001, "0.01"), (0.25, "0.25"), (0.996, "1.0"), (7.54, "7.5"), (9.96, "10"),
     (842.4, "842"), (999.6, "1.00k"), (12_345, "12.3k"), (123_456, "123k"), (1.5e6, "1.50M")],
)  # fmt: skip
def test_rate(value: float, text: str) -> None:
    assert formats.rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (999_999, "999,999"), (1_234_567, "1.23M"), (10**12, "1.00T")]
)
def test_count(value: int, text: str) -> None:
    assert formats.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0004, "<1 µs"), (0.85, "850 µs"), (3.21, "3.2 ms"), (320.4, "320 ms"),
     (999.7, "1.0 s"), (45_000, "45 s"), (240_000, "4 min"), (7_560_000, "2.1 h"), (3e8, "3.5 d")],
)  # fmt: skip
def test_ms(value: float | None, text: str) -> None:
    assert formats.ms(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "<0.1 s"), (0.06, "0.1 s"), (59.4, "59 s"), (59.6, "1 min"), (3599, "1 h 0 min"),
     (7500, "2 h 5 min"),
     (86_400 * 3 + 3600 * 4, "3 d 4 h")],
)  # fmt: skip
def test_duration(value: float, text: str) -> None:
    assert formats.duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(812, "812 B"), (1000, "1.0 KiB"), (45 << 10, "45 KiB"), (1_023_590, "1.0 MiB"),
     (3_250_000, "3.1 MiB"), (1_181_000_000, "1.1 GiB"), (5 << 40, "5,120 GiB")],
)  # fmt: skip
def test_size(value: int, text: str) -> None:
    assert formats.size(value) == text


@given(st.text())
def test_nothing_of_a_stranger_s_moves_the_cursor(text: str) -> None:
    assert formats.plain(text).isprintable()
    assert len(formats.plain(text)) == len(text)


def test_a_line_of_bars() -> None:
    assert formats.spark([0, 1, 50, 100], 4) == "▁▂▅█"
    assert formats.spark([0] * 4, 4) == "▁▁▁▁"
    assert formats.spark([], 4) == formats.spark([1.0], 0) == ""
    assert formats.spark([0, 0, 0, 9, 0, 0], 3) == "▁█▁", "the highest of each few"


@given(st.lists(st.floats(0, 1e15), max_size=300), st.integers(0, 80))
def test_a_line_of_bars_fits(values: list[float], width: int) -> None:
    assert len(formats.spark(values, width)) <= width
