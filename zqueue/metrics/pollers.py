"""Pollers: one for each broker that a list names now."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import overload

from ..client.watcher import Watcher
from ..config import Address, BrokerList
from .poller import Poller

logger = logging.getLogger("zqueue")

STOP_S = 0.1
"""How long to wait for each poller to end, seconds. They hold nothing that could be lost."""


class Pollers(Sequence[Poller]):
    """Follows a list of brokers. For one thread, but for reading."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        brokers = BrokerList.parse(",".join(urls))
        self._now = tuple(Poller(address.full) for address in brokers.addresses)
        self._named: list[Address] | None = None
        """What the watcher told last, if it is not followed yet."""
        self._watcher = Watcher(brokers, self._are_named, logger)

    def __repr__(self) -> str:
        return f"<Pollers of {len(self._now)} brokers>"

    def __len__(self) -> int:
        return len(self._now)

    def __iter__(self) -> Iterator[Poller]:
        return iter(self._now)

    @overload
    def __getitem__(self, index: int) -> Poller: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Poller]: ...

    def __getitem__(self, index: int | slice) -> Poller | Sequence[Poller]:
        return self._now[index]

    @property
    def trouble(self) -> str:
        """Why the list cannot be read; empty: it can."""
        return self._watcher.trouble

    def start(self) -> None:
        """Query the brokers from now on."""
        for poller in self._now:
            poller.start()
        self._watcher.start()

    def follow(self) -> None:
        """Query those that are named now, and no others."""
        named, self._named = self._named, None
        if named is None:
            return
        urls = {address.full for address in named}
        staying = [poller for poller in self._now if poller.url in urls]
        there = {poller.url for poller in staying}
        joining = [Poller(address.full) for address in named if address.full not in there]
        leaving = [poller for poller in self._now if poller not in staying]
        self._now = (*staying, *joining)
        for poller in joining:
            poller.start()
        for poller in leaving:
            logger.info("the broker at %s is named no more", poller.watch.url)
            poller.stop(0)

    def stop(self) -> None:
        """Query nobody any more."""
        self._watcher.stop()
        for poller in self._now:
            poller.stop(STOP_S)

    def _are_named(self, addresses: list[Address]) -> None:
        self._named = addresses
