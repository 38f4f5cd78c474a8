"""The lab: holds the contests of one component and writes down what came of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from time import monotonic, process_time
from typing import Any

from . import allocations, pauses
from .allocations import Operation
from .measure import Sample, interleave, ratio, transpose
from .result import Case, Component, make_figures
from .scale import Scale
from .usage import machine_cpu_s, others

ALONE = "process"
"""What this process is called where there is no other."""

COMPARED = ("rate", "p50", "p99")
"""Figures of which ratios are taken."""


@dataclasses.dataclass(frozen=True, slots=True)
class Contest:
    """One thing to do, and those who do it."""

    name: str
    operation: str
    subjects: Mapping[str, Callable[[], Sample]]
    """The first one is ours: ratios are of it to each of the others."""
    family: str = ""
    x: float | None = None


class Lab:
    """Measures one component at one scale.

    ``role`` is what this process is called in the figures: with several processes it is the
    ``producer``. ``with_memory`` says whether to look at what single operations allocate.
    """

    def __init__(
        self,
        component: Component,
        scale: Scale,
        progress: Callable[[str], None],
        role: str = ALONE,
        *,
        with_memory: bool = True,
    ) -> None:
        self.component = component
        self.scale = scale
        self.role = role
        self._progress = progress
        self._with_memory = with_memory

    def hold(self, *contests: Contest, once: bool = False) -> None:
        """Hold contests, all in every run, and write down cases and ratios.

        What does not vary, and takes long, is done ``once``.
        """
        work: dict[str, dict[str, Callable[[], dict[str, float]]]] = {
            contest.name: {who: self._watched(do) for who, do in contest.subjects.items()}
            for contest in contests
        }
        runs = 1 if once else self.scale.runs

        def on_run(run: int, name: str) -> None:
            self._progress(f"{self.component.name}: {name}, run {run + 1} of {runs}")

        gathered = interleave(work, runs, on_run)
        for contest in contests:
            for who in contest.subjects:
                figures = make_figures(transpose(gathered[contest.name][who]))
                self.component.cases.append(
                    Case(contest.name, who, contest.operation, contest.family, contest.x, figures)
                )
            self._compare(contest)

    def note(self, text: str) -> None:
        """Write down what a reader must know."""
        if text not in self.component.notes:
            self.component.notes.append(text)

    def add(self, name: str, subject: str, figures: Mapping[str, float]) -> None:
        """Write down figures of a case that are the same in every run."""
        case = self.component.find(name, subject)
        if case is not None:
            case.figures.update(make_figures({n: (value,) for n, value in figures.items()}))

    def add_allocations(
        self, name: str, subject: str, maker: Callable[..., Operation], *arguments: Any, by: int = 1
    ) -> None:
        """Write down what one operation of a case allocates, holds and keeps.

        ``maker(*arguments)`` makes the operation, here and in a process of its own; one call of it
        makes ``by`` operations.
        """
        if not self._with_memory:
            return
        self._progress(f"{self.component.name}: memory of {name}, {subject}")
        calls = max(1, self.scale.operations // 10 // by)
        self.add(name, subject, allocations.measure(maker(*arguments), calls=calls, by=by))
        counted = allocations.count(maker, *arguments, by=by)
        self.add(name, subject, counted)
        if not counted:
            self.note("allocations were not counted: this system's C library does not trace malloc")

    def add_held(self, name: str, subject: str, put: Operation, items: int) -> None:
        """Write down what so many items take that one call of ``put`` adds somewhere."""
        if self._with_memory:
            self.add(name, subject, allocations.held(put, items))

    def _watched(self, do: Callable[[], Sample]) -> Callable[[], dict[str, float]]:
        """The same, with this process's processor time and collections."""

        def watched() -> dict[str, float]:
            began, cpu_s, machine_s = monotonic(), process_time(), machine_cpu_s()
            with pauses.watching() as seen:
                sample = do()
            elapsed_s, spent_s = monotonic() - began, process_time() - cpu_s
            own = {f"cpu:{self.role}": spent_s / elapsed_s}
            if self.role == ALONE:
                own.update(others(machine_cpu_s() - machine_s, spent_s, elapsed_s))
            return {**own, **pauses.figures_of(seen.spans, elapsed_s, self.role), **sample}

        return watched

    def _compare(self, contest: Contest) -> None:
        ours, *rivals = contest.subjects
        our_case = self.component.find(contest.name, ours)
        assert our_case is not None
        for rival in rivals:
            their_case = self.component.find(contest.name, rival)
            assert their_case is not None
            for name in COMPARED:
                over, under = our_case.get(name), their_case.get(name)
                if over is None or under is None or not all(under.values):
                    continue
                title = f"{contest.name}: {ours} / {rival}, {name}"
                self.component.ratios[title] = ratio(over, under)
