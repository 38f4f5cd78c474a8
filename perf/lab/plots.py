"""Plots of a result, as SVG files beside the report. Points are medians, bars go from the lowest
run to the highest."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .measure import Figure
from .result import Component, Result

NO_PLOTS = "*No plots: they need matplotlib (`pip install -r perf/requirements.txt`).*"

WIDTH, HEIGHT = 8.5, 3.8
"""Inches."""

COLOURS = ("#1f6fb4", "#e08214", "#4d9a4d", "#b2476b", "#7a6fb0")
"""The first is ours."""

OURS = ("MemoryQueue", "zqueue", "BrokerProtocol", "broker process")

Points = list[tuple[float, Figure]]


class Lines(NamedTuple):
    """A plot of one figure over what a family of cases differs in."""

    file: str
    component: str
    family: str
    figures: tuple[str, ...]
    title: str
    x: str
    y: str
    unit: float = 1.0
    """What the figures are divided by."""


LINES = (
    Lines("codec-pack.svg", "codec", "codec.fill", ("cost",), "Packing a small body",
          "bodies in the batch", "ns a body"),
    Lines("codec-unpack.svg", "codec", "codec.unpack", ("cost",), "Unpacking a small body",
          "bodies in the batch", "ns a body"),
    Lines("codec-split.svg", "codec", "codec.index", ("cost",), "Finding where a body begins",
          "bodies in the batch", "ns a body"),
    Lines("machine.svg", "machine", "broker", ("task_ns",), "The broker's decisions, by task",
          "tasks in a batch", "ns a task"),
    Lines("broker.svg", "pool", "batch", ("cpu_ns:broker",),
          "Processor time of the broker, by task", "tasks in a batch", "ns a task"),
    Lines("pool-batch.svg", "pool", "batch", ("rate",), "Throughput by size of batch",
          "tasks in a batch", "tasks/s"),
    Lines("pool-payload.svg", "pool", "payload", ("rate",), "Throughput by size of body",
          "bytes in a body", "tasks/s"),
    Lines("pool-workers.svg", "pool", "workers", ("rate",), "Throughput by number of workers",
          "workers", "tasks/s"),
    Lines("pool-latency.svg", "pool", "latency", ("p50", "p99"),
          "Latency from the instant a task was due", "tasks/s sent by the clock", "ms", 1e6),
)  # fmt: skip


def series(component: Component, lines: Lines) -> dict[str, Points]:
    """What a plot shows: the name of each line and its points, in the order of ``x``."""
    found: dict[str, Points] = {}
    cases = [case for case in component.cases if case.family == lines.family]
    for case in sorted(cases, key=lambda case: case.x or 0):
        for name in lines.figures:
            figure = case.get(name)
            if figure is not None and case.x is not None:
                label = case.subject if len(lines.figures) == 1 else f"{case.subject}, {name}"
                found.setdefault(label, []).append((case.x, figure))
    return found


def draw(result: Result, folder: Path) -> tuple[dict[str, list[str]], str]:
    """Write what can be plotted. Returns component to file names (``usage`` for processor time),
    and why there is none."""
    if importlib.util.find_spec("matplotlib") is None:
        return {}, NO_PLOTS
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {"svg.hashsalt": "zqueue", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3,
         "axes.spines.top": False, "axes.spines.right": False}
    )  # fmt: skip
    drawn: dict[str, list[str]] = {}
    for lines in LINES:
        component = result.components.get(lines.component)
        shown = series(component, lines) if component else {}
        if any(len(points) > 1 for points in shown.values()):
            _draw_lines(folder / lines.file, lines, shown)
            drawn.setdefault(lines.component, []).append(lines.file)
    queue, pool = result.components.get("queue"), result.components.get("pool")
    if queue is not None and queue.cases:
        _draw_bars(folder / "queue.svg", queue)
        drawn.setdefault("queue", []).append("queue.svg")
    if pool is not None and any(case.of("cpu") for case in pool.cases):
        _draw_stacks(folder / "cpu.svg", pool)
        drawn.setdefault("usage", []).append("cpu.svg")
    return drawn, ""


def _error(figures: list[Figure], unit: float = 1.0) -> list[list[float]]:
    return [
        [(figure.median - figure.lowest) / unit for figure in figures],
        [(figure.highest - figure.median) / unit for figure in figures],
    ]


def colours(labels: Iterable[str]) -> dict[str, str]:
    """A colour for the subject of each label (``zqueue, p99``): the same one for ours, always."""
    subjects = dict.fromkeys(label.partition(",")[0] for label in labels)
    order = sorted(subjects, key=lambda subject: subject not in OURS)
    return {subject: COLOURS[i % len(COLOURS)] for i, subject in enumerate(order)}


def _draw_lines(path: Path, lines: Lines, shown: Mapping[str, Points]) -> None:
    canvas, axes = _canvas(HEIGHT)
    colour = colours(shown)
    for label, points in shown.items():
        figures = [figure for _, figure in points]
        axes.errorbar(
            [x for x, _ in points], [figure.median / lines.unit for figure in figures],
            yerr=_error(figures, lines.unit), color=colour[label.partition(",")[0]],
            marker="o", markersize=4, capsize=3, linewidth=1.4, label=label,
            linestyle="--" if label.endswith("p99") else "-",
        )  # fmt: skip
    ticks = sorted({x for points in shown.values() for x, _ in points})
    if lines.family != "workers":
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xticks(ticks, [f"{x:,.0f}" for x in ticks])
    axes.minorticks_off()
    _finish(canvas, axes, path, lines.title, lines.x, lines.y)


def _draw_bars(path: Path, queue: Component) -> None:
    names = list(dict.fromkeys(case.name for case in queue.cases))
    subjects = dict.fromkeys(case.subject for case in queue.cases)
    canvas, axes = _canvas(0.45 * len(names) + 1.4)
    thick = 0.8 / max(1, len(subjects))
    for number, (subject, colour) in enumerate(colours(subjects).items()):
        found = [(i, queue.find(name, subject)) for i, name in enumerate(names)]
        costs = [(i, figure) for i, case in found if case and (figure := case.get("cost"))]
        axes.barh(
            [i + number * thick for i, _ in costs], [figure.median for _, figure in costs], thick,
            xerr=_error([figure for _, figure in costs]), label=subject, color=colour,
            error_kw={"capsize": 2, "linewidth": 0.8},
        )  # fmt: skip
    axes.set_yticks([i + 0.4 - thick / 2 for i in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    _finish(canvas, axes, path, "One operation of a queue", "ns, on a logarithmic scale", "")


def _draw_stacks(path: Path, pool: Component) -> None:
    cases = [case for case in pool.cases if case.of("cpu")]
    canvas, axes = _canvas(0.28 * len(cases) + 1.4)
    left = [0.0] * len(cases)
    for number, role in enumerate(dict.fromkeys(role for case in cases for role in case.of("cpu"))):
        cores = [figure.median if (figure := case.get(f"cpu:{role}")) else 0.0 for case in cases]
        axes.barh(range(len(cases)), cores, 0.7, left=left, label=role, color=COLOURS[number])
        left = [a + b for a, b in zip(left, cores, strict=True)]
    axes.set_yticks(range(len(cases)), [case.title for case in cases])
    axes.invert_yaxis()
    _finish(canvas, axes, path, "Processor time by process", "cores", "")


def _canvas(height: float) -> Any:
    return importlib.import_module("matplotlib.pyplot").subplots(figsize=(WIDTH, height))


def _finish(canvas: Any, axes: Any, path: Path, title: str, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    canvas.tight_layout()
    canvas.savefig(path, metadata={"Date": None})
    importlib.import_module("matplotlib.pyplot").close(canvas)
