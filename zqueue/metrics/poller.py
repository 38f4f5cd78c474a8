"""Pollers: each asks one broker how it is, once a second, and feeds a watch.

Theory of operation. Questions are asked as each second begins, so an answer comes in every
second, neither none in one nor two in another. A question that is not answered in time is not
asked again: the next one is. Nothing waits for a poller, and it holds nothing of the broker's.

A broker of a version before ``stats`` refuses the question. It is asked for ``info`` then, and
from time to time whether it knows better by now: each such question counts as garbage there.
"""

from __future__ import annotations

import logging
import threading
from math import floor
from time import monotonic
from typing import Any, Protocol

from ..ask import Asker
from ..errors import BrokerLost, Refused, ZQueueError
from .told import line
from .watch import Watch

logger = logging.getLogger("zqueue")

EVERY_S = 1.0
"""The second of series and windows: not to be changed."""

ASK_AFTER_S = 0.01
"""How long after a full second to ask: a clock that is a little off is still in that second."""

TIMEOUT_S = 0.9
"""For an answer: before the next question is due."""

OLD_AGAIN_S = 60.0
"""How long a broker that does not know ``stats`` is not asked for them again."""


def next_due(now: float, before: float, after_s: float) -> float:
    """The next instant that is so long after a full second, by the clock that ``now`` is of.

    Never the one that was due before, though a clock may seem to be a little short of it.
    """
    return max(floor(now - after_s), round(before - after_s)) + EVERY_S + after_s


class Questions(Protocol):
    """What a poller needs of `Asker`."""

    def ask(self, what: str = "info", *, timeout: float = 3.0) -> dict[str, Any]: ...

    def close(self) -> None: ...


class Poller:
    """Asks one broker, in a thread of its own once it is started."""

    def __init__(self, url: str, asker: Questions | None = None) -> None:
        self.watch = Watch(url, monotonic())
        self.lock = threading.Lock()
        """Held while the watch is fed, and to be held while it is read."""
        self.polls = 0
        self.failures = 0
        self.poll_s = 0.0
        """How long the last question took to be answered, or to be given up."""
        self._asker = Asker(url) if asker is None else asker
        self._stopped = threading.Event()
        self._stats_at = 0.0
        """When it may know ``stats``, at the earliest."""
        self._thread = threading.Thread(target=self._run, name=f"poller of {url}", daemon=True)

    def __repr__(self) -> str:
        return f"<Poller of {self.watch.url}: {self.polls} polls, {self.failures} failed>"

    def start(self) -> None:
        """Ask from now on. Call once."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Ask no more, and wait so many seconds for the thread to end."""
        self._stopped.set()
        self._thread.join(timeout)

    def poll(self) -> None:
        """Ask once. Whatever comes, this does not raise."""
        before, began = self.watch.state, monotonic()
        problem, answer, is_old = "", None, False
        try:
            answer, is_old = self._ask(began)
        except BrokerLost:
            problem = f"No broker answers at {self.watch.url}."
        except ZQueueError as error:
            said = line(str(error))  # Some of it may be a stranger's.
            problem = f"What answers at {self.watch.url} is no broker: {said}."
            self._asker.close()
        except Exception:
            # A fault of ours. The next second is another chance.
            logger.exception("asking %s met a fault", self.watch.url)
            problem = f"Asking {self.watch.url} failed; the log says how."
            self._asker.close()
        now = monotonic()
        with self.lock:
            self.polls += 1
            self.poll_s = now - began
            if answer is None:
                self.failures += 1
                self.watch.miss(problem, now)
            elif is_old:
                self.watch.feed_old(answer, now)
            else:
                self.watch.feed(answer, now)
        self._log(before)

    def _ask(self, now: float) -> tuple[dict[str, Any], bool]:
        """The answer, and whether it is all that an old broker tells."""
        if now >= self._stats_at:
            try:
                return self._asker.ask("stats", timeout=TIMEOUT_S), False
            except Refused:
                self._stats_at = now + OLD_AGAIN_S
        try:
            return self._asker.ask("info", timeout=TIMEOUT_S), True
        except BrokerLost:
            self._stats_at = 0.0  # Whoever comes next may be of another version.
            raise

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
