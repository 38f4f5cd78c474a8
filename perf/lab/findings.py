"""What the figures say, in sentences: what was aimed at, what limits, what to fear, what to do.
Each sentence comes from a rule, and carries its figures with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .components import CATALOGUE
from .measure import Figure
from .result import JUDGED, Case, Result, unit_of
from .wording import amount, listed, of, share

BUSY = 0.9
"""A process that uses this much of a core is the limit; so are cores used this much."""

LOADED = 0.5
"""Of the cores, before it began: then somebody else was measured, too."""

INTRUDED = 0.25
"""Cores that other programs used while a case was measured: then what limits it is not known."""

LONG_TAIL = 5.0
"""p99 by p50."""

LATE = 0.5
"""The sender's own delay by the median latency."""

LONG_PAUSE_MS = 10.0
KEPT_BYTES = 1.0
"""Bytes by task, of a process through which many went."""

LISTED = 5
LOAD_CASES = ("send", "full load, send", "full load, send_many", "backlog")

MET, MISSED, NOT_MEASURED = "met", "missed", "not measured"


# --- what was aimed at ---


class Target(NamedTuple):
    """A figure, and what it should be. The baseline is the system whose work zqueue does anew."""

    text: str
    component: str
    case: str
    subject: str
    figure: str
    baseline: float | None
    wanted: float


class WantedRatio(NamedTuple):
    """A ratio of ours to raw pyzmq in the same run, and what it should be."""

    text: str
    ratio: str
    wanted: float
    is_floor: bool


_PAIR = ("queue", "queue.pair", "MemoryQueue")
_ALONE = ("queue", "queue.pair alone", "MemoryQueue")
_LOAD = ("gc", "full load, send_many", "zqueue")

TARGETS = (
    Target("MemoryQueue, pairs of put and get", *_PAIR, "rate", 2.66e6, 10e6),
    Target("MemoryQueue, time of a pair", *_PAIR, "cost", 376.0, 100.0),
    Target("MemoryQueue, p50 of a pair", *_ALONE, "p50", None, 100.0),
    Target("MemoryQueue, p95 of a pair", *_ALONE, "p95", None, 200.0),
    Target("MemoryQueue, bytes allocated by a pair", *_PAIR, "bytes_allocated", 152.0, 50.0),
    Target("MemoryQueue, allocations of a pair", *_PAIR, "allocations", 4.0, 1.0),
    Target("MemoryQueue, time between collections", *_PAIR, "gc_interval:process", 50.0, 200.0),
    Target("broker, time between collections", *_LOAD, "gc_interval:broker", 50.0, 200.0),
    Target("worker, time between collections", *_LOAD, "gc_interval:worker", 50.0, 200.0),
)

RATIOS = tuple(
    WantedRatio(text, f"{case}: zqueue / raw pyzmq, {figure}", wanted, figure == "rate")
    for text, case, figure, wanted in (
        ("`send`, beside one in a frame", "send", "rate", 2.0),
        ("`send`, 2 workers", "send, 2 workers", "rate", 2.0),
        ("`send_many`, beside frames packed by hand", "send_many", "rate", 0.9),
        ("`send_many`, 2 workers", "send_many, 2 workers", "rate", 0.9),
        ("p50 of the latency at 200 tasks/s", "200 tasks/s", "call_p50", 1.5),
        ("p99 of the latency at 200 tasks/s", "200 tasks/s", "call_p99", 2.0),
    )
)


def find(result: Result, target: Target) -> Figure | None:
    """The figure that a target is about, if it was measured."""
    return result.figure(target.component, target.case, target.subject, target.figure)


def had_no_collection(result: Result, target: Target) -> bool:
    """Whether there is no time between collections because there was none in any run."""
    name, _, role = target.figure.partition(":")
    count = result.figure(target.component, target.case, target.subject, f"gc_count:{role}")
    return name == "gc_interval" and count is not None and not count.highest


def judge(result: Result, target: Target) -> str:
    """Whether a target is met."""
    if had_no_collection(result, target):
        return MET
    is_floor = target.figure.startswith(("rate", "gc_interval"))
    return verdict(find(result, target), target.wanted, is_floor=is_floor)


def verdict(figure: Figure | None, wanted: float, *, is_floor: bool) -> str:
    """Whether a figure's median is as good as was wanted."""
    if figure is None:
        return NOT_MEASURED
    return MET if (figure.median >= wanted if is_floor else figure.median <= wanted) else MISSED


def aims(result: Result) -> Iterator[tuple[str, str, str, str, str]]:
    """Rows: the aim, the baseline, what is wanted, what was measured, and whether it is met."""
    for target in TARGETS:
        figure, unit = find(result, target), unit_of(target.figure)
        measured = "none happened" if had_no_collection(result, target) else of(figure)
        before = amount(target.baseline, unit) if target.baseline is not None else "–"
        wanted = amount(target.wanted, unit)
        yield target.text, before, wanted, measured, judge(result, target)
    pool = result.components.get("pool")
    ratios = pool.ratios if pool else {}
    for each in RATIOS:
        figure, measured = ratios.get(each.ratio), "–"
        if figure is not None:
            measured = f"{of(figure)} ({figure.lowest:.2f} to {figure.highest:.2f})"
        said = verdict(figure, each.wanted, is_floor=each.is_floor)
        sign = "≥" if each.is_floor else "≤"
        yield f"{each.text}, ratio", "–", f"{sign} {each.wanted:g}", measured, said


# --- what limits it ---


def bottlenecks(result: Result) -> list[str]:
    """Which process, or what else, was the limit of each case under full load."""
    return [
        sentence
        for component, case in result.cases()
        if component.name in ("pool", "gc")
        and (case.name in LOAD_CASES or case.family == "workers")
        and (sentence := limit_of(result, case))
    ]


def limit_of(result: Result, case: Case) -> str:
    """What limited a case; empty if its processor time was not measured."""
    cores = {role: figure.median for role, figure in case.of("cpu").items()}
    if not cores:
        return ""
    workers = case.x if case.family == "workers" and case.x else 1.0
    # A role of several processes is busy when each of them is.
    busy = {role: used / (workers if role == "worker" else 1.0) for role, used in cores.items()}
    order = sorted(busy, key=lambda role: -busy[role])
    most, total, usable = order[0], sum(cores.values()), result.environment["cores_usable"]
    parts = listed(f"{role} {cores[role]:.2f}" for role in order)
    others = case.get("others")
    if others is not None and others.median > INTRUDED:
        said = f"other programs used {others.median:.2f} of {usable} cores meanwhile"
        return f"{case.title}: not known, {said} ({parts})."
    if total >= BUSY * usable:
        said = f"the machine was the limit, {total:.2f} of {usable} cores were busy, most by the"
    elif busy[most] >= BUSY:
        said = f"the limit, {share(busy[most])} of a core, was the"
    else:
        said = "no process used a whole core, so time went into waiting: the busiest was the"
    return f"{case.title}: {said} {most} ({parts})."


# --- what may go wrong with it ---


def risks(result: Result) -> list[str]:
    """What the reader should fear, of the figures and of what they tell."""
    return [
        *_about_the_run(result),
        *_about_noise(result),
        *(f"{case.title}: {text}." for _, case in result.cases() for text in _about_case(case)),
    ]


def missing(result: Result) -> list[str]:
    """What was not measured, and why."""
    found = []
    for name, entry in CATALOGUE.items():
        component = result.components.get(name)
        if component is None:
            found.append(f"`{name}` was not measured ({entry.text}).")
        elif component.error:
            found.append(f"`{name}` was not measured to the end: {component.error}")
    return found


def _about_the_run(result: Result) -> Iterator[str]:
    environment = result.environment
    yield from missing(result)
    usable, load = environment["cores_usable"], environment["load_before"]
    if load >= LOADED * usable:
        yield (
            f"The machine was not idle when it began (load {load:.2f} on {usable} cores): "
            "compare nothing but ratios."
        )
    measured = [(case, found) for _, case in result.cases() if (found := case.get("others"))]
    intruded = [(case, found) for case, found in measured if found.median > INTRUDED]
    if intruded:
        worst, most = max(intruded, key=lambda pair: pair[1].median)
        yield (
            f"In {len(intruded)} of {len(measured)} cases other programs used more than {INTRUDED} "
            f"cores meanwhile; most, {most.median:.2f}, during “{worst.title}”."
        )
    if environment["outdated"]:
        modules = listed(f"`{name}`" for name in environment["outdated"])
        yield f"Compiled modules that ran are older than their sources: {modules}."
    if not environment["compiled"]:
        yield "No module was compiled: a build with a compiler would run other code."
    if result.runs < 2:
        yield "Everything was measured once: nothing is known of noise."


def _about_noise(result: Result) -> Iterator[str]:
    noisy = [(case, name) for _, case in result.cases() for name in case.noisy()]
    if noisy:
        judged = sum(n.split(":")[0] in JUDGED for _, case in result.cases() for n in case.figures)
        first = listed(f"{name} of “{case.title}”" for case, name in noisy[:LISTED])
        more = f", and {len(noisy) - LISTED} more" if len(noisy) > LISTED else ""
        yield (
            f"{len(noisy)} of {judged} figures are noisy, their runs differ by more than half of "
            f"the median: {first}{more}."
        )


def _about_case(case: Case) -> Iterator[str]:
    """What one case shows that should not be."""
    p50, p99, late = case.get("p50"), case.get("p99"), case.get("late_p50")
    if case.family == "latency" and p50 and p99 and p99.median > LONG_TAIL * p50.median:
        yield (f"one task in a hundred waits {p99.median / p50.median:.0f} times as long as the "
               f"usual one ({of(p99)}, p50 {of(p50)})")  # fmt: skip
    if p50 and late and late.median > LATE * p50.median:
        yield (f"{of(late)} of the {of(p50)} that half the tasks waited are the sender's own, who "
               "woke up late: look at `call_p50`, too")  # fmt: skip
    grew, bound, kept = case.get("grew"), case.get("bound"), case.of("grew_by_task")
    if grew and bound and grew.median > bound.median:
        yield f"the broker grew by {of(grew)}, more than the {of(bound)} that are promised"
    for role, figure in kept.items() if bound is None else ():
        if figure.median > KEPT_BYTES:
            yield f"the {role} kept {of(figure)} of each task that went through it"
    for role, pause in case.of("gc_pause_max").items():
        if role != "process" and pause.median > LONG_PAUSE_MS:
            yield f"a collection stopped the {role} for {of(pause)}"


# --- what to do about it ---


def next_steps(result: Result) -> list[str]:
    """What the figures ask for: targets that were missed, what is in doubt, what was left out."""
    missed = [f"{aim} {found}, wanted {wanted}" for aim, _, wanted, found, verdict in aims(result)
              if verdict == MISSED]  # fmt: skip
    steps = [f"Missed: {each}." for each in missed]
    if missed:
        steps.append("Where it goes: `--profile cpu` of the component.")
    if any(case.noisy() for _, case in result.cases()):
        steps.append(
            f"Measure again on an idle machine, with more than {result.runs} runs "
            f"(`--runs {2 * result.runs + 1}`), before believing what is noisy."
        )
    failed = [name for name, component in result.components.items() if component.error]
    steps += [f"Find out why `{name}` could not be measured to the end." for name in failed]
    left_out = [name for name in CATALOGUE if name not in result.components]
    if left_out:
        steps.append(f"Measure what was left out: `python perf/report.py {' '.join(left_out)}`.")
    return steps
