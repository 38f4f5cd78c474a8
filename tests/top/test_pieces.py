"""Pieces of the details."""

from __future__ import annotations

from zqueue.top import pieces
from zqueue.top.columns import Column


def test_a_pair_is_not_torn_apart() -> None:
    pairs = [("ready", "1,234 of 5"), ("leased", "7"), ("oldest", "3 s")]
    text = pieces.figures(pairs, 30).plain
    assert text == "ready 1,234 of 5   leased 7\noldest 3 s"
    assert pieces.figures(pairs, 100).plain == "ready 1,234 of 5   leased 7   oldest 3 s"
    assert pieces.figures([], 80).plain == ""


def test_percentiles_of_all_windows() -> None:
    reported = {"count": 1234, "p50": 1.0, "p95": 2.0, "p99": 300.0, "max": 4000.0}
    nothing = {"count": 0, "p50": None, "p95": None, "p99": None, "max": None}
    over = {"10": reported, "60": nothing, "300": reported}
    _, ten, minute, five = pieces.percentiles([("run", over)]).plain.splitlines()
    assert " ".join(ten.split()) == "run 10 s 1,234 1.0 ms 2.0 ms 300 ms 4.0 s"
    assert " ".join(minute.split()) == "1 min 0 – – – –"
    assert five.split()[:2] == ["5", "min"]
    assert len({len(line) for line in (ten, minute, five)}) == 1


def test_a_long_table_is_cut() -> None:
    column = Column("name", 8, 0, lambda row, _: row["n"], left=True)
    lines = pieces.table("Rows", [{"n": str(i)} for i in range(25)], [column], "10", 80).plain
    assert lines.startswith("Rows (25)\nname")
    assert lines.endswith("and 5 more")
    assert pieces.table("Rows", [], [column], "10", 80).plain == "Rows: none"


def test_a_bar() -> None:
    assert pieces.bar(0.5, 4) == "██░░"
    assert pieces.bar(7, 4) == "████"
