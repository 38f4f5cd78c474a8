"""The report: a result as a page to read. Whatever is on it comes from the result.

Its sections are those of the baseline's report, so that the two can be read side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import findings
from .components import CATALOGUE
from .result import KINDS, Case, Component, Result, kind_of
from .targets import (
    NOT_MEASURED,
    RATIOS,
    TARGETS,
    WantedRatio,
    find,
    find_ratio,
    had_no_collection,
    judge,
    verdict,
)
from .wording import amount, listed, of, table

NOISY = "~"
"""Stands before a figure that is noisy."""

Plots = Mapping[str, list[str]]
"""Component to the names of its plots, which lie beside the report."""

SPEEDS = ("rate", "cost", "p50", "p95", "p99", "max")
HOT = 8
WITH_PROCESSES = ("broker", "pool", "gc")
BROKER_MEMORY = {
    "tasks held": "held",
    "allowed": "allowed",
    "before": "rss_before:broker",
    "after": "rss:broker",
    "grew": "grew",
}


def build(result: Result, plots: Plots, plots_note: str = "") -> str:
    """The whole report, in Markdown. ``plots_note`` says why there are no plots."""
    parts = [
        _head(result),
        "## Executive summary",
        _summary(result),
        "## Current performance",
        *([plots_note] if plots_note else []),
        *_performance(result, plots),
        "## Resource usage",
        *_usage(result, plots),
        "## Profile insights",
        *_insights(result),
        "## Bottlenecks",
        _sentences(findings.bottlenecks(result), "No case that shows one was measured."),
        "## Detailed table",
        _details(result),
        "## Consumption",
        *_consumption(result),
        "## Risks",
        _sentences(findings.risks(result), "None that the figures show."),
        "## Next steps",
        _sentences(findings.next_steps(result), "None that the figures ask for."),
    ]
    return "\n\n".join(parts) + "\n"


def _sentences(sentences: list[str], otherwise: str) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences) or otherwise


def _marked(case: Case, name: str) -> str:
    """A figure of a case, with a mark if it is noisy."""
    return (NOISY if name in case.noisy() else "") + of(case.get(name))


# --- what it is, and the short of it ---


def _head(result: Result) -> str:
    e = result.environment
    compiled = sorted(name for name, is_compiled in e["compiled"].items() if is_compiled)
    libraries = listed(f"{name} {version}" for name, version in e["libraries"].items())
    machine = (
        f"{e['cpu']}, {e['cores']} cores ({e['cores_usable']} usable), "
        f"{amount(e['memory_bytes'], 'B')}, {e['system']} {e['machine']}"
    )
    rows = [
        ("zqueue", e["zqueue"]),
        ("compiled modules", listed(f"`{name}`" for name in compiled) or "none: interpreted"),
        ("date", e["date"]),
        ("Python", f"{e['implementation']} {e['python']}"),
        ("libraries", libraries),
        ("machine", machine),
        ("load before", f"{e['load_before']:.2f}"),
        ("scale", f"{result.scale}, {result.runs} runs, {result.seconds:.0f} s"),
    ]
    return (
        "# zqueue bench\n\n"
        + table(("", ""), rows, left=2)
        + (
            f"\n\nFigures are medians of the runs; {NOISY} marks a noisy one, whose runs differ by "
            "more than half of it. The speed of one machine moves by half within minutes: believe "
            "ratios, which are taken between neighbours in time, before figures."
        )
    )


def _summary(result: Result) -> str:
    rows: list[tuple[str, ...]] = []
    for target in TARGETS:
        figure = find(result, target)
        unit = figure.unit if figure else kind_of(target.figure).unit
        measured = "none happened" if had_no_collection(result, target) else of(figure)
        before = amount(target.baseline, unit) if target.baseline is not None else "–"
        wanted = amount(target.wanted, unit)
        rows.append((target.text, before, wanted, measured, judge(result, target)))
    rows += [_ratio_row(result, wanted_ratio) for wanted_ratio in RATIOS]
    send_many = result.figure("pool", "send_many", "zqueue", "rate")
    rows.append(("worker pool, tasks acknowledged", "failed", "–", of(send_many),
                 NOT_MEASURED if send_many is None else "measured"))  # fmt: skip
    rows.append(("HTTP gateway", "not tested", "–", "–", NOT_MEASURED))
    verdicts = [row[-1] for row in rows]
    counts = listed(
        f"{verdicts.count(name)} {name}" for name in ("met", "missed", NOT_MEASURED)
        if name in verdicts
    )  # fmt: skip
    left_out = findings.missing(result)
    return "\n\n".join(
        [
            f"Of what is aimed at: {counts}.",
            table(("aim", "baseline", "wanted", "measured", ""), rows),
            *([_sentences(left_out, "")] if left_out else []),
        ]
    )


def _ratio_row(result: Result, wanted: WantedRatio) -> tuple[str, ...]:
    figure = find_ratio(result, wanted)
    sign = "≥" if wanted.better == "higher" else "≤"
    measured = of(figure)
    if figure is not None:
        measured += f" ({figure.lowest:.2f} to {figure.highest:.2f})"
    said = verdict(figure, wanted.wanted, wanted.better)
    return (f"{wanted.text}, ratio", "–", f"{sign} {wanted.wanted:g}", measured, said)


# --- component by component ---


def _performance(result: Result, plots: Plots) -> list[str]:
    parts = []
    for name, component in result.components.items():
        parts.append(f"### `{name}`: {CATALOGUE[name].text}")
        if component.error:
            parts.append(f"**Not measured to the end: {component.error}**")
        if any(_is_speedy(case) for case in component.cases):
            parts.append(_speed_table(component))
        if component.ratios:
            parts.append(_ratio_table(component))
        if component.notes:
            parts.append(_sentences([f"{note[0].upper()}{note[1:]}." for note in component.notes],
                                    ""))  # fmt: skip
        parts += [f"![{plot}]({plot})" for plot in plots.get(name, [])]
    return parts


def _is_speedy(case: Case) -> bool:
    return any(name in case.figures for name in SPEEDS)


def _speed_table(component: Component) -> str:
    columns = [name for name in SPEEDS if any(name in case.figures for case in component.cases)]
    rows = [
        (case.name, case.subject, case.operation, *(_marked(case, name) for name in columns))
        for case in component.cases if _is_speedy(case)
    ]  # fmt: skip
    return table(("case", "by", "operation", *columns), rows, left=3)


def _ratio_table(component: Component) -> str:
    rows = [
        (name, f"{figure.median:.2f}", f"{figure.lowest:.2f}", f"{figure.highest:.2f}")
        for name, figure in component.ratios.items()
    ]
    return table(("ratio, run by run", "median", "lowest", "highest"), rows)


# --- processors, memory, collector ---


def _usage(result: Result, plots: Plots) -> list[str]:
    parts = []
    cpu = [
        (case.title, *(f"{case.figures[f'cpu:{role}'].median:.2f}" if f"cpu:{role}" in case.figures
                       else "–" for role in _roles(result, "cpu")))
        for component, case in result.cases() if component.name in WITH_PROCESSES
    ]  # fmt: skip
    if cpu:
        roles = _roles(result, "cpu")
        parts += ["Processor time by process, in cores (several workers are added up):",
                  table(("case", *roles), cpu)]  # fmt: skip
    parts += [f"![{plot}]({plot})" for plot in plots.get("usage", [])]
    memory = [
        (case.title, *(of(case.get(name)) for name in BROKER_MEMORY.values()))
        for component, case in result.cases()
        if component.name == "memory"
    ]
    if memory:
        parts += ["Memory of the broker:", table(("case", *BROKER_MEMORY), memory)]
    resident = _resident_rows(result)
    if resident:
        roles = _roles(result, "rss")
        parts += ["Resident memory by process, after it:", table(("case", *roles), resident)]
    collector = [row for _, case in result.cases() for row in _collector_rows(case)]
    if collector:
        parts += ["Garbage collections, where there were any:",
                  table(("case", "process", "collections in a run", "interval", "shortest",
                         "mean pause", "longest pause", "part of the time"),
                        collector, left=2)]  # fmt: skip
    elif result.components:
        parts.append("There was no garbage collection while anything was measured.")
    return parts or ["Nothing was measured."]


def _resident_rows(result: Result) -> list[tuple[str, ...]]:
    roles = _roles(result, "rss")
    return [
        (case.title, *(of(case.get(f"rss:{role}")) for role in roles))
        for component, case in result.cases()
        if component.name in WITH_PROCESSES and case.family == "workers" and case.of("rss")
    ]


def _roles(result: Result, kind: str) -> list[str]:
    names = [
        role
        for component, case in result.cases()
        if component.name in WITH_PROCESSES
        for role in case.of(kind)
    ]
    return list(dict.fromkeys(names))


def _collector_rows(case: Case) -> list[tuple[str, ...]]:
    rows = []
    for role, count in case.of("gc_count").items():
        if not count.highest:
            continue
        part = case.get(f"gc_share:{role}")
        rows.append(
            (case.title, role, of(count),
             *(of(case.get(f"{name}:{role}")) for name in
               ("gc_interval", "gc_shortest", "gc_pause_mean", "gc_pause_max")),
             f"{part.median * 100:.2f} %" if part else "–")
        )  # fmt: skip
    return rows


# --- profiles ---


def _insights(result: Result) -> list[str]:
    if not result.profiles:
        return [
            "No profile was taken in this run (`--profile cpu`, `memory` or `trace` takes one)."
        ]
    parts = []
    for profile in result.profiles:
        files = listed(f"[{name}]({name})" for name in profile["files"])
        parts.append(f"### `{profile['component']}`, {profile['kind']}: {files}")
        parts.append(profile["how"])
        for role, hot in profile["hot"].items():
            rows = [(f"`{where}`", f"{part * 100:.1f} %") for where, part in hot[:HOT]]
            parts.append(table((f"{role}, {profile['of']}", "part"), rows))
    return parts


# --- all figures, and what one operation costs ---


def _details(result: Result) -> str:
    rows = []
    for component, case in result.cases():
        for name, figure in case.figures.items():
            spread = f"{figure.spread * 100:.0f} %" if len(figure.values) > 1 else "–"
            mark = "noisy" if name in case.noisy() else ""
            rows.append((component.name, case.name, case.subject, name,
                         *(amount(value, figure.unit)
                           for value in (figure.median, figure.lowest, figure.highest)),
                         spread, mark))  # fmt: skip
    if not rows:
        return "Nothing was measured."
    header = ("component", "case", "by", "figure", "median", "lowest", "highest", "spread", "")
    return table(header, rows, left=4) + "\n\n" + _legend(result)


def _legend(result: Result) -> str:
    used = {name.partition(":")[0] for _, case in result.cases() for name in case.figures}
    return "\n".join(f"- `{name}`: {kind.text}" for name, kind in KINDS.items() if name in used)


HOW_COUNTED = (
    "Allocations are counted by the C library's own trace of malloc, with Python's pools turned "
    "off; what one operation holds at a time by `tracemalloc`; blocks by "
    "`sys.getallocatedblocks()`."
)

CONSUMED = ("cpu_ns", "bytes_allocated", "allocations", "bytes_peak", "blocks_kept", "bytes_held",
            "blocks_held")  # fmt: skip


def _consumption(result: Result) -> list[str]:
    """What one operation takes: processor time by process, bytes, allocations."""
    rows = []
    for _, case in result.cases():
        cells = []
        cpu = case.of("cpu_ns")
        cells.append(", ".join(f"{role} {of(figure)}" for role, figure in cpu.items()) or "–")
        cells += [of(_plain_or_worker(case, name)) for name in CONSUMED[1:]]
        if any(cell != "–" for cell in cells):
            rows.append((case.title, case.operation, *cells))
    if not rows:
        return ["Nothing was measured."]
    header = ("case", "by", "processor time", "bytes allocated", "allocations", "bytes at a time",
              "blocks kept", "bytes held", "blocks held")  # fmt: skip
    return [
        table(header, rows, left=2),
        HOW_COUNTED,
    ]


def _plain_or_worker(case: Case, name: str) -> Any:
    return case.get(name) or case.get(f"{name}:worker")
