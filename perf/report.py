"""Measure every component of zqueue, each beside what it competes with, and write a report.

    python perf/report.py --quick             two minutes, to see that all is well
    python perf/report.py                     a quarter of an hour, on an idle machine
    python perf/report.py queue pool --runs 9 some components, more often
    python perf/report.py pool --profile cpu  and where the time goes
    python perf/report.py --list              what there is to measure

Writes result.json, report.md and plots into a folder. Exit code 1: something could not be measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic

from lab import page, plots, profiles, usage
from lab.components import CATALOGUE
from lab.lab import FULL, PROBE, QUICK, Lab, Scale
from lab.result import Component, Result

SCALES = {scale.name: scale for scale in (FULL, QUICK, PROBE)}


def measure(
    names: Sequence[str],
    scale: Scale,
    progress: Callable[[str], None],
    *,
    with_memory: bool = True,
) -> Result:
    """Measure components one after the other. What fails is noted, and the rest measured."""
    result = Result(usage.environment(), scale.name, scale.runs)
    began = monotonic()
    for name in names:
        component = result.components[name] = Component(name)
        started = monotonic()
        try:
            CATALOGUE[name].measure(Lab(component, scale, progress, with_memory=with_memory))
        except Exception as error:
            # Whatever it is, the other components can still be measured.
            component.error = f"{type(error).__name__}: {error}"
        component.seconds = monotonic() - started
    result.seconds = monotonic() - began
    return result


def write(result: Result, folder: Path) -> None:
    """Write result, plots and report."""
    (folder / "result.json").write_text(json.dumps(result.as_data(), indent=1) + "\n")
    drawn, why_not = plots.draw(result, folder)
    (folder / "report.md").write_text(page.build(result, drawn, why_not))


class Progress:
    """Tells on stderr what is being measured: in one line of a terminal, else a line each."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._start, self._end = ("\r\x1b[K", "") if sys.stderr.isatty() else ("", "\n")

    def __call__(self, text: str) -> None:
        line = f"[{monotonic() - self._began:4.0f} s] {text}"
        print(f"{self._start}{line[:100]}", end=self._end, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("components", nargs="*", metavar="COMPONENT", help="by default all")
    parser.add_argument("--list", action="store_true", help="show the components and stop")
    parser.add_argument("--quick", action="store_const", const="quick", dest="scale",
                        help="less of everything; figures are rougher")  # fmt: skip
    parser.add_argument("--scale", choices=SCALES, default="full", help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, help="how often everything is measured (5, quick 3)")
    parser.add_argument("--out", type=Path, help="where it goes (zqueue-report-DATE-TIME)")
    parser.add_argument("--profile", choices=profiles.KINDS, action="append", default=[],
                        help="also profile each component; may be repeated")  # fmt: skip
    parser.add_argument("--only-measure", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    for name in told.components:
        if name not in CATALOGUE:
            parser.error(f"there is no component {name!r} (there are: {', '.join(CATALOGUE)})")
    if told.runs is not None and told.runs < 1:
        parser.error("--runs must be at least 1")
    for kind in told.profile:
        if why := profiles.lacks(kind):
            parser.error(why)
    return told


def main() -> int:
    """Measure, profile, write. The exit code."""
    told = arguments()
    if told.list:
        for name, entry in CATALOGUE.items():
            print(f"{name:8} {entry.text}")
        return 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    names = [name for name in CATALOGUE if not told.components or name in told.components]
    scale = SCALES[told.scale]
    scale = dataclasses.replace(scale, runs=told.runs or scale.runs)
    progress = Progress()
    if told.only_measure:  # By a profiler, in a process of its own.
        result = measure(names, scale, progress, with_memory=False)
        return int(any(component.error for component in result.components.values()))
    folder = told.out or Path(f"zqueue-report-{datetime.now():%Y%m%d-%H%M%S}")
    folder.mkdir(parents=True, exist_ok=True)
    result = measure(names, scale, progress)
    try:
        for name in names:
            for kind in told.profile:
                progress(f"{name}: {kind} profile")
                result.profiles.append(profiles.take(name, kind, folder))
    finally:
        write(result, folder)  # What was measured is kept, even if a profile could not be taken.
    failed = {name: c.error for name, c in result.components.items() if c.error}
    for name, error in failed.items():
        print(f"\n{name} was not measured to the end: {error}", file=sys.stderr)
    print(f"\nreport: {folder / 'report.md'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
