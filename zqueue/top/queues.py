"""The queues, and one of them."""

from __future__ import annotations

from rich.text import Text

from . import pieces, wording
from .columns import BAD, SPARK_CELLS, STATES, WARN, Column, Row, View
from .tasks import COLUMNS as TASK_COLUMNS
from .workers import COLUMNS as WORKER_COLUMNS


def _history(row: Row, window: str) -> str:
    return wording.spark(row["history"]["out"], SPARK_CELLS)


def state_of(queue: Row) -> str:
    """Its state in one word or two: a queue that is held up may be both."""
    if queue.get("paused") and queue.get("draining"):
        return "paused, draining"
    return str(queue["state"])


COLUMNS = (
    Column("queue", 14, 0, lambda row, _: row["name"], left=True, style=lambda _: "bold"),
    Column("state", 8, 1, lambda row, _: row["state"], left=True,
           style=lambda state: STATES.get(state, "")),
    Column("ready", 8, 2, lambda row, _: row["ready"], wording.count),
    Column("oldest", 7, 6, lambda row, _: row["oldest_s"] or None, wording.age),
    Column("leased", 7, 7, lambda row, _: row["leased"], wording.count),
    Column("in/s", 6, 3, lambda row, window: row["in"].get(window, 0.0), wording.rate),
    Column("out/s", 6, 4, lambda row, window: row["out"].get(window, 0.0), wording.rate),
    Column("fail/s", 7, 5, lambda row, window: row["failed"].get(window, 0.0), wording.rate,
           style=lambda _: BAD),
    Column("wait p50", 9, 12, lambda row, window: row["wait_ms"][window]["p50"], wording.ms),
    Column("wait p99", 9, 9, lambda row, window: row["wait_ms"][window]["p99"], wording.ms),
    Column("run p50", 8, 13, lambda row, window: row["run_ms"][window]["p50"], wording.ms),
    Column("run p99", 8, 11, lambda row, window: row["run_ms"][window]["p99"], wording.ms),
    Column("workers", 8, 8, lambda row, _: row["workers"], wording.count),
    Column("bytes", 8, 14, lambda row, _: row["bytes"], wording.size),
    Column("out, last minute", SPARK_CELLS, 10, _history, left=True),
)  # fmt: skip


def detail(broker: Row, queue: Row, window: str, width: int) -> Text:
    """All that is known of a queue."""
    name, history = queue["name"], queue["history"]
    counters = {key: value for key, value in queue["counters"].items() if value}
    return pieces.join(
        [
            pieces.title("queue", name, state_of(queue), STATES.get(queue["state"], WARN)),
            _held(queue, width),
            pieces.rates([(key, queue[key]) for key in ("in", "out", "failed")]),
            pieces.histories(
                [
                    ("in", history["in"], f"{wording.rate(max(history['in']))}/s at most"),
                    ("out", history["out"], f"{wording.rate(max(history['out']))}/s at most"),
                    ("ready", history["ready"],
                     f"{wording.count(int(max(history['ready'])))} at most"),
                ],
                width,
                "the last minute",
            ),
            pieces.percentiles([("wait", queue["wait_ms"]), ("run", queue["run_ms"])]),
            pieces.table(
                "Tasks", [task for task in broker["tasks"] if task["queue"] == name],
                TASK_COLUMNS, window, width,
            ),
            pieces.table(
                "Workers", [w for w in broker["workers"] if name in w["queues"]],
                WORKER_COLUMNS, window, width,
            ),
            pieces.figures(
                ((key, wording.count(value)) for key, value in counters.items()), width
            ),
        ]
    )  # fmt: skip


def _held(queue: Row, width: int) -> Text:
    return pieces.figures(
        [
            ("ready", f"{queue['ready']:,} of {queue['tasks_max']:,}"),
            ("leased", wording.count(queue["leased"])),
            ("bytes", f"{wording.size(queue['bytes'])} of {wording.size(queue['bytes_max'])}"),
            ("oldest", wording.duration(queue["oldest_s"]) if queue["ready"] else wording.NONE),
            ("withheld", wording.count(queue["withheld"])),
            ("workers", wording.count(queue["workers"])),
        ],
        width,
    )


QUEUES = View(
    "Queues", COLUMNS, lambda broker: list(broker.get("queues", ())), lambda row: str(row["name"]),
    detail, "ready", "There are no queues yet: a queue is made when something is sent to it.",
)  # fmt: skip
