"""Whether anything became slower: ratios, beside a recorded baseline.

    python perf/check.py                           all checks, in about ten seconds
    python perf/check.py --list                    what is checked, and beside what
    python perf/check.py --only queue.pair         one check
    python perf/check.py --end-to-end              and zqueue beside raw pyzmq, for an idle machine
    python perf/check.py --plant codec.unpack=1.5  see that a slowdown is caught
    python perf/check.py --record                  measure for longer, and write the baseline

Exit code 0: nothing is slower. 1: something is, one line for each. 2: nothing can be said, and why.

Theory of operation. No time means anything by itself, on any machine. What is compared is the time
of a *subject*, divided by that of a *reference* that does the like work beside it. In one run, a
fresh process, the two take turns in blocks of half a millisecond, with the garbage collector off,
and the fastest block of each counts: it is the one that nobody disturbed. What is left differs from
process to process (where things lie in memory; a moment when the machine was faster, met by one of
the two only), so the median of several runs counts, five or more. What then lies outside the
tolerance is measured again, up to three times, each time in more runs, and only what was slower
every time is slower.

Beside its time, each check counts the Python functions that one operation enters, in all modules
that are interpreted. That number is exact, and says what no clock can: that something left the
compiled modules, or never got there. Allocations are not counted: all that Python can tell of them
is what stays allocated, and that is nothing, in every check. `perf/report.py` counts the others.

How steady it is: on a machine with two virtual cores and a load of 4 to 8, in 15 runs with
``nice -n 10`` nothing was taken for slower, nor measured again; 7 of 7 slowdowns by half were
caught.

How far a baseline holds. There is a section of it for each version of Python, for compiled and
interpreted modules, and for each architecture. References do what their subjects do, on data that
fits the nearest cache, so that little depends on the processor; but there was only one machine to
try, so how much, nobody has seen. Two builds of Python 3.11 were tried there, Debian's and one with
other options of the compiler: `calls.run` differed by 17 %, `queue.pair` by 12 %, the rest by less
than 10 %. What the versions of Python make of the same source differs by more, hence the sections.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path

from lab.bodies import BATCH
from lab.judging import (
    RUNS,
    Check,
    Duel,
    Found,
    NothingToSay,
    compare,
    notes,
    read,
    record,
    section,
    table,
)
from lab.measure import interleave
from lab.parts import PARTS, Part
from lab.queues import BLOCK_NS, Block

BASELINE = Path(__file__).with_name("baseline.json")

RECORD_RUNS = 25
RUN_TIMEOUT_S = 300.0
POOL_TASKS = 200_000


# --- what is checked ---


def check_of(part: Part) -> Check:
    """A part of `lab.parts`: its first subject beside its second."""
    (_, ours), (reference, theirs) = list(part.subjects.items())[:2]
    text = (getattr(ours, "func", ours).__doc__ or "").partition("\n")[0]
    return Check(part.name, reference, lambda held: (ours(), theirs()), text, part.unit, part.units)


def pool(held: ExitStack) -> Duel:
    """Tasks sent, run by a worker process and acknowledged, and the same in raw pyzmq."""
    from lab.systems import both  # Which is not needed elsewhere.

    us, raw = held.enter_context(both(1))

    def ns(rate: float) -> float:
        return POOL_TASKS / rate * 1e9

    return (
        lambda calls: sum(ns(us.throughput(POOL_TASKS, 0)["rate"]) for _ in repeat(None, calls)),
        lambda calls: sum(
            ns(raw.throughput(POOL_TASKS, BATCH)["rate"]) for _ in repeat(None, calls)
        ),
    )


CHECKS = (
    *(check_of(part) for part in PARTS if part.is_checked),
    Check("pool.send_many", "raw pyzmq", pool, "Send, run by a worker process, acknowledge.",
          "task", POOL_TASKS, 3, 0.5, end_to_end=True),
)  # fmt: skip
BY_NAME = {check.name: check for check in CHECKS}


# --- measuring ---


def count_calls(block: Block) -> int:
    """Python functions that one call of a block's work enters, with those of the block."""
    entered = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal entered
        entered += event == "call"

    block(1)
    sys.setprofile(note)
    try:
        block(0)
        without, entered = entered, 0
        block(1)
    finally:
        sys.setprofile(None)
    return entered - without


def sit(names: Sequence[str], plant: Mapping[str, float]) -> dict[str, Found]:
    """One run of some checks, in this process. ``plant`` says whose subjects do more work."""
    contests: dict[str, dict[str, Callable[[], float]]] = {}
    found: dict[str, Found] = {}
    with ExitStack() as held:
        duels = {name: BY_NAME[name].make(held) for name in names}
        gc.collect()
        gc.freeze()
        gc.disable()
        for name, (subject, reference) in duels.items():
            factor = plant.get(name, 1.0)
            contests[name] = {"subject": _turn(subject, factor), "reference": _turn(reference)}
        blocks = min(BY_NAME[name].blocks for name in names)
        for name, times in interleave(contests, blocks).items():
            found[name] = {"ratio": min(times["subject"]) / min(times["reference"])}
        for name, (subject, _) in duels.items():
            if not BY_NAME[name].end_to_end:
                found[name]["calls"] = count_calls(subject) / BY_NAME[name].units
    return found


def _turn(block: Block, factor: float = 1.0) -> Callable[[], float]:
    """A block of the usual length, that gives nanoseconds a call. Some do more than they say."""
    once_ns = block(1)
    if once_ns < BLOCK_NS:
        once_ns = min(block(1) for _ in range(5))
    calls = max(1, round(BLOCK_NS / once_ns))
    made = calls if factor == 1.0 else max(calls + 1, round(calls * factor))
    return lambda: block(made) / calls


def measure(names: Sequence[str], runs: int, plant: Mapping[str, float]) -> dict[str, list[Found]]:
    """What each of several runs found, each in a process of its own.

    Raises `NothingToSay` if one fails."""
    found: dict[str, list[Found]] = {name: [] for name in names}
    slow = [[name] for name in names if BY_NAME[name].end_to_end]
    together = [name for name in names if not BY_NAME[name].end_to_end]
    for run in range(runs):
        if sys.stderr.isatty():
            print(f"\rrun {run + 1} of {runs} ", end="\r", file=sys.stderr, flush=True)
        for group in [together, *slow] if together else slow:
            for name, values in _run(group, plant).items():
                found[name].append(values)
    return found


def _run(names: Sequence[str], plant: Mapping[str, float]) -> dict[str, Found]:
    order = [f"--plant={name}={factor}" for name, factor in plant.items()]
    # Neither a mode for developers nor the order of a set may change how much work there is.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    path = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "PYTHONHASHSEED": "0"}
    command = [sys.executable, __file__, "--sit", *order, "--only", *names]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, env={**kept, **path}, timeout=RUN_TIMEOUT_S, check=True
        )
    except subprocess.SubprocessError as error:
        raise NothingToSay(f"a run failed: {error}") from None
    found: dict[str, Found] = json.loads(done.stdout)
    return found


# --- the command ---


def planted(text: str) -> tuple[str, float]:
    """``NAME=FACTOR``."""
    name, _, factor = text.partition("=")
    if name not in BY_NAME or not float(factor) > 1:
        raise ValueError
    return name, float(factor)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, help=f"{RUNS}, or {RECORD_RUNS} with --record")
    parser.add_argument("--only", nargs="+", choices=BY_NAME, metavar="NAME")
    parser.add_argument("--end-to-end", action="store_true", help="also what takes processes")
    parser.add_argument("--list", action="store_true", help="say what is checked, and end")
    parser.add_argument(
        "--if-compiled", action="store_true",
        help="say so and end well where the modules are interpreted; not in CI",
    )  # fmt: skip
    parser.add_argument("--record", action="store_true", help="write the baseline")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument(
        "--plant", type=planted, action="append", default=[], metavar="NAME=FACTOR",
        help="let a subject do so many times the work it should",
    )  # fmt: skip
    parser.add_argument("--sit", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.record and told.plant:
        parser.error("a planted slowdown is nothing to record")
    return told


def check_all(told: argparse.Namespace, names: Sequence[str]) -> int:
    """Measure, compare, tell. The exit code."""
    plant = dict(told.plant)
    name = section()
    if told.if_compiled and name.startswith("interpreted") and "CI" not in os.environ:
        print(f"skipped: what is compared is compiled, and this is {name}")
        return 0
    if told.record:
        record(told.baseline, name, measure(names, told.runs or RECORD_RUNS, plant))
        print(f"recorded: {name}")
        return 0
    baseline = read(told.baseline, name, names)
    checks = {each: BY_NAME[each] for each in names}

    def take(some: Sequence[str], runs: int) -> Mapping[str, list[Found]]:
        return measure(some, runs, plant)

    findings = compare(checks, baseline["checks"], take, told.runs or RUNS)
    print(table(findings.values()))
    complaints = [line for f in findings.values() for line in f.complaints()]
    news = [line for f in findings.values() for line in f.good_news()]
    for line in [*notes(name, baseline["recorded on"]), *news, *complaints]:
        print(line)
    return 1 if complaints else 0


def main() -> int:
    """Do what the command line says. The exit code."""
    told = arguments()
    if told.list:
        for check in CHECKS:
            print(f"{check.name:15s} beside {check.reference:18s} {check.text}")
        return 0
    names = told.only or [c.name for c in CHECKS if told.end_to_end or not c.end_to_end]
    if told.sit:
        print(json.dumps(sit(names, dict(told.plant))))
        return 0
    try:
        return check_all(told, names)
    except NothingToSay as why:
        print(f"check: {why}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
