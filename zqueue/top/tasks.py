"""The tasks by their names, and one of them."""

from __future__ import annotations

from rich.text import Text

from . import pieces, wording
from .columns import BAD, DIM, Column, Row, View

COLUMNS = (
    Column("task", 15, 0, lambda row, _: row["name"], left=True, style=lambda _: "bold"),
    Column("queue", 8, 6, lambda row, _: row["queue"], left=True),
    Column("ended/s", 8, 1, lambda row, window: row["rate"].get(window, 0.0), wording.rate),
    Column("fail/s", 7, 2, lambda row, window: row["failed_rate"].get(window, 0.0), wording.rate,
           style=lambda _: BAD),
    Column("run p50", 8, 3, lambda row, window: row["run_ms"][window]["p50"], wording.ms),
    Column("run p95", 8, 7, lambda row, window: row["run_ms"][window]["p95"], wording.ms),
    Column("run p99", 8, 4, lambda row, window: row["run_ms"][window]["p99"], wording.ms),
    Column("longest", 8, 10, lambda row, window: row["run_ms"][window]["max"], wording.ms),
    Column("total p50", 10, 8, lambda row, window: row["total_ms"][window]["p50"], wording.ms),
    Column("total p99", 10, 5, lambda row, window: row["total_ms"][window]["p99"], wording.ms),
    Column("done", 9, 9, lambda row, _: row["done"], wording.count),
    Column("failed", 8, 11, lambda row, _: row["failed"], wording.count, style=lambda _: BAD),
)  # fmt: skip


def detail(broker: Row, task: Row, window: str, width: int) -> Text:
    """All that is known of a task."""
    running = [w for w in broker["workers"] if (w["running"] or {}).get("task") == task["name"]]
    return pieces.join(
        [
            pieces.title("task", task["name"]),
            pieces.figures(
                [
                    ("queue", task["queue"] or wording.NONE),
                    ("done", wording.count(task["done"])),
                    ("failed", wording.count(task["failed"])),
                    ("in progress in", f"{len(running)} workers"),
                ],
                width,
            ),
            pieces.rates([("ended", task["rate"]), ("failed", task["failed_rate"])]),
            pieces.percentiles([("run", task["run_ms"]), ("total", task["total_ms"])]),
            Text("run: from its beginning to its end; total: from being sent to its end", DIM),
        ]
    )


TASKS = View(
    "Tasks", COLUMNS, lambda broker: list(broker.get("tasks", ())), lambda row: str(row["name"]),
    detail, "ended/s", "No task has ended yet.",
)  # fmt: skip
