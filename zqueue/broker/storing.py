"""The broker's store, driven by the broker's loop.

What the machine asks to keep goes to the store, one commit at a time: the next begins when the last
has ended, so that what comes meanwhile is stored together. Neither writes nor syncs happen here:
the store has a thread for them. What was handed out as work has not waited for it, only confirms
have.
"""

from __future__ import annotations

import logging
import select
from time import monotonic
from typing import Any

from ..config import BrokerConfig
from ..stats.histogram import Histogram
from ..store.segment_store import SegmentStore
from ..store.store import Store
from ..store.writer import SYNC_EVERY_S
from .journal import Journal
from .machine import BrokerProtocol

logger = logging.getLogger(__name__)

LOSS_MS = int(1000 * SYNC_EVERY_S)
"""What was confirmed so long before the power is lost may be lost at level *os*, milliseconds."""

FINISH_S = 10.0
"""How long a broker that ends waits for its store, seconds. A disk that takes longer has failed."""


def open_store(config: BrokerConfig) -> Storing | None:
    """The store that a broker's settings ask for; None: it keeps all in memory.

    Raises `StoreError`: the data dir cannot be used, and nothing in it was changed.
    """
    if config.level == "memory":
        return None
    assert config.data_dir is not None
    store = SegmentStore(config.data_dir, sync=config.level == "disk")
    return Storing(store, config.level, config.data_dir)


RECOVER_FIRST_S = 0.5
"""How long a broker takes up what is there before it serves, seconds. Mostly that is all of it."""

RECOVER_TURN_S = 0.002
RECOVER_ENTRIES = 64
"""After that: between two turns of the loop, and between two looks at the clock."""

TELL_EVERY_S = 5.0
"""How often the log says how far that has come, seconds."""


class Storing:
    """A store, and where the machine and it stand."""

    def __init__(self, store: Store, level: str, data_dir: str) -> None:
        """Raises `StoreError`: the data dir cannot be used, and nothing in it was changed."""
        self.store = store
        self.level = level
        self.data_dir = data_dir
        self._started = self._tell_at = monotonic()
        self._found = store.open()
        self.id = self._found.id
        self.journal = Journal(self._found.next_entry)
        self._stored = 0
        self._is_full = False
        self._began_at = 0.0
        self._finish_by: float | None = None
        """When a broker that ends waits no longer; None: it does not end."""
        self._has_given_up = False
        self._commits = Histogram()
        """From when a commit began until it was seen to have ended."""

    def __repr__(self) -> str:
        return f"<Storing in {self.data_dir}, {self.level}, up to {self._stored}>"

    def promise(self) -> str:
        """What a confirm says, for the log."""
        how = (
            "synced to disk" if self.level == "disk" else f"written, and synced within {LOSS_MS} ms"
        )
        return f"queues in {self.data_dir}, confirmed once {how}"

    def fileno(self) -> int:
        """To poll for reading: then call `move`."""
        return self.store.fileno()

    def recover(self, protocol: BrokerProtocol, now: float) -> None:
        """Let the machine take up what is there. Raises `StoreError`."""
        found = self._found
        if found.torn:
            logger.info("%d bytes of a commit that was never finished are dropped: nobody was told "
                        "that it was stored", found.torn)  # fmt: skip
        protocol.recover(found, self.store.read, now)
        self._recover_more(protocol, now, RECOVER_FIRST_S)
        if protocol.recovery.is_running:
            logger.info("%s; the broker serves meanwhile", self._progress(protocol))

    def _recover_more(self, protocol: BrokerProtocol, now: float, for_s: float) -> None:
        """Take up more of what is there, for about so many seconds."""
        until = monotonic() + for_s
        while protocol.recover_more(RECOVER_ENTRIES, now):
            if monotonic() >= until:
                if now >= self._tell_at:
                    self._tell_at = now + TELL_EVERY_S
                    logger.info("%s", self._progress(protocol))
                return
        if protocol.recovery.tasks:
            after_s = monotonic() - self._started
            logger.info("%d tasks that were in %s are ready again, after %.1f s",
                        protocol.recovery.found, self.data_dir, after_s)  # fmt: skip

    def _progress(self, protocol: BrokerProtocol) -> str:
        recovery = protocol.recovery
        return f"found {recovery.found:,} of {recovery.tasks:,} tasks in {self.data_dir}"

    def move(self, protocol: BrokerProtocol, now: float) -> bool:
        """Tell the machine what is stored, and store what it has. Says whether anything changed.

        Raises `StoreFailed`: nothing that was not stored by now ever will be.
        """
        store = self.store
        ticket = store.end()
        has_moved = ticket > self._stored
        if has_moved:
            self._stored = ticket
            self._commits.record(now - self._began_at)
            protocol.stored(ticket)
        if store.full is not self._is_full:
            self._is_full = store.full
            self._tell_full(protocol)
        if protocol.recovery.is_running:
            self._recover_more(protocol, now, RECOVER_TURN_S)
            has_moved = True
        if not store.busy:
            commit = protocol.to_store()
            if commit is not None:
                self._began_at = now
                store.begin(*commit, protocol.facts)
            elif store.is_due:
                store.begin(self._stored, [], protocol.facts)
        return has_moved

    def _tell_full(self, protocol: BrokerProtocol) -> None:
        text = f"the disk that has {self.data_dir} is full" if self._is_full else ""
        protocol.store_is_full(text)
        if text:
            logger.error("%s: nothing new is taken, until there is room", text)
        else:
            logger.info("the disk that has %s has room again", self.data_dir)

    def finish(self, protocol: BrokerProtocol) -> None:
        """Store all that there is, and what has changed when it is called again: for `FINISH_S` in
        all, and then no more. Raises `StoreFailed`."""
        if self._has_given_up:
            return
        if self._finish_by is None:
            self._finish_by = monotonic() + FINISH_S
        protocol.press()
        while self.move(protocol, monotonic()) or self.store.busy or protocol.has_to_store():
            left = self._finish_by - monotonic()
            if left <= 0:
                self._has_given_up = True
                logger.error("what changed last is not stored after %g s: some tasks that are over "
                             "will run again", FINISH_S)  # fmt: skip
                return
            select.select([self.store.fileno()], [], [], min(left, 0.1))

    def close(self) -> None:
        """Let go of the data dir."""
        self.store.close()

    def status(self, protocol: BrokerProtocol) -> dict[str, Any]:
        """Its figures, for the answer to `Ask`."""
        status = self.store.status()
        return {
            "level": self.level,
            "data_dir": self.data_dir,
            "loss_window_ms": LOSS_MS if self.level == "os" else 0,
            "full": self._is_full,
            "recovering": protocol.recovery.is_running,
            "recovered": protocol.recovery.found,
            "recoverable": protocol.recovery.tasks,
            "commit": self._commits.to_wire(),
            **status._asdict(),
        }
