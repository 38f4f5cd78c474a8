"""Figures: what workers and producers report of themselves, added up in the broker.

Every report tells what is new since the one before. It is added here at once, so a peer that is
lost takes at most the last second's figures with it, and none count twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import ProtocolError
from ..stats.histogram import Histogram
from ..stats.meter import TaskMeter
from ..stats.pauses import PauseStats, add_up, from_report
from ..stats.ran import OTHER
from ..wire.headers import NAME
from ..wire.messages import MALFORMED

TASKS_MAX = 500
"""Task names with figures of their own: they take 16 KiB."""

ADDED_UP = ("tasks", "confirm")
"""What of a report is added up. The rest is a peer's present state."""

GONE_MAX = 1_000
"""Peers that left and may come back, and then tell again what they told before."""


class PauseTotals:
    """Pauses of the garbage collectors of all peers that are or were here, by role.

    A peer tells all of its pauses since it started. So what it told last is kept when it leaves,
    and dropped when it is back and tells them again.
    """

    __slots__ = ("_folded", "_gone")

    def __init__(self) -> None:
        self._gone: dict[bytes, tuple[str, PauseStats]] = {}
        self._folded: dict[str, PauseStats] = {}
        """Of those who left longest ago."""

    def __repr__(self) -> str:
        return f"<PauseTotals of {len(self._gone)} who left>"

    def left(self, id: bytes, role: str, report: dict[str, Any]) -> None:
        """A peer left; this is the last it told."""
        pauses = from_report(report.get("gc"))
        if pauses is None:
            return
        self._gone[id] = (role, pauses)
        if len(self._gone) > GONE_MAX:
            role, pauses = self._gone.pop(next(iter(self._gone)))
            before = self._folded.get(role)
            self._folded[role] = add_up([before, pauses] if before else [pauses])

    def is_back(self, id: bytes) -> None:
        """A peer tells of its pauses, perhaps again."""
        self._gone.pop(id, None)

    def add_up(self, here: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, PauseStats]:
        """All together, with the reports of those who are here."""
        parts = {role: [pauses] for role, pauses in self._folded.items()}
        told = [(role, from_report(report.get("gc"))) for role, report in here]
        for role, pauses in [*self._gone.values(), *told]:
            if pauses is not None:
                parts.setdefault(role, []).append(pauses)
        return {role: add_up(part) for role, part in parts.items()}


class Figures:
    """What all peers together have reported."""

    __slots__ = ("confirm", "tasks")

    def __init__(self) -> None:
        self.tasks: dict[str, TaskMeter] = {}
        self.confirm = Histogram()
        """From sending a batch to its confirm, as producers saw it."""

    def __repr__(self) -> str:
        return f"<Figures of {len(self.tasks)} tasks>"

    def add(self, report: dict[str, Any]) -> None:
        """Add what a peer told. Raises `ProtocolError`, and then nothing was added."""
        tasks, confirm = report.get("tasks", {}), report.get("confirm")
        try:
            if not isinstance(tasks, dict):
                raise ValueError("not a map of tasks")
            meters = [(name, TaskMeter.from_wire(wire)) for name, wire in tasks.items()]
            confirms = Histogram() if confirm is None else Histogram.from_wire(confirm)
            self.confirm.add(confirms)
            for name, meter in meters:
                self._meter(name).add(meter)
        except ValueError as error:
            raise ProtocolError(MALFORMED, f"the report makes no sense: {error}") from None

    def _meter(self, name: str) -> TaskMeter:
        if not NAME.match(name):
            name = OTHER
        meter = self.tasks.get(name)
        if meter is None:
            if len(self.tasks) >= TASKS_MAX:
                name = OTHER
            meter = self.tasks.setdefault(name, TaskMeter())
        return meter
