"""Pauses: how long the garbage collector stopped a process."""

from __future__ import annotations

from typing import TypedDict


class PauseStats(TypedDict):
    """Pauses of one process, or of several added up. Milliseconds."""

    count: int
    total: float
    max: float


class Pauses:
    """Counts pauses. Fed with the two ends of each; the clock is the caller's."""

    __slots__ = ("_began", "count", "max_s", "total_s")

    def __init__(self) -> None:
        self.count = 0
        self.total_s = 0.0
        self.max_s = 0.0
        self._began: float | None = None

    def begin(self, now: float) -> None:
        """A pause begins."""
        self._began = now

    def end(self, now: float) -> None:
        """It ends. Without a begin (we came in the middle) it does not count."""
        if self._began is None:
            return
        pause_s = now - self._began
        self._began = None
        self.count += 1
        self.total_s += pause_s
        self.max_s = max(self.max_s, pause_s)

    def stats(self) -> PauseStats:
        """As numbers to report."""
        return {
            "count": self.count,
            "total": round(self.total_s * 1000, 3),
            "max": round(self.max_s * 1000, 3),
        }


def add_up(parts: list[PauseStats]) -> PauseStats:
    """The pauses of several processes as one."""
    return {
        "count": sum(part["count"] for part in parts),
        "total": round(sum(part["total"] for part in parts), 3),
        "max": max((part["max"] for part in parts), default=0.0),
    }
