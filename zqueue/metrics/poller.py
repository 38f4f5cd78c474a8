"""Pollers: each queries one broker for its statistics, once a second, and feeds a watch.

Theory of operation. A query is sent as each second begins, so every second has exactly one answer.
A query without an answer is not repeated: the next second has its own. Nothing waits for a poller,
and it holds nothing of the broker's.

A broker of a version before ``stats`` refuses that query. The poller then asks it for ``info``, and
tries ``stats`` again every `OLD_AGAIN_S`: the broker counts each such query as garbage.
"""

from __future__ import annotations

import logging
import threading
from math import floor
from time import monotonic
from typing import Any, Protocol

from ..client.ask import Asker
from ..errors import BrokerLost, Refused, ZQueueError
from .broker_watch import DEAD_GROUPS_MAX, Watch
from .untrusted import line, number, table

logger = logging.getLogger("zqueue")

EVERY_S = 1.0
"""Series and windows are made of whole seconds: not to be changed."""

ASK_AFTER_S = 0.01
"""How long after a full second to send a query: a clock a little off is still in that second."""

TIMEOUT_S = 0.9
"""For an answer: it ends before the next query is due."""

OLD_AGAIN_S = 60.0
"""How long not to ask a broker for ``stats`` that has refused them."""


def next_due(now: float, before: float, after_s: float) -> float:
    """The next instant that is ``after_s`` behind a full second of the clock that ``now`` is of.

    Never ``before``, the instant that was due last, even if the clock is a little short of it.
    """
    return max(floor(now - after_s), round(before - after_s)) + EVERY_S + after_s


class Queries(Protocol):
    """What a poller needs of `Asker`."""

    def ask(
        self, what: str = "info", which: dict[str, Any] | None = None, *, timeout: float = 3.0
    ) -> dict[str, Any]: ...

    def close(self) -> None: ...


class Poller:
    """Queries one broker, in a thread of its own once it is started."""

    def __init__(self, url: str, asker: Queries | None = None) -> None:
        self.url = url
        """Where it asks, with the key file, which is nobody else's business."""
        self.watch = Watch(url.partition("?key=")[0], monotonic())
        self.lock = threading.Lock()
        """Held while the watch is fed, and to be held while it is read."""
        self.polls = 0
        self.failures = 0
        self.poll_s = 0.0
        """How long the last query took until it was answered or given up."""
        self._asker = Asker(url) if asker is None else asker
        self._stopped = threading.Event()
        self._stats_at = 0.0
        """When to ask for ``stats`` again, at the earliest."""
        self._dead: object = None
        """What the broker said of its dead letters when it was asked for their groups."""
        self._groups: object = []
        self._thread = threading.Thread(target=self._run, name=f"poller of {url}", daemon=True)

    def __repr__(self) -> str:
        return f"<Poller of {self.watch.url}: {self.polls} polls, {self.failures} failed>"

    @property
    def is_running(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Query the broker from now on. Call once."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread, and wait for it for ``timeout`` seconds at most."""
        self._stopped.set()
        self._thread.join(timeout)

    def poll(self) -> None:
        """Query the broker once. Never raises."""
        before, began = self.watch.state, monotonic()
        problem, answer, is_old = "", None, False
        try:
            answer, is_old = self._ask(began)
        except BrokerLost:
            problem = f"No broker answers at {self.watch.url}."
        except ZQueueError as error:
            reason = line(str(error))  # Some of it may come from that peer.
            problem = f"What answers at {self.watch.url} is not a broker: {reason}."
            self._asker.close()
        except Exception:
            # A bug of ours. The next second is another chance.
            logger.exception("querying %s failed", self.watch.url)
            problem = f"Querying {self.watch.url} failed: see the log of the sidecar."
            self._asker.close()
        now = monotonic()
        with self.lock:
            self.polls += 1
            self.poll_s = now - began
            problem = problem or self._feed(answer, is_old, now)
            if problem:
                self.failures += 1
                self.watch.miss(problem, now)
        self._log(before)

    def _feed(self, answer: dict[str, Any] | None, is_old: bool, now: float) -> str:
        """Take an answer. Returns why that failed; nothing if it did not."""
        try:
            if is_old:
                self.watch.feed_old(answer or {}, now)
            else:
                self.watch.feed(answer or {}, now)
        except Exception:
            # A bug of ours, too: figures stand still for this second, and not for ever.
            logger.exception("the answer of %s cannot be read", self.watch.url)
            return f"What {self.watch.url} answers cannot be read: see the log of the sidecar."
        return ""

    def _ask(self, now: float) -> tuple[dict[str, Any], bool]:
        """The answer, and whether it is only the ``info`` of an old broker."""
        if now >= self._stats_at:
            try:
                stats = self._asker.ask("stats", timeout=TIMEOUT_S)
                stats["dead_groups"] = self._groups_of(stats, TIMEOUT_S - (monotonic() - now))
                return stats, False
            except Refused:
                self._stats_at = now + OLD_AGAIN_S
        try:
            return self._asker.ask("info", timeout=TIMEOUT_S), True
        except BrokerLost:
            self._stats_at = 0.0  # The next broker there may be of another version.
            raise

    def _groups_of(self, stats: dict[str, Any], timeout: float) -> object:
        """The groups of dead letters. They are asked for only when something of them changed."""
        dead = [stats.get("id"), stats.get("dead")]
        if not number(table(stats.get("dead")).get("kept")):
            self._groups = []
        elif dead != self._dead:
            try:
                told = self._asker.ask("dead-groups", {"limit": DEAD_GROUPS_MAX}, timeout=timeout)
            except Refused:
                return []  # It is of a version before groups.
            self._groups = told.get("groups")
        self._dead = dead
        return self._groups

    def _log(self, before: str) -> None:
        watch = self.watch
        if watch.state == before:
            return
        if watch.state == "ok":
            logger.info("the broker at %s answers", watch.url)
        else:
            logger.warning("%s", watch.problem)

    def _run(self) -> None:
        self.poll()
        due = next_due(monotonic(), 0.0, ASK_AFTER_S)
        while not self._stopped.wait(max(0.0, due - monotonic())):
            self.poll()
            due = next_due(monotonic(), due, ASK_AFTER_S)
        self._asker.close()
