"""Figures: what workers and producers report of themselves, added up in the broker.

Every report tells what is new since the one before. It is added here at once, so a peer that is
lost takes at most the last second's figures with it, and none count twice.
"""

from __future__ import annotations

from typing import Any

from ..core.histogram import Histogram
from ..core.meter import TaskMeter
from ..errors import ProtocolError
from .messages import MALFORMED, NAME

TASKS_MAX = 500
"""Task names with figures of their own: they take 16 KiB."""

ADDED_UP = ("tasks", "confirm")
"""What of a report is added up. The rest is a peer's present state."""

OTHER = "(other)"
"""Under which all further ones are counted. No task can have that name."""


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
