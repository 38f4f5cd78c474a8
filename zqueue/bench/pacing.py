"""Open-loop load: sent when it is due, however slow what was sent before.

A loop that waits for an answer before it sends again does not send while the system is slow, and
so leaves out the very latencies that matter (coordinated omission). Here the instants are fixed
beforehand, and latency counts from the instant a task was due, also when it was sent late.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from time import monotonic_ns
from typing import NamedTuple

from .measure import percentile, percentiles


class Latencies(NamedTuple):
    """Of each task, nanoseconds until its handler began."""

    from_due: list[int]
    """Since it was due."""
    from_call: list[int]
    """Since the call that sent it began."""

    def figures(self) -> dict[str, float]:
        """``p50`` to ``max`` since it was due, and what tells of the sender itself."""
        late = sorted(due - call for due, call in zip(*self, strict=True))
        call = sorted(self.from_call)
        return {
            **percentiles(self.from_due),
            "call_p50": percentile(call, 50),
            "call_p99": percentile(call, 99),
            "late_p50": percentile(late, 50),
            "late_p99": percentile(late, 99),
        }


def schedule(begin_ns: int, tasks: int, every_s: float) -> Iterator[int]:
    """The instants at which tasks are due, nanoseconds of the caller's clock."""
    every_ns = every_s * 1e9
    for i in range(1, tasks + 1):
        yield begin_ns + int(i * every_ns)


def pace(tasks: int, every_s: float, send: Callable[[int], object]) -> None:
    """Call ``send(due_ns)`` so many times, each when it is due by the system's monotonic clock;
    at once if it is over-due."""
    pause = threading.Event()
    for due_ns in schedule(monotonic_ns(), tasks, every_s):
        left_ns = due_ns - monotonic_ns()
        if left_ns > 0:
            pause.wait(left_ns / 1e9)
        send(due_ns)
