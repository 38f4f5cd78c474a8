"""What the figures say, in sentences. Each comes from a rule, and carries its figures with it."""

from __future__ import annotations

from collections.abc import Iterator

from .components import CATALOGUE
from .measure import Figure
from .result import Case, Result, kind_of
from .targets import MISSED, RATIOS, TARGETS, find, find_ratio, judge, verdict
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

KEPT_BLOCKS = 0.01
"""Blocks by task. Ten thousand tasks leave a hundred: more is no accident."""

KEPT_BYTES = 1.0
"""Bytes by task, of a broker through which many went."""

LISTED = 5
LOAD_CASES = ("send", "send_many", "full load, send", "full load, send_many", "backlog")


# --- what limits it ---


def bottlenecks(result: Result) -> list[str]:
    """Which process, or what else, was the limit of each case under full load."""
    return [sentence for case in _under_load(result) if (sentence := limit_of(result, case))]


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
    several = f" in {workers:.0f} processes" if workers > 1 else ""
    parts = listed(
        f"{role} {cores[role]:.2f}{several if role == 'worker' else ''}" for role in order
    )
    others = case.get("others")
    if others is not None and others.median > INTRUDED:
        return (
            f"{case.title}: not known, other programs used {others.median:.2f} of {usable} cores "
            f"meanwhile ({parts})."
        )
    if total >= BUSY * usable:
        return (
            f"{case.title}: the machine was the limit, {total:.2f} of {usable} cores were busy "
            f"({parts}); most of it went to the {most}."
        )
    if busy[most] >= BUSY:
        rest = listed(f"the {role} used {share(busy[role])}" for role in order[1:])
        return f"{case.title}: the {most} was the limit, it used {share(busy[most])} of a core" + (
            f" while {rest}." if rest else "."
        )
    return (
        f"{case.title}: no process used a whole core ({parts}), so time went into waiting: "
        f"the busiest was the {most}."
    )


def _under_load(result: Result) -> Iterator[Case]:
    for component, case in result.cases():
        named = case.name in LOAD_CASES or case.family == "workers"
        if component.name in ("pool", "gc") and named:
            yield case


# --- what may go wrong with it ---


def risks(result: Result) -> list[str]:
    """What the reader should fear, of the figures and of what they tell."""
    return [
        *_about_the_run(result),
        *_about_noise(result),
        *_about_latency(result),
        *_about_memory(result),
        *_about_pauses(result),
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
    yield from _about_others(result)
    if environment["outdated"]:
        modules = listed(f"`{name}`" for name in environment["outdated"])
        yield f"Compiled modules that ran are older than their sources: {modules}."
    if not any(environment["compiled"].values()):
        yield "No module was compiled: a build with a compiler would run other code."
    if result.runs < 2:
        yield "Everything was measured once: nothing is known of noise."


def _about_others(result: Result) -> Iterator[str]:
    measured = [(case, found) for _, case in result.cases() if (found := case.get("others"))]
    intruded = [(case, found) for case, found in measured if found.median > INTRUDED]
    if not intruded:
        return
    worst, most = max(intruded, key=lambda pair: pair[1].median)
    yield (
        f"In {len(intruded)} of {len(measured)} cases other programs used more than {INTRUDED} "
        f"cores meanwhile; most, {most.median:.2f}, during “{worst.title}”."
    )


def _about_noise(result: Result) -> Iterator[str]:
    noisy = [(case, name) for _, case in result.cases() for name in case.noisy()]
    if not noisy:
        return
    judged = sum(1 for _ in _judged(result))
    first = listed(f"{name} of “{case.title}”" for case, name in noisy[:LISTED])
    more = f", and {len(noisy) - LISTED} more" if len(noisy) > LISTED else ""
    yield (
        f"{len(noisy)} of {judged} figures are noisy, their runs differ by more than half of the "
        f"median: {first}{more}."
    )


def _judged(result: Result) -> Iterator[Figure]:
    for _, case in result.cases():
        yield from (figure for name, figure in case.figures.items() if kind_of(name).is_judged)


def _about_latency(result: Result) -> Iterator[str]:
    for _, case in result.cases():
        p50, p99, late = case.get("p50"), case.get("p99"), case.get("late_p50")
        if case.family != "latency" or p50 is None or p99 is None:
            continue
        if p99.median > LONG_TAIL * p50.median:
            yield (
                f"{case.title}: one task in a hundred waits {p99.median / p50.median:.0f} times "
                f"as long as the usual one ({of(p99)}, p50 {of(p50)})."
            )
        if late is not None and late.median > LATE * p50.median:
            yield (
                f"{case.title}: {of(late)} of the {of(p50)} that half the tasks waited are the "
                "sender's own, who woke up late: look at `call_p50`, too."
            )


def _about_memory(result: Result) -> Iterator[str]:
    for _, case in result.cases():
        grew, bound, by_task = case.get("grew"), case.get("bound"), case.get("grew_by_task")
        if grew is not None and bound is not None and grew.median > bound.median:
            yield (
                f"{case.title}: the broker grew by {of(grew)}, more than the "
                f"{of(bound)} that are promised."
            )
        is_through = case.name == "passed through"
        if is_through and by_task is not None and by_task.median > KEPT_BYTES:
            yield f"{case.title}: the broker kept {of(by_task)} of each task that went through it."
        for role, kept in case.of("blocks_kept").items():
            if kept.median > KEPT_BLOCKS:
                yield f"{case.title}: the {role} kept {of(kept)} blocks of each task."


def _about_pauses(result: Result) -> Iterator[str]:
    for component, case in result.cases():
        for role, pause in case.of("gc_pause_max").items():
            if component.name in ("pool", "gc") and pause.median > LONG_PAUSE_MS:
                yield f"{case.title}: a collection stopped the {role} for {of(pause)}."


# --- what to do about it ---


def next_steps(result: Result) -> list[str]:
    """What the figures ask for: targets that were missed, what limited, what is in doubt."""
    steps = []
    for component, missed in _missed(result).items():
        steps.append(
            f"Missed: {'; '.join(missed)}. Where it goes: `zqueue bench {component} --profile cpu`."
        )
    if any(case.noisy() for _, case in result.cases()):
        steps.append(
            f"Measure again on an idle machine, with more than {result.runs} runs "
            f"(`--runs {2 * result.runs + 1}`), before believing what is noisy."
        )
    failed = [name for name, component in result.components.items() if component.error]
    steps += [f"Find out why `{name}` could not be measured to the end." for name in failed]
    left_out = [name for name in CATALOGUE if name not in result.components]
    if left_out:
        steps.append(f"Measure what was left out: `zqueue bench {' '.join(left_out)}`.")
    return steps


def _missed(result: Result) -> dict[str, list[str]]:
    """By component, what was missed and by how much."""
    missed: dict[str, list[str]] = {}
    for target in TARGETS:
        figure = find(result, target)
        if judge(result, target) == MISSED and figure is not None:
            wanted = amount(target.wanted, figure.unit)
            found = f"{target.text} {of(figure)}, wanted {wanted}"
            missed.setdefault(target.component, []).append(found)
    for wanted_ratio in RATIOS:
        figure = find_ratio(result, wanted_ratio)
        if verdict(figure, wanted_ratio.wanted, wanted_ratio.better) == MISSED:
            found = f"{wanted_ratio.text} {of(figure)} ×, wanted {wanted_ratio.wanted:g}"
            missed.setdefault("pool", []).append(found)
    return missed
