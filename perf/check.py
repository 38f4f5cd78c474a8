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
is what stays allocated, and that is nothing, in every check. `zqueue bench` traces the others.

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
import dataclasses
import gc
import json
import os
import pickle
import platform
import statistics
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import repeat, starmap
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, perf_counter_ns
from typing import Any

import msgpack

from zqueue.bench import environment, floor, ours
from zqueue.bench.bodies import BATCH, body
from zqueue.bench.components.machine import Machine
from zqueue.bench.measure import interleave, percentile
from zqueue.calls import Calls
from zqueue.core.memory_queue import MemoryQueue
from zqueue.core.meter import TaskMeter
from zqueue.handlers import Handler
from zqueue.lane import Lane
from zqueue.protocol.codec import Packer
from zqueue.protocol.unpacking import Reader, index_bodies

BASELINE = Path(__file__).with_name("baseline.json")

TOLERANCE = 0.25
"""How far a figure may rise above its baseline, as a part of it: five times what a median of five
runs strays on a busy machine, and more than two builds of Python differ by. Half as slow again, as
where a fast path is no longer taken, is well beyond."""

CALLS_SLACK = 0.1
"""Calls of an operation that may come on top of that: a hundred operations share some."""

RUNS = 5
RECORD_RUNS = 25
AGAIN = 3
"""How often what seems to have changed is measured again."""

BLOCK_NS = 500_000
"""One turn of a subject or reference: short, so that some turns are not interrupted."""

BLOCKS = 80
"""Turns of each in a run."""

RUN_TIMEOUT_S = 300.0

Block = Callable[[int], float]
"""Does its work so many times. Returns the nanoseconds."""

Duel = tuple[Block, Block]
"""A subject and its reference."""

Found = dict[str, float]
"""What was measured of one check: ``ratio``, and ``calls`` where they are counted."""


# --- what is checked ---

BODIES = 128
"""In one call: few enough for the processor's nearest cache, so that little depends on its size."""

ROUND = 16
"""Batches that are with the broker's machine together."""

POOL_TASKS = 200_000


def timed(operation: Callable[[], object]) -> Block:
    """A block of calls of an operation. The first call fills the caches and does not count."""

    def block(calls: int) -> float:
        operation()
        began = perf_counter_ns()
        for _ in repeat(None, calls):
            operation()
        return perf_counter_ns() - began

    return block


def queue_pair(held: ExitStack) -> Duel:
    """Put one, get one."""

    def pairs(queue: Any) -> Callable[[], None]:
        put, get = queue.put, queue.get

        def operation() -> None:
            for _ in repeat(None, BODIES):
                put(None)
                get()

        return operation

    return timed(pairs(MemoryQueue(BODIES))), timed(pairs(SimpleQueue()))


def queue_batch(held: ExitStack) -> Duel:
    """Put many and get many: in one call each, and one by one."""
    items = [None] * BATCH
    queue, simple = MemoryQueue[None](BATCH), SimpleQueue[None]()

    def together() -> None:
        queue.put_batch(items)
        queue.get_batch(BATCH)

    def singly() -> None:
        for item in items:
            simple.put(item)
        for _ in items:
            simple.get()

    return timed(together), timed(singly)


def _bodies() -> list[object]:
    return [body(i) for i in range(BODIES)]


def _pack_one_by_one(bodies: list[object]) -> Callable[[], None]:
    """The reference gathers packed bodies in one buffer, too."""
    packer = msgpack.Packer(autoreset=False)

    def operation() -> None:
        for each in bodies:
            packer.pack(each)
        packer.bytes()
        packer.reset()

    return operation


def codec_add(held: ExitStack) -> Duel:
    """Pack bodies one by one."""
    bodies = _bodies()
    packer = Packer(BODIES, 1 << 20)

    def operation() -> None:
        for each in bodies:
            packer.add(each)
        assert packer.take()

    return timed(operation), timed(_pack_one_by_one(bodies))


def codec_fill(held: ExitStack) -> Duel:
    """Pack bodies in one call."""
    bodies = _bodies()
    packer = Packer(BODIES, 1 << 20)
    pack = msgpack.Packer().pack

    def operation() -> None:
        assert packer.fill(iter(bodies))
        packer.take()

    return timed(operation), timed(lambda: pack(bodies))


def lane_add(held: ExitStack) -> Duel:
    """Send into a lane that gathers, and cut the batch."""

    class NoProducer:
        def make_room(self, lane: Lane, timeout: float | None) -> None:
            raise AssertionError("there is room")

        def service(self, lane: Lane | None = None) -> None:
            raise AssertionError("nothing is full")

    bodies = _bodies()
    lane = Lane(NoProducer(), "queue", "task")
    lane.blocked = lane.idle = False

    def operation() -> None:
        for each in bodies:
            lane.add(each)
        assert lane.cut()[1] == BODIES

    return timed(operation), timed(_pack_one_by_one(bodies))


def _unpacker() -> msgpack.Unpacker:
    return msgpack.Unpacker(strict_map_key=False, max_buffer_size=1 << 20)


def _unpacked(packed: bytes) -> Callable[[], msgpack.Unpacker]:
    """Gives all values of a stream, one by one."""
    unpacker = _unpacker()

    def fed() -> msgpack.Unpacker:
        unpacker.feed(packed)
        return unpacker

    return fed


def codec_unpack(held: ExitStack) -> Duel:
    """Unpack bodies one by one; none of them is kept."""
    bodies = _bodies()
    frame, fed = msgpack.packb(bodies), _unpacked(b"".join(map(msgpack.packb, bodies)))
    return (
        timed(lambda: deque(Reader(frame), maxlen=0)),
        timed(lambda: deque(fed(), maxlen=0)),
    )


def codec_index(held: ExitStack) -> Duel:
    """Find where each body begins."""
    frame = msgpack.packb([body(i) for i in range(BATCH)])
    unpacker = _unpacker()
    skip = unpacker.skip

    def skip_all() -> None:
        unpacker.feed(frame)
        for _ in repeat(None, unpacker.read_array_header()):
            skip()

    return timed(lambda: index_bodies(frame)), timed(skip_all)


def calls_run(held: ExitStack) -> Duel:
    """Unpack the arguments of calls, and call a handler that does nothing, by the clock."""

    def noop(event: object) -> None:
        pass

    handler = Handler("noop", "queue", noop)
    arguments = [(each,) for each in _bodies()]
    frame, fed = msgpack.packb(arguments), _unpacked(b"".join(map(msgpack.packb, arguments)))

    meter, sent_at = TaskMeter(), monotonic()

    def run() -> None:
        calls = Calls(handler, frame, BODIES, named=True, keep=False, meter=meter, sent_at=sent_at)
        calls.run(BODIES)
        assert calls.position == BODIES

    def run_plainly() -> None:
        """It looks at the clock, too: what that costs depends on the machine more than the rest."""
        deque(zip(starmap(noop, fed()), iter(monotonic, None), strict=False), maxlen=0)

    return timed(run), timed(run_plainly)


def broker_batch(held: ExitStack) -> Duel:
    """The broker's machine: batches of 2,048 published, delivered, settled and confirmed."""
    return _rounds(2048)


def broker_single(held: ExitStack) -> Duel:
    """The same with batches of one task."""
    return _rounds(1)


def _rounds(tasks: int) -> Duel:
    machine = Machine(tasks)
    # The kinds of things that a broker handles, made and taken apart by C code.
    things = [(b"queue", "noop", {"id": i, "x": 1.5}, [i, 1, 2]) for i in range(50)]

    def rounds(calls: int) -> float:
        machine.round(ROUND)
        return sum(machine.round(ROUND) for _ in repeat(None, calls))

    return rounds, timed(lambda: pickle.loads(pickle.dumps(things, 4)))


def pool(held: ExitStack) -> Duel:
    """Tasks sent, run by a worker process and acknowledged, and the same in raw pyzmq, at most
    once."""
    us, raw = held.enter_context(ours.running()), held.enter_context(floor.running())

    def ns(rate: float) -> float:
        return POOL_TASKS / rate * 1e9

    return (
        lambda calls: sum(ns(us.send_many(POOL_TASKS)["rate"]) for _ in repeat(None, calls)),
        lambda calls: sum(ns(raw.many(POOL_TASKS)["rate"]) for _ in repeat(None, calls)),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """A subject, beside its reference."""

    name: str
    reference: str
    make: Callable[[ExitStack], Duel]
    unit: str
    units: int
    """How many operations one call of the subject makes."""
    blocks: int = BLOCKS
    tolerance: float = TOLERANCE
    end_to_end: bool = False
    """Takes several processes, and long: only where it was asked for."""


CHECKS = (
    Check("queue.pair", "queue.SimpleQueue", queue_pair, "pair", BODIES),
    Check("queue.batch", "queue.SimpleQueue", queue_batch, "item", BATCH),
    Check("codec.add", "msgpack", codec_add, "body", BODIES),
    Check("codec.fill", "msgpack", codec_fill, "body", BODIES),
    Check("codec.unpack", "msgpack", codec_unpack, "body", BODIES),
    Check("codec.index", "msgpack", codec_index, "body", BATCH),
    Check("lane.add", "msgpack", lane_add, "body", BODIES),
    Check("calls.run", "msgpack", calls_run, "task", BODIES),
    Check("broker.batch", "pickle", broker_batch, "batch", ROUND),
    Check("broker.single", "pickle", broker_single, "batch", ROUND),
    Check("pool.send_many", "raw pyzmq", pool, "task", POOL_TASKS, 3, 0.5, end_to_end=True),
)
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


class NothingToSay(Exception):
    """What stands in the way of an answer, for people."""


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


# --- judging ---


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What several runs found of a check, beside its baseline."""

    check: Check
    runs: Sequence[Found]
    baseline: Found

    @property
    def ratio(self) -> float:
        """The median of the runs."""
        return statistics.median(run["ratio"] for run in self.runs)

    @property
    def calls(self) -> float:
        """Python functions entered by one operation."""
        return min(run.get("calls", 0.0) for run in self.runs)

    @property
    def change(self) -> float:
        """How many times the baseline it takes."""
        return self.ratio / self.baseline["ratio"]

    @property
    def is_slower(self) -> bool:
        """Beyond the tolerance."""
        return self.change > 1 + self.check.tolerance

    @property
    def is_faster(self) -> bool:
        """As far below the baseline as would be too slow above it."""
        return self.change < 1 / (1 + self.check.tolerance)

    @property
    def calls_allowed(self) -> float:
        """How many calls an operation may make."""
        return self.baseline.get("calls", 0.0) * (1 + self.check.tolerance) + CALLS_SLACK

    @property
    def calls_more(self) -> bool:
        """Whether it makes too many."""
        return self.calls > self.calls_allowed

    def complaints(self) -> list[str]:
        """A line for each thing that is worse than the baseline allows."""
        lines = []
        check, was = self.check, self.baseline["ratio"]
        if self.is_slower:
            lines.append(
                f"SLOWER: {check.name} takes {self.change:.2f} x the baseline "
                f"({self.ratio:.3g} of {check.reference}'s time, baseline {was:.3g}, "
                f"allowed {was * (1 + check.tolerance):.3g})"
            )
        if self.calls_more:
            lines.append(
                f"MORE CALLS: {check.name} enters {self.calls:.2f} Python functions a {check.unit} "
                f"(baseline {self.baseline.get('calls', 0):.2f}, allowed {self.calls_allowed:.2f})"
            )
        return lines

    def good_news(self) -> list[str]:
        """A line if it is faster."""
        if not self.is_faster:
            return []
        line = (
            f"FASTER: {self.check.name} takes {self.change:.2f} x the baseline "
            f"({self.ratio:.3g} of {self.check.reference}'s time, "
            f"baseline {self.baseline['ratio']:.3g}): update the baseline "
            f"(--record --only {self.check.name})"
        )
        return [line]


def compare(
    names: Sequence[str],
    baseline: Mapping[str, Found],
    take: Callable[[Sequence[str], int], Mapping[str, Sequence[Found]]],
    runs: int = RUNS,
) -> dict[str, Finding]:
    """Measure with ``take(names, runs)``; what seems to have changed is measured again."""
    findings: dict[str, Finding] = {}
    doubtful = list(names)
    for attempt in range(1 + AGAIN):
        if attempt:
            print(f"measured again: {', '.join(doubtful)}", file=sys.stderr)
        for name, found in take(doubtful, runs + 2 * attempt).items():
            findings[name] = Finding(BY_NAME[name], found, baseline[name])
        doubtful = [n for n in doubtful if findings[n].is_slower or findings[n].is_faster]
        if not doubtful:
            break
    return findings


def table(findings: Iterable[Finding]) -> str:
    """All figures, for people."""
    lines = [f"{'check':15s} {'ratio':>7s} {'baseline':>9s} {'change':>7s} {'calls':>7s}   beside"]
    lines += [
        f"{f.check.name:15s} {f.ratio:7.3f} {f.baseline['ratio']:9.3f} {f.change:7.2f} "
        f"{f.calls:7.2f}   {f.check.reference}"
        for f in findings
    ]
    return "\n".join(lines)


# --- the baseline ---


def section() -> str:
    """Where this interpreter and installation belong in the baseline.

    Raises `NothingToSay` if compiled modules are older than their sources.
    """
    compiled, outdated = environment.compiled_modules()
    # Where it was installed from a wheel, all files are as old as the installation.
    if outdated and (environment.PACKAGE.parent / "setup.py").exists():
        raise NothingToSay(
            f"older than their sources: {', '.join(outdated)}\n"
            "Compile them: python setup.py build_ext --inplace"
        )
    how = "compiled" if any(compiled.values()) else "interpreted"
    version = ".".join(platform.python_version_tuple()[:2])
    return f"{how}, {platform.python_implementation()} {version}, {platform.machine()}"


def read(path: Path, name: str, checks: Sequence[str]) -> dict[str, Any]:
    """A section of a baseline. Raises `NothingToSay` if it, or a check in it, is missing."""
    sections = json.loads(path.read_text()) if path.exists() else {}
    if name not in sections:
        there = "; ".join(sections) or "none"
        interpreted = name.startswith("interpreted")
        why = (
            "The modules of this installation are interpreted: install it where there is a C "
            "compiler,\nand without ZQUEUE_INTERPRETED. Or"
            if interpreted
            else "Take one of these, or"
        )
        raise NothingToSay(
            f"no baseline for: {name}\nThere is: {there}\n"
            f"{why} record one, from a state that is as fast as it should be:\n"
            "    python perf/check.py --record"
        )
    found: dict[str, Any] = sections[name]
    missing = [check for check in checks if check not in found["checks"]]
    if missing:
        raise NothingToSay(
            f"no baseline ({name}) for: {', '.join(missing)}\nRecord it:\n"
            f"    python perf/check.py --record --only {' '.join(missing)}"
        )
    return found


def record(path: Path, name: str, runs: Mapping[str, Sequence[Found]]) -> None:
    """Write what was found to a section of a baseline, and leave the rest as it is."""
    sections = json.loads(path.read_text()) if path.exists() else {}
    of = sections.setdefault(name, {"checks": {}})
    of["recorded on"] = surroundings()
    for check, found in runs.items():
        ratios = sorted(run["ratio"] for run in found)
        of["checks"][check] = {
            "ratio": round(statistics.median(ratios), 4),
            "range": [round(ratios[0], 4), round(ratios[-1], 4)],
            "middle half": [round(percentile(ratios, p), 4) for p in (25, 75)],
            "runs": len(ratios),
        }
        if "calls" in found[0]:
            of["checks"][check]["calls"] = round(min(run["calls"] for run in found), 4)
    path.write_text(json.dumps(sections, indent=1, sort_keys=True) + "\n")


def surroundings() -> dict[str, Any]:
    """What ratios may depend on."""
    seen = environment.look()
    return {
        "cpu": seen["cpu"],
        "cores": seen["cores"],
        "python": seen["python"],
        "msgpack": seen["libraries"]["msgpack"],
        "zqueue": seen["zqueue"],
    }


def notes(name: str, then: Mapping[str, Any]) -> list[str]:
    """In what this is not as it was when the baseline was recorded."""
    now = surroundings()
    lines = [
        f"note: {what} is {now[what]}, and was {then[what]} when the baseline was recorded"
        for what in ("cpu", "python", "msgpack")
        if now[what] != then[what]
    ]
    if name.startswith("interpreted"):
        lines.append("note: the modules are interpreted, and compared as such")
    return lines


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
    parser.add_argument("--record", action="store_true", help="write the baseline")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    parser.add_argument(
        "--plant", type=planted, action="append", default=[], metavar="NAME=FACTOR",
        help="let a subject do so many times the work it should",
    )  # fmt: skip
    parser.add_argument("--sit", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.record and told.plant:
        parser.error("a planted slowdown is nothing to record")
    return told


def write(path: Path, name: str, findings: Mapping[str, Finding]) -> None:
    """Every figure, for programs."""
    checks = {
        check: {
            "ratio": f.ratio,
            "baseline": f.baseline["ratio"],
            "change": f.change,
            "calls": f.calls,
            "slower": f.is_slower,
            "faster": f.is_faster,
            "more_calls": f.calls_more,
            "runs": [run["ratio"] for run in f.runs],
        }
        for check, f in findings.items()
    }
    data = {"section": name, "measured on": surroundings(), "checks": checks}
    path.write_text(json.dumps(data, indent=1))


def check_all(told: argparse.Namespace, names: Sequence[str]) -> int:
    """Measure, compare, tell. The exit code."""
    plant = dict(told.plant)
    name = section()
    if told.record:
        record(told.baseline, name, measure(names, told.runs or RECORD_RUNS, plant))
        print(f"recorded: {name}")
        return 0
    baseline = read(told.baseline, name, names)
    findings = compare(
        names, baseline["checks"], lambda some, runs: measure(some, runs, plant), told.runs or RUNS
    )
    if told.json:
        write(told.json, name, findings)
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
            what = (check.make.__doc__ or "").partition("\n")[0]
            print(f"{check.name:15s} beside {check.reference:18s} {what}")
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
