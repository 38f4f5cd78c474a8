"""The body of a request: as a whole, or in parts as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from ..http.asgi import ClientGone, Receive, Scope, header
from .problems import Problem
from .room import Room

BODY_BYTES_MAX = 1 << 20
"""Of a body that is read as a whole."""

STALL_S = 30.0
"""How long a client may send nothing of a body that it owes, seconds."""

DROP_S = 2.0
DROP_BYTES_MAX = 16 << 20
"""How long, and how much, is read of a body that is not wanted."""


class Body:
    """Reads a body. Raises `ClientGone`, or `Problem` (408, 413, 503)."""

    def __init__(self, scope: Scope, receive: Receive, room: Room) -> None:
        self._scope = scope
        self._receive = receive
        self._room = room
        self.is_read = False

    async def _part(self) -> bytes:
        try:
            async with asyncio.timeout(STALL_S):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, f"Nothing of the body came for {STALL_S:g} s.") from None
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
        length = header(self._scope, b"content-length")
        if length and int(length) > BODY_BYTES_MAX:
            raise _too_large()
        first = await self._part()
        if self.is_read:
            if len(first) > BODY_BYTES_MAX:
                raise _too_large()
            return first
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
