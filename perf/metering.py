"""What it costs to time every task: zqueue as it is, beside one in which that is compiled out.

    python perf/metering.py --setup     build both, each in an environment of its own
    python perf/metering.py --runs 9    alternating runs of both

No-op tasks, 512 a batch, one worker. The order changes from run to run; the ratio is taken within
each pair, and its median is given with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from lab.bodies import BATCH
from lab.measure import Figure, ratio
from lab.systems import running

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = Path.home() / ".cache" / "zqueue-metering"
KINDS = {"metered": {}, "unmetered": {"ZQUEUE_UNMETERED": "1"}}


def set_up(folder: Path) -> None:
    """Build both environments from this checkout."""
    for kind, more in KINDS.items():
        subprocess.run([sys.executable, "-m", "venv", folder / kind], check=True)
        subprocess.run(
            [folder / kind / "bin/python", "-m", "pip", "install", "--quiet", "--no-cache-dir",
             "--force-reinstall", ROOT],
            env={**os.environ, **more}, check=True,
        )  # fmt: skip


def measure(folder: Path, kind: str, tasks: int) -> float:
    """Tasks a second, by processes of their own."""
    with running("ours", python=folder / kind / "bin/python") as us:
        return us.throughput(tasks, BATCH)["rate"]


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setup", action="store_true", help="build the two environments")
    parser.add_argument("--envs", type=Path, default=ENVIRONMENTS, help="where they are")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--tasks", type=int, default=2_000_000, help="in one run")
    arguments = parser.parse_args()
    if arguments.setup:
        set_up(arguments.envs)
        return
    if not (arguments.envs / "unmetered").is_dir():
        parser.exit(2, f"no environments in {arguments.envs}: make them with --setup\n")
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for run in range(arguments.runs):
        for kind in KINDS if run % 2 else reversed(KINDS):
            rates[kind].append(measure(arguments.envs, kind, arguments.tasks))
        with_, without = rates["metered"][-1], rates["unmetered"][-1]
        print(f"run {run + 1}: metered {with_:,.0f}, unmetered {without:,.0f} tasks/s, "
              f"ratio {with_ / without:.3f}", flush=True)  # fmt: skip
    figures = {kind: Figure(tuple(values)) for kind, values in rates.items()}
    found = ratio(figures["metered"], figures["unmetered"])
    print(f"metered / unmetered: {found.median:.3f} ({found.lowest:.3f} to {found.highest:.3f})")


if __name__ == "__main__":
    main()
