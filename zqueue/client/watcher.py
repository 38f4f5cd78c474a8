"""The watcher: asks the sources of a list of brokers, in a thread of its own, for they may take
their time. Which brokers there are then is decided in `members`."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from time import monotonic

from ..config import Address, BrokerList
from ..errors import ConfigError
from ..net.lookup import look_up
from ..seconds import WAIT_S_MAX
from .members import Members

logger = logging.getLogger(__name__)


class Watcher:
    """Tells which brokers there are, whenever that changes, until it is stopped. ``tell`` is called
    in its thread."""

    def __init__(
        self, brokers: BrokerList, tell: Callable[[list[Address]], object],
        log: logging.Logger = logger,
    ) -> None:  # fmt: skip
        self._members = Members(brokers, random.random)
        self._tell = tell
        self._log = log
        self._stopped = threading.Event()
        self.has_sources = bool(brokers.sources)
        """Whether there is anything to be told."""

    def __repr__(self) -> str:
        return f"<Watcher of {self._members!r}>"

    @property
    def trouble(self) -> str:
        """Why a source cannot be asked; empty: each can."""
        return self._members.trouble

    def start(self) -> None:
        """Begin, if there is anything to ask."""
        if self.has_sources:
            threading.Thread(target=self._run, name="zqueue-watcher", daemon=True).start()

    def stop(self) -> None:
        """Tell nothing more. Does not wait: a name server may have the thread."""
        self._stopped.set()

    def _run(self) -> None:
        members = self._members
        while not self._stopped.is_set():
            has_changed = False
            for source in members.due(monotonic()):
                try:
                    found = look_up(source)
                except ConfigError as error:
                    has_changed |= members.failed(source, str(error), monotonic())
                else:
                    has_changed |= members.found(source, found, monotonic())
            while members.news:
                self._log.warning("%s", members.news.popleft())
            if has_changed and not self._stopped.is_set():
                self._tell(members.addresses)
            deadline = members.next_deadline()
            left = WAIT_S_MAX if deadline is None else deadline - monotonic()
            self._stopped.wait(min(max(0.0, left), WAIT_S_MAX))
