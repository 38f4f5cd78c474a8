"""``python -m tests.simulation --seed 17``, or ``--seeds 0..10000 --jobs 2``."""

from __future__ import annotations

import argparse
import sys
import time

from zqueue.wire.codec import COMPILED

from .bugs import BUGS, SEVERAL
from .many import run_one, runs_of, tell


def main() -> int:
    """Run seeds. Returns 1 if a promise was broken."""
    if COMPILED:
        sys.exit("zqueue is compiled here, and what is compiled cannot be watched: run this in a "
                 "checkout that is not (find zqueue -name '*.so' -delete)")  # fmt: skip
    parser = argparse.ArgumentParser("python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and tell what it was like")
    parser.add_argument("--seeds", default="0..300", help="run these: 0..10000 (not 10000)")
    parser.add_argument("--several", action="store_true", help="with two or three brokers")
    parser.add_argument("--jobs", type=int, default=1, help="processes to run them in")
    parser.add_argument("--trace", action="store_true", help="with --seed: print what happens")
    parser.add_argument("--bug", choices=sorted(BUGS | SEVERAL), help="plant this bug")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first one")
    options = parser.parse_args()
    if options.seed is not None:
        trace = print if options.trace else None
        found = run_one(options.seed, options.bug, trace, options.several)
        print(tell(found))
        return int(bool(found.violations))
    first, _, stop = options.seeds.partition("..")
    seeds = range(int(first), int(stop))
    return run_all(
        seeds, options.jobs, options.bug, keep_going=options.keep_going, several=options.several
    )


def run_all(
    seeds: range, jobs: int, bug: str | None, *, keep_going: bool, several: bool = False
) -> int:
    """Run many, with progress, and sum up."""
    began = shown = time.monotonic()
    steps = tasks = faults = runs = broken = 0
    for found in runs_of(seeds, jobs, bug, several):
        runs += 1
        steps, tasks, faults = steps + found.steps, tasks + found.tasks, faults + found.faults
        if found.violations:
            broken += 1
            print(tell(found), flush=True)
            if not keep_going:
                break
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            print(f"{runs:,} of {len(seeds):,} seeds, {broken} broken", file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    print(
        f"{runs:,} seeds in {seconds:.1f} s: {steps:,} steps, {tasks:,} tasks, {faults:,} faults; "
        f"{broken} broke a promise"
    )
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
