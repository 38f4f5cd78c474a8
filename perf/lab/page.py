"""The report: a result as a page to read. Whatever is on it comes from the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import findings
from .components import CATALOGUE
from .findings import MET, MISSED, NOT_MEASURED
from .result import KINDS, Case, Result
from .wording import amount, listed, of, table

NOISY = "~"
"""Stands before a figure that is noisy."""

Plots = Mapping[str, list[str]]
"""Component to the names of its plots, which lie beside the report."""

SPEEDS = ("rate", "cost", "p50", "p95", "p99", "max")
HOT = 8
WITH_PROCESSES = ("pool", "gc")
USAGE = {
    "Cores in use": ("cpu",),
    "Processor time of one operation": ("cpu_ns",),
    "Memory of the broker": ("held", "allowed", "rss_before", "rss", "grew"),
    "Resident memory by process": ("rss",),
    "Garbage collections": ("gc_count", "gc_interval", "gc_shortest", "gc_pause_mean",
                            "gc_pause_max", "gc_share"),
}  # fmt: skip
"""Tables of what processes used, and their figures."""

CONSUMED = ("allocations", "bytes_allocated", "allocations_kept", "bytes_kept", "bytes_peak")


def build(result: Result, plots: Plots, plots_note: str = "") -> str:
    """The whole report, in Markdown. ``plots_note`` says why there are no plots."""
    cases = [case for _, case in result.cases()]
    parts = [
        _head(result),
        "## Executive summary",
        *_summary(result),
        "## Current performance",
        *([plots_note] if plots_note else []),
        *_performance(result, plots),
        "## Resource usage",
        *(_usage(result, plots) or ["Nothing was measured."]),
        "## Profile insights",
        *(_insights(result) or ["No profile was taken (`--profile cpu`, `memory` or `trace`)."]),
        "## Bottlenecks",
        _sentences(findings.bottlenecks(result), "No case that shows one was measured."),
        "## Detailed table",
        _details(result),
        "## Consumption",
        _figures(cases, CONSUMED) or "Nothing was measured.",
        "## Risks",
        _sentences(findings.risks(result), "None that the figures show."),
        "## Next steps",
        _sentences(findings.next_steps(result), "None that the figures ask for."),
    ]
    return "\n\n".join(parts) + "\n"


def _figures(cases: list[Case], kinds: Sequence[str]) -> str:
    """A table of cases and their figures of some kinds; empty if there are none."""
    columns = [
        name
        for kind in kinds
        for name in dict.fromkeys(n for case in cases for n in case.figures)
        if name.partition(":")[0] == kind
    ]
    rows = [
        (case.name, case.subject, case.operation,
         *((NOISY if name in case.noisy() else "") + of(case.get(name)) for name in columns))
        for case in cases if set(columns) & set(case.figures)
    ]  # fmt: skip
    return table(("case", "by", "operation", *columns), rows, left=3) if rows else ""


def _sentences(sentences: list[str], otherwise: str) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences) or otherwise


def _head(result: Result) -> str:
    e = result.environment
    cores = f"{e['cores']} cores ({e['cores_usable']} usable)"
    machine = f"{e['cpu']}, {cores}, {amount(e['memory_bytes'], 'B')}, {e['system']}"
    rows = [
        ("zqueue", e["zqueue"]),
        ("compiled modules", listed(f"`{n}`" for n in e["compiled"]) or "none: interpreted"),
        ("date", e["date"]),
        ("Python", e["python"]),
        ("libraries", listed(f"{name} {version}" for name, version in e["libraries"].items())),
        ("machine", machine),
        ("load before", f"{e['load_before']:.2f}"),
        ("scale", f"{result.scale}, {result.runs} runs, {result.seconds:.0f} s"),
    ]  # fmt: skip
    return (
        "# zqueue, measured\n\n"
        + table(("", ""), rows, left=2)
        + (
            f"\n\nFigures are medians of the runs; {NOISY} marks a noisy one, whose runs differ by "
            "more than half of it. The speed of one machine moves by half within minutes: believe "
            "ratios, which are taken between neighbours in time, before figures."
        )
    )


def _summary(result: Result) -> list[str]:
    rows = list(findings.aims(result))
    verdicts = [row[-1] for row in rows]
    counts = listed(
        f"{verdicts.count(name)} {name}" for name in (MET, MISSED, NOT_MEASURED) if name in verdicts
    )
    left_out = findings.missing(result)
    return [
        f"Of what is aimed at: {counts}.",
        table(("aim", "baseline", "wanted", "measured", ""), rows),
        *([_sentences(left_out, "")] if left_out else []),
    ]


# --- component by component ---


def _performance(result: Result, plots: Plots) -> list[str]:
    parts = []
    for name, component in result.components.items():
        parts.append(f"### `{name}`: {CATALOGUE[name].text}")
        if component.error:
            parts.append(f"**Not measured to the end: {component.error}**")
        parts += filter(None, [_figures(component.cases, SPEEDS)])
        if component.ratios:
            rows = [
                (title, *(f"{x:.2f}" for x in (figure.median, figure.lowest, figure.highest)))
                for title, figure in component.ratios.items()
            ]
            parts.append(table(("ratio, run by run", "median", "lowest", "highest"), rows))
        if component.notes:
            notes = [f"{note[0].upper()}{note[1:]}." for note in component.notes]
            parts.append(_sentences(notes, ""))
        parts += [f"![{plot}]({plot})" for plot in plots.get(name, [])]
    return parts


# --- processors, memory, collector ---


def _usage(result: Result, plots: Plots) -> list[str]:
    parts = []
    for title, kinds in USAGE.items():
        wanted = ("memory",) if "held" in kinds else WITH_PROCESSES
        cases = [case for component, case in result.cases() if component.name in wanted]
        if found := _figures(cases, kinds):
            parts += [f"{title}:", found]
    return parts + [f"![{plot}]({plot})" for plot in plots.get("usage", [])]


# --- profiles ---


def _insights(result: Result) -> list[str]:
    parts = []
    for profile in result.profiles:
        files = listed(f"[{name}]({name})" for name in profile["files"])
        parts.append(f"### `{profile['component']}`, {profile['kind']}: {files}")
        parts.append(profile["how"])
        for role, hot in profile["hot"].items():
            rows = [(f"`{where}`", f"{part * 100:.1f} %") for where, part in hot[:HOT]]
            parts.append(table((f"{role}, {profile['of']}", "part"), rows))
    return parts


# --- all figures ---


def _details(result: Result) -> str:
    rows = []
    for component, case in result.cases():
        for name, figure in case.figures.items():
            values = (amount(v, figure.unit) for v in
                      (figure.median, figure.lowest, figure.highest))  # fmt: skip
            spread = f"{figure.spread * 100:.0f} %" if len(figure.values) > 1 else "–"
            mark = "noisy" if name in case.noisy() else ""
            rows.append((component.name, case.name, case.subject, name, *values, spread, mark))
    if not rows:
        return "Nothing was measured."
    header = ("component", "case", "by", "figure", "median", "lowest", "highest", "spread", "")
    used = {name.partition(":")[0] for _, case in result.cases() for name in case.figures}
    legend = [f"`{name}`: {text}" for name, (_, text) in KINDS.items() if name in used]
    return table(header, rows, left=4) + "\n\n" + _sentences(legend, "")
