"""What a worker ran in the last minute, as coloured bars: one colour for each task.

A bar is as high as the share of its time that any task ran, in the colour of the one that ran most.
The colours are those of the page, where it is dark.
"""

from __future__ import annotations

from rich.text import Text

from . import formats
from .columns import BAD, DIM, Row

SECONDS = 60
FULL = 9
"""The digit of a second that was all used."""

COLOURS = (
    "#8f96ff", "#45bccb", "#f0a656", "#5fce95", "#ec86cb", "#dcc65a", "#7fb2ea", "#c4a58e",
)  # fmt: skip

NAME_CELLS_MAX = 24


def colour_of(name: str, names: list[str]) -> str:
    """A task's colour: its place among the broker's tasks says which."""
    return COLOURS[names.index(name) % len(COLOURS)] if name in names else DIM


def names_of(broker: Row) -> list[str]:
    """The broker's tasks, in its order."""
    return [task["name"] for task in broker.get("tasks", ())]


def painted(strip: Row, names: list[str], cells: int) -> Text:
    """All tasks in one line of so many cells."""
    text = Text(no_wrap=True)
    per_cell = SECONDS / max(1, cells)
    for cell in range(cells):
        first, end = round(cell * per_cell), max(round((cell + 1) * per_cell), 1)
        first = min(first, end - 1)
        sums = {name: sum(map(int, line[first:end])) for name, line in strip["tasks"].items()}
        most = max(sums, key=lambda name: sums[name], default="")
        share = sum(sums.values()) / (FULL * (end - first))
        text.append(_bar(share), style=colour_of(most, names) if share else DIM)
    return text


def lines(strip: Row, names: list[str], width: int) -> Text:
    """A line for each task, the busiest first, with how long it ran; and where runs failed."""
    if not strip["tasks"]:
        return Text("It ran nothing in the last minute.", style=DIM)
    label = min(NAME_CELLS_MAX, max(len(name) for name in (*strip["tasks"], "failures")))
    cells = max(10, min(SECONDS, width - label - 12))
    made = [Text("what it ran in the last minute", style=DIM)]
    for name, line in strip["tasks"].items():
        seconds = sum(map(int, line)) / FULL
        shown = formats.fit(formats.plain(name), label, left=True)
        bars = painted({"tasks": {name: line}}, names, cells)
        made.append(Text.assemble((shown, colour_of(name, names)), "  ", bars,
                                  (f"  {formats.duration(seconds)}", DIM)))  # fmt: skip
    if "failed" in strip:
        marks = painted({"tasks": {"": strip["failed"]}}, names, cells).plain
        marks = "".join(" " if mark == formats.BARS[0] else "▀" for mark in marks)
        made.append(Text.assemble((f"{'failures':<{label}}", BAD), "  ", (marks, BAD)))
    return Text("\n").join(made)


def _bar(share: float) -> str:
    """What is above nothing is seen."""
    return formats.BARS[min(7, max(1, round(share * 7)))] if share > 0 else formats.BARS[0]
