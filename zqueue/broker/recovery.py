"""Recovery: a broker takes up what another one of its id left in a store.

Theory of operation. The store gives the facts in force, in order, and then what it found: entries
of which something is not over, by number. Each kind of fact and each kind of entry has one method
here, which puts it where it would be if its broker had lived. What was in workers is ready again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from ..core.batch import Batch, Published
from ..core.confirm import GAPS_MAX, Moved, Taken
from ..core.records import DEAD, KEY, PUT, RESULT, Found, Recovered, Run
from ..wire.codec import array_length
from ..wire.messages import MOVED, REPLY, Result
from ..wire.options import unpack_options
from ..wire.unpacking import unpack
from .aside import Aside
from .book import Book, Timer
from .held import HeldResults
from .journal import BEGUN, MOVED_HERE, NAMED, PRODUCER, QUEUE, REFUSED, TAKEN
from .keys import Keys
from .peers import ProducerPeer
from .roster import Roster
from .skills import SKILLS_KEPT_S

Read = Callable[[int], bytes]
"""Reads the body of an entry from the store, by its number."""


class Recovery:
    """Takes up facts and entries. Before the first peer."""

    def __init__(
        self, book: Book, roster: Roster, aside: Aside, held: HeldResults, keys: Keys
    ) -> None:
        self.is_running = False
        """Whether there is more to be found."""
        self.found = 0
        """Tasks of queues that were found so far, and how many there are."""
        self.tasks = 0
        self._book = book
        self._roster = roster
        self._aside = aside
        self._held = held
        self._keys = keys
        self._read: Read = _cannot_read
        self._left: Iterator[Found] = iter(())
        if book.overflow is not None:
            book.overflow.load = self._load
            book.overflow.outline = self._outline
        self._tasks: dict[str, set[str]] = {}
        """By queue: names of the tasks that wait."""
        self._facts: dict[int, Callable[..., None]] = {
            PRODUCER: self._producer,
            TAKEN: self._taken,
            MOVED_HERE: self._moved,
            REFUSED: self._refused,
            BEGUN: self._begun,
            NAMED: self._named,
            QUEUE: self._queue,
        }
        self._entries: dict[int, Callable[[Found], None]] = {
            PUT: self._put,
            DEAD: self._dead,
            RESULT: self._result,
            KEY: self._key,
        }

    def __repr__(self) -> str:
        return f"<Recovery into {self._book!r}>"

    def begin(self, recovered: Recovered, read: Read) -> None:
        """Take up the facts, and how much there is. Bodies will be read by ``read``."""
        assert self._book.overflow is not None
        self._read = self._book.overflow.read = read
        self._left = recovered.found
        self.is_running = True
        self._keys.is_complete = False
        for fact in recovered.facts:
            kind, *fields = unpack(fact.meta)
            self._facts[kind](*fields)
        self._book.overflow.begin_to_find(recovered.held)
        self.tasks = sum(self._book.overflow.to_find.values())
        for name in self._book.overflow.to_find:
            self._book.recall(name)

    def go_on(self, entries: int) -> bool:
        """Take up so many of the entries that are left. Says whether there may be more."""
        overflow = self._book.overflow
        assert overflow is not None
        for entry in islice(self._left, entries):
            self._entries[entry.kind](entry)
            entries -= 1
        if entries:
            self.is_running = False
            self._keys.is_complete = True
            overflow.to_find.clear()  # Should the store have told of more than there was.
            self._expect_workers()
        self._book.wake_starved()
        return self.is_running

    def _expect_workers(self) -> None:
        """Whoever greets first need not have all tasks: those that wait do not fail for that."""
        book = self._book
        for name, tasks in self._tasks.items():
            names = frozenset(tasks)
            book.recall(name).expect(names)
            book.timers.set((Timer.SKILLS, (name, names)), book.now + SKILLS_KEPT_S)

    # --- facts ---

    def _producer(
        self,
        id: bytes,
        highest: int,
        missing: list[int],
        refused: list[list[Any]],
        first: int,
        user: str = "",
        moved: Sequence[int] = (),
    ) -> None:
        producer = self._roster.recall(id)
        producer.user = user
        producer.is_new = not highest and not first
        producer.first = first
        producer.taken = Taken.recall(highest, missing)
        producer.moved = Moved(moved)
        producer.refused = {number: (code, text) for number, code, text in refused}

    def _taken(self, id: bytes, ranges: list[int]) -> None:
        producer = self._roster.recall(id)
        for first, last in zip(ranges[::2], ranges[1::2], strict=True):
            for number in range(first, last + 1):
                self._take(producer, number)

    def _moved(self, id: bytes, ranges: list[int]) -> None:
        producer = self._roster.recall(id)
        for first, last in zip(ranges[::2], ranges[1::2], strict=True):
            for number in range(first, last + 1):
                producer.moved.add(number)

    def _refused(self, id: bytes, number: int, code: str, text: str) -> None:
        producer = self._roster.recall(id)
        self._take(producer, number)
        producer.refuse(number, code, text)

    def _begun(self, id: bytes, number: int, user: str = "") -> None:
        producer = self._roster.recall(id)
        producer.user = user
        self._begin(producer, number + 1)

    def _named(self, id: bytes, first: int, user: str = "") -> None:
        producer = self._roster.recall(id)
        producer.user = user
        producer.is_new = False
        producer.first = first
        producer.taken.begin(first)

    def _queue(self, name: str, paused: bool, draining: bool) -> None:
        queue = self._book.recall(name)
        queue.paused, queue.draining = paused, draining

    # --- entries ---

    def _put(self, found: Found) -> None:
        """A batch: what is left of it waits for its turn."""
        task, producer_id, sequence, flags, _, at_ms, *more = unpack(found.meta)
        if more:
            options = unpack_options(more[0])
            self._keys.restore_from(found.queue, options, producer_id, sequence, at_ms)
        self._tasks.setdefault(found.queue, set()).add(task)
        tasks = sum(run.tasks for run in found.runs)
        self.found += tasks
        if producer_id:
            producer = self._roster.recall(producer_id)
            if flags & MOVED:
                producer.moved.add(sequence)
            else:
                self._take(producer, sequence)
            if flags & REPLY:
                producer.open[sequence] = tasks
        queue = self._book.recall(found.queue)
        assert self._book.overflow is not None
        self._book.overflow.found(queue, found)
        self._book.with_work[queue] = None

    def _load(self, found: Found) -> None:
        """It is a batch's turn: what is left of it is ready, or waits for its time."""
        book, queue = self._book, self._book.recall(found.queue)
        batches = self._outline(found)
        due = [
            book.due_of(batch, _state_of(run)[4])
            for batch, run in zip(batches, found.runs, strict=True)
        ]
        if min(due) <= book.now:
            batches = self._batches(found, self._read(found.number))
        for batch, at in zip(batches, due, strict=True):
            book.restore(queue, batch, at)

    def _outline(self, found: Found) -> list[Batch]:
        """What is left of a batch, without the bodies."""
        batches = self._batches(found, b"")
        for batch in batches:
            batch.nbytes += found.nbytes * batch.count // found.tasks
        return batches

    def _batches(self, found: Found, body: bytes) -> list[Batch]:
        task, producer_id, sequence, flags, age_us, at_ms, *more = unpack(found.meta)
        producer = self._roster.recall(producer_id) if producer_id else None
        waited_ms = max(0, self._book.wall_ms() - at_ms)
        frame = Published(
            found.queue, task, body, array_length(body) if body else found.tasks, at=self._book.now,
            age_us=age_us + 1000 * waited_ms, origin=producer, sequence=sequence,
            reply=bool(flags & REPLY), options=unpack_options(more[0]) if more else None,
        )  # fmt: skip
        frame.entry = found.number
        return [_batch_of(frame, run) for run in found.runs]

    def _dead(self, found: Found) -> None:
        """A dead letter."""
        self._aside.recover(found, self._read(found.number))

    def _result(self, found: Found) -> None:
        """A result that its submitter has not."""
        producer_id, *fields = unpack(found.meta)[:5]
        producer = self._roster.recall(producer_id)
        self._held.restore(producer, Result(*fields), self._read(found.number), found.number)

    def _key(self, found: Found) -> None:
        """A key that a task had."""
        key, origin, sequence, until_ms = unpack(found.meta)[:4]
        self._keys.restore(found.queue, key, origin, sequence, until_ms, found.number)

    def _take(self, producer: ProducerPeer, number: int) -> None:
        if producer.is_new:
            self._begin(producer, number)
        if producer.taken.is_too_far(number):
            # Another process of its name put that, and the fact that it began was torn off.
            producer.first = 0
            producer.taken.begin(number - GAPS_MAX // 2)
        producer.taken.add(number)

    def _begin(self, producer: ProducerPeer, first: int) -> None:
        producer.is_new = False
        producer.taken = Taken(first)


def _state_of(run: Run) -> list[int]:
    """Attempt, failures, time-outs and crashes of tasks, and when they are due; 0: no such time."""
    state: list[int] = unpack(run.meta)[:5] if run.meta else [1, 0, 0, 0, 0]
    return state


def _batch_of(frame: Published, run: Run) -> Batch:
    attempt, failures, timeouts, crashes, _ = _state_of(run)
    return Batch(
        frame, run.first, run.tasks, attempt=attempt, failures=failures, timeouts=timeouts,
        crashes=crashes, fresh=attempt == 1,
    )  # fmt: skip


def _cannot_read(entry: int) -> bytes:
    raise RuntimeError(f"entry {entry} is wanted, and there is no store")
