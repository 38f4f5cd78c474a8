"""The worker processes, and one of them."""

from __future__ import annotations

from rich.text import Text

from . import formats, pieces
from .columns import BAD, DIM, LINK, Column, Row, View


def called(worker: Row) -> str:
    """``host/pid``"""
    return f"{worker['host']}/{worker['pid']}"


def _running(worker: Row, window: str = "") -> str:
    running = worker["running"]
    if running is None:
        return ""
    words = f"{running['task']} {formats.duration(running['for_s'])}"
    progress = running["progress"]
    return f"{words}, {formats.percent(progress[0] / progress[1])}" if progress else words


COLUMNS = (
    Column("worker", 14, 0, lambda row, _: called(row), left=True, style=lambda _: "bold"),
    Column("busy", 5, 1, lambda row, _: row["busy"], formats.percent),
    Column("ended/s", 8, 2, lambda row, window: row["rate"].get(window, 0.0), formats.rate),
    Column("in flight", 10, 4, lambda row, _: row["in_flight"], formats.count),
    Column("credit", 7, 9, lambda row, _: row["credit"], formats.count),
    Column("memory", 7, 5, lambda row, _: row["rss_bytes"], formats.size),
    Column("cores", 6, 7, lambda row, _: row["cpu"], lambda value: f"{value:.2f}"),
    Column("done", 9, 8, lambda row, _: row["done"], formats.count),
    Column("failed", 7, 6, lambda row, _: row["failed"], formats.count, style=lambda _: BAD),
    Column("gc longest", 11, 11, lambda row, _: row["gc"]["max_ms"] or None, formats.ms),
    Column("running", 18, 3, _running, left=True, style=lambda _: LINK),
    Column("queues", 20, 10, lambda row, _: ", ".join(row["queues"]), left=True),
    Column("version", 10, 12, lambda row, _: row["version"], left=True),
)  # fmt: skip


def detail(broker: Row, worker: Row, window: str, width: int) -> Text:
    """The details of a worker."""
    pauses = worker["gc"]
    return pieces.join(
        [
            pieces.title("worker", called(worker)),
            _activity(worker, width),
            pieces.figures(
                [
                    ("queues", ", ".join(worker["queues"]) or formats.NONE),
                    ("in flight", formats.count(worker["in_flight"])),
                    ("credit", formats.count(worker["credit"])),
                    ("done", formats.count(worker["done"])),
                    ("failed", formats.count(worker["failed"])),
                ],
                width,
            ),
            pieces.figures(
                [
                    ("busy", formats.percent(worker["busy"])),
                    ("processor", f"{worker['cpu']:.2f} cores"),
                    ("memory", formats.size(worker["rss_bytes"])),
                    ("zqueue", worker["version"] or formats.NONE),
                    ("modules", "compiled" if worker["compiled"] else "interpreted"),
                ],
                width,
            ),
            pieces.rates([("ended", worker["rate"])]),
            pieces.figures(
                [
                    ("collections", formats.count(pauses["count"])),
                    ("paused for", formats.ms(pauses["total_ms"])),
                    ("longest", formats.ms(pauses["max_ms"])),
                ],
                width,
            ),
        ]
    )


def _activity(worker: Row, width: int) -> Text:
    running = worker["running"]
    if running is None:
        return Text("It is idle.", style=DIM)
    text = Text.assemble(
        ("runs ", DIM),
        (formats.plain(running["task"]), LINK),
        f" for {formats.duration(running['for_s'])}",
    )
    if running["progress"]:
        done, total = running["progress"]
        share = done / total
        text.append(f"\n{pieces.bar(share, min(50, width - 30))} ", style=LINK)
        text.append(f"{formats.percent(share)}   {done:,} of {total:,}")
    return text


WORKERS = View(
    "Workers", COLUMNS, lambda broker: list(broker.get("workers", ())),
    lambda row: str(row["id"] or called(row)), detail, "busy",
    "No worker is connected: start some with 'zqueue worker APP'.",
)  # fmt: skip
