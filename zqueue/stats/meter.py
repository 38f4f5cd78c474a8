"""The meter of a task name: how many ran, how long they took, and how long ago they were sent.

Theory of operation. A worker measures, and reports what is new since its last report; a broker adds
the reports up. So a broker's totals outlive its workers, and nothing is counted twice. No instant
of one process is ever compared with another's clock: ages travel as durations (see `Deliver`).
"""

from __future__ import annotations

from .histogram import Histogram

NUMBERS_MAX = 12_000
"""Numbers of all histograms in one report: 60 KB at most."""


class TaskMeter:
    """Counts and durations of the tasks of one name."""

    __slots__ = ("done", "failed", "quick", "run", "total")

    def __init__(self) -> None:
        self.done = 0
        self.failed = 0
        self.quick = 0
        """Consecutive tasks that were too short to measure: then not every task is timed."""
        self.run = Histogram()
        """From the beginning of a task to its end."""
        self.total = Histogram()
        """From sending a task to its end, without the time on the network."""

    def __repr__(self) -> str:
        return f"<TaskMeter {self.done} done, {self.failed} failed>"

    def __bool__(self) -> bool:
        """Whether there is anything to report."""
        return bool(self.done or self.failed or self.run.count)

    def record(self, run_s: float, total_s: float, tasks: int) -> None:
        """Count ``tasks`` that ended after ``run_s`` and ``total_s`` seconds, each."""
        self.run.record_many(run_s, tasks)
        self.total.record_many(total_s, tasks)

    def take(self, numbers_max: int) -> list[object]:
        """What is new since the last call, for the wire; each histogram has ``numbers_max`` numbers
        at most.

        Another thread may go on recording.
        """
        done, self.done = self.done, 0
        failed, self.failed = self.failed, 0
        run, self.run = self.run, Histogram()
        total, self.total = self.total, Histogram()
        return [done, failed, run.to_wire(numbers_max), total.to_wire(numbers_max)]

    def add(self, other: TaskMeter) -> None:
        """Add another meter. Raises ValueError if a histogram would overflow."""
        self.run.add(other.run)
        self.total.add(other.total)
        self.done += other.done
        self.failed += other.failed

    @classmethod
    def from_wire(cls, wire: object) -> TaskMeter:
        """A meter from what `take` or `to_wire` gave. Raises ValueError for anything else."""
        if not isinstance(wire, list) or len(wire) < 4:
            raise ValueError("not a task's figures")
        done, failed = wire[:2]
        for number in (done, failed):
            if type(number) is not int or not 0 <= number < 1 << 53:
                raise ValueError("not a number of tasks")
        run, total = Histogram.from_wire(wire[2]), Histogram.from_wire(wire[3])
        made = cls()
        made.done, made.failed, made.run, made.total = done, failed, run, total
        return made

    def to_wire(self) -> list[object]:
        """All counts, for the wire; none is reset."""
        return [self.done, self.failed, self.run.to_wire(), self.total.to_wire()]
