"""Stopping: when a broker that was asked to stop ends, and with which exit code."""

from __future__ import annotations

DEADLINE_HIT = 5
"""Exit code of a broker that lost tasks because it had to stop before it had handed them out."""


class Stopping:
    """Goes on until all is handed out, the time is up, or somebody asks twice."""

    def __init__(self, timeout_s: float) -> None:
        self.deadline: float | None = None
        """When its time is up; None before it was asked."""
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"<Stopping at {self.deadline}>"

    def asked(self, now: float) -> bool:
        """Somebody asked it to stop. Whether that is news."""
        is_new = self.deadline is None
        if is_new:
            self.deadline = now + self._timeout_s
        return is_new

    def code(self, times: int, is_empty: bool, now: float) -> int | None:
        """The exit code, if it ends now: it was asked so many times, and holds no task or some."""
        if self.deadline is None:
            return None
        if is_empty:
            return 0
        return DEADLINE_HIT if times > 1 or now >= self.deadline else None
