"""A soak: a durable system at work for long, killed all the time, whose memory must stay flat.

    python -m tests.faults.soak --minutes 60 --plot soak.svg
    python -m tests.faults.soak --minutes 1 --rate 500 --kill-every 3

Exit code 1 if a task that was confirmed was never done, or if something grew. The plot needs
matplotlib (pip install -r perf/requirements.txt).
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from tests.faults.soak.run import Soak, Verdict


def main() -> int:
    """Parse arguments, soak, print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.soak", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1000.0, help="tasks a second")
    parser.add_argument("--kill-every", type=float, default=10.0, help="seconds between two kills")
    parser.add_argument("--plot", type=Path, help="an SVG file to write")
    arguments = parser.parse_args()
    if arguments.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install -r perf/requirements.txt")
    with Soak(arguments.rate, arguments.kill_every) as soak:
        try:
            verdict = soak.run(60 * arguments.minutes)
        finally:
            if arguments.plot:
                from tests.faults.soak.plot import draw

                draw(soak.samples, arguments.plot)
    print(told(verdict))
    return 1 if verdict.problems else 0


def told(verdict: Verdict) -> str:
    """The verdict as text."""
    lines = [f"{verdict.lasted_s / 60:.0f} minutes"]
    lines += [f"{name:28} {count:12,}" for name, count in verdict.counts.items() if count]
    lines += [
        f"{row.role:12} {row.figure:12} {row.before:10.1f} {row.after:10.1f}"
        f"  {'flat' if row.is_flat else 'GREW'}"
        for row in verdict.growth
    ]
    return "\n".join([*lines, *(verdict.problems or ["no confirmed task is missing"])])


if __name__ == "__main__":
    sys.exit(main())
