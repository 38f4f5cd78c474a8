"""When tasks may run and how often they are tried, as a test knows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from zqueue.wire.options import TaskOptions

SLACK_S = 0.002
"""A store keeps times in milliseconds, and ages travel in microseconds."""

RETRIES = 2
POLICY = {"": [RETRIES, 500, 1000, 1]}
"""What each worker announces: retries, the first pause and the longest one in ms, and whether tasks
that ran too long are tried again."""


class Ask(NamedTuple):
    """What is asked for the tasks of a batch, seconds; None: nothing."""

    delay_s: float | None = None
    at_s: float | None = None
    """From when they are sent."""
    expires_s: float | None = None
    retries: int | None = None

    def options(self, now: float) -> bytes:
        """As they are sent, at that time. None at all travel as no bytes."""
        if self == Ask():
            return b""
        at_s = None if self.at_s is None else now + self.at_s
        return TaskOptions(
            delay_ms=_ms(self.delay_s),
            at_ms=_ms(at_s),
            expires_ms=_ms(self.expires_s),
            retries=self.retries,
        ).pack()


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(1000 * seconds)


class Times:
    """Of each task, by its id: what was asked, and what has happened to it since."""

    def __init__(self) -> None:
        self.failures: Counter[int] = Counter()
        """How often a worker told the broker that is there that it is to be tried again."""
        self._asked: dict[int, Ask] = {}
        self._sent_at: dict[int, float] = {}
        self._came_at: dict[int, float] = {}
        """When the broker got it, the last time."""
        self._retry_at: dict[int, float] = {}
        self._deliveries: Counter[int] = Counter()

    def publish(self, ids: Iterable[int], ask: Ask, now: float) -> None:
        """A producer sends them."""
        for number in ids:
            self._asked[number] = ask
            self._sent_at[number] = now

    def come(self, ids: Iterable[int], now: float) -> None:
        """The broker gets them."""
        self._came_at.update(dict.fromkeys(ids, now))

    def fail(self, ids: Iterable[int], delay_s: float, now: float) -> None:
        """The broker hears that they are to be tried again, after a delay at the least."""
        for number in ids:
            self.failures[number] += 1
            self._retry_at[number] = now + delay_s

    def forget(self) -> None:
        """Another broker is there: it may know of what was asked, and of nothing else."""
        self.failures.clear()
        self._retry_at.clear()

    def retries(self, number: int) -> int:
        """How often it may be tried again."""
        asked = self._asked[number].retries
        return RETRIES if asked is None else asked

    def deliver(self, ids: Iterable[int], attempt: int, now: float) -> None:
        """The broker hands them out: is it their time, and does it count right?"""
        for number in ids:
            ask, sent_at = self._asked[number], self._sent_at[number]
            wait_s = ask.delay_s or ask.at_s or 0.0
            assert now >= sent_at + wait_s - SLACK_S, f"{number} runs before its time"
            assert now >= self._retry_at.get(number, now) - SLACK_S, f"{number} is tried too soon"
            if ask.expires_s is not None:
                until = self._came_at[number] + ask.expires_s
                assert now < until + SLACK_S, f"{number} is too old to run"
            least, most = 1 + self.failures[number], 1 + self._deliveries[number]
            assert least <= attempt <= most, f"{number} has attempt {attempt} of {least} to {most}"
            self._deliveries[number] += 1

    def expire(self, ids: Iterable[int], now: float) -> None:
        """The broker says that they were too old to run: are they?"""
        for number in ids:
            expires_s = self._asked[number].expires_s
            assert expires_s is not None
            assert now >= self._sent_at[number] + expires_s - SLACK_S, f"{number} is not that old"
