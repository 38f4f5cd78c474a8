"""The tasks by their names, and one of them."""

from __future__ import annotations

from rich.text import Text

from . import formats, pieces
from .columns import BAD, DIM, Column, Row, View

COLUMNS = (
    Column("task", 15, 0, lambda row, _: row["name"], left=True, style=lambda _: "bold"),
    Column("queue", 8, 6, lambda row, _: row["queue"], left=True),
    Column("ended/s", 8, 1, lambda row, window: row["rate"].get(window, 0.0), formats.rate),
    Column("fail/s", 7, 2, lambda row, window: row["failed_rate"].get(window, 0.0), formats.rate,
           style=lambda _: BAD),
    Column("run p50", 8, 3, lambda row, window: row["run_ms"][window]["p50"], formats.ms),
    Column("run p95", 8, 7, lambda row, window: row["run_ms"][window]["p95"], formats.ms),
    Column("run p99", 8, 4, lambda row, window: row["run_ms"][window]["p99"], formats.ms),
    Column("longest", 8, 10, lambda row, window: row["run_ms"][window]["max"], formats.ms),
    Column("total p50", 10, 8, lambda row, window: row["total_ms"][window]["p50"], formats.ms),
    Column("total p99", 10, 5, lambda row, window: row["total_ms"][window]["p99"], formats.ms),
    Column("done", 9, 9, lambda row, _: row["done"], formats.count),
    Column("failed", 8, 11, lambda row, _: row["failed"], formats.count, style=lambda _: BAD),
)  # fmt: skip


def detail(broker: Row, task: Row, window: str, width: int) -> Text:
    """The details of a task."""
    running = [w for w in broker["workers"] if (w["running"] or {}).get("task") == task["name"]]
    return pieces.join(
        [
            pieces.title("task", task["name"]),
            pieces.figures(
                [
                    ("queue", task["queue"] or formats.NONE),
                    ("done", formats.count(task["done"])),
                    ("failed", formats.count(task["failed"])),
                    ("running in", f"{len(running)} workers"),
                ],
                width,
            ),
            pieces.rates([("ended", task["rate"]), ("failed", task["failed_rate"])]),
            pieces.percentiles([("run", task["run_ms"]), ("total", task["total_ms"])]),
            Text(
                "run: from the handler's start to its end; total: from sending to that end",
                DIM,
            ),
        ]
    )


TASKS = View(
    "Tasks", COLUMNS, lambda broker: list(broker.get("tasks", ())), lambda row: str(row["name"]),
    detail, "ended/s", "No task has ended yet.",
)  # fmt: skip
