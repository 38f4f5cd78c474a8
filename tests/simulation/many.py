"""Many seeds, in several processes. (What runs in those must not be in ``__main__``.)"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
from collections.abc import Callable, Iterator

from .bugs import BUGS, SEVERAL
from .run import Run, run


def runs_of(seeds: range, jobs: int, bug: str | None, several: bool = False) -> Iterator[Run]:
    """What came of seeds, as they come."""
    one = functools.partial(run_one, bug=bug, several=several)
    if jobs == 1:
        yield from map(one, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(one, seeds, chunksize=10)


def run_one(
    seed: int, bug: str | None, trace: Callable[[str], None] | None = None, several: bool = False
) -> Run:
    """Run a seed, in any process: bugs go by name."""
    with (BUGS | SEVERAL)[bug]() if bug else contextlib.nullcontext():
        return run(seed, trace=trace, several=several)


def tell(found: Run) -> str:
    """What a run was like, and how to have it again."""
    text = (
        f"seed {found.seed}: {found.steps:,} steps, {found.tasks} tasks, {found.faults} faults, "
        f"{len(found.violations)} promises broken"
    )
    if not found.violations:
        return text
    lines = [text, *(f"  {violation}" for violation in found.violations[:10])]
    several = " --several" if found.plan.brokers > 1 else ""
    lines.append(f"  again: python -m tests.simulation --seed {found.seed}{several} --trace")
    return "\n".join(lines)
