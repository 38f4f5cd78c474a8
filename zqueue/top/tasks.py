"""The tasks by their names, and one of them."""

from __future__ import annotations

from textwrap import fill

from rich.text import Text

from ..metrics.glossary import means, word
from . import formats, pieces
from .columns import BAD, DIM, Column, Row, View, figure, quantile_of, rate_of
from .strips import colour_of, names_of


def _name(row: Row, width: int) -> Text:
    """Its colour, which workers' strips have, and its name."""
    name = formats.fit(formats.plain(row["name"]), max(0, width - 2), left=True)
    return Text.assemble(("■ ", colour_of(row["name"], row["names"])), (name, "bold"))[:width]


COLUMNS = (
    Column("task", 15, 0, lambda row, _: row["name"], left=True, paint=_name),
    Column("queue", 8, 6, lambda row, _: row["queue"], left=True),
    rate_of("ended", 8, 1, "rate"),
    rate_of("failures", 11, 2, "failed_rate", style=lambda _: BAD),
    quantile_of("run", 8, 3, "p50", "run_ms"),
    quantile_of("run", 8, 7, "p95", "run_ms"),
    quantile_of("run", 8, 4, "p99", "run_ms"),
    quantile_of("run", 8, 10, "max", "run_ms"),
    quantile_of("total", 10, 8, "p50", "total_ms"),
    quantile_of("total", 10, 5, "p99", "total_ms"),
    figure("done", 9, 9, lambda row, _: row["done"], formats.count),
    figure("failures", 9, 11, lambda row, _: row["failed"], formats.count, style=lambda _: BAD),
)  # fmt: skip


def rows(broker: Row) -> list[Row]:
    """The tasks, each with the names of all, which tell its colour."""
    names = names_of(broker)
    return [{**task, "names": names} for task in broker.get("tasks", ())]


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
                    ("failures", formats.count(task["failed"])),
                    ("running in", "1 worker" if len(running) == 1 else f"{len(running)} workers"),
                ],
                width,
            ),
            pieces.rates([("ended", task["rate"]), ("failures", task["failed_rate"])]),
            pieces.percentiles([("run", task["run_ms"]), ("total", task["total_ms"])]),
            Text(
                "\n".join(fill(f"{word(key)}: {means(key)}", width) for key in ("run", "total")),
                DIM,
            ),
        ]
    )


TASKS = View(
    "Tasks", COLUMNS, rows, lambda row: str(row["name"]), detail, "ended/s",
    "No task has ended yet.",
)  # fmt: skip
