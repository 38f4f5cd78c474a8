"""Streaming: lines are published as they come, in constant memory.

Theory of operation. Whole lines gather until a batch of them is due: when nothing of the stream is
under way, or it is large. At most `UNDER_WAY_MAX` batches are unconfirmed; then nothing is read, so
the client cannot send. A queue without room is tried again, and the stream waits: it is refused
when nothing of it was taken for `FULL_WAIT_S`.

How many were accepted is how many were confirmed from the first line on without a gap. A queue that
is full for a moment may leave one: what was confirmed behind it is told, too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ..client.confirmation import Confirmation
from ..client.replies import TaskFuture
from ..errors import QueueFull, TimedOut, ZQueueError
from ..wire.codec import pack_batch
from .decoding import BadLine, decode_lines
from .hearing import done_of
from .lines import Lines
from .outlet import Outlet
from .posting import Target
from .problems import Problem, problem_of
from .room import Room

UNDER_WAY_MAX = 4
TASKS_MAX = 2048
"""Of a batch: one that has so many is due. A part of the body may bring some more."""
BYTES_MAX = 1 << 20
BATCH_MAX = 4096

CONFIRM_S = 10.0
"""How long a batch may be on its way before the broker counts as silent, seconds."""

FULL_WAIT_S = 10.0
AGAIN_S = 0.05
AGAIN_S_MAX = 0.5

ToBody = Callable[[Any], Any] | None
"""What makes a body of a value; None: it is one."""


class _Batch:
    def __init__(self, frame: bytes, tasks: int, nbytes: int) -> None:
        self.frame = frame
        """Its bodies, packed: what they were made from is not held, and trying again packs none."""
        self.tasks = tasks
        self.nbytes = nbytes
        self.confirmation: Confirmation | None = None
        self.done: asyncio.Future[None] | None = None
        self.refusal: QueueFull | None = None
        """Why it was not even sent."""


class Stream:
    """Publishes the lines of one request."""

    def __init__(self, outlet: Outlet, target: Target, room: Room, to_body: ToBody) -> None:
        self._outlet = outlet
        self._target = target
        self._room = room
        self._to_body = to_body
        self._window: deque[_Batch] = deque()
        self._lines = Lines()
        self._read = 0
        """Lines that were decoded."""
        self._values: list[Any] = []
        self._nbytes = 0
        self._taken_at = asyncio.get_running_loop().time()
        self.accepted = 0
        self.on_taken: Callable[[list[TaskFuture[Any]]], Awaitable[None]] | None = None
        """Is given the futures of a batch once it is confirmed, in order."""

    async def take(self, parts: AsyncIterator[bytes]) -> None:
        """Publish all lines. Returns when all are confirmed.

        Raises `Problem`, which tells how many were accepted; and what ``parts`` raise.
        """
        try:
            while (part := await self._next(parts)) is not None:
                self._decode(self._lines.feed(part))
                await self._settle_what_is_done()
                if not self._window or self._is_due():
                    await self._send()
            self._decode(self._lines.end())
            await self._finish()
        except Problem as problem:
            if isinstance(problem, BadLine):
                self._add(problem.before, 0)
            if problem.status in (400, 408, 413):
                await self._finish_before(problem)
            raise await self._told(problem) from None
        finally:
            for batch in self._window:
                self._room.give(batch.nbytes)

    async def _next(self, parts: AsyncIterator[bytes]) -> bytes | None:
        """The next part of the body, None at its end. Meanwhile batches are settled."""
        if not self._window:
            return await anext(parts, None)
        coming = asyncio.ensure_future(_first_of(parts))
        try:
            while self._window and not coming.done():
                if (done := self._window[0].done) is not None:
                    either: set[asyncio.Future[Any]] = {coming, done}
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                    await self._settle_what_is_done()
                else:
                    await self._settle_first()
            return await coming
        finally:
            coming.cancel()

    async def _finish_before(self, problem: Problem) -> None:
        """What came before what is wrong is accepted."""
        try:
            await self._finish()
        except Problem as other:
            raise await self._told(other) from None

    async def _told(self, problem: Problem) -> Problem:
        """A problem, with what was accepted. Of a full queue that is known of every body."""
        behind = await self._behind() if problem.status == 429 else []
        further = {"behind": behind} if behind else {}
        return problem.with_members(accepted=self.accepted, **further)

    async def _behind(self) -> list[tuple[int, int]]:
        """Which bodies were confirmed behind one that was not: first and last of each run."""
        found, before = [], self.accepted
        for batch in self._window:
            if batch.confirmation is not None and batch.done is not None:
                await asyncio.wait({batch.done}, timeout=CONFIRM_S)
                if batch.done.done() and batch.confirmation.exception() is None:
                    found.append((before + 1, before + batch.tasks))
            before += batch.tasks
        return found

    async def _finish(self) -> None:
        while self._values:
            await self._send()
        while self._window:
            await self._settle_first()

    # --- lines ---

    def _decode(self, whole: bytes) -> None:
        if whole:
            values = decode_lines(whole, self._read)
            self._read += whole.count(b"\n")
            self._add(values, len(whole))

    def _add(self, values: list[Any], nbytes: int) -> None:
        self._values += values if self._to_body is None else map(self._to_body, values)
        self._nbytes += nbytes

    def _is_due(self) -> bool:
        return len(self._values) >= TASKS_MAX or self._nbytes >= BYTES_MAX

    # --- batches ---

    async def _send(self) -> None:
        """Publish what is there, at most a batch of it."""
        if not self._values:
            return
        while len(self._window) >= UNDER_WAY_MAX:
            await self._settle_first()
        bodies, self._values = self._values[:BATCH_MAX], self._values[BATCH_MAX:]
        nbytes = self._nbytes * len(bodies) // (len(bodies) + len(self._values))
        self._nbytes -= nbytes
        while not self._room.take(nbytes):
            if self._window:
                await self._settle_first()
            else:
                await self._pause(AGAIN_S, Problem(503, "Too much is held at once.", retry_s=1))
        try:
            batch = _Batch(*pack_batch(bodies), nbytes)
        except ZQueueError as error:
            self._room.give(nbytes)
            raise problem_of(error) from None
        self._window.append(batch)
        self._try(batch)

    def _try(self, batch: _Batch) -> None:
        """Publish a batch. Whether that was possible shows when it is settled."""
        target = self._target
        try:
            batch.confirmation = self._outlet.publish_packed(
                target.queue, batch.frame, batch.tasks, task=target.task, results=target.results
            )
            batch.done = done_of(batch.confirmation)
        except QueueFull as full:
            batch.confirmation, batch.refusal = None, full
        except ZQueueError as error:
            raise problem_of(error) from None

    async def _settle_what_is_done(self) -> None:
        while self._window and (done := self._window[0].done) is not None and done.done():
            await self._settle_first()

    async def _settle_first(self) -> None:
        """Wait until the first batch is confirmed; try again while there is no room for it."""
        batch, again_s = self._window[0], AGAIN_S
        while True:
            error: BaseException | None = batch.refusal
            if batch.confirmation is not None and batch.done is not None:
                await asyncio.wait({batch.done}, timeout=CONFIRM_S)
                if not batch.done.done():
                    raise problem_of(TimedOut(f"not confirmed within {CONFIRM_S:g} s"))
                error = batch.confirmation.exception()
            if error is None:
                break
            if not isinstance(error, ZQueueError):
                raise error
            if not isinstance(error, QueueFull):
                raise problem_of(error)
            await self._pause(again_s, problem_of(error))
            again_s = min(2 * again_s, AGAIN_S_MAX)
            self._try(batch)
        self._window.popleft()
        self._room.give(batch.nbytes)
        self._taken_at = asyncio.get_running_loop().time()
        self.accepted += batch.tasks
        if self.on_taken is not None and batch.confirmation is not None:
            await self.on_taken(batch.confirmation.tasks)

    async def _pause(self, seconds: float, problem: Problem) -> None:
        """Wait for room. Raises ``problem`` if nothing was taken for long."""
        if asyncio.get_running_loop().time() - self._taken_at > FULL_WAIT_S:
            raise problem
        await asyncio.sleep(seconds)


async def _first_of(parts: AsyncIterator[bytes]) -> bytes | None:
    return await anext(parts, None)
