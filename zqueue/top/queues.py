"""The queues, and one of them."""

from __future__ import annotations

from rich.text import Text

from . import formats, pieces
from .columns import (
    BAD,
    SPARK_CELLS,
    STATES,
    WARN,
    Column,
    Row,
    View,
    figure,
    quantile_of,
    rate_of,
)
from .tasks import COLUMNS as TASK_COLUMNS
from .tasks import rows as task_rows
from .workers import COLUMNS as WORKER_COLUMNS
from .workers import rows as worker_rows


def _history(row: Row, window: str) -> str:
    return formats.spark(row["history"]["out"], SPARK_CELLS)


def state_of(queue: Row) -> str:
    """Its state; a queue may be both paused and draining."""
    if queue.get("paused") and queue.get("draining"):
        return "paused, draining"
    return str(queue["state"])


COLUMNS = (
    Column("queue", 20, 0, lambda row, _: row["name"], left=True, style=lambda _: "bold"),
    Column("state", 8, 1, lambda row, _: row["state"], left=True,
           style=lambda state: STATES.get(state, "")),
    figure("ready", 8, 2, lambda row, _: row["ready"], formats.count),
    figure("oldest", 7, 6, lambda row, _: row["oldest_s"] if row["ready"] else None, formats.age),
    figure("delayed", 8, 16, lambda row, _: row["delayed"], formats.count),
    figure("due", 9, 15, lambda row, _: row["due_in_s"], formats.age),
    figure("leased", 7, 7, lambda row, _: row["leased"], formats.count),
    rate_of("in", 6, 3, "in"),
    rate_of("out", 6, 4, "out"),
    rate_of("failed", 9, 5, "failed", style=lambda _: BAD),
    quantile_of("wait", 9, 12, "p50", "wait_ms"),
    quantile_of("wait", 9, 9, "p99", "wait_ms"),
    quantile_of("run", 8, 13, "p50", "run_ms"),
    quantile_of("run", 8, 11, "p99", "run_ms"),
    figure("dead", 6, 17, lambda row, _: row["counters"].get("dead", 0), formats.count,
           style=lambda _: BAD),
    figure("servers", 8, 8, lambda row, _: row["workers"], formats.count),
    figure("bytes", 8, 14, lambda row, _: row["bytes"], formats.size),
    Column("out, last minute", SPARK_CELLS, 10, _history, left=True),
)  # fmt: skip


def detail(broker: Row, queue: Row, window: str, width: int) -> Text:
    """The details of a queue."""
    name, history = queue["name"], queue["history"]
    counters = {key: value for key, value in queue["counters"].items() if value}
    return pieces.join(
        [
            pieces.title("queue", name, state_of(queue), STATES.get(queue["state"], WARN)),
            _load(queue, width),
            pieces.rates([(key, queue[key]) for key in ("in", "out", "failed")]),
            pieces.histories(
                [
                    ("in", history["in"], f"{formats.rate(max(history['in']))}/s at most"),
                    ("out", history["out"], f"{formats.rate(max(history['out']))}/s at most"),
                    ("ready", history["ready"],
                     f"{formats.count(int(max(history['ready'])))} at most"),
                ],
                width,
                "the last minute",
            ),
            pieces.percentiles([("wait", queue["wait_ms"]), ("run", queue["run_ms"])]),
            pieces.table(
                "Tasks", [task for task in task_rows(broker) if task["queue"] == name],
                TASK_COLUMNS, window, width,
            ),
            pieces.table(
                "Workers", [w for w in worker_rows(broker) if name in w["queues"]],
                WORKER_COLUMNS, window, width,
            ),
            pieces.figures(
                ((key, formats.count(value)) for key, value in counters.items()), width
            ),
        ]
    )  # fmt: skip


def _load(queue: Row, width: int) -> Text:
    return pieces.figures(
        [
            ("ready", f"{queue['ready']:,} of {queue['tasks_max']:,}"),
            ("delayed", formats.count(queue["delayed"])),
            ("next due", formats.NONE if queue["due_in_s"] is None
             else f"in {formats.duration(queue['due_in_s'])}"),
            ("leased", formats.count(queue["leased"])),
            ("bytes", f"{formats.size(queue['bytes'])} of {formats.size(queue['bytes_max'])}"),
            ("oldest", formats.duration(queue["oldest_s"]) if queue["ready"] else formats.NONE),
            ("withheld", formats.count(queue["withheld"])),
            ("workers", formats.count(queue["workers"])),
        ],
        width,
    )  # fmt: skip


QUEUES = View(
    "Queues", COLUMNS, lambda broker: list(broker.get("queues", ())), lambda row: str(row["name"]),
    detail, "ready", "There are no queues yet: the first task for a queue makes it.",
)  # fmt: skip
