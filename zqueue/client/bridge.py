"""A bridge: a thread reads what an asynchronous source gives."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterable, Iterator

from .mailbox import Mailbox

AHEAD_MAX = 1024
"""Items that wait for the thread at most; then the source waits. As many as it packs in a blink."""

TURN_ITEMS = 64
"""Items that are read before other coroutines have their turn."""


class Bridge(Iterator[object]):
    """What an asynchronous source gives. `run` reads it in a loop, one thread iterates."""

    def __init__(self, source: AsyncIterable[object], mailbox: Mailbox) -> None:
        self._source = source
        self._mailbox = mailbox
        self._items: deque[object] = deque()
        self._changed = threading.Condition()
        self._room = asyncio.Event()
        self._is_over = False
        self._error: BaseException | None = None

    async def run(self) -> None:
        """Read the source to its end. Cancel it to end the iteration early."""
        count = 0
        try:
            async for item in self._source:
                with self._changed:
                    self._items.append(item)
                    self._changed.notify_all()
                count += 1
                if not count % TURN_ITEMS:
                    await asyncio.sleep(0)  # A source that never waits would keep the loop.
                while len(self._items) >= AHEAD_MAX:
                    self._room.clear()
                    if len(self._items) >= AHEAD_MAX:
                        await self._room.wait()
        except Exception as error:
            self._error = error
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def __next__(self) -> object:
        with self._changed:
            while not self._items and not self._is_over:
                self._changed.wait()
            if self._items:
                item = self._items.popleft()
                if len(self._items) == AHEAD_MAX - 1:
                    self._mailbox.post(self._room.set)
                return item
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopIteration
