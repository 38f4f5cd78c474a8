"""Posting: bodies that come one by one are published together, and each hears of its confirm.

Theory of operation. While `UNDER_WAY_MAX` batches of a queue and task are unconfirmed, what comes
gathers: requests that arrive together share a confirm, and a lone one waits for nothing.

A broker answers at once, also if a queue is full: then it has taken nothing of the batch. If it
does not answer for `LATE_S`, whoever gathers or comes is refused. Who is in that batch is refused
after `CONFIRM_S`, and told that it may have been taken.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from ..client.confirmation import Confirmation
from ..client.mailbox import mailbox_of
from ..client.replies import TaskFuture
from ..errors import BodyError, QueueFull, TimedOut, ZQueueError
from .outlet import Outlet

UNDER_WAY_MAX = 2
TASKS_MAX = 1024
"""Of a batch."""
BYTES_MAX = 4 << 20

GATHER_MAX = 10_000
"""Bodies that may gather for one target: one more finds it full."""

LATE_S = 2.0
CONFIRM_S = 5.0
LOOK_S = 0.25


class Target(NamedTuple):
    """Where bodies go."""

    queue: str
    task: str = ""
    results: bool = False


class _Waiting(NamedTuple):
    body: Any
    nbytes: int
    confirmed: asyncio.Future[TaskFuture[Any] | None]


class _Batch(NamedTuple):
    since: float
    waiting: list[_Waiting]


class _Group:
    """What goes to one target."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.waiting: list[_Waiting] = []
        self.under_way: dict[Confirmation, _Batch] = {}
        self.is_due = False
        self.is_late = False


class Poster:
    """Publishes single bodies."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._loop = asyncio.get_running_loop()
        self._mailbox = mailbox_of(self._loop)
        self._groups: dict[Target, _Group] = {}
        self._looking: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Poster: {len(self._groups)} targets>"

    async def post(self, target: Target, body: Any, nbytes: int) -> TaskFuture[Any] | None:
        """Returns when a body is confirmed; gives the future of its result, if that is wanted.

        Raises `ZQueueError`, as `Producer.publish` and its future do.
        """
        group = self._groups.get(target)
        if group is None:
            group = self._groups[target] = _Group(target)
        self._check(group)
        confirmed = self._loop.create_future()
        group.waiting.append(_Waiting(body, nbytes, confirmed))
        self._let_go(group)
        future: TaskFuture[Any] | None = await confirmed
        return future

    def _let_go(self, group: _Group) -> None:
        if group.waiting and not group.is_due and len(group.under_way) < UNDER_WAY_MAX:
            group.is_due = True
            self._loop.call_soon(self._send, group)
        elif not (group.waiting or group.under_way):
            self._groups.pop(group.target, None)

    def _check(self, group: _Group) -> None:
        """Raises `ZQueueError` if nothing more may gather."""
        self._outlet.check()
        if group.is_late:
            raise TimedOut("the broker does not answer: nothing of this was taken")
        if len(group.waiting) >= GATHER_MAX:
            raise QueueFull(f"{GATHER_MAX:,} bodies gather for this queue: none of this was taken")

    def _look(self) -> None:
        """Tell those who have waited for long, or in vain."""
        self._looking, now = None, self._loop.time()
        for group in self._groups.values():
            group.is_late = any(now - batch.since > LATE_S for batch in group.under_way.values())
            try:
                self._check(group)
            except ZQueueError as error:
                _fail(group.waiting, error)
                group.waiting = []
            for batch in group.under_way.values():
                if now - batch.since > CONFIRM_S:
                    _fail(batch.waiting, not_confirmed())
        if self._groups:
            self._looking = self._loop.call_later(LOOK_S, self._look)

    def _send(self, group: _Group) -> None:
        group.is_due = False
        count, nbytes = 0, 0
        for each in group.waiting[:TASKS_MAX]:
            nbytes += each.nbytes
            if count and nbytes > BYTES_MAX:
                break
            count += 1
        batch, group.waiting = group.waiting[:count], group.waiting[count:]
        self._send_batch(group, batch)
        self._let_go(group)

    def _send_batch(self, group: _Group, batch: list[_Waiting]) -> None:
        target = group.target
        try:
            confirmation = self._outlet.publish(
                target.queue, [each.body for each in batch], task=target.task,
                results=target.results,
            )  # fmt: skip
        except BodyError as error:
            if len(batch) == 1:
                _fail(batch, error)
            else:  # One of them cannot be sent: the others can.
                for each in batch:
                    self._send_batch(group, [each])
            return
        except ZQueueError as error:
            _fail(batch, error)
            return
        group.under_way[confirmation] = _Batch(self._loop.time(), batch)
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK_S, self._look)
        confirmation.add_done_callback(
            lambda done: self._mailbox.post(self._confirmed, group, done)
        )

    def _confirmed(self, group: _Group, confirmation: Confirmation) -> None:
        batch = group.under_way.pop(confirmation).waiting
        group.is_late = False
        error = confirmation.exception()
        if error is not None:
            _fail(batch, error)
        else:
            futures: list[TaskFuture[Any] | None] = list(confirmation.tasks)
            futures = futures or [None] * len(batch)
            for each, future in zip(batch, futures, strict=True):
                if not each.confirmed.done():
                    each.confirmed.set_result(future)
        self._let_go(group)


def not_confirmed() -> TimedOut:
    """Why who is on its way to a silent broker waits no longer."""
    return TimedOut(f"not confirmed within {CONFIRM_S:g} s: it may have been taken")


def _fail(batch: list[_Waiting], error: BaseException) -> None:
    for each in batch:
        if not each.confirmed.done():
            each.confirmed.set_exception(error)
