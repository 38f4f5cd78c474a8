"""The worker processes, and one of them."""

from __future__ import annotations

from rich.text import Text

from . import formats, pieces
from .columns import BAD, DIM, LINK, SPARK_CELLS, Column, Row, View, figure, rate_of
from .strips import lines, names_of, painted


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


def _strip(row: Row, width: int) -> Text:
    return painted(row["strip"], row["names"], width)


COLUMNS = (
    Column("worker", 14, 0, lambda row, _: called(row), left=True, style=lambda _: "bold"),
    figure("busy", 5, 1, lambda row, _: row["busy"], formats.percent),
    figure("strip", SPARK_CELLS, 4, lambda row, _: row["busy"], left=True,
           paint=_strip),
    rate_of("ended", 8, 2, "rate"),
    figure("in_flight", 10, 5, lambda row, _: row["in_flight"], formats.count),
    figure("credit", 7, 10, lambda row, _: row["credit"], formats.count),
    figure("rss", 7, 6, lambda row, _: row["rss_bytes"], formats.size),
    figure("cpu", 6, 8, lambda row, _: row["cpu"], lambda value: f"{value:.2f}"),
    figure("done", 9, 9, lambda row, _: row["done"], formats.count),
    figure("failures", 9, 7, lambda row, _: row["failed"], formats.count, style=lambda _: BAD),
    Column("gc max", 7, 12, lambda row, _: row["gc"]["max_ms"] or None, formats.ms,
           means="Its longest pause for the garbage collector."),
    figure("running", 18, 3, _running, left=True, style=lambda _: LINK),
    Column("queues", 20, 11, lambda row, _: ", ".join(row["queues"]), left=True),
    Column("version", 10, 13, lambda row, _: row["version"], left=True),
)  # fmt: skip


def rows(broker: Row) -> list[Row]:
    """The workers, each with the names of all tasks, which tell their colours."""
    names = names_of(broker)
    return [{**worker, "names": names} for worker in broker.get("workers", ())]


def detail(broker: Row, worker: Row, window: str, width: int) -> Text:
    """The details of a worker."""
    pauses = worker["gc"]
    return pieces.join(
        [
            pieces.title("worker", called(worker)),
            _activity(worker, width),
            lines(worker["strip"], names_of(broker), width),
            pieces.figures(
                [
                    ("queues", ", ".join(worker["queues"]) or formats.NONE),
                    ("in flight", formats.count(worker["in_flight"])),
                    ("credit", formats.count(worker["credit"])),
                    ("done", formats.count(worker["done"])),
                    ("failures", formats.count(worker["failed"])),
                ],
                width,
            ),
            pieces.figures(
                [
                    ("busy", formats.percent(worker["busy"])),
                    ("cpu", f"{worker['cpu']:.2f} cores"),
                    ("memory", formats.size(worker["rss_bytes"])),
                    ("zqueue", worker["version"] or formats.NONE),
                    ("modules", "compiled" if worker["compiled"] else "interpreted"),
                ],
                width,
            ),
            pieces.rates([("ended", worker["rate"])]),
            pieces.figures(
                [
                    ("pauses", formats.count(pauses["count"])),
                    ("in all", formats.ms(pauses["total_ms"])),
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
    "Workers", COLUMNS, rows, lambda row: str(row["id"] or called(row)), detail, "busy",
    "No worker is connected: start some with 'zqueue worker APP'.",
)  # fmt: skip
