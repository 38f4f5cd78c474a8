"""What is plotted, and that it is drawn where there is something to draw with."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from zqueue.bench import plots
from zqueue.bench.optional import find
from zqueue.bench.plots import LINES, bars, colours, cpu, draw, series
from zqueue.bench.result import Result


def test_a_line_for_each_subject_in_order(result: Result) -> None:
    (latency,) = [lines for lines in LINES if lines.family == "latency"]
    shown = series(result.components["pool"], latency)
    assert set(shown) == {
        "zqueue, p50", "zqueue, p99", "raw pyzmq, p50", "raw pyzmq, p99",
    }  # fmt: skip
    for points in shown.values():
        assert [x for x, _ in points] == [200.0, 1000.0]


def test_ours_has_the_same_colour_everywhere() -> None:
    assert colours(["raw pyzmq", "zqueue"])["zqueue"] == plots.COLOURS[0]
    assert colours(["zqueue, p50", "zqueue, p99", "raw pyzmq, p50"]) == {
        "zqueue": plots.COLOURS[0],
        "raw pyzmq": plots.COLOURS[1],
    }


def test_bars_leave_a_gap_where_nothing_was_measured(result: Result) -> None:
    queue = result.components["queue"]
    spoilt = queue.find("pair", "queue.Queue")
    assert spoilt is not None
    del spoilt.figures["cost"]
    names, values = bars(queue, "cost")
    assert names == ["pair"]
    assert values["queue.Queue"] == [None]
    assert values["MemoryQueue"] != [None]


def test_processor_time_of_cases_that_have_it(result: Result) -> None:
    titles, cores = cpu(result.components["pool"])
    assert "send, zqueue" in titles
    assert "200 tasks/s, zqueue" not in titles
    assert cores["proxy"][titles.index("send, zqueue")] == 0.0
    assert cores["proxy"][titles.index("send, raw pyzmq")] > 0.0


def test_why_there_are_none(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "find", lambda module: None)
    drawn, why = draw(result, tmp_path)
    assert drawn == {}
    assert "matplotlib" in why
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(find("matplotlib") is None, reason="there is no matplotlib")
@pytest.mark.filterwarnings("ignore")  # Of a library that is not ours.
def test_what_is_drawn_is_there(result: Result, tmp_path: Path) -> None:
    drawn, why = draw(result, tmp_path)
    assert why == ""
    names = [name for row in drawn.values() for name in row]
    assert {"queue.svg", "cpu.svg", "pool-latency.svg", "pool-batch.svg"} <= set(names)
    for name in names:
        assert ElementTree.parse(tmp_path / name).getroot().tag.endswith("svg")
