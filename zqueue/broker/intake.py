"""Intake: how tasks come into a broker's queues, and when their producers are told.

Theory of operation. A published batch is checked, counted once by its number, and put in its
queue; then its confirm is due. While the queue is at its bound the confirm is withheld, so the
producer's window fills and its callers wait; a quarter beyond the bound the batch is not taken
at all, and the producer is told to send it again later. (Who says that it will not wait is told
so from the bound on, and nothing of it is withheld.) Nothing that was confirmed is ever
refused, and nothing is dropped without an answer.

The plain lane has no answers, so there the device stops reading instead (`Ingest.FULL`).
"""

from __future__ import annotations

import enum
import functools

from ..auth.users import User
from ..core.batch import OVERHEAD_BYTES, Batch, Published
from ..core.confirm import Taken, to_ranges
from ..errors import ProtocolError
from ..wire.codec import FRAME_BYTES_MAX, array_length
from ..wire.headers import NAME, make
from ..wire.messages import (
    BAD_NAME,
    DRAINING,
    FULL,
    IMPATIENT,
    MALFORMED,
    MOVED,
    NO_RESULTS,
    REPLY,
    TOO_LARGE,
    Confirm,
    Known,
    Publish,
    Refuse,
)
from ..wire.options import TaskOptions, unpack_options
from .book import Book
from .held import HeldResults
from .journal import BEGUN, NAMED, REFUSED, Journal
from .keys import Keys
from .peers import ProducerPeer, Queue, Send
from .permissions import check_queue

AGE_US_MAX = 1 << 53
"""No task is believed to be older, microseconds: what is added to it must still fit."""

CONFIRM_SEQUENCES_MAX = 512
"""Numbers in one `Confirm`, so that its header stays within its limit."""


@functools.lru_cache(4096)
def _may_be_task(name: str) -> bool:
    return not name or NAME.match(name) is not None


def _check_options(packed: bytes, tasks: int) -> TaskOptions:
    options = unpack_options(packed)
    if options.key is not None and tasks > 1:
        raise ProtocolError(MALFORMED, f"a key is of one task, and these are {tasks}")
    return options


class Ingest(enum.Enum):
    """What became of a batch of the plain lane."""

    TAKEN = "taken"
    FULL = "full"
    REFUSED = "refused"


class Intake:
    """Puts what is published into queues."""

    def __init__(self, book: Book, held: HeldResults, keys: Keys, send: Send) -> None:
        self.draining = False
        self._book = book
        self._held = held
        self._keys = keys
        self._send = send
        self._ingested = 0
        """The number of the last batch that came from no producer (plain lane, dead letters)."""
        self._confirming: dict[ProducerPeer, None] = {}
        self._withholding: dict[Queue, None] = {}

    def __repr__(self) -> str:
        return f"<Intake, {len(self._withholding)} queues withhold>"

    def publish(
        self, producer: ProducerPeer, message: Publish, body: bytes, options: bytes | None = None,
        user: User | None = None,
    ) -> None:  # fmt: skip
        """Take a batch of a producer, with what is asked for it, or say why not. ``user``: whose it
        is, where there are keys."""
        sequence, moved = message.sequence, message.flags & MOVED
        if self._was_taken(producer, sequence, moved):
            self._again(producer, message, options, user)
            return
        if self.draining:
            self._refuse(producer, sequence, DRAINING, "the broker is about to stop")
            return
        if not moved and producer.taken.is_too_far(sequence):
            self._refuse(producer, sequence, FULL, "earlier batches must be taken first")
            return
        try:
            if user is not None:
                check_queue(user, message.queue)
            queue, frame = self._check(message, body, options)
        except ProtocolError as error:
            self._book.counters.refused += 1
            producer.refuse(sequence, error.code, str(error), moved)
            if not moved:
                self._note([REFUSED, producer.id, sequence, error.code, str(error)])
            self._refuse(producer, sequence, error.code, str(error))
            return
        is_impatient = bool(message.flags & IMPATIENT)
        why = self._why_not_now(queue, frame, is_impatient)
        if why is not None:
            queue.counters.postponed += 1
            self._refuse(producer, sequence, *why)
            return
        if frame.options is not None and self._is_known(producer, message, queue, frame.options):
            return
        producer.take(sequence, moved)
        queue.counters.published += frame.count
        frame.origin = producer
        frame.sequence = sequence
        if frame.reply:
            producer.open[sequence] = frame.count
        self._book.put(queue, Batch(frame, 0, frame.count))
        if frame.options is not None:
            self._keys.take(frame, frame.options)
        if queue.ready.is_full() and not is_impatient:
            self._withhold(queue, producer, sequence)
        else:
            self._confirm(producer, sequence)

    def withdrawn(self, producer: ProducerPeer, numbers: list[int], moved: list[int]) -> None:
        """Batches of these numbers will not come, or came and are forgotten."""
        for sequence in numbers:
            if producer.is_new:
                self._confirm(producer, sequence)  # This broker begins to count behind them.
            elif not producer.taken.is_too_far(sequence):
                self._use_up(producer, sequence, 0)
        for sequence in moved:
            self._use_up(producer, sequence, MOVED)

    def _use_up(self, producer: ProducerPeer, sequence: int, moved: int) -> None:
        producer.take(sequence, moved)
        if self._book.journal is not None:
            self._book.journal.used(producer, sequence)
        self._confirm(producer, sequence)

    def ingest(self, name: str, body: bytes) -> Ingest:
        """Take a batch of the plain lane; it says FULL while there is no room for it."""
        try:
            queue, frame = self._check(Publish(0, name, "", 0), body)
        except ProtocolError:
            self._book.counters.refused += 1
            return Ingest.REFUSED
        if self.refuses(queue, len(body) + OVERHEAD_BYTES):
            return Ingest.FULL
        queue.counters.ingested += frame.count
        self._put_ours(queue, frame)
        return Ingest.TAKEN

    def refuses(self, queue: Queue, nbytes: int) -> str:
        """Why a queue takes nothing from who can wait: FULL or DRAINING; empty if it does."""
        budget = self._book.budget
        if budget.held:
            self._held.shrink(budget.bytes_max - nbytes)
        if queue.draining:
            return DRAINING
        return FULL if self._why_not_stored(nbytes) or queue.ready.is_full() else ""

    def replay(self, queue: Queue, frame: Published) -> None:
        """Take a task that was a dead letter, where nothing is refused."""
        queue.counters.replayed += frame.count
        self._put_ours(queue, frame)

    def _put_ours(self, queue: Queue, frame: Published) -> None:
        """Put a batch that no producer numbered."""
        journal = self._book.journal
        # Where a broker goes on with what another one had, its numbers must go on, too.
        self._ingested = self._ingested + 1 if journal is None else journal.next_entry
        frame.sequence = self._ingested
        self._book.put(queue, Batch(frame, 0, frame.count))

    def send_confirms(self) -> None:
        """Send the confirms that are due, one message a producer."""
        if self._withholding:
            self._release_withheld()
        for producer in self._confirming:
            numbers, producer.to_confirm = producer.to_confirm, []
            if producer.peer is None:
                continue  # It will send them again when it is back, and be told then.
            for i in range(0, len(numbers), CONFIRM_SEQUENCES_MAX):
                ranges = to_ranges(numbers[i : i + CONFIRM_SEQUENCES_MAX])
                self._send(producer.peer, make(Confirm, (ranges,)), [])
        self._confirming.clear()

    def _release_withheld(self) -> None:
        """Tasks may have left: confirms are due, of any queue, for the queues share a budget."""
        budget = self._book.budget
        if budget.held:
            self._held.shrink(budget.bytes_max * 7 // 8)  # Nobody waits for those who are away.
        for queue in list(self._withholding):
            if queue.ready.is_below_low_water():
                for producer, sequence in queue.withheld:
                    producer.withheld.discard(sequence)
                    self._confirm(producer, sequence)
                queue.withheld.clear()
                del self._withholding[queue]

    def _check(
        self, message: Publish, body: bytes, options: bytes | None = None
    ) -> tuple[Queue, Published]:
        if not _may_be_task(message.task):
            raise ProtocolError(BAD_NAME, "a task name must be 1 to 128 of A-Z a-z 0-9 _ . -")
        if len(body) > FRAME_BYTES_MAX:
            raise ProtocolError(TOO_LARGE, f"the batch is over {FRAME_BYTES_MAX:,} bytes")
        count = array_length(body)
        queue = self._book.queue(message.queue)
        reply = bool(message.flags & REPLY)
        if reply and queue.egress:
            raise ProtocolError(
                NO_RESULTS, f"queue {message.queue!r} leaves by the plain lane: no results"
            )
        frame = Published(
            queue.ready.name, message.task, body, count,
            at=self._book.now, age_us=min(message.age_us, AGE_US_MAX), reply=reply,
        )  # fmt: skip
        if options is not None:
            frame.options = _check_options(options, count)
        return queue, frame

    def _was_taken(self, producer: ProducerPeer, sequence: int, moved: int) -> bool:
        if moved:
            return sequence in producer.moved
        if producer.is_new:
            self._begin(producer, sequence)
        return sequence in producer.taken

    def _begin(self, producer: ProducerPeer, sequence: int) -> None:
        """The first number that is heard: what lies below it was another broker's, or, of a name,
        another process's."""
        producer.is_new = False
        if producer.first:
            self._note([NAMED, producer.id, producer.first, producer.user])
        else:
            producer.taken = Taken(sequence)
            self._note([BEGUN, producer.id, sequence - 1, producer.user])

    def _note(self, fact: list[object]) -> None:
        if self._book.journal is not None:
            self._book.journal.fact(fact)

    def _why_not_now(
        self, queue: Queue, frame: Published, is_impatient: bool
    ) -> tuple[str, str] | None:
        """Why a batch must come again later: code and text; None: it need not."""
        name, nbytes, budget = queue.ready.name, len(frame.body) + OVERHEAD_BYTES, self._book.budget
        if queue.draining:
            return DRAINING, f"queue {name!r} is draining"
        if why := self._why_not_stored(nbytes):
            return FULL, why
        if budget.held:
            self._held.shrink(budget.bytes_max - nbytes)
        if queue.ready.is_over(frame.count, nbytes) or (is_impatient and queue.ready.is_full()):
            return FULL, f"queue {name!r} is full"
        if frame.options is not None and not self._keys.has_room(name, frame.options):
            return FULL, self._keys.why_full
        return None

    def _why_not_stored(self, nbytes: int) -> str:
        """Why the store has no room for so many bytes now; empty: it has."""
        book = self._book
        if book.store_full or book.journal is None or not book.journal.is_too_far_behind(nbytes):
            return book.store_full
        return "the disk is behind with what was sent before"

    def _is_known(
        self, producer: ProducerPeer, message: Publish, queue: Queue, options: TaskOptions
    ) -> bool:
        """Whether another task has the key of this one, which then is not put but confirmed."""
        sequence = message.sequence
        if not self._tell_first(producer, sequence, queue.ready.name, options.key):
            return False
        producer.take(sequence, message.flags & MOVED)
        queue.counters.deduplicated += 1
        if self._book.journal is not None:
            self._book.journal.used(producer, sequence)
        self._confirm(producer, sequence)
        return True

    def _tell_first(
        self, producer: ProducerPeer, sequence: int, queue: str, key: str | None
    ) -> bool:
        """Tell a sender which task has a key, if it is not this one."""
        first = None if key is None else self._keys.find(queue, key)
        if first is None or first[:2] == (producer.number, sequence):
            return False
        if producer.peer is not None:
            self._send(producer.peer, Known(sequence, first.origin, first.sequence), [])
        return True

    def _again(
        self, producer: ProducerPeer, message: Publish, options: bytes | None, user: User | None
    ) -> None:  # fmt: skip
        """A batch came that was dealt with before: give the same answer."""
        sequence = message.sequence
        self._book.counters.duplicates += 1
        if sequence in producer.refused:
            self._refuse(producer, sequence, *producer.refused[sequence])
        elif sequence not in producer.withheld:
            # It may name another queue than it did.
            if options is not None and (user is None or user.may_use(message.queue)):
                self._tell_first(producer, sequence, message.queue, unpack_options(options).key)
            self._confirm(producer, sequence)

    def _withhold(self, queue: Queue, producer: ProducerPeer, sequence: int) -> None:
        queue.withheld.append((producer, sequence))
        producer.withheld.add(sequence)
        self._withholding[queue] = None

    def stored(self, journal: Journal, ticket: int) -> None:
        """All that was noted up to a ticket survives: the confirms that waited for it are due."""
        for producer, sequence in journal.stored(ticket):
            producer.withheld.discard(sequence)
            self._confirm_now(producer, sequence)

    def _confirm(self, producer: ProducerPeer, sequence: int) -> None:
        journal = self._book.journal
        if journal is not None and journal.is_behind():
            producer.withheld.add(sequence)
            journal.wait(producer, sequence)
        else:
            self._confirm_now(producer, sequence)

    def _confirm_now(self, producer: ProducerPeer, sequence: int) -> None:
        producer.to_confirm.append(sequence)
        self._confirming[producer] = None

    def _refuse(self, producer: ProducerPeer, sequence: int, code: str, text: str) -> None:
        if producer.peer is not None:
            self._send(producer.peer, Refuse(code, sequence, text), [])
