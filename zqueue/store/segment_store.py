"""The store of segment files.

Theory of operation. `begin` has the `Composer` turn records into bytes, which it notes in the
`Ledger`, and hands its list of writes to the writer; `end` looks whether they were made. A segment
goes once a commit that says so has been synced. The `Reader` reads what the ledger knows.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import select
from collections.abc import Callable
from time import monotonic

from ..core.records import Facts, Record, Recovered
from . import format as f
from .about import ABOUT, about, pack_about, unusable
from .composer import Composer
from .files import MADE, Disk, Files
from .reader import Reader
from .segments import NUMBER_BITS
from .spares import SPARES, Spares
from .store import Status, Store, StoreDamaged, StoreFailed, StoreLocked
from .survey import HINT, NEWEST, Survey, name_of, pack_newest
from .writer import Damaged, Make, Writer

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 64 << 20

CLOSE_S = 10.0
"""How long closing waits for a disk that does not answer, seconds."""


class SegmentStore(Store):
    """A data dir of segment files.

    ``sync``: what is stored survives the loss of power (level *disk*); else it survives the end of
    the process, and the loss of power but for the last 50 ms (level *os*). ``chance`` gives random
    bits for stamps.
    """

    def __init__(
        self,
        path: str,
        *,
        sync: bool = True,
        segment_bytes: int = SEGMENT_BYTES,
        disk: Disk | None = None,
        writer: Callable[..., Writer] = Writer,
        chance: Callable[[], int] = lambda: random.SystemRandom().getrandbits(NUMBER_BITS),
    ) -> None:
        self.path = path
        self._sync = sync
        self._segment_bytes = segment_bytes
        self._disk: Disk = Files(path) if disk is None else disk
        self._make_writer = writer
        self._chance = chance
        self._ticket = self._stored = 0
        self._opened = 0
        """The last commit that has begun a segment and that the data dir's file tells of."""

    def __repr__(self) -> str:
        return f"<SegmentStore {self.path}>"

    # --- at start and end ---

    def open(self) -> Recovered:
        try:
            return self._open()
        except OSError as error:
            self._disk.close()
            raise unusable(error)(f"cannot use {self.path}: {error.strerror}") from error
        except BaseException:
            self._disk.close()
            raise

    def _open(self) -> Recovered:
        disk = self._disk
        if not disk.lock():
            raise StoreLocked(f"{self.path} is in use by another process: end that one first")
        identity, self._segment_bytes = about(disk, self.path) or (b"", self._segment_bytes)
        found = Survey(disk, self._segment_bytes)
        self._ledger = ledger = found.ledger
        self._prepare(identity)
        for torn in found.torn:
            for at in torn.places:
                disk.write(torn.name, at, [bytes(f.HEAD_BYTES)])
            disk.sync(torn.name)
            disk.done(torn.name)
        held = ledger.held()
        self._writer = writer = self._make_writer(disk, sync=self._sync)
        for segments in ledger.streams:
            writer.made.update(name_of(segment.number) for segment in segments)
        size = self._segment_bytes
        self._spares = Spares(writer, size, self._chance, found.highest)
        self._composer = Composer(ledger, self._spares, size, sync=self._sync)
        self._reader = Reader(self.path, disk, ledger)
        self._tell_newest(found)
        self._spares.begin(found.spares, found.spent)
        self._reclaim()
        while not (self._spares.ready() or self.full or writer.error):
            select.select([writer.fileno()], [], [], 1)
            writer.hush()
        entries = self._reader.found()
        return Recovered(
            self._identity, ledger.next_entry, held, found.facts, entries, found.torn_bytes
        )

    def _prepare(self, identity: bytes) -> None:
        """Its files but for segments, if they are not there."""
        names = self._disk.names()
        if MADE in names:
            self._disk.remove(MADE)
        self._identity = identity or os.urandom(8)
        if not identity:
            self._create(ABOUT, pack_about(self._identity, self._segment_bytes))
        if NEWEST not in names:
            self._create(NEWEST, pack_newest({}))

    def _tell_newest(self, found: Survey) -> None:
        """The process before may have died before it told of the segments that it had begun; what
        it told of before may not be needed any more, and go."""
        newest = [tail.segment.number for tail in self._composer.tails if tail.segment is not None]
        if set(found.ends) == set(newest):
            return
        for name in map(name_of, newest):
            self._disk.sync(name)
        self._disk.write(NEWEST, 0, [self._newest(exactly=False)])
        self._disk.sync(NEWEST)

    def _create(self, name: str, data: bytes) -> None:
        for _ in self._disk.create(name, data, len(data)):
            pass

    def close(self) -> None:
        writer = getattr(self, "_writer", None)
        if writer is None:
            return
        deadline = monotonic() + CLOSE_S
        # What goes wrong was told when it happened; what is not stored is not.
        with contextlib.suppress(StoreFailed, StoreDamaged):
            self._wait(deadline)
            if any(tail.segment is not None for tail in self._composer.tails):
                writer.begin(self._composer.mark(writer.synced))
                self._wait(deadline)
        last = Make(NEWEST, self._newest(exactly=True))
        if writer.stop(last, max(0.0, deadline - monotonic())):
            self._disk.close()
        else:
            logger.error("the disk that has %s does not answer: after %g s it is left as it is. "
                         "What was confirmed is safe; the process may not end before the disk "
                         "answers", self.path, CLOSE_S)  # fmt: skip

    def _newest(self, *, exactly: bool) -> bytes:
        """How far the newest segments go, at least: they will not be missing without a word."""
        segments = [tail.segment for tail in self._composer.tails if tail.segment is not None]
        begun = f.FIRST + f.COMMIT_BYTES
        return pack_newest({s.number: s.end if exactly else begun for s in segments})

    def _wait(self, deadline: float) -> None:
        """Until nothing is under way."""
        writer = self._writer
        while self.busy or writer.synced < self._composer.begun:
            left = deadline - monotonic()
            if writer.is_stuck or left <= 0:
                raise StoreFailed(f"{self.path} has no room, or its disk does not answer")
            select.select([writer.fileno()], [], [], min(left, 1))
            self.end()

    # --- a commit ---

    def begin(self, ticket: int, records: list[Record], facts: Facts) -> None:
        self._check()
        assert not self.busy
        self._finish()
        self._ticket = ticket
        writer = self._writer
        up_to = self._reader.given
        writer.begin(self._composer.compose(ticket, records, facts, writer.synced, up_to))

    def end(self) -> int:
        self._check()
        self._writer.hush()
        if not self.busy:
            self._finish()
        self._reclaim()
        self._check()
        return self._stored

    def _finish(self) -> None:
        """The last commit has ended."""
        self._stored = self._ticket
        self._composer.settle()

    def fileno(self) -> int:
        return self._writer.fileno()

    @property
    def busy(self) -> bool:
        return self._writer.ended < self._composer.begun

    @property
    def full(self) -> bool:
        return self._writer.full and self._spares.ready() < SPARES

    @property
    def is_due(self) -> bool:
        return not self.busy and self._composer.is_due(self._writer.synced, self._reader.given)

    def _check(self) -> None:
        error = self._writer.error
        if isinstance(error, Damaged):
            raise StoreDamaged(f"{self.path}: {error}: {HINT}") from error
        if error is not None:
            why = error.strerror if isinstance(error, OSError) else repr(error)
            raise StoreFailed(f"{self.path} cannot be written any more: {why}") from error

    def _reclaim(self) -> None:
        """So much is synced: tell where the newest segments are, and write old files again."""
        synced, opened = self._writer.synced, self._composer.opened
        if self._opened < opened <= synced:
            self._opened = opened
            self._writer.make(Make(NEWEST, self._newest(exactly=False)))
        self._spares.reclaim(synced)

    # --- reading ---

    def read(self, entry: int) -> bytes:
        return self._reader.read(entry)

    def status(self) -> Status:
        streams = self._ledger.streams
        segments, spares = sum(map(len, streams)), len(self._spares)
        files = segments + spares + len(self._spares.doomed)
        return Status(
            segments, spares, files * self._segment_bytes, self._ledger.live_bytes,
            self._composer.moved,
            self._writer.syncs,
        )  # fmt: skip
