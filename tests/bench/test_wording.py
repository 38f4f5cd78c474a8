"""Numbers as people read them."""

from __future__ import annotations

import pytest

from zqueue.bench.measure import Figure
from zqueue.bench.wording import amount, listed, of, share, table


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (46.2, "ns", "46.2 ns"),
        (376.4, "ns", "376 ns"),
        (1_230, "ns", "1.23 µs"),
        (956_000, "ns", "956 µs"),
        (12_345_678, "ns", "12.3 ms"),
        (0.25, "ms", "250 µs"),
        (0.0, "ms", "0 ns"),
        (2.66e6, "/s", "2.66 M/s"),
        (444_321, "/s", "444 k/s"),
        (999_700, "/s", "1.00 M/s"),
        (4_908.0, "/s", "4,908/s"),
        (152, "B", "152 B"),
        (0.0, "B", "0 B"),
        (-286_720, "B", "-280 KiB"),
        (1.5 * (1 << 30), "B", "1.50 GiB"),
        (1.876, "×", "1.88"),
        (0.975, "cores", "0.97 cores"),
        (0, "", "0"),
        (4, "", "4"),
        (6.7460, "", "6.75"),
        (0.0039, "", "0.0039"),
        (0.00002, "", "2.0e-05"),
        (1_090_000, "", "1.09 M"),
    ],
)
def test_amounts(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_a_figure_or_a_dash() -> None:
    assert of(Figure((1.0, 2.0, 3.0), "ns")) == "2 ns"
    assert of(None) == "–"


def test_parts() -> None:
    assert share(0.984) == "98 %"


def test_lists() -> None:
    assert [listed("a"), listed("ab"), listed("abc"), listed("")] == ["a", "a and b", "a, b and c",
                                                                      ""]  # fmt: skip


def test_tables() -> None:
    assert table(("a", "b"), [("x", "1")]) == "| a | b |\n| --- | ---: |\n| x | 1 |"
