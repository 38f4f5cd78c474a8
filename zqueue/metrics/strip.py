"""The strip: what a worker ran in each second of the last minute, by task.

Theory of operation. A worker reports how many seconds tasks of each name have run (`stats.ran`).
Their growth fills a cell for each second, from nothing to `FULL`: all of that second. Tasks that
ran side by side may have run longer than the second; then they share it. So a cell says what the
worker was at, and not how many tasks at once.

Workers report by a clock of their own: now and then a second has no report, and the next has two
seconds' growth. Then both get half of it, and so on for up to `LATE_MAX` seconds.

In a snapshot a strip is a line of digits for each task: 120 bytes for a worker that runs two.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ..stats.ran import NAMES_MAX, OTHER
from . import untrusted
from .series import HISTORY_S, Json, Step

FULL = 9
"""The digit of a cell that is full."""

LATE_MAX = 5
"""Seconds without a report that the next one may fill. After more it was silent, not late."""


class Strip:
    """The last minute of one worker."""

    __slots__ = ("_before", "_failed", "_late", "_lines", "_report")

    def __init__(self) -> None:
        self._report: dict[str, Any] = {}
        self._before: dict[str, float] = {}
        self._late = 0
        """How many of the last cells there was no report for."""
        self._lines: dict[str, deque[str]] = {}
        """The digits of each task that ran, the newest last; all lines are equally long."""
        self._failed: deque[str] = deque(maxlen=HISTORY_S)
        """1 where runs failed."""

    def feed(self, report: dict[str, Any], step: Step) -> None:
        """Take what the worker reported last."""
        after, before, was_late = _seconds(report.get("ran")), self._before, self._late
        any_failed = untrusted.number(report.get("failed")) > untrusted.number(
            self._report.get("failed")
        )
        self._late = self._late + 1 if report == self._report else 0
        self._report, self._before = report, after
        if step.first:
            return
        grown = {name: total - before.get(name, 0.0) for name, total in after.items()}
        grown = {name: more for name, more in grown.items() if more > 0}
        seconds, ran_s = min(step.seconds, HISTORY_S), sum(grown.values())
        while was_late and was_late <= LATE_MAX and self._failed and ran_s > seconds:
            self._pop()
            seconds, was_late = seconds + 1, was_late - 1
        self._add(_digits(grown, max(ran_s, seconds)), any_failed, seconds)

    def _pop(self) -> None:
        for line in (self._failed, *self._lines.values()):
            line.pop()

    def _add(self, cell: dict[str, int], any_failed: bool, times: int) -> None:
        """Add a cell, so many times; forget who did not run in any."""
        for name in cell.keys() - self._lines.keys():
            self._lines[name] = deque("0" * len(self._failed), HISTORY_S)
        for name, line in self._lines.items():
            line.extend(str(cell.get(name, 0)) * times)
        self._failed.extend("01"[any_failed] * times)
        idle = [name for name, line in self._lines.items() if line.count("0") == len(line)]
        for name in idle:
            del self._lines[name]

    def snapshot(self) -> Json:
        """For the snapshot: by task a digit for each second, the oldest first; whoever ran most
        comes first. ``failed`` marks the seconds in which tasks failed, if there are any."""
        sums = {name: sum(map(int, line)) for name, line in self._lines.items()}
        names = sorted(sums, key=lambda name: (name == OTHER, -sums[name], name))[: NAMES_MAX + 1]
        told: Json = {"tasks": {name: _told(self._lines[name]) for name in names}}
        if "1" in self._failed:
            told["failed"] = _told(self._failed)
        return told


def _told(line: deque[str]) -> str:
    return "".join(line).rjust(HISTORY_S, "0")


def _digits(parts: dict[str, float], whole: float) -> dict[str, int]:
    """Parts of a cell: whatever is above nothing is seen, and together they are `FULL` at most."""
    digits = {name: max(1, round(FULL * part / whole)) for name, part in parts.items()}
    if digits:
        digits[max(digits, key=lambda name: digits[name])] -= max(0, sum(digits.values()) - FULL)
    return digits


def _seconds(ran: object) -> dict[str, float]:
    items = list(untrusted.table(ran).items())[: NAMES_MAX + 1]
    return {name: untrusted.figure(seconds) for name, seconds in items}
