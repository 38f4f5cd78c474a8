"""A worker's last minute in a terminal."""

from __future__ import annotations

from typing import Any

from zqueue.top.columns import BAD, DIM
from zqueue.top.strips import COLOURS, lines, painted
from zqueue.top.workers import WORKERS

Json = dict[str, Any]

NAMES = ["mail", "index"]
STRIP = {"tasks": {"index": "0" * 54 + "999333", "mail": "0" * 54 + "000111"}}


def test_a_bar_has_the_colour_of_what_ran_most() -> None:
    text = painted(STRIP, NAMES, 20)
    assert text.plain == "▁" * 18 + "█▄"
    assert [str(span.style) for span in text.spans] == [DIM] * 18 + [COLOURS[1]] * 2
    assert painted(STRIP, [], 20).spans[-1].style == DIM, "a task that the broker does not list"
    for cells in (1, 7, 59, 60, 61, 140):
        assert painted(STRIP, NAMES, cells).cell_len == cells
    assert painted({"tasks": {"mail": "1" + "0" * 59}}, NAMES, 1).plain == "▂", "little is seen"


def test_each_task_has_a_line_of_its_own() -> None:
    told = lines({**STRIP, "failed": "0" * 59 + "1"}, NAMES, 80)
    _, index, mail, failures = told.plain.splitlines()
    assert index.endswith("███▃▃▃  4.0 s")
    assert mail.startswith("mail      ▁")
    assert failures == f"failures  {' ' * 59}▀"
    assert told.spans[-1].style == BAD
    assert lines({"tasks": {}}, NAMES, 80).plain == "It ran nothing in the last minute."
    assert max(map(len, lines(STRIP, NAMES, 40).plain.splitlines())) <= 40


def test_it_is_in_the_table_and_in_the_details(busy: Json) -> None:
    busy["workers"][0]["strip"] = {"tasks": {"t": "9" * 60}}
    (worker,) = WORKERS.rows(busy)
    (strip,) = [column for column in WORKERS.columns if column.title == "ran"]
    cell = strip.cell(worker, "10", 20)
    assert (cell.plain, cell.spans[0].style) == ("█" * 20, COLOURS[0])
    assert "what it ran in the last minute" in WORKERS.detail(busy, worker, "10", 77).plain
