"""Pauses of garbage collectors, by role: how many, how long, and the longest of every second.

Theory of operation. A broker tells the pauses of all processes of a role together, since each
began. When a process joins that it did not know (or knew, before the broker was started anew), its
whole past is added at once. That is no news, so what a role has grown by just then is left out of
windows and history. The numbers since the start are as they are told.
"""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import Any

from .series import Durations, Step, Told, short
from .told import figure, number, rows, table

HISTORY_S = 300

ROLES = ("broker", "worker", "supervisor", "producer")

SETTLING_STEPS = 3
"""Looks after which a process that joined has told of itself."""


class Pauses:
    """The pauses of one role."""

    __slots__ = ("_history", "_told", "intervals", "lengths")

    def __init__(self) -> None:
        self.lengths = Durations()
        self.intervals = Durations()
        self._history: deque[tuple[float, float]] = deque(maxlen=HISTORY_S)
        self._told: dict[str, Any] = {}

    def feed(self, told: dict[str, Any], step: Step) -> None:
        """What was told of the role."""
        self._told = told
        grown = self.lengths.feed(told.get("lengths"), step)
        self.intervals.feed(told.get("intervals"), step)
        if grown is not None:
            self._history.append((step.now, short(grown.max * 1000)))

    def told(self, at: float, now: float) -> Told:
        """For the snapshot."""
        told = self._told
        return {
            "count": number(told.get("count")),
            "total_ms": figure(told.get("total")),
            "max_ms": figure(told.get("max")),
            "generations": generations(told),
            "pause_ms": self.lengths.percentiles_ms(at),
            "interval_ms": self.intervals.percentiles_ms(at),
            "history": [
                [ceil(now - when), longest]
                for when, longest in self._history
                if now - when < HISTORY_S
            ],
        }


def generations(told: dict[str, Any]) -> list[list[float]]:
    """``[count, total ms, max ms]`` of each; zeros if that was not told."""
    triples = told.get("generations")
    if type(triples) is not list or len(triples) != 3:
        triples = [[]] * 3
    return [
        [number(triple[0]), figure(triple[1]), figure(triple[2])]
        if type(triple) is list and len(triple) == 3
        else [0, 0.0, 0.0]
        for triple in triples
    ]


class PausesByRole:
    """The pauses of all roles that were told of."""

    def __init__(self) -> None:
        self.roles: dict[str, Pauses] = {}
        self._known: dict[str, set[object]] = {}
        self._producers = 0
        self._settling = 0

    def feed(self, stats: dict[str, Any], step: Step) -> None:
        """What a broker told."""
        told = table(stats.get("gc_pause_ms"))
        for role in ROLES:
            if type(told.get(role)) is not dict:
                continue
            joined = self._has_joined(role, stats, step)
            pauses = self.roles.get(role)
            if pauses is None:
                pauses = self.roles[role] = Pauses()
            pauses.feed(table(told[role]), step._replace(first=True) if joined else step)

    def _has_joined(self, role: str, stats: dict[str, Any], step: Step) -> bool:
        """Whether somebody told of itself for the first time."""
        if role == "broker":
            return False
        if role == "producer":  # They are counted, but not listed.
            before, self._producers = self._producers, number(stats.get("producers"))
            self._settling = max(0, self._settling - 1)
            if self._producers > before or step.afresh:
                self._settling = SETTLING_STEPS
            return self._settling > 0
        here = {
            (str(row.get("id")), str(row.get("host")), str(row.get("pid")))
            for row in rows(stats.get(f"{role}s"))
            if table(row.get("report")).get("gc") is not None
        }
        before_here = set() if step.afresh else self._known.get(role, set())
        self._known[role] = set(here)
        return bool(here - before_here)

    def told(self, at: float, now: float) -> Told:
        """For the snapshot, by role."""
        return {role: pauses.told(at, now) for role, pauses in self.roles.items()}
