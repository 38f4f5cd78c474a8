"""Set aside: the dead letters of a broker. What becomes one, what is told of them, what is done.

Theory of operation. Nothing of what is asked for here has a state beyond the letters themselves.
Who reads many, replays or drops them goes through them in pages, each of which ends with the number
to go on after; so whoever dies in the middle leaves letters that are not dealt with, and nothing
else. A letter is replayed in one step, in which it becomes a task of a queue that has room for it,
or stays what it is.

With a journal a letter is an entry there, and its number is the entry's. That a task became a
letter, or a letter a task, is stored as one: the new entry, and that the old one is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

from ..core.batch import OVERHEAD_BYTES, Batch, Published
from ..core.dead import DeadLetter, DeadLetters
from ..core.records import DEAD, Found
from ..errors import ProtocolError
from ..wire.codec import array_header, array_length, pack
from ..wire.headers import unpack_map
from ..wire.letters import (
    GROUPS_MAX,
    IMPORT_MAP_BYTES_MAX,
    LETTERS_BYTES_MAX,
    LETTERS_MAX,
    REPLAY_MAX,
    TEXT_BYTES_MAX,
    TRACEBACK_BYTES_MAX,
    TYPE_CHARS_MAX,
    Page,
    read_letter,
    read_page,
    tell_letter,
)
from ..wire.messages import DRAINING, DROP, IMPORT, MALFORMED, REPLAY, Control
from ..wire.options import TaskOptions, unpack_options
from ..wire.unpacking import NO_MAPS, index_bodies, unpack
from .book import Book
from .intake import Intake
from .peers import ProducerPeer, Queue, origin_number

DAMAGED_BYTES_MAX = 4096
"""Bytes that are kept of a batch that cannot be cut, for people to look at."""

GROUP_TEXT_CHARS_MAX = 200
"""What a group tells of its newest error."""

LETTER_ACTIONS = frozenset({REPLAY, DROP, IMPORT})
"""What may be done to dead letters (`Control`)."""

Answer = list[bytes]
"""The frames of a `Tell`."""


class Aside:
    """Sets tasks aside, tells of them, replays, drops and takes them in."""

    def __init__(self, id: bytes, book: Book, dead: DeadLetters, intake: Intake) -> None:
        self._origin = origin_number(id)
        self._book = book
        self._dead = dead
        self._intake = intake
        self._number = 0

    def __repr__(self) -> str:
        return f"<Aside: {self._dead!r}>"

    # --- what becomes a letter ---

    def bury(self, batch: Batch, reason: str, errors: bytes) -> None:
        """Tasks that ended for good, and that nobody awaits. ``errors`` has one for each of them,
        or one that stands for all."""
        frame = batch.frame
        self._book.queues[frame.queue].counters.bury(reason, batch.count)
        origin = frame.origin.number if isinstance(frame.origin, ProducerPeer) else self._origin
        died_s = self._book.wall_s + self._book.now
        sent_s = self._book.wall_s + frame.at - frame.age_us / 1e6
        options = b"" if frame.options is None else frame.options.pack()
        failures = batch.failures + (reason == "failed")
        timeouts = batch.timeouts + (reason == "timeout")
        for position, error in enumerate(_errors_of(batch.count, errors)):
            try:
                body = batch.part(position, 1).body(index_bodies, array_header)
            except ProtocolError:
                body = frame.body[:DAMAGED_BYTES_MAX]
            self._keep(
                DeadLetter(
                    0, frame.queue, frame.task, body, reason, *error,
                    deliveries=batch.attempt, failures=failures, timeouts=timeouts,
                    crashes=batch.crashes, sent_s=max(0.0, sent_s), died_s=died_s, options=options,
                    origin=origin, sequence=frame.sequence, position=batch.first + position,
                )
            )  # fmt: skip

    def recover(self, found: Found, body: bytes) -> None:
        """A letter that the broker before this one kept."""
        task, *rest = unpack(found.meta)[: len(DeadLetter._fields) - 3]
        self._add(DeadLetter(found.number, found.queue, task, body, *rest))

    def _keep(self, letter: DeadLetter) -> None:
        """Keep a letter, under the next number."""
        journal = self._book.journal
        if journal is None:
            number = self._number + 1
        else:
            meta = [letter.task, *letter[4:]]
            number = journal.entry(DEAD, letter.queue, 1, meta, letter.body)
        self._add(DeadLetter(number, *letter[1:]))

    def _add(self, letter: DeadLetter) -> None:
        self._number = letter.number
        for evicted in self._dead.add(letter):
            self._over(evicted)

    def _over(self, letter: DeadLetter) -> None:
        """A letter is kept no more."""
        if self._book.journal is not None:
            self._book.journal.over(letter.number, 0, 1)

    # --- what is told ---

    def tell(self, frames: list[bytes]) -> Answer:
        """A page of letters, and a frame for the body of each. Raises `ProtocolError`."""
        page = _page_of(frames, LETTERS_MAX)
        letters: list[DeadLetter] = []
        nbytes, next_ = 0, None
        for letter in (
            self._dead.newest_first(page.wanted, page.before)
            if page.before
            else self._dead.oldest_first(page.wanted, page.after, page.upto)
        ):
            nbytes += letter.nbytes
            if len(letters) >= page.limit or (letters and nbytes > LETTERS_BYTES_MAX):
                next_ = letters[-1].number
                break
            letters.append(letter)
        told = {"letters": [tell_letter(letter) for letter in letters], "next": next_}
        return [pack({**told, **self.totals()}), *(letter.body for letter in letters)]

    def tell_groups(self, frames: list[bytes]) -> Answer:
        """The groups, those that grew last first. Raises `ProtocolError`."""
        page = _page_of(frames, GROUPS_MAX)
        groups = islice(self._dead.groups(page.wanted), page.after, page.after + page.limit + 1)
        told = [{**group._asdict(), "text": group.text[:GROUP_TEXT_CHARS_MAX]} for group in groups]
        next_ = page.after + page.limit if len(told) > page.limit else None
        return [pack({"groups": told[: page.limit], "next": next_, **self.totals()})]

    def totals(self) -> dict[str, int]:
        """How many there are and were, and what became of them."""
        dead = self._dead
        return {
            "kept": len(dead), "groups_kept": dead.groups_kept, "bytes": dead.bytes,
            "letters_max": dead.letters_max, "bytes_max": dead.bytes_max, "total": dead.total,
            "evicted": dead.evicted, "replayed": dead.replayed, "dropped": dead.dropped,
        }  # fmt: skip

    # --- what is done ---

    def control(self, message: Control, frames: list[bytes]) -> Answer:
        """Replay, drop or take in letters. Raises `ProtocolError`."""
        if message.action == REPLAY:
            return [pack(self._replay(message.queue, frames))]
        if message.action == DROP:
            return [pack(self._drop(frames))]
        return [pack(self._take_in(frames))]

    def _replay(self, name: str, frames: list[bytes]) -> dict[str, Any]:
        """Letters become tasks of that queue, or of their own, as far as there is room."""
        page = _page_of(frames, REPLAY_MAX)
        replayed = damaged = 0
        last, next_, stopped = page.after, None, {}
        for letter in self._dead.oldest_first(page.wanted, page.after, page.upto):
            if replayed + damaged >= page.limit:
                next_ = last
                break
            if not _is_whole(letter.body):
                damaged += 1
            else:
                queue = self._book.queue(name or letter.queue)
                code = self._put_back(letter, queue)
                if code:
                    next_, stopped = last, {"stopped": code, "queue": queue.ready.name}
                    break
                replayed += 1
            last = letter.number
        return {"replayed": replayed, "damaged": damaged, "next": next_, **stopped}

    def _put_back(self, letter: DeadLetter, queue: Queue) -> str:
        """A letter becomes a task again, as if it were sent now. Returns why not, or nothing."""
        code = self._intake.refuses(queue, len(letter.body) + OVERHEAD_BYTES)
        if code or self._intake.draining:
            return code or DRAINING
        frame = Published(
            queue.ready.name, letter.task, letter.body, 1, at=self._book.now,
            options=_again(letter.options),
        )  # fmt: skip
        self._intake.replay(queue, frame)
        self._dead.replay(letter)
        self._over(letter)
        return ""

    def _drop(self, frames: list[bytes]) -> dict[str, Any]:
        page = _page_of(frames, REPLAY_MAX)
        dropped = 0
        last, next_ = page.after, None
        for letter in self._dead.oldest_first(page.wanted, page.after, page.upto):
            if dropped >= page.limit:
                next_ = last
                break
            self._dead.drop(letter)
            self._over(letter)
            dropped += 1
            last = letter.number
        return {"dropped": dropped, "next": next_}

    def _take_in(self, frames: list[bytes]) -> dict[str, Any]:
        """Letters that another broker kept, all or none: none is dropped for them."""
        told = unpack_map(frames[0], nbytes_max=IMPORT_MAP_BYTES_MAX) if frames else {}
        rows, bodies = told.get("letters"), frames[1:]
        if type(rows) is not list or len(rows) > LETTERS_MAX or len(rows) != len(bodies):
            text = f"letters are up to {LETTERS_MAX} maps, with a frame for the body of each"
            raise ProtocolError(MALFORMED, text)
        letters = [read_letter(row, body) for row, body in zip(rows, bodies, strict=True)]
        if not self._dead.has_room(sum(letter.nbytes for letter in letters), len(letters)):
            return {"imported": 0, "full": True}
        for letter in letters:
            self._keep(letter)
        return {"imported": len(letters), "full": False}


def _again(packed: bytes) -> TaskOptions | None:
    """What was asked for a task that is to run again: all but the time, and the key."""
    try:
        options = unpack_options(packed) if packed else TaskOptions()
    except ProtocolError:  # Of a version that knows more.
        options = TaskOptions()
    left = options._replace(delay_ms=None, at_ms=None, key=None, key_window_ms=None)
    return None if left == TaskOptions() else left


def _page_of(frames: list[bytes], limit_max: int) -> Page:
    """Which letters are meant: all, if nothing is said of them."""
    if len(frames) > 1:
        raise ProtocolError(MALFORMED, "one map at most says which dead letters are meant")
    return read_page(unpack_map(frames[0]) if frames else {}, limit_max)


def _is_whole(body: bytes) -> bool:
    """Whether this is a batch of one, which a worker can be given."""
    try:
        return array_length(body) == 1 and len(index_bodies(body)) == 2
    except ProtocolError:
        return False


Error = tuple[str, str, str]
"""Type, text and traceback."""


def _errors_of(count: int, errors: bytes) -> Iterator[Error]:
    """The error of each task; one may stand for all."""
    try:
        offsets = index_bodies(errors)
    except ProtocolError:
        offsets = ()
    if len(offsets) - 1 == count:
        for start, stop in pairwise(offsets):
            yield _read_error(errors[start:stop])
    else:
        only = _read_error(errors[offsets[0] : offsets[1]] if len(offsets) > 1 else b"")
        for _ in range(count):
            yield only


def _read_error(packed: bytes) -> Error:
    """``[type, text, traceback]``, as a worker packed it; what is none of that is no error."""
    try:
        error = unpack(packed, NO_MAPS) if packed else None
    except ProtocolError:
        error = None
    if type(error) is not list or [type(part) for part in error] != [str, str, str]:
        return "", "", ""
    name, text, traceback = error
    return name[:TYPE_CHARS_MAX], _cut(text, TEXT_BYTES_MAX), _cut(traceback, TRACEBACK_BYTES_MAX)


def _cut(text: str, nbytes_max: int) -> str:
    if 4 * len(text) <= nbytes_max:
        return text
    return text.encode()[:nbytes_max].decode(errors="ignore")
