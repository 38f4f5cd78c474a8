"""A connection: the link to one broker, and what was sent over it and has not ended.

Theory of operation. A published batch is one object, `Sent`, in one map, from its number until
nothing of it is to come. It is *unconfirmed* until the broker confirms or refuses it: when the link
comes back, all unconfirmed batches go out again under their old numbers; the broker takes each
number once. A batch that met a full queue stays unconfirmed and goes out again after a pause. A
batch whose results are wanted is *awaited* until every task of it has one. When a different broker
welcomes us, what the old one had confirmed is gone with its memory: those awaited tasks are lost,
and reported as lost.

Where there are several brokers, a batch can go from one connection to another, with its number, if
its broker is given up or has no room (`moves`). The one that it leaves is told (`gone`).

Whoever publishes gives a lane and a reply along with each batch. They are nothing to this machine:
its events hand back the `Sent`, and so what belongs to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.backoff import Backoff
from ..errors import ZQueueError
from ..wire.codec import BATCH_TASKS_MAX, pack
from ..wire.link import Connected, Conversation, Disconnected, Link, LinkEvent
from ..wire.messages import (
    CANCELLED,
    OPEN,
    TRY_AGAIN,
    Await,
    Confirm,
    Known,
    Message,
    Progress,
    Refuse,
    Report,
    Result,
    Tell,
)
from .earlier import EarlierResults, EarlierRun
from .gone import Gone
from .names import id_of
from .questions import Questions
from .sent import (
    AlreadyKnown,
    Answered,
    BatchRefused,
    Confirmed,
    ConnectionEvent,
    Postponed,
    Progressed,
    Resubmitted,
    ResultsCame,
    ResultsLost,
    Sent,
)

__all__ = ["WINDOW_BATCHES", "Connection", "id_of"]

WINDOW_BATCHES = 512
"""Unconfirmed batches of one producer, over all its queues. Below `GAPS_MAX`, and with full
batches of 128 KiB at most 64 MiB that wait for a confirm."""

RETRY_LOW_S, RETRY_HIGH_S = 0.01, 0.5
"""Pauses before a full queue is tried again, seconds."""

KEPT_BYTES_MAX = 64 << 20
"""Bodies that are kept after their confirm, to be sent again if results are lost. Beyond that none
are: it is the memory of the user's program."""

ON_THEIR_WAY = "the connection broke while results were on their way"

AWAIT_CHUNK = 256
"""Batches in one `Await`, so that its header stays within its limit."""


class Connection(Conversation[ConnectionEvent]):
    """One producer's conversation with one broker. It numbers its batches from ``base`` on."""

    def __init__(
        self, id: bytes, about: dict[str, Any], random: Callable[[], float], *, base: int = 0
    ) -> None:
        super().__init__(Link("producer", id, pack(about), random))
        self.random = random
        self.name = "the broker"
        self.siblings = [self]
        """All connections of the producer."""
        self.is_leaving = False
        """Whether it gets nothing new: its broker is named no more."""
        self.is_cut = False
        """Whether there is no connection of the network's, as far as the driver says."""
        self.origin = int.from_bytes(id[:6], "big")
        """What workers are told of where a task came from."""
        self.earlier = EarlierResults()
        self.sent: dict[int, Sent] = {}
        """By number, the lowest first."""
        self.unconfirmed = 0
        """Batches that are not confirmed."""
        self.unconfirmed_tasks = 0
        self.unconfirmed_bytes = 0
        self._begin = self._next_sequence = base + 1
        self.questions = Questions(self.link)
        self._came: list[int] = []
        """Results that the broker need not keep any more, as `Await` names them: those of a
        producer with a name (`named`)."""
        self._postponed: dict[int, Sent] = {}
        """What goes out again at `_retry_at`: a part of what is unconfirmed."""
        self._retry = Backoff(random, low_s=RETRY_LOW_S, high_s=RETRY_HIGH_S)
        self._retry_at = 0.0
        self._kept_bytes = 0
        """Of confirmed batches that may be sent again."""
        self._gone = Gone(self.link, self.has_numbered)
        self._now = 0.0

    def __repr__(self) -> str:
        return f"<Connection {self.link.state.value}, {self.unconfirmed} unconfirmed>"

    def has_room(self) -> bool:
        """Whether another batch may be published."""
        return self.unconfirmed < WINDOW_BATCHES

    def is_live(self, now: float) -> bool:
        """Whether the broker answers, as far as we know, and may have more."""
        is_here = self.link.is_ready and not self.is_cut and not self.is_leaving
        return is_here and not self.link.is_suspect(now)

    @property
    def instead(self) -> Connection | None:
        """The connection that has the broker of this address already, if one has."""
        twin = self.link.twin
        if twin is None or not twin.is_ready or self.link.is_ready:
            return None
        return next(each for each in self.siblings if each.link is twin)

    def is_done(self) -> bool:
        """Whether nothing is to be sent or to come."""
        is_telling = self.link.is_ready and self._gone.is_telling
        return not (self.sent or self._came or is_telling)

    def has_numbered(self, sequence: int) -> bool:
        """Whether a number was given here."""
        return self._begin <= sequence < self._next_sequence

    def may_have(self, place: tuple[int, int, int]) -> bool:
        """Whether the broker may have a task of that origin, batch and position."""
        return place[0] == self.origin and (len(self.siblings) == 1 or place[1] in self.sent)

    def is_awaiting(self) -> bool:
        """Whether any result is to come."""
        return any(sent.open for sent in self.sent.values())

    def publish(
        self, lane: Any, body: bytes, tasks: int, *, reply: Any, now: float, age_s: float = 0.0,
        promise: Any = None,
    ) -> Sent:  # fmt: skip
        """Send a batch, or keep it until there is a broker. Ask `has_room` before.

        Parameters:
            lane: knows its ``queue``, ``task`` and packed ``options`` (none: no bytes).
            reply: where its results go, None if they are not wanted.
            age_s: how long its oldest body has waited, seconds.
            promise: who waits for its confirm, None if nobody does.
        """
        assert self.has_room()
        sequence = self._next_sequence
        self._next_sequence += 1
        sent = Sent(sequence, lane, body, tasks, reply, now, age_s, promise)
        sent.holder = self
        self._keep(sent, now)
        return sent

    def _keep(self, sent: Sent, now: float) -> None:
        self.sent[sent.sequence] = sent
        self._count(sent)
        if self.link.is_ready:
            self.link.out.append(sent.to_send(now))

    def withdraw(self, sent: Sent, error: ZQueueError, now: float) -> None:
        """Have none of an unconfirmed batch sent any more; its answer is still to come."""
        sent.withdraw(error)
        self._postponed.pop(sent.sequence, None)
        if self.link.is_ready:
            self.link.out.append(sent.to_send(now))

    def give_up(self, sent: Sent) -> None:
        """Nobody waits for a batch that was withdrawn, or for its results."""
        self.unconfirmed_tasks -= sent.tasks
        sent.tasks = sent.open = 0

    # --- from one broker to another ---

    def unconfirmed_batches(self) -> list[Sent]:
        """What could go elsewhere."""
        return [each for each in self.sent.values() if not (each.confirmed or each.withdrawn)]

    def release(self, sent: Sent) -> None:
        """An unconfirmed batch goes elsewhere; `adopt` it there."""
        del self.sent[sent.sequence]
        self._uncount(sent)
        self._gone.add(sent)

    def adopt(self, sent: Sent, now: float) -> None:
        """Send a batch that was another connection's. It keeps its number, unless it was here
        before: the broker may have that, or have forgotten it."""
        if self is sent.holder or self in sent.been:
            sent.sequence = self._next_sequence
            self._next_sequence += 1
        sent.goes_to(self, moved=not self.has_numbered(sent.sequence))
        self._keep(sent, now)

    def may_lose_confirmed(self) -> bool:
        """Whether something is awaited that was confirmed by a broker without a store."""
        return not self.link.is_durable and any(
            sent.confirmed and sent.open for sent in self.sent.values()
        )

    def lose_confirmed(self, why: str) -> None:
        """Nothing more is awaited of what the broker has."""
        for sent in [sent for sent in self.sent.values() if sent.confirmed]:
            self._lose(sent, f"the broker at {self.name} was lost, {why}")

    # --- the machine's calls ---

    def receive(self, frames: list[bytes], now: float) -> None:
        """Take a message from the broker."""
        self._now = now
        super().receive(frames, now)

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._now = now
        super().tick(now)
        if self._postponed and now >= self._retry_at and self.link.is_ready:
            for sequence in sorted(self._postponed):
                self.link.out.append(self._postponed[sequence].to_send(now))
            self._postponed.clear()

    def next_deadline(self) -> float | None:
        """When `tick` wants to be called at the latest."""
        deadline = self.link.next_deadline()
        if self._postponed and self.link.is_ready:
            return self._retry_at if deadline is None else min(deadline, self._retry_at)
        return deadline

    def to_send(self) -> list[list[bytes]]:
        """Messages that should go out now, in order."""
        if self.link.is_ready:
            self._gone.tell()
            for i in range(0, len(self._came), 2 * AWAIT_CHUNK):
                self.link.send(Await([], self._came[i : i + 2 * AWAIT_CHUNK]))
            self._came.clear()
        return super().to_send()

    def took(self, run: EarlierRun) -> None:
        """A result of an earlier process is dealt with."""
        self.earlier.took(run)
        self._came += run.key

    def report(self, figures: dict[str, object]) -> None:
        """Report what is new in the producer's own figures."""
        self.link.send(Report(), [pack(figures)])

    def _on_link(self, event: LinkEvent) -> None:
        super()._on_link(event)
        self._gone.on_link()
        if isinstance(event, Disconnected):
            for sent in self.sent.values():
                sent.copies = 0
        if not isinstance(event, Connected):
            return
        self._postponed.clear()
        self._came.clear()  # All that is kept will come again.
        confirmed = [sent for sent in self.sent.values() if sent.confirmed]
        if event.same_broker:
            self._gone.tell()  # Before anything of that runs.
            self._await(confirmed)
        else:
            for sent in confirmed:
                self._lose(sent, "the broker was restarted, and its memory queues with it")
        for sent in self.sent.values():
            sent.results_to_come = None
            if sent.confirmed:
                continue
            if not event.same_broker:
                sent.leaves_its_broker()
            self.link.out.append(sent.to_send(self._now))
            sent.resent = bool(sent.open)
        self.questions.ask_again()

    def _await(self, batches: list[Sent]) -> None:
        for i in range(0, len(batches), AWAIT_CHUNK):
            self.link.send(Await([sent.sequence for sent in batches[i : i + AWAIT_CHUNK]]))

    def _on_message(self, message: Message, frames: list[bytes], now: float) -> None:
        if isinstance(message, Confirm):
            self._on_confirm(message.ranges)
        elif isinstance(message, Result):
            self._on_result(message, frames[0] if frames else b"")
        elif isinstance(message, Progress):
            sent = self.sent.get(message.number)
            if sent is not None and sent.open and message.position < sent.tasks:
                self._events.append(Progressed(sent, *message[1:]))
        elif isinstance(message, Known):
            sent = self.sent.get(message.sequence)
            if sent is not None and not sent.confirmed:
                sent.known = message[1:]
        elif isinstance(message, Tell) and frames:
            asked = self.questions.answer(frames[0])
            if asked is not None:
                self._events.append(Answered(asked))
        elif isinstance(message, Refuse) and message.sequence:
            self._on_refuse(message, now)

    def _on_confirm(self, ranges: list[int]) -> None:
        batches: list[Sent] = []
        for first, last in zip(ranges[::2], ranges[1::2], strict=False):
            if self.has_numbered(first):
                last = min(last, self._next_sequence - 1)
            # So many are never unconfirmed: a longer range is a mistake that must not cost us time.
            for sequence in range(max(first, last - 2 * WINDOW_BATCHES), last + 1):
                sent = self.sent.get(sequence)
                if sent is None:
                    self._gone.confirmed(sequence)
                elif not sent.confirmed:
                    if sent.known is not None and sent.open:
                        self._on_known(sent, *sent.known)
                    self._settle(sent)
                    batches.append(sent)
        if batches:
            # Had the broker taken it before, its results may have been lost with the confirm.
            self._await([sent for sent in batches if sent.resent and sent.open])
            self._retry.reset()
            self._events.append(Confirmed(batches))

    def _on_known(self, sent: Sent, origin: int, sequence: int) -> None:
        """What is awaited of it will not come, but perhaps that of the task that has its key."""
        sent.open = 0
        first = self.sent.get(sequence) if origin == self.origin else None
        if first is not None and not first.open:
            first = None
        self._events.append(AlreadyKnown(sent, origin, sequence, first))

    def _on_refuse(self, message: Refuse, now: float) -> None:
        sent = self.sent.get(message.sequence)
        if sent is None or sent.confirmed:
            return
        sent.copies -= 1
        if message.code in TRY_AGAIN and sent.copies > 0:
            return  # Of another copy of it the answer is still to come: that may be taken.
        if message.code in TRY_AGAIN:
            if not self._postponed:
                self._retry_at = now + self._retry.next()
            self._postponed[sent.sequence] = sent
            self._events.append(Postponed(sent, message.code, message.text))
            return
        sent.open = 0
        self._settle(sent)
        self._events.append(BatchRefused(sent, message.code, message.text))

    def _on_result(self, message: Result, frame: bytes) -> None:
        if max(message.first, message.tasks) > BATCH_TASKS_MAX:
            return
        sent = self.sent.get(message.sequence)
        if sent is None:
            self._on_late_result(message, frame)
            return
        if not sent.open:
            return
        if message.status == OPEN:
            sent.results_to_come = message.tasks
            if message.tasks < sent.owed.bit_count():
                self._lose(sent, ON_THEIR_WAY)
            return
        sent.owed &= ~(((1 << message.tasks) - 1) << message.first)
        self._take(sent, message, frame)
        if sent.results_to_come is not None:
            sent.results_to_come -= message.tasks
            if sent.results_to_come <= 0 and sent.open:
                self._lose(sent, ON_THEIR_WAY)

    def _take(self, sent: Sent, message: Result, frame: bytes) -> None:
        run = ((1 << message.tasks) - 1) << message.first
        if sent.open & run:  # Or they were run again.
            sent.open &= ~run
            sent.holder._forget(sent)
            last = not sent.open
            _, first, tasks, status = message
            self._events.append(ResultsCame(sent, first, tasks, status, frame, last=last))

    def _on_late_result(self, message: Result, frame: bytes) -> None:
        """Of a batch that went elsewhere, where it may not have run yet. What was cancelled here,
        because we said so, is not."""
        sent = self._gone.find(message.sequence)
        if sent is not None and message.status not in (OPEN, CANCELLED):
            self._take(sent, message, frame)

    def _lose(self, sent: Sent, text: str) -> None:
        if sent.resubmits and sent.confirmed and sent.frames:
            self._resubmit(sent, is_there=text is ON_THEIR_WAY)
            return
        sent.open = 0
        self._forget(sent)
        self._events.append(ResultsLost(sent, text))

    def _settle(self, sent: Sent) -> None:
        """The broker took it, or never will."""
        sent.confirmed = True
        if sent.resubmits and sent.open and self._kept_bytes + sent.nbytes <= KEPT_BYTES_MAX:
            self._kept_bytes += sent.nbytes
        else:
            sent.frames = []
        self._uncount(sent)
        self._forget(sent)

    def _resubmit(self, sent: Sent, *, is_there: bool) -> None:
        """It goes out again: to the broker that comes, or to another one (`moves`). The one that is
        there still would know its number."""
        self._kept_bytes -= sent.nbytes
        sent.again()
        if is_there:
            del self.sent[sent.sequence]
            self._gone.add(sent)
            sent.sequence = self._next_sequence
            self._next_sequence += 1
            self._keep(sent, self._now)
        else:
            self._count(sent)
        self._events.append(Resubmitted(sent))

    def _count(self, sent: Sent) -> None:
        self.unconfirmed += 1
        self.unconfirmed_tasks += sent.tasks
        self.unconfirmed_bytes += sent.nbytes

    def _uncount(self, sent: Sent) -> None:
        self.unconfirmed -= 1
        self.unconfirmed_tasks -= sent.tasks
        self.unconfirmed_bytes -= sent.nbytes
        self._postponed.pop(sent.sequence, None)

    def _forget(self, sent: Sent) -> None:
        """If nothing of it is to come, it has ended."""
        if sent.confirmed and not sent.open:
            self.sent.pop(sent.sequence, None)
            if sent.frames:
                self._kept_bytes -= sent.nbytes
                sent.frames = []
