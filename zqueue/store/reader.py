"""Reading: the body of an entry, and all entries that were open at start."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.records import Found, Run
from . import format as f
from .files import Disk
from .segments import HOT, Ledger, Segment
from .store import StoreDamaged, StoreFailed
from .survey import HINT, name_of

WINDOW_BYTES = 1 << 16
"""Read at once while entries are found."""


class Reader:
    """Reads entries where the ledger says that they are. ``path`` is for people."""

    def __init__(self, path: str, disk: Disk, ledger: Ledger) -> None:
        self.given: float = 0
        """The last entry that was found, of the hot stream: only those up to it are moved."""
        self._path = path
        self._disk = disk
        self._ledger = ledger
        self._limit = ledger.next_entry

    def __repr__(self) -> str:
        return f"<Reader, found up to {self.given}>"

    def read(self, entry: int) -> bytes:
        """As `Store.read`."""
        there = self._ledger.find(entry)
        if there is None:
            raise StoreDamaged(f"{self._path}: entry {entry} is not open")
        segment, row = there
        at, nbytes, *_ = segment.row(row)
        name = name_of(segment.number)
        data = self._read(name, at, nbytes)
        record = f.parse(data, 0, segment.stamp)
        body = None if record is None or record.number != entry else f.body_of(data, record)
        if body is None:
            raise StoreDamaged(f"{self._path}: {name} is damaged at byte {at}: {HINT}")
        return body

    def _read(self, name: str, at: int, nbytes: int) -> bytes:
        try:
            return self._disk.read(name, at, nbytes)
        except OSError as error:
            raise StoreFailed(f"{self._path}: {name} cannot be read: {error.strerror}") from error

    def found(self) -> Iterator[Found]:
        """As `Recovered.found`."""
        window: tuple[Segment | None, int, bytes] = (None, 0, b"")
        for segment, row in self._open_rows():
            at, nbytes, body, tasks, index = segment.row(row)
            size = nbytes - body
            start = at - window[1]
            if segment is not window[0] or not 0 <= start <= len(window[2]) - size:
                name = name_of(segment.number)
                window = segment, at, self._read(name, at, max(size, WINDOW_BYTES))
                start = 0
            record = f.parse(window[2], start, segment.stamp)
            number = segment.number_at(row)
            if record is None or record.number != number:
                where = f"{name_of(segment.number)} is damaged at byte {at}"
                raise StoreDamaged(f"{self._path}: {where}: {HINT}")
            queue, kind = list(segment.classes)[index]
            runs = self._ledger.runs.get(number) or [Run(0, tasks, b"")]
            yield Found(number, kind, queue.decode(), tasks, record.meta, body, list(runs))

    def _open_rows(self) -> Iterator[tuple[Segment, int]]:
        """Where the entries are that were open when it was opened, and are, in their order."""
        for number in self._ledger.cold_numbers():
            if (there := self._ledger.find(number)) is not None:
                yield there
        for segment in list(self._ledger.streams[HOT]):
            for row in segment.open_rows():
                if segment.first + row >= self._limit:
                    break
                self.given = segment.first + row
                yield segment, row
        self.given = float("inf")
