"""Columns that fit, rows in order, and what is filtered."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from zqueue.metrics.glossary import GLOSSARY
from zqueue.top.columns import GAP, Column, chosen, matching, ordered
from zqueue.top.overview import VIEWS
from zqueue.top.queues import QUEUES
from zqueue.top.workers import WORKERS

Json = dict[str, Any]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.title)
class TestEveryView:
    @pytest.mark.parametrize("width", [3, 12, 20, 40, 79, 80, 120, 250])
    def test_columns_fit(self, view: Any, width: int) -> None:
        columns = chosen(view.columns, width)
        assert sum(cells + GAP for _, cells in columns) <= width
        assert columns[0][0] is view.columns[0], "names are always there"

    def test_more_come_in_when_it_is_wider(self, view: Any) -> None:
        shown = [{column.title for column, _ in chosen(view.columns, w)} for w in range(30, 300)]
        assert all(a <= b for a, b in pairwise(shown))
        assert len(shown[-1]) == len(view.columns)
        assert view.sort in {column.title for column, _ in chosen(view.columns, 79)}

    def test_titles_are_whole(self, view: Any) -> None:
        """With the mark of the one that rows are sorted by."""
        assert [c.title for c in view.columns if len(c.title) + 1 > c.width] == []
        ranks = [column.rank for column in view.columns]
        assert len(set(ranks)) == len(ranks)

    def test_words_of_the_glossary_mean_what_it_says(self, view: Any) -> None:
        meanings = {term.word: set() for term in GLOSSARY.values()}
        for term in GLOSSARY.values():
            meanings[term.word].add(term.means)
        for column in view.columns:
            word = re.sub(r"/s$| (p\d\d|max)$", "", column.title)
            if word in meanings:
                assert column.means in meanings[word], column.title

    def test_cells_are_as_wide_as_their_column(self, view: Any, busy: Json) -> None:
        rows = view.rows(busy)
        assert rows
        for row in rows:
            for column in view.columns:
                for window in ("10", "60", "300"):
                    assert column.cell(row, window, column.width).cell_len == column.width


def test_the_names_take_what_is_left() -> None:
    (_, narrow), *_ = chosen(QUEUES.columns, 79)
    (_, wide), *_ = chosen(QUEUES.columns, 300)
    assert wide > narrow


def test_rows_in_order() -> None:
    column = Column("x", 5, 0, lambda row, _: row["x"])
    rows = [{"name": n, "x": x} for n, x in [("d", 1), ("c", None), ("b", 7), ("a", 1)]]

    def names(falling: bool) -> str:
        key = lambda row: row["name"]  # noqa: E731
        return "".join(r["name"] for r in ordered(rows, column, "10", key, falling=falling))

    assert names(True) == "badc"
    assert names(False) == "adbc", "what is not known goes last"


def test_what_is_not_known_is_no_zero() -> None:
    column = Column("x", 5, 0, lambda row, _: row["x"], str)
    assert column.cell({"x": None}, "10", 5).plain == "    –"
    assert column.cell({"x": 0}, "10", 5).plain == "    0"


def test_a_filter(busy: Json) -> None:
    rows = WORKERS.rows(busy)
    assert matching(rows, " ", WORKERS, "10") == rows
    assert matching(rows, "HERE/7", WORKERS, "10") == rows
    assert matching(rows, "here q", WORKERS, "10") == rows, "each of the words, anywhere"
    assert matching(rows, "here nowhere", WORKERS, "10") == []
