"""From what was measured to tables. Pure: a record in, text out.

A record holds pairs: a system and what of zqueue stands opposite, measured one right after the
other. Ratios are taken within a pair, since the same machine's speed moves by half within
minutes; their median is given with the lowest and the highest.
"""

from __future__ import annotations

from typing import Any

from lab.measure import NOISY_SPREAD, Figure
from lab.wording import table

from peers.registry import BY_NAME, FIGURES, PEERS, REFERENCES

Record = dict[str, Any]


def figures(record: Record) -> dict[str, dict[str, list[float]]]:
    """Values by system and figure, in the order in which the systems are known."""
    found: dict[str, dict[str, list[float]]] = {}
    for pair in record["pairs"]:
        for name, side in ((pair["peer"], "theirs"), (pair["against"], "ours")):
            for figure, value in pair[side].items():
                found.setdefault(name, {}).setdefault(figure, []).append(value)
    known = [peer.name for peer in [*PEERS, *REFERENCES]]
    return {name: found[name] for name in known if name in found}


def ratios(record: Record) -> dict[str, dict[str, list[float]]]:
    """zqueue's figure by the system's, pair by pair."""
    found: dict[str, dict[str, list[float]]] = {}
    for pair in record["pairs"]:
        for figure, value in pair["theirs"].items():
            ratio = pair["ours"][figure] / value
            found.setdefault(pair["peer"], {}).setdefault(figure, []).append(ratio)
    known = [peer.name for peer in PEERS]
    return {name: found[name] for name in known if name in found}


def report(record: Record) -> str:
    """Everything that is to be known, as Markdown."""
    lines = [
        f"{record['zqueue']}, Python {record['python']}, {record['machine']}",
        f"{record['cores']} cores; runs: {record['runs']}; seconds a figure: {record['seconds']:g}",
        "",
        _rows("system", "workers, delivery", figures(record), _value, _how),
        "",
        _rows("zqueue / system", "zqueue's side", ratios(record), _ratio, _opposite),
        "",
        "W1 and W3: more than 1 means that zqueue is faster. W2: less than 1 means the same.",
        f"Median (lowest - highest). Noisy: these are apart by {NOISY_SPREAD:g} of the median.",
    ]
    if record["runs"] == 1:
        lines.append("One run only: no spread is known.")
    for name, why in record["left_out"].items():
        lines.append(f"Left out: {BY_NAME[name].title} ({name}): {why}")
    for failure in record["failed"]:
        title = BY_NAME[failure["failed"]].title
        lines.append(f"Failed: {title} in run {failure['run'] + 1}: {failure['error']}")
    if record["about"]:
        versions = dict.fromkeys(record["about"].values())
        lines.append(f"Measured: {'; '.join(versions)}.")
    return "\n".join(lines)


def _rows(
    first: str, second: str, rows: dict[str, dict[str, list[float]]], form: Any, what: Any
) -> str:
    units = [f"{figure}, {unit}" if form is _value else figure for figure, unit in FIGURES.items()]
    cells = []
    for name, row in rows.items():
        noisy = ", ".join(
            figure for figure, values in row.items() if Figure(tuple(values)).is_noisy
        )
        found = (_cell(figure, row.get(figure), form) for figure in FIGURES)
        cells.append((BY_NAME[name].title, what(name), *found, noisy))
    return table((first, second, *units, "noisy"), cells, left=2)


def _cell(figure: str, values: list[float] | None, form: Any) -> str:
    if not values:
        return ""
    found = Figure(tuple(values))
    middle, low, high = (form(figure, x) for x in (found.median, found.lowest, found.highest))
    return middle if len(values) == 1 else f"{middle} ({low} - {high})"


def _value(figure: str, value: float) -> str:
    return f"{value:,.0f}" if FIGURES[figure] == "tasks/s" else f"{value:.2f}"


def _ratio(figure: str, value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _how(name: str) -> str:
    return BY_NAME[name].how


def _opposite(name: str) -> str:
    against = BY_NAME[BY_NAME[name].against]
    return f"{against.title.removeprefix('zqueue, ')}, {against.workers}"
