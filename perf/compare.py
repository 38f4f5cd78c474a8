"""Side by side in one run: raw pyzmq (at most once) and zqueue (at least once).

    python perf/compare.py                 seven alternating runs
    python perf/compare.py --runs 3 --json results.json

The ratios by which a change is judged, and nothing else; `perf/report.py pool` measures more in
the same way. Rates are tasks/s until the last task is done, latency counts from the call. The same
machine's speed moves by half within minutes, so only the ratios within one run mean something:
each is taken between neighbours in time, and its median and range over the runs are given.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
from pathlib import Path

from lab.findings import RATIOS
from lab.lab import FULL, Lab, Scale
from lab.measure import Figure
from lab.result import Component
from lab.systems import beside_raw, both, paced
from lab.wording import table

import zqueue

RATE = 200
SHOWN = {"rate": "tasks/s", "call_p50": "p50, ms", "call_p99": "p99, ms"}


def measure(scale: Scale) -> Component:
    """Throughput with one worker and with two, latency with one."""
    found = Component("compare")
    lab = Lab(found, scale, lambda text: print(text, file=sys.stderr, flush=True))
    for workers in (1, 2):
        with both(workers) as (us, raw):
            lab.hold(
                *beside_raw(us, raw, scale, workers),
                *([paced(us, raw, scale, RATE)] if workers == 1 else []),
            )
    return found


def row(name: str, figure: Figure, form: str, factor: float = 1.0) -> tuple[str, ...]:
    """A figure's line of a table."""
    values = (figure.median, figure.lowest, figure.highest)
    return (name, *(format(value * factor, form) for value in values))


def report(found: Component) -> str:
    """Medians and ranges, and the ratios run by run."""
    figures = [
        row(f"{case.title}, {unit}", figure, *((",.0f",) if name == "rate" else (".3f", 1e-6)))
        for case in found.cases
        for name, unit in SHOWN.items()
        if (figure := case.get(name))
    ]
    ratios = [
        (*row(each.ratio, found.ratios[each.ratio], ".2f"),
         f"{'>=' if each.is_floor else '<='} {each.wanted}")
        for each in RATIOS
    ]  # fmt: skip
    return "\n\n".join(
        [
            f"zqueue {zqueue.__version__}, Python {platform.python_version()}",
            table(("figure", "median", "lowest", "highest"), figures),
            table(("ratio", "median", "lowest", "highest", "wanted"), ratios),
        ]
    )


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--tasks", type=int, default=1_000_000, help="in one throughput run")
    parser.add_argument("--paced", type=int, default=1_000, help="in one latency run")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    told = parser.parse_args()
    scale = dataclasses.replace(FULL, runs=told.runs, tasks=told.tasks, load_s=told.paced / RATE)
    found = measure(scale)
    print(report(found))
    if told.json:
        data = {"version": zqueue.__version__, **dataclasses.asdict(found)}
        data["ratios"] = {title: figure.values for title, figure in found.ratios.items()}
        told.json.write_text(json.dumps(data, indent=1))


if __name__ == "__main__":
    main()
