"""Staying on one processor while little comes.

A message wakes the two threads of a broker, ZeroMQ's and its own, in turn, three times before the
task is on its way. Linux wakes a thread on an idle processor if there is one, and getting that out
of its sleep takes some 50 µs in a virtual machine, or where idle cores sleep deeply: as long as all
that the thread then does. On one processor the one thread just follows the other, and a lone task
is 0.06 ms earlier with its handler (docs/benchmarks.md).

So a broker that has little to do *settles* on the processor it is on. It leaves when more comes,
and also when others keep it waiting there; then it stays away for a while, each time for longer.
"""

from __future__ import annotations

import contextlib
import os

LOOK_EVERY_S = 0.25
"""How often to decide where to be, seconds."""

BUSY = 0.15
"""The share of a processor's time from which on the threads had better work side by side."""

CROWDED = 0.05
"""The share of time that threads may be kept waiting by others. One another they keep waiting for
as long as they work, at most."""

AWAY_S = 5.0
AWAY_MAX_S = 300.0
"""How long to stay away from a processor that is wanted by others, seconds."""

AT_HOME_S = 60.0
"""Who stayed so long, seconds, was there alone."""


class Settling:
    """Decides whether to be settled, from what the time since the last decision brought."""

    def __init__(self) -> None:
        self.is_settled = False
        self._away_s = AWAY_S
        self._not_before = 0.0
        self._since = 0.0

    def __repr__(self) -> str:
        return f"<Settling: {'settled' if self.is_settled else 'roaming'}>"

    def decide(self, worked: float, waited: float, now: float) -> bool:
        """Whether to be settled from now on.

        ``worked`` and ``waited`` are the shares of time that all threads together were running, and
        ready to run and waiting for a processor.
        """
        if worked >= BUSY:
            self.is_settled = False
        elif not self.is_settled:
            self.is_settled = now >= self._not_before
            self._since = now
        elif waited > 2 * worked + CROWDED:
            self.is_settled = False
            if now - self._since >= AT_HOME_S:
                self._away_s = AWAY_S
            self._not_before = now + self._away_s
            self._away_s = min(2 * self._away_s, AWAY_MAX_S)
        return self.is_settled


class Processor:
    """The processors that this process runs on: those it was given, or one of them."""

    def __init__(self) -> None:
        self._given = _allowed()
        self._here: set[int] = set()
        """The one that it is settled on."""
        self._settling = Settling()
        self._looked: tuple[float, float, float] | None = None
        """When, and what all threads had worked and waited by then."""

    def __repr__(self) -> str:
        return f"<Processor {sorted(self._here or self._given)}>"

    def look(self, now: float) -> None:
        """Settle or leave. To be called every `LOOK_EVERY_S` or so."""
        try:
            self._adopt()
            if len(self._given) < 2:
                return
            before, self._looked = self._looked, (now, *_times())
            if before is None or not self._looked[1]:
                return  # Where nothing is counted, it could not be seen that others wait.
            elapsed_s, worked_s, waited_s = (
                after - earlier for after, earlier in zip(self._looked, before, strict=True)
            )
            if not self._settling.decide(worked_s / elapsed_s, waited_s / elapsed_s, now):
                self.leave()
            elif not self._here:
                here = {_where()}
                _run_on(here)
                self._here = here
        except OSError:  # A system that does not say, or does not let us.
            self._given = self._here = set()

    def leave(self) -> None:
        """Run on all of them, from now on until `look` says otherwise."""
        if self._here:
            self._here = set()
            self._settling.is_settled = False
            with contextlib.suppress(OSError):
                _run_on(self._given)

    def _adopt(self) -> None:
        """Whoever says from outside where this process shall run knows better."""
        allowed = _allowed()
        if not self._here:
            self._given = allowed
        elif allowed != self._here:
            self._given, self._here = allowed, set()
            self._settling.is_settled = False
            _run_on(allowed)  # It may have been said to one thread only.


def _allowed() -> set[int]:
    """Where this thread may run; empty on a system that has no word for it."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _threads() -> list[str]:
    return os.listdir("/proc/self/task")


def _run_on(processors: set[int]) -> None:
    for thread in _threads():
        with contextlib.suppress(ProcessLookupError):  # It has just ended.
            os.sched_setaffinity(int(thread), processors)


def _times() -> tuple[float, float]:
    """For how many seconds all threads have run, and waited for a processor, ready to run."""
    worked_ns = waited_ns = 0
    for thread in _threads():
        with open(f"/proc/self/task/{thread}/schedstat") as schedstat:
            worked, waited, _ = map(int, schedstat.read().split())
        worked_ns += worked
        waited_ns += waited
    return worked_ns / 1e9, waited_ns / 1e9


def _where() -> int:
    """The processor that this thread is on."""
    with open("/proc/thread-self/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[36])
