"""The dead letters by task and error, and one of those groups with its newest traceback."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text

from . import formats, pieces
from .columns import BAD, DIM, Column, Row, View, figure


def _when(wall_s: float | None) -> str:
    """The hour, and the day unless that is today."""
    if not wall_s:
        return formats.NONE
    at = datetime.fromtimestamp(min(wall_s, 4e9))
    return at.strftime("%H:%M:%S" if at.date() == datetime.now().date() else "%m-%d %H:%M")


COLUMNS = (
    Column("task", 13, 0, lambda row, _: row["task"] or formats.NONE, left=True,
           style=lambda _: "bold"),
    figure("error", 18, 1, lambda row, _: row["error"] or formats.NONE, left=True),
    figure("letters", 8, 2, lambda row, _: row["letters"], formats.count, style=lambda _: BAD),
    figure("last", 11, 3, lambda row, _: row["last_s"] or None, _when),
    figure("reason", 9, 4, lambda row, _: row["reason"], left=True),
    Column("queue", 10, 5, lambda row, _: row["queue"], left=True),
    figure("text", 40, 6, lambda row, _: row["text"], left=True),
    figure("first", 11, 7, lambda row, _: row["first_s"] or None, _when),
)  # fmt: skip


def _rows(broker: Row) -> list[Row]:
    rows: list[Row] = broker.get("dead", {}).get("groups", [])
    return rows


def _key(row: Row) -> str:
    return "\0".join(row[part] for part in ("queue", "task", "error", "reason"))


def detail(broker: Row, group: Row, window: str, width: int) -> Text:
    """The details of a group: what it is, and the newest letter once it is there (``letter``)."""
    letter = group.get("letter")
    parts = [
        pieces.title("dead letters of task", group["task"] or formats.NONE),
        pieces.figures(
            [
                ("queue", group["queue"]),
                ("reason", group["reason"]),
                ("letters", formats.count(group["letters"])),
                ("first", _when(group["first_s"])),
                ("last", _when(group["last_s"])),
                ("newest", str(group["newest"])),
            ],
            width,
        ),
        Text.assemble(
            (formats.plain(group["error"] or formats.NONE), f"bold {BAD}"),
            f": {formats.plain(group['text'])}",
        ),
    ]
    if isinstance(letter, dict):
        lines = letter["traceback"].rstrip().splitlines()
        parts.append(Text("\n").join(Text(formats.plain(line)) for line in lines))
        parts.append(Text(f"zqueue dlq show {letter['number']}: its body and attempts", style=DIM))
    else:
        parts.append(Text(formats.plain(letter or "Asking for its traceback …"), style=DIM))
    return pieces.join(parts)


DEAD_GROUPS = View(
    "Dead", COLUMNS, _rows, _key, detail, "last", "There are no dead letters.",
    letter=lambda row: int(row["newest"]),
)  # fmt: skip
