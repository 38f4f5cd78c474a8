"""Tasks that wait, in the threads of one worker process: zqueue beside Dramatiq and Celery.

    python perf/peers/compare.py --setup celery dramatiq
    python perf/waiting.py                         five alternating runs, 10 ms, 8 threads
    python perf/waiting.py --only zqueue --runs 3

Each task sleeps for 10 ms. What 8 threads could do at best is 800 a second: what is missing from
that is what a system costs. Redis is needed for the two others.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from lab.measure import Figure, interleave, ratio
from lab.wording import table
from peers.child import Child, PeerFailed
from peers.environments import Environments
from peers.registry import BY_NAME

SYSTEMS = {
    "zqueue": BY_NAME["zqueue-send-1"],
    "Dramatiq": BY_NAME["dramatiq"],
    "Celery": BY_NAME["celery"],
}
WARM_UP_TASKS = 200


def rate(child: Child, tasks: int) -> float:
    """Tasks a second, from the first call until the last is acknowledged."""
    answer = child.ask({"do": "waits", "tasks": tasks})
    return float(answer["tasks"] / answer["seconds"])


def measure(names: list[str], runs: int, tasks: int, threads: int) -> dict[str, Figure]:
    """The rate of each system, run by run. Raises `PeerFailed`."""
    envs = Environments()
    with ExitStack() as leaving:
        children = {}
        for name in names:
            peer = SYSTEMS[name]
            folder = leaving.enter_context(tempfile.TemporaryDirectory(prefix="zqueue-perf-"))
            child = leaving.enter_context(Child(envs.python(peer), peer.driver, Path(folder)))
            about = child.ask({"do": "start", "workers": 1, "bodies": 1, "threads": threads})
            print(about["ready"], file=sys.stderr, flush=True)
            rate(child, WARM_UP_TASKS)
            children[name] = child
        work = {name: partial(rate, child, tasks) for name, child in children.items()}
        found = interleave({"waits": work}, runs)["waits"]
    return {name: Figure(tuple(values)) for name, values in found.items()}


def report(found: dict[str, Figure], threads: int, nap_s: float) -> str:
    """A table of rates, and of ours beside each."""
    best, ours = threads / nap_s, found.get("zqueue")
    rows = []
    for name, figure in found.items():
        beside = "" if ours is None or figure is ours else f"{ratio(ours, figure).median:.2f}"
        rows.append((
            f"{name}, {threads} threads", f"{figure.median:,.0f}", f"{figure.lowest:,.0f}",
            f"{figure.highest:,.0f}", f"{figure.median / best:.2f}", beside,
        ))  # fmt: skip
    return table(
        ("tasks/s", "median", "lowest", "highest", f"of {best:,.0f}", "zqueue beside it"), rows
    )


def main() -> int:
    """Parse arguments, measure, print."""
    from peers.working import NAP_S

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=4_000, help="in one run")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    told = parser.parse_args()
    for name in told.only:
        for what, command in Environments().missing(SYSTEMS[name]).items():
            print(f"{name} lacks {what}: {command}", file=sys.stderr)
            return 2
    try:
        found = measure(told.only, told.runs, told.tasks, told.threads)
    except PeerFailed as error:
        print(error, file=sys.stderr)
        return 1
    print(report(found, told.threads, NAP_S))
    return 0


if __name__ == "__main__":
    sys.exit(main())
