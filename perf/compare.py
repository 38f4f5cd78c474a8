"""Side by side in one run: raw pyzmq (at most once) and zqueue (at least once).

    python perf/compare.py                 seven alternating runs of everything
    python perf/compare.py --runs 3 --json results.json

Rates are tasks/s until the last task is done. The same machine's speed moves by half within
minutes, so only the ratios within one run mean something: each is taken between neighbours in
time, and its median and range over the runs are given. `zqueue bench pool` measures more.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import zqueue
from zqueue.bench import floor, ours
from zqueue.bench.measure import Figure, percentile, ratio
from zqueue.bench.pacing import Latencies

EVERY_S = 0.005
"""Between two tasks, where latency is measured."""


def percentile_ms(latencies: Latencies, p: int) -> float:
    """In milliseconds, from the call to the start of the work."""
    return percentile(sorted(latencies.from_call), p) / 1e6


def measure(runs: int, tasks: int, paced: int) -> dict[str, list[float]]:
    """Every figure of every run."""
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)
        print(f"  {name:34s} {value:14,.3f}", file=sys.stderr, flush=True)

    for run in range(runs):
        print(f"run {run + 1} of {runs}", file=sys.stderr)
        with floor.running() as raw:
            note("raw one a frame, tasks/s", raw.one_by_one(tasks // 4)["rate"])
            note("raw 512 a frame, tasks/s", raw.many(tasks)["rate"])
            latencies = raw.latency(paced, EVERY_S)
            note("raw latency p50, ms", percentile_ms(latencies, 50))
            note("raw latency p99, ms", percentile_ms(latencies, 99))
        for processes in (1, 2):
            workers = f"{processes} worker{'s' if processes > 1 else ''}"
            with ours.running(processes) as us:
                note(f"send, {workers}, tasks/s", us.send(tasks)["rate"])
                note(f"send_many, {workers}, tasks/s", us.send_many(tasks)["rate"])
                if processes == 1:
                    latencies = us.latency(paced, EVERY_S)
                    note("zqueue latency p50, ms", percentile_ms(latencies, 50))
                    note("zqueue latency p99, ms", percentile_ms(latencies, 99))
    return figures


RATIOS = [
    ("send / raw one a frame", "send, 1 worker, tasks/s", "raw one a frame, tasks/s", 2.0),
    ("send, 2 workers / raw one", "send, 2 workers, tasks/s", "raw one a frame, tasks/s", 2.0),
    ("send_many / raw 512", "send_many, 1 worker, tasks/s", "raw 512 a frame, tasks/s", 0.9),
    ("send_many, 2 workers / raw 512", "send_many, 2 workers, tasks/s", "raw 512 a frame, tasks/s",
     0.9),
    ("latency p50 / raw", "zqueue latency p50, ms", "raw latency p50, ms", 1.5),
    ("latency p99 / raw", "zqueue latency p99, ms", "raw latency p99, ms", 2.0),
]  # fmt: skip


def row(name: str, figure: Figure, form: str) -> str:
    """A figure's line of a table, without its end."""
    values = (figure.median, figure.lowest, figure.highest)
    return f"| {name} | {' | '.join(format(value, form) for value in values)} |"


def report(measured: dict[str, list[float]]) -> str:
    """Medians and ranges, and the ratios run by run."""
    figures = {name: Figure(tuple(values)) for name, values in measured.items()}
    lines = [
        f"zqueue {zqueue.__version__}, Python {platform.python_version()}, {platform.machine()}",
        "",
        "| figure | median | lowest | highest |",
        "| --- | ---: | ---: | ---: |",
        *(row(name, f, ",.0f" if "tasks/s" in name else ".3f") for name, f in figures.items()),
        "",
        "| ratio | median | lowest | highest | wanted |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, ours_, theirs, wanted in RATIOS:
        sign = "<=" if "latency" in name else ">="
        lines.append(
            f"{row(name, ratio(figures[ours_], figures[theirs]), '.2f')} {sign} {wanted} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--tasks", type=int, default=1_000_000, help="in one throughput run")
    parser.add_argument("--paced", type=int, default=1_000, help="in one latency run")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    arguments = parser.parse_args()
    figures = measure(arguments.runs, arguments.tasks, arguments.paced)
    print(report(figures))
    if arguments.json:
        data: dict[str, Any] = {"version": zqueue.__version__, "figures": figures}
        arguments.json.write_text(json.dumps(data, indent=1))


if __name__ == "__main__":
    main()
