"""The body of a request: as a whole, or in parts as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from ..http.asgi import ClientGone, Receive, Scope, header
from .problems import Problem
from .room import Room

BODY_BYTES_MAX = 1 << 20
"""Of a body that is read as a whole."""

STALL_S = 30.0
"""How long a client may send nothing of a body that it owes, seconds."""

LOOK_S = 1.0
"""How often it is looked who does so, seconds."""

DROP_S = 2.0
DROP_BYTES_MAX = 16 << 20
"""How long, and how much, is read of a body that is not wanted."""


class Stalls:
    """Who waits for a client, and for how long. One timer for all: most do not wait at all, and a
    time-out for each would cost more than reading what is there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._since: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._looking: asyncio.TimerHandle | None = None

    async def wait(self, receive: Receive) -> MutableMapping[str, Any] | None:
        """What comes next; None if nothing came for `STALL_S`."""
        task = asyncio.current_task()
        assert task is not None
        self._since[task] = self._loop.time()
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK_S, self._look)
        try:
            return await receive()
        except asyncio.CancelledError:
            if task not in self._late or task.uncancel():
                raise
            return None
        finally:
            del self._since[task]
            self._late.discard(task)

    def _look(self) -> None:
        self._looking, now = None, self._loop.time()
        for task, since in self._since.items():
            if now - since > STALL_S and task not in self._late:
                self._late.add(task)
                task.cancel()
        if self._since:
            self._looking = self._loop.call_later(LOOK_S, self._look)


class Body:
    """Reads a body. Raises `ClientGone`, or `Problem` (408, 413, 503)."""

    def __init__(self, scope: Scope, receive: Receive, room: Room, stalls: Stalls) -> None:
        self._scope = scope
        self._receive = receive
        self._room = room
        self._stalls = stalls
        self.is_read = False

    async def _part(self) -> bytes:
        message = await self._stalls.wait(self._receive)
        if message is None:
            raise Problem(408, f"Nothing of the body came for {STALL_S:g} s.")
        if message["type"] == "http.disconnect":
            raise ClientGone
        self.is_read = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part

    async def parts(self) -> AsyncIterator[bytes]:
        """It, as it comes."""
        while not self.is_read:
            if part := await self._part():
                yield part

    async def drop(self) -> None:
        """Read the rest of it, for a while, and drop it."""
        dropped = 0
        with contextlib.suppress(TimeoutError, ClientGone, Problem):
            async with asyncio.timeout(DROP_S):
                while not self.is_read and dropped < DROP_BYTES_MAX:
                    dropped += len(await self._part())

    async def whole(self) -> bytes:
        """All of it."""
        first = await self._part()
        if self.is_read:
            if len(first) > BODY_BYTES_MAX:
                raise _too_large()
            return first
        length = header(self._scope, b"content-length")
        if length and int(length) > BODY_BYTES_MAX:
            raise _too_large()
        read, held = bytearray(first), 0
        try:
            async for part in self.parts():
                if len(read) + len(part) > BODY_BYTES_MAX:
                    raise _too_large()
                if not self._room.take(len(part)):
                    raise Problem(503, "Too much is being read at once.", retry_s=1)
                held += len(part)
                read += part
            return bytes(read)
        finally:
            self._room.give(held)


def _too_large() -> Problem:
    return Problem(
        413,
        f"A body has at most {BODY_BYTES_MAX:,} bytes: send many as lines of application/x-ndjson.",
    )
