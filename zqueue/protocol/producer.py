"""The producer's machine: numbers batches, keeps them until they are confirmed, sends them
again after a loss, and knows which results are still to come.

Theory of operation. A batch is *unconfirmed* from `publish` until the broker confirms or
refuses it. When the link comes back, all unconfirmed batches go out again under their old
numbers; the broker takes each number once. A batch that met a full queue stays unconfirmed and
goes out again after a pause. A batch whose results are wanted is *awaited* until every task of
it has one. When a different broker welcomes us, what the old one had taken is gone with its
memory: those awaited tasks are lost, and said to be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..core.backoff import Backoff
from ..core.confirm import ConfirmWindow
from .codec import BATCH_TASKS_MAX, pack
from .link import Connected, Conversation, Link, LinkEvent
from .messages import (
    OPEN,
    REPLY,
    TRY_AGAIN,
    Await,
    Confirm,
    Message,
    Progress,
    Publish,
    Refuse,
    Report,
    Result,
    encode,
    make,
)

WINDOW_BATCHES = 512
"""Unconfirmed batches of one producer, over all its queues. Below `GAPS_MAX`, and with full
batches of 128 KiB at most 64 MiB that wait for a confirm."""

RETRY_LOW_S, RETRY_HIGH_S = 0.01, 0.5
"""Pauses before a full queue is tried again, seconds."""

AWAIT_CHUNK = 256
"""Batches in one `Await`, so that its header stays within its limit."""


class Unconfirmed(NamedTuple):
    """A batch that the broker has not confirmed."""

    frames: list[bytes]
    tasks: int
    reply: bool


class Awaited:
    """A batch whose results are awaited."""

    __slots__ = ("open", "owed", "tasks")

    def __init__(self, tasks: int) -> None:
        self.tasks = tasks
        self.open = (1 << tasks) - 1
        """Positions without a result, as bits."""
        self.owed = tasks
        """Results that the present broker has still to send, as far as we have heard."""


class Confirmed(NamedTuple):
    """The broker has taken responsibility for these batches."""

    sequences: list[int]


class BatchRefused(NamedTuple):
    """The broker will never take this batch."""

    sequence: int
    tasks: int
    code: str
    text: str


class Postponed(NamedTuple):
    """A batch met a full queue, or a broker about to stop; it goes out again by itself."""

    sequence: int
    code: str


class ResultsCame(NamedTuple):
    """Some tasks of an awaited batch are over; for some of them it may not be the first time."""

    sequence: int
    first: int
    tasks: int
    status: int
    frame: bytes
    last: bool
    """Nothing of the batch is awaited any more."""


class Progressed(NamedTuple):
    """A task of an awaited batch runs, and says how far it has come."""

    sequence: int
    position: int
    done: int
    total: int


class ResultsLost(NamedTuple):
    """What is still awaited of this batch will not come."""

    sequence: int
    text: str


ProducerEvent = Confirmed | BatchRefused | Postponed | ResultsCame | Progressed | ResultsLost


class ProducerProtocol(Conversation[ProducerEvent]):
    """One producer's conversation with a broker."""

    def __init__(self, id: bytes, about: bytes, random: Callable[[], float]) -> None:
        super().__init__(Link("producer", id, about, random))
        self.window: ConfirmWindow[Unconfirmed] = ConfirmWindow(WINDOW_BATCHES)
        self._awaited: dict[int, Awaited] = {}
        self._resent: set[int] = set()
        self._postponed: list[int] = []
        self._retry = Backoff(random, low_s=RETRY_LOW_S, high_s=RETRY_HIGH_S)
        self._retry_at = 0.0

    def __repr__(self) -> str:
        return f"<ProducerProtocol {self.link.state.value}, {len(self.window)} unconfirmed>"

    def publish(
        self, queue: str, task: str, body: bytes, count: int, *, reply: bool, age_s: float = 0.0
    ) -> int:
        """Send a batch, or keep it until there is a broker. Returns its number.

        Ask ``window.is_full()`` before. ``age_s`` is how long its oldest body has waited, seconds.
        """
        flags = REPLY if reply else 0
        age_us = int(age_s * 1e6)
        publish = make(Publish, (self.window.next_sequence, queue, task, flags, age_us))
        frames = [encode(publish), body]
        sequence = self.window.add(make(Unconfirmed, (frames, count, reply)))
        if reply:
            self._awaited[sequence] = Awaited(count)
        if self.link.is_ready:
            self.link.out.append(frames)
        return sequence

    def tick(self, now: float) -> None:
        """Time has passed."""
        super().tick(now)
        if self._postponed and now >= self._retry_at and self.link.is_ready:
            for sequence in sorted(self._postponed):
                batch = self.window.get(sequence)
                if batch is not None:
                    self.link.out.append(batch.frames)
            self._postponed.clear()

    def next_deadline(self) -> float | None:
        """When `tick` wants to be called at the latest."""
        deadline = self.link.next_deadline()
        if self._postponed and self.link.is_ready:
            return self._retry_at if deadline is None else min(deadline, self._retry_at)
        return deadline

    def report(self, figures: dict[str, object]) -> None:
        """Tell the broker what is new in the producer's own figures."""
        self.link.send(Report(), [pack(figures)])

    def _on_link(self, event: LinkEvent) -> None:
        super()._on_link(event)
        if not isinstance(event, Connected):
            return
        self._postponed.clear()
        confirmed = [s for s in self._awaited if self.window.get(s) is None]
        if event.same_broker:
            self._await(confirmed)
        else:
            for sequence in confirmed:
                self._lost(sequence, "the broker was restarted, and its memory queues with it")
        for sequence, batch in self.window.items():
            self.link.out.append(batch.frames)
            awaited = self._awaited.get(sequence)
            if awaited is not None:
                self._resent.add(sequence)
                if not event.same_broker:
                    awaited.owed = awaited.tasks

    def _await(self, sequences: list[int]) -> None:
        for i in range(0, len(sequences), AWAIT_CHUNK):
            self.link.send(Await(sequences[i : i + AWAIT_CHUNK]))

    def _on_message(self, message: Message, frames: list[bytes], now: float) -> None:
        if isinstance(message, Confirm):
            self._on_confirm(message.ranges)
        elif isinstance(message, Result):
            self._on_result(message, frames[0] if frames else b"")
        elif isinstance(message, Progress):
            awaited = self._awaited.get(message.number)
            if awaited is not None and message.position < awaited.tasks:
                self._events.append(Progressed(*message))
        elif isinstance(message, Refuse) and message.sequence:
            self._on_refuse(message, now)

    def _on_confirm(self, ranges: list[int]) -> None:
        confirmed: list[int] = []
        for first, last in zip(ranges[::2], ranges[1::2], strict=False):
            last = min(last, self.window.next_sequence - 1)
            for sequence in range(max(first, last - 2 * WINDOW_BATCHES), last + 1):
                if self.window.remove(sequence) is not None:
                    confirmed.append(sequence)
        if confirmed:
            # Had the broker taken it before, its results may have been lost with the confirm.
            self._await([s for s in confirmed if s in self._resent])
            self._resent.difference_update(confirmed)
            self._retry.reset()
            self._events.append(Confirmed(confirmed))

    def _on_refuse(self, message: Refuse, now: float) -> None:
        sequence = message.sequence
        batch = self.window.get(sequence)
        if batch is None:
            return
        if message.code in TRY_AGAIN:
            if not self._postponed:
                self._retry_at = now + self._retry.next()
            self._postponed.append(sequence)
            self._events.append(Postponed(sequence, message.code))
            return
        self.window.remove(sequence)
        self._awaited.pop(sequence, None)
        self._resent.discard(sequence)
        self._events.append(BatchRefused(sequence, batch.tasks, message.code, message.text))

    def _on_result(self, message: Result, frame: bytes) -> None:
        sequence = message.sequence
        awaited = self._awaited.get(sequence)
        if awaited is None or max(message.first, message.tasks) > BATCH_TASKS_MAX:
            return
        if message.status == OPEN:
            if message.tasks < awaited.owed:
                self._lost(sequence, "the connection broke while results were on their way")
            return
        awaited.owed -= message.tasks
        run = ((1 << message.tasks) - 1) << message.first
        if not awaited.open & run:
            return  # Another broker ran them again.
        awaited.open &= ~run
        if not awaited.open:
            del self._awaited[sequence]
        self._events.append(
            ResultsCame(
                sequence,
                message.first,
                message.tasks,
                message.status,
                frame,
                last=not awaited.open,
            )
        )

    def _lost(self, sequence: int, text: str) -> None:
        del self._awaited[sequence]
        self._events.append(ResultsLost(sequence, text))
