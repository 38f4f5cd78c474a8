"""Retrying: how often a task that failed is tried again, and when.

Theory of operation. A worker says that a task failed and may be tried again; whether there are
attempts left is decided here, by what was asked for the task when it was sent, else by the policy
that the worker announced for it. Before the n-th retry a task waits between nothing and
``backoff · 2^(n-1)`` seconds, whatever chance says (full jitter: of many that failed together, no
two come back together), and never longer than ``backoff_max``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..core.batch import Batch
from ..wire.options import RETRIES_MAX, SPAN_MS_MAX, TaskOptions

POLICIES_MAX = 5000
"""Tasks of a worker with a policy of their own; all others have the worker's."""

DOUBLED_MAX = 60
"""After so many retries the wait grows no further: it is beyond all bounds."""


class Policy(NamedTuple):
    """What a worker announced for a task."""

    retries: int = 0
    backoff_ms: int = 0
    backoff_max_ms: int = 0
    timeouts: int = 1
    """Whether it is tried again, too, if it ran too long."""

    def asked(self, options: TaskOptions | None) -> Policy:
        """As far as nothing else was asked for when the task was sent."""
        if options is None:
            return self
        retries, backoff_ms, most_ms = options.retries, options.backoff_ms, options.backoff_max_ms
        return Policy(
            self.retries if retries is None else retries,
            self.backoff_ms if backoff_ms is None else backoff_ms,
            self.backoff_max_ms if most_ms is None else most_ms,
            self.timeouts,
        )


NEVER = Policy()

_MOST = (RETRIES_MAX, SPAN_MS_MAX, SPAN_MS_MAX, 1)


class Policies:
    """What a worker announced: by task name, for all others under the empty name."""

    __slots__ = ("_of", "_sole")

    def __init__(self, told: Any, tasks: Any) -> None:
        """``told`` and ``tasks`` are a peer's word: what makes no sense in them is passed over."""
        self._of: dict[str, Policy] = {}
        self._sole: dict[str, str] = {}
        """By queue: its only task."""
        if type(told) is not dict:
            return
        for name, row in list(told.items())[:POLICIES_MAX]:
            if type(row) is list and len(row) >= len(_MOST) and type(name) is str:
                numbers = zip(row[: len(_MOST)], _MOST, strict=True)
                if all(type(n) is int and 0 <= n <= most for n, most in numbers):
                    self._of[name] = Policy(*row[: len(_MOST)])
        if any(self._of) and type(tasks) is dict and len(tasks) <= POLICIES_MAX:
            self._sole = _sole_tasks(tasks)

    def __repr__(self) -> str:
        return f"<Policies of {len(self._of)} tasks>"

    def find(self, queue: str, task: str) -> Policy:
        """That of a task; an empty name stands for the queue's only one."""
        name = task or self._sole.get(queue, "")
        return self._of.get(name) or self._of.get("", NEVER)


def _sole_tasks(tasks: dict[Any, Any]) -> dict[str, str]:
    """By queue: the only task there."""
    found: dict[str, str] = {}
    for name, queue in tasks.items():
        if type(name) is str and type(queue) is str:
            found[queue] = "" if queue in found else name
    return found


def retries_left(batch: Batch, announced: Policy) -> int:
    """How often tasks of a batch are tried again if they fail from now on."""
    policy = announced.asked(batch.frame.options)
    return max(0, policy.retries - batch.failures - batch.timeouts)


class Retrying:
    """Decides whether, and when. ``chance`` gives numbers from 0 to 1."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance

    def __repr__(self) -> str:
        return f"<Retrying by {self._chance}>"

    def wait_s(
        self, batch: Batch, announced: Policy, *, asked_ms: int | None, timed_out: bool
    ) -> float | None:
        """How long tasks that failed now are to wait; None: they failed for good.

        ``asked_ms``: how long the handler wants it to be.
        """
        policy = announced.asked(batch.frame.options)
        before = batch.failures + batch.timeouts
        if not retries_left(batch, announced) or (timed_out and not policy.timeouts):
            return None
        if asked_ms is not None:
            return min(asked_ms, SPAN_MS_MAX) / 1000
        longest_ms = policy.backoff_ms << min(before, DOUBLED_MAX)
        return self._chance() * min(longest_ms, policy.backoff_max_ms) / 1000
