"""The lines above all views: the broker's address, state, load and conditions."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text

from . import formats
from .columns import BAD, DIM, GOOD, LINK, WARN, Row

CONDITIONS_MAX = 3
"""Lines of them; the last one says how many more there are."""

STATES = {
    "ok": ("answers", GOOD), "waiting": ("does not answer", BAD), "lost": ("is gone", BAD),
    "old": ("is of another version", WARN),
}  # fmt: skip

GRAVE = frozenset({"no-broker", "full-disk", "no-workers", "unserved", "full"})


def header(
    broker: Row, window: str, width: int, place: tuple[int, int] = (1, 1),
    conditions_max: int = CONDITIONS_MAX,
) -> Text:  # fmt: skip
    """All lines. ``place`` is the number of the broker, and how many there are."""
    lines = [_identity(broker, width, place)]
    if "queues" in broker:
        lines += [_tasks(broker, window, width), _resources(broker, width)]
    return Text("\n").join([*lines, *_conditions(broker, width, conditions_max)])


def tabs(titles: list[tuple[str, int]], active: int, right: str, width: int) -> Text:
    """The names of the views and how many rows they have, and ``right`` at the end."""
    text = Text(no_wrap=True)
    for number, (title, rows) in enumerate(titles):
        here = number == active
        text.append(f" {number + 1} ", style=f"reverse bold {LINK}" if here else DIM)
        text.append(f"{title} {rows:,} ", style=f"reverse bold {LINK}" if here else "")
        text.append(" ")
    room = width - text.cell_len
    if room > 4:
        text.append(formats.fit(formats.plain(right), room), style=DIM)
    return text


def _identity(broker: Row, width: int, place: tuple[int, int]) -> Text:
    word, style = STATES.get(broker["state"], (broker["state"], WARN))
    how = Text(f" {word}", style)
    right = ""
    if broker["state"] == "lost" and broker["seen_s"] is not None:
        how.append(f"; figures are {formats.duration(broker['seen_s'])} old")
    elif "queues" in broker:
        right = f"up {formats.duration(broker['uptime_s'])}   zqueue {broker['version']}"
        right += "" if broker["compiled"] else " (interpreted)"
    if place[1] > 1:
        how.append(f"   broker {place[0]} of {place[1]} (b)", style=DIM)
    url = formats.plain(broker["url"])
    room = max(0, width - 2 - how.cell_len)
    line = Text.assemble(
        ("● ", style), (formats.fit(url, min(room, cell_len(url))), "bold"), how
    )  # fmt: skip
    room = width - line.cell_len
    if room > len(right) + 1:
        line.append(formats.fit(formats.plain(right), room), style=DIM)
    return line


def _tasks(broker: Row, window: str, width: int) -> Text:
    queues = broker["queues"]
    failed = broker["failed"].get(window, 0.0)
    return _pairs(
        width,
        ("in", f"{formats.rate(broker['in'].get(window, 0.0))}/s", ""),
        ("out", f"{formats.rate(broker['out'].get(window, 0.0))}/s", ""),
        ("failed", f"{formats.rate(failed)}/s", BAD if failed else ""),
        ("ready", formats.count(sum(queue["ready"] for queue in queues)), ""),
        ("delayed", formats.count(sum(queue["delayed"] for queue in queues)), ""),
        ("leased", formats.count(sum(queue["leased"] for queue in queues)), ""),
        ("dead", formats.count(broker["dead"]["total"]), BAD if broker["dead"]["total"] else ""),
    )


def _resources(broker: Row, width: int) -> Text:
    workers = broker["workers"]
    busy = sum(worker["busy"] for worker in workers) / len(workers) if workers else 0.0
    memory = sum(worker["rss_bytes"] for worker in workers)
    return _pairs(
        width,
        ("workers", f"{len(workers):,}", ""),
        ("busy", formats.percent(busy), ""),
        ("memory", formats.size(memory), ""),
        ("producers", formats.count(broker["producers"]), ""),
        ("broker", f"cpu {broker['cpu']:.2f}, {formats.size(broker['rss_bytes'])}", ""),
        ("held", formats.size(broker["bytes"]), ""),
    )


def _conditions(broker: Row, width: int, lines_max: int) -> list[Text]:
    conditions = broker["conditions"]
    if not conditions:
        return [Text("Healthy.", style=GOOD)]
    shown = conditions[:lines_max]
    hidden, lines = len(conditions) - len(shown), []
    for condition in shown:
        more = f"   and {hidden} more" if hidden and condition is shown[-1] else ""
        text, room = f"▲ {formats.plain(condition['text'])}", width - len(more)
        text = text if cell_len(text) <= room else formats.fit(text, room)
        style = BAD if condition["kind"] in GRAVE else WARN
        lines.append(Text(text + more, style=f"bold {style}"))
    return lines


def _pairs(width: int, *parts: tuple[str, str, str]) -> Text:
    """As many as fit into a line."""
    line = Text()
    for label, value, style in parts:
        pair = Text.assemble((f"{label} ", DIM), (formats.plain(value), style or "bold"))
        gap = 3 if line.plain else 0
        if line.cell_len + gap + pair.cell_len > width:
            break
        line.append(" " * gap).append_text(pair)
    return line
