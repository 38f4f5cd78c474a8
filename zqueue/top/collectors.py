"""The garbage collectors by role, and one of them."""

from __future__ import annotations

from rich.text import Text

from . import formats, pieces
from .columns import DIM, SPARK_CELLS, Column, Row, View, figure

HISTORY_S = 300


def _rows(broker: Row) -> list[Row]:
    return [{"role": role, **pauses} for role, pauses in broker.get("gc", {}).items()]


def _history(row: Row, seconds: int) -> list[float]:
    """The longest pause of each second, the oldest first."""
    longest = [0.0] * seconds
    for ago, pause_ms in row["history"]:
        if 0 <= ago < seconds:
            longest[-1 - ago] = max(longest[-1 - ago], pause_ms)
    return longest


COLUMNS = (
    Column("role", 11, 0, lambda row, _: row["role"], left=True, style=lambda _: "bold"),
    figure("pauses", 9, 1, lambda row, window: row["pause_ms"][window]["count"], formats.count),
    Column("p50", 7, 2, lambda row, window: row["pause_ms"][window]["p50"], formats.ms),
    Column("p95", 7, 6, lambda row, window: row["pause_ms"][window]["p95"], formats.ms),
    Column("p99", 7, 3, lambda row, window: row["pause_ms"][window]["p99"], formats.ms),
    figure("longest", 8, 4, lambda row, window: row["pause_ms"][window]["max"], formats.ms),
    figure("every", 7, 5, lambda row, window: row["interval_ms"][window]["p50"], formats.ms),
    Column("since start", 12, 8, lambda row, _: row["count"], formats.count),
    Column("longest ever", 13, 10, lambda row, _: row["max_ms"] or None, formats.ms),
    Column("in all", 8, 9, lambda row, _: row["total_ms"], formats.ms),
    figure("history", SPARK_CELLS, 7,
           lambda row, _: formats.spark(_history(row, 60), SPARK_CELLS), left=True),
)  # fmt: skip


def detail(broker: Row, role: Row, window: str, width: int) -> Text:
    """The details of the collectors of a role."""
    history = _history(role, HISTORY_S)
    generations = [
        Text.assemble(
            (f"generation {number}  ", DIM),
            f"{formats.count(count):>9} pauses   {formats.ms(total):>8} in all   "
            f"{formats.ms(longest):>8} the longest",
        )
        for number, (count, total, longest) in enumerate(role["generations"])
    ]
    return pieces.join(
        [
            pieces.title("garbage collectors of", role["role"]),
            pieces.figures(
                [
                    ("pauses", formats.count(role["count"])),
                    ("in all", formats.ms(role["total_ms"])),
                    ("longest", formats.ms(role["max_ms"])),
                ],
                width,
            ),
            Text("\n").join(generations),
            pieces.histories(
                [("pauses", history, f"{formats.ms(max(history))} at most")],
                width,
                "the longest pause, over the last 5 min",
            ),
            pieces.percentiles([("pause", role["pause_ms"]), ("between", role["interval_ms"])]),
        ]
    )


COLLECTORS = View(
    "GC", COLUMNS, _rows, lambda row: str(row["role"]), detail, "longest",
    "No process has reported a pause of its garbage collector yet.",
)  # fmt: skip
