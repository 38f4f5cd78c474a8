"""The tally: what a worker counts and measures of its tasks, and reports to its brokers: to each
what it had leased, so that what all of them know together is right."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from ..handlers import Handler
from ..stats.meter import NUMBERS_MAX, TaskMeter
from ..stats.ran import Ran


class Account:
    """What came of the tasks that one broker leased: counters, and a meter for each task name."""

    def __init__(self) -> None:
        self.done = 0
        self.failed = 0
        self._meters: dict[str, TaskMeter] = {}

    def __repr__(self) -> str:
        return f"<Account {self.done} done, {self.failed} failed>"

    def meter(self, handler: Handler) -> TaskMeter:
        """Where the tasks of a handler are measured."""
        meter = self._meters.get(handler.name)
        if meter is None:
            meter = self._meters[handler.name] = TaskMeter()
        return meter

    def count(self, handler: Handler, done: int, failed: int) -> None:
        """Tasks of a handler are over."""
        self.done += done
        self.failed += failed
        meter = self.meter(handler)
        meter.done += done
        meter.failed += failed

    def take_tasks(self) -> dict[str, Any]:
        """What was measured since the last time, by task name, as much as one report may hold."""
        met = {name: meter for name, meter in self._meters.items() if meter}
        numbers_max = max(56, NUMBERS_MAX // (2 * max(1, len(met))))
        some = itertools.islice(met.items(), NUMBERS_MAX // (2 * numbers_max))
        tasks = {name: meter.take(numbers_max) for name, meter in some}
        for name in tasks:  # Those that had no room come first the next time.
            self._meters[name] = self._meters.pop(name)
        return tasks


class Tally:
    """An account for each broker, and what the process does."""

    def __init__(self) -> None:
        self._accounts: dict[object, Account] = {}
        self._over = 0
        """Tasks of brokers that we have left."""
        self.busy_s = 0.0
        """Seconds in handlers: of the main thread, and of threads by their share."""
        self.ran = Ran()
        """The same by task name; tasks side by side count each."""
        self.running = ""
        """The handler that the main thread is in."""
        self.since: float | None = None
        """Since when; None if it is in none."""

    def __repr__(self) -> str:
        return f"<Tally {self.over} over>"

    @property
    def over(self) -> int:
        """Tasks that are over, whosever they were."""
        return self._over + sum(each.done + each.failed for each in self._accounts.values())

    def of(self, whom: object) -> Account:
        """The account of a broker."""
        account = self._accounts.get(whom)
        if account is None:
            account = self._accounts[whom] = Account()
        return account

    def close(self, whom: object) -> None:
        """A broker will hear nothing more."""
        account = self._accounts.pop(whom, None)
        if account is not None:
            self._over += account.done + account.failed

    def begin(self, handler: Handler, now: float) -> None:
        """The main thread enters a handler."""
        self.since, self.running = now, handler.name

    def end(self, now: float) -> float:
        """It is out again. Returns how long that took, seconds."""
        elapsed_s = 0.0 if self.since is None else now - self.since
        self.busy_s += elapsed_s
        self.ran.add(self.running, elapsed_s)
        self.since = None
        return elapsed_s

    def report(
        self, now: float, progress: tuple[int, int] = (0, 0), beside_s: float = 0.0,
        beside: Iterable[tuple[str, float]] = (),
    ) -> dict[str, Any]:  # fmt: skip
        """What each broker is told; ``progress`` is how far the task that runs has come,
        ``beside_s`` how long those in threads have run, and ``beside`` how long each of those that
        run side by side has."""
        since = self.since
        busy_s = self.busy_s + beside_s + (now - since if since is not None else 0.0)
        report: dict[str, Any] = {"busy_s": round(busy_s, 3)}
        if since is not None:
            report["running"] = [self.running, round(now - since, 3), *progress]
            beside = [*beside, (self.running, now - since)]
        report["ran"] = self.ran.report(beside)
        return report

    def report_of(self, whom: object) -> dict[str, Any]:
        """What a broker is told of the tasks that it leased."""
        account = self.of(whom)
        return {"done": account.done, "failed": account.failed, "tasks": account.take_tasks()}
