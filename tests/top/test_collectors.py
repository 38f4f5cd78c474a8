"""The garbage collectors."""

from __future__ import annotations

from typing import Any

from zqueue.top.collectors import COLLECTORS, detail
from zqueue.top.formats import BARS

Json = dict[str, Any]


def role(busy: Json, name: str) -> Json:
    (found,) = [row for row in COLLECTORS.rows(busy) if row["role"] == name]
    return found


def test_all_that_is_known_of_a_role(busy: Json) -> None:
    worker = {
        **role(busy, "worker"), "count": 12, "total_ms": 90.0, "max_ms": 33.0,
        "generations": [[9, 5.0, 1.0], [2, 15.0, 9.0], [1, 70.0, 33.0]],
        "history": [[250, 33.0], [3, 1.0]],
    }  # fmt: skip
    text = detail(busy, worker, "10", 77).plain
    assert text.startswith("garbage collectors of worker\n\npauses 12   in all 90 ms")
    assert "generation 2          1 pauses" in text
    assert "33 ms at most" in text
    assert BARS[-1] in text
    assert all(len(line) <= 77 for line in text.splitlines())


def test_the_last_minute_in_the_table(busy: Json) -> None:
    (column,) = [c for c in COLLECTORS.columns if c.title == "last minute"]
    worker = {**role(busy, "worker"), "history": [[59, 5.0], [0, 5.0], [200, 99.0]]}
    shown = column.cell(worker, "10", column.width).plain
    assert shown[0] == shown[-1] == BARS[-1]
    assert set(shown[1:-1]) == {BARS[0]}
