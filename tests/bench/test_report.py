"""The report is made of the result and of nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from zqueue.bench.components import CATALOGUE
from zqueue.bench.measure import Figure
from zqueue.bench.report import build
from zqueue.bench.result import Result
from zqueue.bench.wording import of

SECTIONS = [
    "Executive summary",
    "Current performance",
    "Resource usage",
    "Profile insights",
    "Bottlenecks",
    "Detailed table",
    "Consumption",
    "Risks",
    "Next steps",
]


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_has_the_sections_of_the_baseline(result: Result) -> None:
    found = sections(build(result, {}))
    assert list(found) == SECTIONS
    assert all(text.strip() for text in found.values())


def test_every_figure_is_in_the_detailed_table(result: Result) -> None:
    table = sections(build(result, {}))["Detailed table"]
    for component, case in result.cases():
        for name, figure in case.figures.items():
            row = f"| {component.name} | {case.name} | {case.subject} | {name} | {of(figure)} |"
            assert row in table


def test_tables_are_whole(result: Result) -> None:
    """Every row of a table has as many cells as its head."""
    for block in build(result, {}).split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1, block


def test_a_noisy_figure_is_marked(result: Result, put: Callable[..., None]) -> None:
    put("pool", "send", "zqueue", rate=(400e3, 405e3))
    assert "| send | zqueue | task | 402 k/s |" in build(result, {})
    put("pool", "send", "zqueue", rate=(200e3, 605e3))
    text = build(result, {})
    assert "| send | zqueue | task | ~402 k/s |" in text
    assert re.search(r"\| pool \| send \| zqueue \| rate \|.*\| noisy \|", text)


def test_aims_have_their_verdicts(result: Result, put: Callable[..., None]) -> None:
    put("queue", "pair", "MemoryQueue", rate=(12e6, 12e6))
    summary = sections(build(result, {}))["Executive summary"]
    assert "| MemoryQueue, pairs of put and get | 2.66 M/s | 10 M/s | 12 M/s | met |" in summary
    assert "| HTTP gateway | not tested | – | – | not measured |" in summary


def test_what_is_missing_is_said_to_be(result: Result) -> None:
    del result.components["pool"]
    result.components["gc"].error = "the worker ended"
    text = build(result, {})
    assert "`pool` was not measured" in sections(text)["Executive summary"]
    assert "**Not measured to the end: the worker ended**" in text
    assert re.search(r"worker pool, tasks acknowledged \| failed \| – \| – \| not measured", text)
    assert "raw pyzmq |" not in sections(text)["Current performance"]


def test_nothing_at_all(result: Result) -> None:
    result.components = {}
    found = sections(build(result, {}))
    assert list(found) == SECTIONS
    assert "Nothing was measured." in found["Detailed table"]
    assert "0 met" not in found["Executive summary"]
    assert found["Bottlenecks"].strip() == "No case that shows one was measured."


def test_no_collection_is_said(result: Result) -> None:
    for _, case in result.cases():
        case.figures = {n: f for n, f in case.figures.items() if not n.startswith("gc_")}
    assert "There was no garbage collection" in sections(build(result, {}))["Resource usage"]


def test_plots_or_why_there_are_none(result: Result) -> None:
    text = build(result, {"queue": ["queue.svg"], "usage": ["cpu.svg"]})
    assert "![queue.svg](queue.svg)" in sections(text)["Current performance"]
    assert "![cpu.svg](cpu.svg)" in sections(text)["Resource usage"]
    assert "*No plots" in sections(build(result, {}, "*No plots: …*"))["Current performance"]


def test_profiles(result: Result) -> None:
    assert "No profile was taken" in sections(build(result, {}))["Profile insights"]
    result.profiles.append(
        {"component": "pool", "kind": "cpu", "files": ["profiles/x.json"], "how": "Open it.",
         "of": "by function itself", "hot": {"broker": [["send (zqueue/net/sockets.py)", 0.3]]}}
    )  # fmt: skip
    found = sections(build(result, {}))["Profile insights"]
    assert "[profiles/x.json](profiles/x.json)" in found
    assert "| `send (zqueue/net/sockets.py)` | 30.0 % |" in found
    assert "No profile" not in found


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_component_without_anything(result: Result, name: str) -> None:
    from zqueue.bench.result import Component

    result.components = {name: Component(name, error="it did not start")}
    assert f"### `{name}`" in build(result, {})


def test_interpreted_or_compiled(result: Result) -> None:
    assert "| compiled modules | `zqueue.core.memory_queue` |" in build(result, {})
    result.environment["compiled"] = {"zqueue.core.memory_queue": False}
    assert "| compiled modules | none: interpreted |" in build(result, {})


def test_ratios_have_their_range(result: Result) -> None:
    result.components["pool"].ratios["send: zqueue / raw pyzmq, rate"] = Figure(
        (1.5, 2.5), "×", "higher"
    )
    text = build(result, {})
    assert "| send: zqueue / raw pyzmq, rate | 2.00 | 1.50 | 2.50 |" in text
    assert "| ≥ 2 | 2.00 (1.50 to 2.50) | met |" in text
