"""What was measured, as data: a result holds components, they hold cases, those hold figures.

A *case* is one thing done by one subject: a pair of put and get, by `queue.Queue`. A *family* of
cases differs in one number, ``x`` (the size of a batch, say). A figure's name says what it is
(`KINDS`); after a colon it may say of whom: ``cpu:broker``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .measure import HIGHER, LOWER, NEITHER, Figure

FORMAT = 1
"""Of the written result. A reader of another format should say so and stop."""


class Kind(NamedTuple):
    """What a figure of this name is."""

    unit: str
    better: str
    text: str
    is_judged: bool = False
    """Whether a wide spread makes it worthless, and is to be said."""


KINDS: dict[str, Kind] = {
    "rate": Kind("/s", HIGHER, "operations in one second", True),
    "cost": Kind("ns", LOWER, "time of one operation", True),
    "p50": Kind("ns", LOWER, "latency that half stay below", True),
    "p95": Kind("ns", LOWER, "latency that 95 of 100 stay below", True),
    "p99": Kind("ns", LOWER, "latency that 99 of 100 stay below", True),
    "max": Kind("ns", LOWER, "longest latency"),
    "call_p50": Kind("ns", LOWER, "the same latency from the call on, not from when it was due"),
    "call_p99": Kind("ns", LOWER, "the same latency from the call on, not from when it was due"),
    "late_p50": Kind("ns", LOWER, "how late the measuring process itself sent"),
    "late_p99": Kind("ns", LOWER, "how late the measuring process itself sent"),
    "clock": Kind("ns", NEITHER, "two looks at the clock, taken off each single latency"),
    "task_ns": Kind("ns", LOWER, "the same by task", True),
    "cpu": Kind("cores", NEITHER, "processor time by elapsed time"),
    "cpu_ns": Kind("ns", LOWER, "processor time of one operation", True),
    "cpu_message_ns": Kind("ns", LOWER, "processor time of one message", True),
    "others": Kind("cores", LOWER, "processor time of programs that do not belong to it"),
    "bytes_peak": Kind("B", LOWER, "most that one operation holds at a time (tracemalloc)"),
    "blocks_kept": Kind("", LOWER, "growth of sys.getallocatedblocks() by operation"),
    "bytes_held": Kind("B", LOWER, "memory of what is queued, by item (tracemalloc)"),
    "blocks_held": Kind("", LOWER, "blocks of what is queued, by item (sys.getallocatedblocks)"),
    "allocations": Kind("", LOWER, "allocations of one operation (mtrace)"),
    "bytes_allocated": Kind("B", LOWER, "bytes allocated by one operation (mtrace)"),
    "gc_count": Kind("", LOWER, "collections while it was measured"),
    "gc_interval": Kind("ms", HIGHER, "elapsed time by collection"),
    "gc_shortest": Kind("ms", HIGHER, "shortest time between two collections"),
    "gc_pause_max": Kind("ms", LOWER, "longest pause"),
    "gc_pause_mean": Kind("ms", LOWER, "mean pause"),
    "gc_share": Kind("", LOWER, "part of the time spent in collections"),
    "rss": Kind("B", LOWER, "resident memory"),
    "rss_before": Kind("B", LOWER, "resident memory before"),
    "grew": Kind("B", LOWER, "growth of resident memory"),
    "allowed": Kind("B", NEITHER, "bytes that the queue was allowed"),
    "bound": Kind("B", NEITHER, "growth that is promised not to be exceeded"),
    "held": Kind("", NEITHER, "tasks held"),
    "grew_by_task": Kind("B", LOWER, "growth of resident memory by task"),
    "seconds": Kind("s", LOWER, "elapsed time", True),
    "operations": Kind("", NEITHER, "operations measured in a run"),
}
"""Names of figures, without what follows a colon."""


def kind_of(name: str) -> Kind:
    """What a figure of this name is; nothing is known of a strange one."""
    return KINDS.get(name.partition(":")[0], Kind("", NEITHER, name))


def make_figures(values: Mapping[str, tuple[float, ...]]) -> dict[str, Figure]:
    """Values of all runs as figures, with units by their names."""
    return {
        name: Figure(row, kind_of(name).unit, kind_of(name).better) for name, row in values.items()
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
        return [n for n, figure in self.figures.items() if kind_of(n).is_judged and figure.is_noisy]

    def as_data(self) -> dict[str, Any]:
        """As it is written."""
        figures = {name: figure.as_data() for name, figure in self.figures.items()}
        for name in figures:
            figures[name]["noisy"] = name in self.noisy()
        return {
            "name": self.name, "subject": self.subject, "operation": self.operation,
            "family": self.family, "x": self.x, "figures": figures,
        }  # fmt: skip

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Case:
        """What `as_data` wrote."""
        figures = {name: Figure.from_data(figure) for name, figure in data["figures"].items()}
        return cls(
            data["name"], data["subject"], data["operation"], data["family"], data["x"], figures
        )


@dataclasses.dataclass(slots=True)
class Component:
    """What one component found."""

    name: str
    cases: list[Case] = dataclasses.field(default_factory=list)
    ratios: dict[str, Figure] = dataclasses.field(default_factory=dict)
    """``"send_many: zqueue / raw, rate"`` and the like, run by run."""
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

    def family(self, family: str) -> list[Case]:
        """The cases of a family, by subject and ``x``."""
        found = [case for case in self.cases if case.family == family]
        return sorted(found, key=lambda case: (case.subject, case.x or 0))

    def as_data(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "name": self.name,
            "seconds": round(self.seconds, 3),
            "error": self.error,
            "notes": self.notes,
            "cases": [case.as_data() for case in self.cases],
            "ratios": {name: figure.as_data() for name, figure in self.ratios.items()},
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Component:
        """What `as_data` wrote."""
        return cls(
            data["name"],
            [Case.from_data(case) for case in data["cases"]],
            {name: Figure.from_data(figure) for name, figure in data["ratios"].items()},
            list(data["notes"]),
            data["seconds"],
            data["error"],
        )


@dataclasses.dataclass(slots=True)
class Result:
    """All of one run of ``zqueue bench``."""

    environment: dict[str, Any]
    """See `environment.look`."""
    scale: str
    runs: int
    components: dict[str, Component] = dataclasses.field(default_factory=dict)
    profiles: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """See `profiles.Profile`."""
    seconds: float = 0.0

    def find(self, component: str, name: str, subject: str) -> Case | None:
        """A case, if it was measured."""
        found = self.components.get(component)
        return found.find(name, subject) if found else None

    def figure(self, component: str, name: str, subject: str, figure: str) -> Figure | None:
        """A figure, if it was measured."""
        case = self.find(component, name, subject)
        return case.get(figure) if case else None

    def cases(self) -> Iterator[tuple[Component, Case]]:
        """All of them."""
        for component in self.components.values():
            for case in component.cases:
                yield component, case

    def as_data(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "format": FORMAT,
            "environment": self.environment,
            "scale": self.scale,
            "runs": self.runs,
            "seconds": round(self.seconds, 3),
            "components": {name: found.as_data() for name, found in self.components.items()},
            "profiles": self.profiles,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Result:
        """What `as_data` wrote. Raises ValueError for another format."""
        if data.get("format") != FORMAT:
            raise ValueError(f"the result has format {data.get('format')}; this reads {FORMAT}")
        return cls(
            data["environment"],
            data["scale"],
            data["runs"],
            {name: Component.from_data(found) for name, found in data["components"].items()},
            list(data["profiles"]),
            data["seconds"],
        )
