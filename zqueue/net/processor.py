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

BUSY_MESSAGES = 4_000
"""Messages a second from which on the threads had better work side by side."""

WAIT_MAX_S = 0.0003
"""How long a message may make the threads wait for the processor, all in all. They keep one another
waiting for some 0.05 ms."""

FEW_MESSAGES = 20
"""Fewer do not tell whether there is somebody else."""

AWAY_S = 5.0
AWAY_MAX_S = 300.0
"""How long to stay away from a processor that is wanted by others, seconds."""


class Settling:
    """Decides where to be, from what each second brought."""

    def __init__(self) -> None:
        self.is_settled = False
        self._away_s = AWAY_S
        self._not_before = 0.0

    def __repr__(self) -> str:
        return f"<Settling: {'settled' if self.is_settled else 'roaming'}>"

    def decide(self, messages: int, waited_s: float, now: float) -> bool:
        """Whether to be settled from now on: after a second in which so many messages came, and
        the threads waited so long for a processor."""
        if messages >= BUSY_MESSAGES:
            self.is_settled = False
        elif not self.is_settled:
            self.is_settled = now >= self._not_before
        elif waited_s > WAIT_MAX_S * max(messages, FEW_MESSAGES):
            self.is_settled = False
            self._not_before = now + self._away_s
            self._away_s = min(2 * self._away_s, AWAY_MAX_S)
        return self.is_settled


class Processor:
    """The processors that this process runs on: those it was given, or one of them."""

    def __init__(self) -> None:
        self._given = os.sched_getaffinity(0)
        self._here: set[int] = set()
        """The one that it is settled on."""
        self._settling = Settling()
        self._messages = 0
        self._waited_s = 0.0

    def __repr__(self) -> str:
        return f"<Processor {sorted(self._here or self._given)}>"

    def look(self, messages: int, now: float) -> None:
        """Settle or leave. To be called once a second, with how many messages came so far."""
        try:
            self._adopt()
            if len(self._given) < 2:
                return
            waited_s = _waited_s()
            came, waited = messages - self._messages, waited_s - self._waited_s
            self._messages, self._waited_s = messages, waited_s
            if not self._settling.decide(came, waited, now):
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
        if self._here:
            now_on = os.sched_getaffinity(0)
            if now_on != self._here:
                self._given, self._here = now_on, set()
                self._settling.is_settled = False
        else:
            self._given = os.sched_getaffinity(0)


def _threads() -> list[str]:
    return os.listdir("/proc/self/task")


def _run_on(processors: set[int]) -> None:
    for thread in _threads():
        with contextlib.suppress(ProcessLookupError):  # It has just ended.
            os.sched_setaffinity(int(thread), processors)


def _waited_s() -> float:
    """How long all threads have waited for a processor, ready to run."""
    waited_ns = 0
    for thread in _threads():
        with open(f"/proc/self/task/{thread}/schedstat") as schedstat:
            waited_ns += int(schedstat.read().split()[1])
    return waited_ns / 1e9


def _where() -> int:
    """The processor that this thread is on."""
    with open("/proc/thread-self/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[36])
