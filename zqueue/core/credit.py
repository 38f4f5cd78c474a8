"""Credit: how many tasks a worker asks for, found by measuring how long tasks take.

Theory of operation. A worker wants to hold about `TARGET_S` of work: enough that the way to
the broker and back is hidden behind it, little enough that nothing waits long behind it. It
cannot know how long unseen tasks take, so it starts at its number of free slots and lets
credit at most quadruple from one measurement to the next (a slow start). One measurement is the
time that a run of tasks took, divided by their number; they are averaged with a weight that
falls by half every other run, so that credit follows a change of work within a few runs.
"""

from __future__ import annotations

from collections.abc import Hashable

TARGET_S = 0.05
"""Work held by a worker, seconds. Below ~20 ms the round trip to the broker (about 0.5 ms)
and its batching begin to show in throughput; above ~100 ms a person sees it."""

CREDIT_MAX = 32_768
"""Tasks. With batches of 2,048 that is 16 messages in flight, far below every ZeroMQ high water
mark, and at 0.2 µs for a no-op, 7 ms of work. (With half of that the rate was a twentieth lower;
with twice that it was no higher for sure, and a worker that dies makes twice as many suspects.)"""

GROWTH = 4
WEIGHT = 0.5


class CreditMeter:
    """Measures tasks and says how many to ask for."""

    __slots__ = ("_by_kind", "credit", "slots", "task_s")

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self.credit = slots
        self.task_s: float | None = None
        self._by_kind: dict[Hashable, float] = {}

    def __repr__(self) -> str:
        return f"<CreditMeter credit {self.credit}, {self.task_s} s a task>"

    def measure(
        self, tasks: int, elapsed_s: float, kind: Hashable = None, least: int | None = None
    ) -> None:
        """So many tasks of a kind took so long, one after the other. ``least`` is how many of
        them to hold however long they take; the slots by default."""
        self._learn(max(elapsed_s, 1e-9) / tasks, kind)
        self._ask_for(self.credit * GROWTH, least)

    def measure_one(self, task_s: float, kind: Hashable = None) -> None:
        """One of the tasks that run side by side is over; each took so much of the worker's time.

        Credit grows by one for each, so it can double while all that is held runs once.
        """
        self._learn(max(task_s, 1e-9), kind)
        self._ask_for(self.credit + 1)

    def placed(self) -> None:
        """A task that came has a place beside those that run: it is in nobody's way.

        Up to the slots, credit grows by two for each, so that room doubles with each delivery.
        """
        if self.credit < self.slots:
            self.credit = min(self.slots, self.credit + 2)

    def _learn(self, sample_s: float, kind: Hashable) -> None:
        before_s = self._by_kind.get(kind, sample_s)
        self._by_kind[kind] = before_s + WEIGHT * (sample_s - before_s)
        if self.task_s is None:
            self.task_s = sample_s
        else:
            self.task_s += WEIGHT * (sample_s - self.task_s)

    def _ask_for(self, credit_max: int, least: int | None = None) -> None:
        assert self.task_s is not None
        wanted = max(least or self.slots, int(TARGET_S / self.task_s))
        self.credit = min(wanted, credit_max, CREDIT_MAX)

    def knows(self, kind: Hashable) -> bool:
        """Whether a task of this kind has run."""
        return kind in self._by_kind

    def expect(self, kind: Hashable, tasks: int) -> float:
        """About how long so many tasks of a kind will take, seconds; 0 if none has run yet.

        Credit is one for all kinds; by this a worker finds out that what it got for it is too
        much: after a slow task, a thousand quick ones are not, but a thousand slow ones are.
        """
        return tasks * self._by_kind.get(kind, 0.0)

    def limit(self, tasks: int) -> None:
        """What was held beyond so many tasks went back: ask for no more than these, at first."""
        self.credit = max(1, min(self.credit, tasks))

    def overrun(self, elapsed_s: float, least: int | None = None) -> None:
        """One task has been running this long and is not done: ask for no more than ``least``, or
        the slots."""
        self.task_s = max(self.task_s or 0.0, elapsed_s)
        self.credit = least or self.slots
