"""Standard input, output and error, as a shell may hand them over: closed, full, or without a
reader.

What cannot be read or printed is an error with a sentence and an exit code. What cannot be
logged is dropped: work goes on without its log.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import IO

from .errors import ZQueueError

READ_BYTES = 64 << 10

LINE_BYTES_MAX = 128 << 20
"""A line is held whole. JSON takes at most eight times what the body it stands for may have."""


class StreamLost(ZQueueError):
    """Standard input cannot be read, or standard output cannot be written."""


class ReaderGone(StreamLost):
    """Nobody reads standard output any more."""


class _Output(io.FileIO):
    """Standard output. Once it has failed the rest is dropped, also what is still buffered."""

    def __init__(self, fd: int, *, is_closed: bool) -> None:
        super().__init__(fd, "w", closefd=False)
        self._is_closed = is_closed
        self._is_lost = False

    def write(self, data: object) -> int:
        if self._is_lost:
            return len(memoryview(data))  # type: ignore[arg-type]
        self._is_lost = True
        if self._is_closed:
            raise StreamLost("cannot write to standard output: it is closed")
        try:
            written = _write(self.fileno(), data)
        except BrokenPipeError:
            raise ReaderGone("nobody reads standard output any more") from None
        except OSError as error:
            raise StreamLost(f"cannot write to standard output: {error.strerror}") from None
        self._is_lost = False
        return written


class _Log(io.FileIO):
    """Standard error."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, "w", closefd=False)

    def write(self, data: object) -> int:
        try:
            return _write(self.fileno(), data)
        except OSError:
            return len(memoryview(data))  # type: ignore[arg-type]


def _write(fd: int, data: object) -> int:
    while True:
        try:
            return os.write(fd, data)  # type: ignore[arg-type]
        except BlockingIOError:  # It is shared with a program that set it so.
            select.select([], [fd], [])


def set_up_streams() -> None:
    """Make ``sys.stdout`` and ``sys.stderr`` fail as this module says; all three are there then.

    A number that was closed is taken by ``/dev/null``: else the next socket would get it, and
    whatever a library prints. There is nothing to read from it, not even an end.
    """
    is_closed = sys.stdout is None
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            how = os.O_WRONLY if fd == 0 else os.O_RDWR
            null = os.open(os.devnull, how)  # The lowest number that is free: this one.
            os.set_inheritable(null, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it stays
    sys.stdout = _text(_Output(1, is_closed=is_closed), sys.stdout)
    sys.stderr = _text(_Log(2), sys.stderr)


def _text(raw: io.FileIO, before: IO[str] | None) -> io.TextIOWrapper:
    like = before if isinstance(before, io.TextIOWrapper) else None
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=like.encoding if like else "utf-8",
        errors="backslashreplace",  # A locale without some character must not stop anything.
        line_buffering=raw.isatty() or isinstance(raw, _Log),
        write_through=like is not None and like.write_through,
    )


def input_lines() -> Iterator[bytes]:
    """The lines of standard input."""
    return lines_of(0)


def lines_of(fd: int) -> Iterator[bytes]:
    """The lines that a descriptor gives, each without its end, as they come. Raises `StreamLost`.

    It is read without Python's buffer, and so without the buffer's lock: a thread that waits in
    there for input would not let the interpreter end.
    """
    begun: list[bytes] = []
    size = 0
    while chunk := _read(fd):
        first, *others = chunk.split(b"\n")
        begun.append(first)
        size += len(first)
        if size > LINE_BYTES_MAX:
            raise StreamLost(f"cannot read standard input: a line is over {LINE_BYTES_MAX} bytes")
        for line in others:
            yield b"".join(begun)
            begun, size = [line], len(line)
    if size:
        yield b"".join(begun)


def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, READ_BYTES)
        except BlockingIOError:  # It is shared with a program that set it so.
            select.select([fd], [], [])
        except OSError as error:
            why = "it is closed" if error.errno == errno.EBADF else error.strerror
            raise StreamLost(f"cannot read standard input: {why}") from None
