"""The journal: what a store has to know, and which confirms wait until it does.

Theory of operation. While a broker decides, what must outlive it is noted here as records
(`core.records`): *entries* that have a number and a body (batches, and whatever else is kept until
it is over), what changed about them (over, again), and *facts* about none of them. `to_store` hands
out what has gathered, under a *ticket*; `stored` says that all up to a ticket will survive. A
confirm waits for the ticket of what was noted before it, and so does the answer to a command
(`commands`). Deliveries and results wait for nothing: a task may run twice, and a result goes to
who is here. Without a store there is no journal, and confirms go out at once.

Of what is handed out together, entries come first, then facts, then changes. A commit that is torn
then keeps a batch without the fact that its number is taken (it may run twice), never the fact
without the batch (it would be lost).

What tasks are over is nobody's hurry: alone it waits for what is, up to `OVER_WAITS_S`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from ..core.batch import Batch, Published
from ..core.confirm import to_ranges
from ..core.records import PUT, Again, Entry, Fact, Over, Record
from ..wire.codec import pack
from ..wire.messages import MOVED, REPLY
from .peers import ProducerPeer, Queue

OVER_WAITS_S = 0.1
"""How long it waits to be stored that tasks are over, if nothing else is to be stored, seconds.
Whatever a broker that dies has not stored of that runs again."""

CHANGES_MAX = 4096
"""Changes that wait for company: as many more are noted while a millisecond passes."""

UNSTORED_BYTES_MAX = 24 << 20
"""Entries that are not known to survive, bytes. Two commits of them fit into one file of a store:
that its disk is full is known while there is room for what was taken, and for what is over."""

FACTS_BYTES_MAX = 8 << 20
"""Of producers, among all facts in force: a store repeats them with every file. It is room for a
hundred thousand; who is away and does not fit is not known to the next broker."""

# Kinds of facts, the first field of each. What follows:
PRODUCER = 1
"""id, highest number, those below it that are not taken, ``[number, code, text]`` of each that was
refused for good, number of `NAMED` or 0, user, numbers that were moved here. All that is known of a
producer."""
TAKEN = 2
"""id, numbers as ``first, last, …``. Batches were put under them, or others in their place."""
REFUSED = 3
"""id, number, code, text. It is used up, and no batch was put under it."""
BEGUN = 4
"""id, number, user. It and all below are another broker's."""
QUEUE = 5
"""name, paused, draining. How somebody left a queue."""
NAMED = 6
"""id, number, user. Where the process that has the producer's name began; gaps below are given up.
The user, here and above, is whose key it had: empty, or not there, where there are no keys."""
MOVED_HERE = 7
"""id, numbers as ``first, last, …``. As `TAKEN`, of batches that were numbered for other
brokers."""


class Journal:
    """Gathers records, and the confirms that wait for them."""

    def __init__(self, next_entry: int = 1) -> None:
        self.next_entry = next_entry
        """The number of the next entry, of whatever kind."""
        self._entries: list[Entry] = []
        self._facts: list[Fact] = []
        self._changes: list[Over | Again] = []
        self._taken: dict[bytes, list[int]] = {}
        """By producer: numbers under which batches were put."""
        self._moved: dict[bytes, list[int]] = {}
        """The same, of batches that were numbered for other brokers."""
        self._is_pressing = False
        self._given = 0
        """The last ticket that was handed out."""
        self._stored = 0
        """All up to it survive."""
        self._unstored_bytes = 0
        """Of entries that are not known to."""
        self._gathered_bytes = 0
        """Of those, what was not handed out."""
        self.stored_entry = next_entry - 1
        """The last entry that survives."""
        self._given_entries: deque[tuple[int, int, int]] = deque()
        """Tickets, the last entry of each, and the bytes of its entries."""
        self._waiting: deque[tuple[int, ProducerPeer, int]] = deque()

    def __repr__(self) -> str:
        noted = len(self._entries) + len(self._facts) + len(self._changes) + len(self._taken)
        return f"<Journal: {noted} records, stored {self._stored} of {self._given}>"

    # --- what is noted ---

    def entry(self, kind: int, queue: str, tasks: int, meta: list[object], body: bytes) -> int:
        """Something is kept until so many tasks of it are `over`. Returns its number."""
        number = self.next_entry
        self.next_entry = number + 1
        self._entries.append(Entry(number, kind, queue, tasks, pack(meta), body))
        self._gathered_bytes += len(body)
        self._unstored_bytes += len(body)
        return number

    def over(self, entry: int, first: int, tasks: int) -> None:
        """Tasks of an entry are over, by their position in it."""
        changes = self._changes
        if changes:
            last = changes[-1]
            if type(last) is Over and last.entry == entry and last.first + last.tasks == first:
                changes[-1] = Over(entry, last.first, last.tasks + tasks)
                return
        changes.append(Over(entry, first, tasks))

    def again(self, entry: int, first: int, tasks: int, meta: list[object]) -> None:
        """Tasks of an entry have another state, which takes the place of what was said before."""
        self._changes.append(Again(entry, first, tasks, pack(meta)))

    def state(self, batch: Batch, due_ms: int) -> None:
        """What became of tasks so far, and when they are due by the wall clock; 0: now."""
        self.again(batch.frame.entry, batch.first, batch.count, of_tasks(batch, due_ms))

    def fact(self, meta: list[object]) -> None:
        """Something is so, until a later fact says otherwise (see `facts`)."""
        self._facts.append(Fact(pack(meta)))

    def put(self, frame: Published, at_ms: int) -> Entry:
        """A batch is in its queue; the wall clock says ``at_ms``."""
        meta = of_batch(frame, at_ms)
        frame.entry = self.entry(PUT, frame.queue, frame.count, meta, frame.body)
        if isinstance(frame.origin, ProducerPeer):
            self._number(frame.origin, frame.sequence)
        return self._entries[-1]

    def used(self, producer: ProducerPeer, sequence: int) -> None:
        """A batch was not put, for what was put before is as good: its number is used up."""
        self._number(producer, sequence)

    def _number(self, producer: ProducerPeer, sequence: int) -> None:
        numbers = self._moved if sequence in producer.moved else self._taken
        numbers.setdefault(producer.id, []).append(sequence)

    def facts(self, producers: Iterable[ProducerPeer], queues: Iterable[Queue]) -> list[Fact]:
        """All that is in force after what was handed out: facts before may be forgotten.

        A number whose batch was not handed out is not among those that are taken: the batch may yet
        be lost.
        """
        facts = [Fact(pack(of_queue(queue))) for queue in queues if queue.paused or queue.draining]
        known = [each for each in producers if each.first or not each.is_new or each.moved.numbers]
        left_bytes = FACTS_BYTES_MAX
        for producer in sorted(known, key=_is_away):
            fact = _of_producer(
                producer, self._taken.get(producer.id, []), self._moved.get(producer.id, [])
            )
            left_bytes -= len(fact.meta)
            if left_bytes < 0:
                break
            facts.append(fact)
        return facts

    # --- what is handed out ---

    def press(self) -> None:
        """What has gathered waits for no company."""
        self._is_pressing = True

    @property
    def is_pressing(self) -> bool:
        """Whether somebody waits for what has gathered, or it is much."""
        return bool(self._is_pressing or self._is_awaited() or len(self._changes) >= CHANGES_MAX)

    def is_empty(self) -> bool:
        """Whether nothing has gathered."""
        return not (self._is_awaited() or self._changes)

    def is_behind(self) -> bool:
        """Whether something that was noted is not known to survive, changes alone left aside."""
        return self._is_awaited() or self._stored < self._given

    def is_too_far_behind(self, nbytes: int) -> bool:
        """Whether so many bytes more must wait until some of those before them are stored."""
        return self._unstored_bytes > 0 and self._unstored_bytes + nbytes > UNSTORED_BYTES_MAX

    def _is_awaited(self) -> bool:
        return bool(self._entries or self._facts or self._taken or self._moved)

    def wait(self, producer: ProducerPeer, sequence: int) -> None:
        """A confirm waits for all that was noted so far."""
        ticket = self._given + 1 if self._is_awaited() else self._given
        self._waiting.append((ticket, producer, sequence))

    def ticket(self) -> int | None:
        """Under which all that was noted so far is stored, changes included; None: it is."""
        if not self.is_empty():
            return self._given + 1
        return self._given if self._stored < self._given else None

    def to_store(self) -> tuple[int, list[Record]] | None:
        """What has gathered, and its ticket; None if nothing has."""
        self._is_pressing = False
        if self.is_empty():
            return None
        records: list[Record] = [*self._entries, *self._facts]
        for kind, taken in ((TAKEN, self._taken), (MOVED_HERE, self._moved)):
            for who, numbers in taken.items():
                records.append(Fact(pack([kind, who, to_ranges(numbers)])))
        records += self._changes
        self._given += 1
        self._taken, self._moved = {}, {}
        self._entries, self._facts, self._changes = [], [], []
        self._given_entries.append((self._given, self.next_entry - 1, self._gathered_bytes))
        self._gathered_bytes = 0
        return self._given, records

    def stored(self, ticket: int) -> Iterator[tuple[ProducerPeer, int]]:
        """All up to a ticket survives. The confirms that waited for that."""
        assert self._stored <= ticket <= self._given
        self._stored = ticket
        waiting, given = self._waiting, self._given_entries
        while given and given[0][0] <= ticket:
            _, self.stored_entry, nbytes = given.popleft()
            self._unstored_bytes -= nbytes
        while waiting and waiting[0][0] <= ticket:
            _, producer, sequence = waiting.popleft()
            yield producer, sequence


def of_queue(queue: Queue) -> list[object]:
    """The fact how somebody left a queue."""
    return [QUEUE, queue.ready.name, queue.paused, queue.draining]


def of_batch(frame: Published, at_ms: int) -> list[object]:
    """What is known of a batch beside its body, while the wall clock says ``at_ms``."""
    producer, flags = b"", REPLY if frame.reply else 0
    if isinstance(frame.origin, ProducerPeer):
        producer = frame.origin.id
        if frame.sequence in frame.origin.moved:
            flags |= MOVED
    meta: list[object] = [frame.task, producer, frame.sequence, flags, frame.age_us, at_ms]
    if frame.options is not None:
        meta.append(frame.options.pack())
    return meta


def of_tasks(batch: Batch, due_ms: int) -> list[object]:
    """What became of tasks so far, and when they are due by the wall clock; 0: at no such time."""
    return [batch.attempt, batch.failures, batch.timeouts, batch.crashes, due_ms]


def _is_away(producer: ProducerPeer) -> bool:
    return producer.peer is None


def _of_producer(producer: ProducerPeer, gathered: list[int], gathered_moved: list[int]) -> Fact:
    refused = [[number, code, text] for number, (code, text) in producer.refused.items()]
    missing = sorted(producer.taken.missing().union(gathered))
    moved = [number for number in producer.moved.numbers if number not in gathered_moved]
    known = [producer.id, producer.taken.highest, missing, refused, producer.first, producer.user]
    return Fact(pack([PRODUCER, *known, *([moved] if moved else [])]))
