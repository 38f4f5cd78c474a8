"""What was measured, as data: a result holds components, they hold cases, those hold figures.

A *case* is one thing done by one subject: a pair of put and get, by `queue.Queue`. A *family* of
cases differs in one number, ``x`` (the size of a batch, say). A figure's name says what it is
(`KINDS`); after a colon it may say of whom: ``cpu:broker``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from .measure import Figure, Sample, ratio

KINDS: dict[str, tuple[str, str]] = {
    "rate": ("/s", "operations in one second"),
    "cost": ("ns", "time of one operation"),
    "p50": ("ns", "latency that half stay below"),
    "p95": ("ns", "latency that 95 of 100 stay below"),
    "p99": ("ns", "latency that 99 of 100 stay below"),
    "max": ("ns", "longest latency"),
    "call_p50": ("ns", "the same latency from the call on, not from when it was due"),
    "call_p99": ("ns", "the same latency from the call on, not from when it was due"),
    "late_p50": ("ns", "how late the measuring process itself sent"),
    "late_p99": ("ns", "how late the measuring process itself sent"),
    "task_ns": ("ns", "the same by task"),
    "cpu": ("cores", "processor time by elapsed time"),
    "cpu_ns": ("ns", "processor time of one operation"),
    "others": ("cores", "processor time of programs that do not belong to it"),
    "allocations": ("", "allocations of one operation (memray, and so are the next four)"),
    "bytes_allocated": ("B", "bytes allocated by one operation"),
    "allocations_kept": ("", "allocations that one operation leaves behind"),
    "bytes_kept": ("B", "bytes that one operation leaves behind"),
    "bytes_peak": ("B", "most that one call holds at a time"),
    "gc_count": ("", "collections while it was measured"),
    "gc_interval": ("ms", "elapsed time by collection"),
    "gc_shortest": ("ms", "shortest time between two collections since the process began"),
    "gc_pause_max": ("ms", "longest pause since the process began"),
    "gc_pause_mean": ("ms", "mean pause"),
    "gc_share": ("", "part of the time spent in collections"),
    "rss": ("B", "resident memory"),
    "rss_before": ("B", "resident memory before"),
    "grew": ("B", "growth of resident memory"),
    "allowed": ("B", "bytes that the queue was allowed"),
    "bound": ("B", "growth that is promised not to be exceeded"),
    "held": ("", "tasks held"),
    "grew_by_task": ("B", "growth of resident memory by task"),
    "operations": ("", "operations measured in a run"),
}
"""Names of figures, without what follows a colon: unit, and what they are."""

JUDGED = ("rate", "cost", "p50", "p95", "p99", "task_ns", "cpu_ns")
"""Figures that a wide spread makes worthless."""

COMPARED = ("rate", "p50", "p99", "call_p50", "call_p99")
"""Figures of which ratios are taken."""


def unit_of(name: str) -> str:
    """The unit of a figure of this name."""
    return KINDS[name.partition(":")[0]][0]


def figures_of(samples: Sequence[Sample]) -> dict[str, Figure]:
    """Figures from what each run gave. Not every run gives all: the time between two collections
    takes two."""
    names = dict.fromkeys(name for sample in samples for name in sample)
    return {
        name: Figure(tuple(s[name] for s in samples if name in s), unit_of(name)) for name in names
    }


@dataclasses.dataclass(slots=True)
class Case:
    """One thing, done by one subject."""

    name: str
    subject: str
    operation: str
    """What one operation is: ``task``, ``pair``, ``batch`` …"""
    family: str
    x: float | None
    figures: dict[str, Figure]

    @property
    def title(self) -> str:
        """Name and subject, as rows of tables begin."""
        return f"{self.name}, {self.subject}"

    def get(self, name: str) -> Figure | None:
        """A figure, if it was measured."""
        return self.figures.get(name)

    def of(self, kind: str) -> dict[str, Figure]:
        """The figures of one kind by whom they are of: ``{"broker": …}`` for ``cpu``."""
        return {
            name.partition(":")[2]: figure
            for name, figure in self.figures.items()
            if name.startswith(f"{kind}:")
        }

    def noisy(self) -> list[str]:
        """Names of the figures whose spread matters, and is wide."""
        return [n for n, f in self.figures.items() if n.split(":")[0] in JUDGED and f.is_noisy]


@dataclasses.dataclass(slots=True)
class Component:
    """What one component found."""

    name: str
    cases: list[Case] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    """What a reader must know to read the figures."""
    seconds: float = 0.0
    error: str = ""
    """Why it could not be measured to the end; empty if it was."""

    def find(self, name: str, subject: str) -> Case | None:
        """A case, if it was measured."""
        for case in self.cases:
            if (case.name, case.subject) == (name, subject):
                return case
        return None

    @property
    def ratios(self) -> dict[str, Figure]:
        """``"send: zqueue / raw pyzmq, rate"`` and the like: in each group of cases of one name,
        the first subject is divided by each of the others, run by run."""
        found = {}
        firsts: dict[str, Case] = {}
        for case in self.cases:
            ours = firsts.setdefault(case.name, case)
            for name in COMPARED if case is not ours else ():
                over, under = ours.get(name), case.get(name)
                if over and under and all(under.values):
                    title = f"{case.name}: {ours.subject} / {case.subject}, {name}"
                    found[title] = ratio(over, under)
        return found


@dataclasses.dataclass(slots=True)
class Result:
    """All of one run of ``perf/report.py``."""

    environment: dict[str, Any]
    """See `usage.environment`."""
    scale: str
    runs: int
    components: dict[str, Component] = dataclasses.field(default_factory=dict)
    profiles: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """See `profiles.take`."""
    seconds: float = 0.0

    def figure(self, component: str, name: str, subject: str, figure: str) -> Figure | None:
        """A figure, if it was measured."""
        found = self.components.get(component)
        case = found.find(name, subject) if found else None
        return case.get(figure) if case else None

    def cases(self) -> Iterator[tuple[Component, Case]]:
        """All of them."""
        for component in self.components.values():
            for case in component.cases:
                yield component, case

    def as_data(self) -> dict[str, Any]:
        """As it is written."""
        data = dataclasses.asdict(self)
        for name, component in self.components.items():
            ratios = {title: figure.values for title, figure in component.ratios.items()}
            data["components"][name]["ratios"] = ratios
        return data
