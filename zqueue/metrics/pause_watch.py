"""Pauses of garbage collectors, by role: how many, how long, and the longest of every second.

Theory of operation. A broker reports the pauses of all processes of a role together, since each of
them started. When a process joins (or comes back to a restarted broker), its whole past is added at
once. Those pauses are not recent, so what a role grew by at that moment is left out of windows and
history. Totals since the start are passed on as they are.
"""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import Any

from .series import Durations, Json, Step, short
from .untrusted import figure, number, rows, table

HISTORY_S = 300

ROLES = ("broker", "worker", "supervisor", "producer")

SETTLING_STEPS = 3
"""Answers after which a process that joined has reported its pauses."""


class PauseWatch:
    """The pauses of one role."""

    __slots__ = ("_history", "_reported", "intervals", "lengths")

    def __init__(self) -> None:
        self.lengths = Durations()
        self.intervals = Durations()
        self._history: deque[tuple[float, float]] = deque(maxlen=HISTORY_S)
        self._reported: dict[str, Any] = {}

    def feed(self, reported: dict[str, Any], step: Step) -> None:
        """Take what the broker reported of the role."""
        self._reported = reported
        grown = self.lengths.feed(reported.get("lengths"), step)
        self.intervals.feed(reported.get("intervals"), step)
        if grown is not None:
            self._history.append((step.now, short(grown.max * 1000)))

    def snapshot(self, at: float, now: float) -> Json:
        """For the snapshot."""
        reported = self._reported
        return {
            "count": number(reported.get("count")),
            "total_ms": figure(reported.get("total")),
            "max_ms": figure(reported.get("max")),
            "generations": generations(reported),
            "pause_ms": self.lengths.percentiles_ms(at),
            "interval_ms": self.intervals.percentiles_ms(at),
            "history": [
                [ceil(now - when), longest]
                for when, longest in self._history
                if now - when < HISTORY_S
            ],
        }


def generations(reported: dict[str, Any]) -> list[list[float]]:
    """``[count, total ms, max ms]`` of each; zeros if that was not reported."""
    triples = reported.get("generations")
    if type(triples) is not list or len(triples) != 3:
        triples = [[]] * 3
    return [
        [number(triple[0]), figure(triple[1]), figure(triple[2])]
        if type(triple) is list and len(triple) == 3
        else [0, 0.0, 0.0]
        for triple in triples
    ]


class PauseWatches:
    """The pauses of all roles that the broker reports."""

    def __init__(self) -> None:
        self.roles: dict[str, PauseWatch] = {}
        self._known: dict[str, set[object]] = {}
        self._producers = 0
        self._settling = 0

    def feed(self, stats: dict[str, Any], step: Step) -> None:
        """Take an answer to ``stats``."""
        reported = table(stats.get("gc_pause_ms"))
        for role in ROLES:
            if type(reported.get(role)) is not dict:
                continue
            joined = self._has_joined(role, stats, step)
            pauses = self.roles.get(role)
            if pauses is None:
                pauses = self.roles[role] = PauseWatch()
            pauses.feed(table(reported[role]), step._replace(first=True) if joined else step)

    def _has_joined(self, role: str, stats: dict[str, Any], step: Step) -> bool:
        """Whether a process reports its pauses for the first time."""
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

    def snapshot(self, at: float, now: float) -> Json:
        """For the snapshot, by role."""
        return {role: pauses.snapshot(at, now) for role, pauses in self.roles.items()}
