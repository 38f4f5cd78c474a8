"""A pen: one thread writes what another gives it, syncs it, and rings.

Compiled, the thread that writes waits, writes, syncs and rings without the interpreter's lock: the
other one may hold that all the time, and each step would wait for it 5 ms. Interpreted, the same is
done by calls of Python.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .. import _cython as cython
else:
    try:
        import cython
    except ImportError:
        from .. import _cython as cython

PARTS_MAX = 1024
"""Of one system call (IOV_MAX)."""


class Pen:
    """Parts for one file, written by whoever calls `serve`."""

    def __init__(self) -> None:
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Readable once something has ended, or `ring` was called."""
        self._call = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._parts: list[bytes] = []
        self._fd = self._at = 0
        self._sync = False
        self.begun = 0
        self.ended = 0
        """How many writes were begun, and how many have ended."""
        self.error = 0
        """Why the last one has failed (an errno)."""
        if cython.compiled:
            self._vector = cython.NULL
            self._room = 0

    def begin(self, fd: int, at: int, parts: list[bytes], sync: bool) -> None:
        """Have all parts written at an offset, and synced if asked. The last must have ended."""
        assert self.begun == self.ended
        self._parts = parts  # They must stay where they are.
        self._fd, self._at, self._sync = fd, at, sync
        if cython.compiled:
            _fill(self, parts)
        self.begun += 1
        self.call()

    def call(self) -> None:
        """Make `serve` return."""
        if cython.compiled:
            _call(self)
        else:
            os.eventfd_write(self._call, 1)

    def ring(self) -> None:
        """Make the bell readable."""
        os.eventfd_write(self.bell, 1)

    def hush(self) -> None:
        """Make the bell unreadable."""
        if cython.compiled:
            _hush(self)
            return
        try:
            os.eventfd_read(self.bell)
        except BlockingIOError:
            pass  # It did not ring.

    def serve(self, timeout_ms: int) -> None:
        """Write what is begun, until `call`, a write without a sync, an error, or the time is over
        (-1: never)."""
        if cython.compiled:
            with cython.nogil:
                _serve(self, timeout_ms)
        else:
            while _serve_once(self, timeout_ms):
                pass

    def close(self) -> None:
        """Nobody serves any more."""
        os.close(self.bell)
        os.close(self._call)
        if cython.compiled:
            free(self._vector)
            self._vector = cython.NULL


def write_all(fd: int, at: int, parts: list[bytes]) -> None:
    """Write all parts at an offset, in this thread. Raises `OSError`."""
    view = memoryview(b"".join(parts))
    while view:
        count = os.pwrite(fd, view, at)
        view, at = view[count:], at + count


def _serve_once(pen: Pen, timeout_ms: int) -> bool:
    poll = select.poll()
    poll.register(pen._call, select.POLLIN)
    if not poll.poll(timeout_ms):
        return False
    calls = os.eventfd_read(pen._call)
    if pen.begun == pen.ended:
        return False
    try:
        write_all(pen._fd, pen._at, pen._parts)
        if pen._sync:
            os.fdatasync(pen._fd)
    except OSError as error:
        pen.error = error.errno or -1
    pen.ended += 1
    pen.ring()
    return pen._sync and not pen.error and calls == 1


if cython.compiled:

    def _fill(pen, parts):
        count = len(parts)
        if count > pen._room:
            memory = realloc(pen._vector, count * cython.sizeof(iovec))
            if memory == cython.NULL:
                raise MemoryError
            pen._vector = cython.cast(cython.pointer(iovec), memory)
            pen._room = count
        for i in range(count):
            part = parts[i]
            pen._vector[i].iov_base = PyBytes_AS_STRING(part)
            pen._vector[i].iov_len = len(part)
        pen._count = count

    def _call(pen):
        one = 1
        put(pen._call, cython.address(one), 8)

    def _hush(pen):
        get(pen.bell, cython.address(calls), 8)  # It fails if the bell did not ring.

    def _serve(pen, timeout_ms):
        while True:
            wanted.fd = pen._call
            wanted.events = POLLIN
            ready = poll(cython.address(wanted), 1, timeout_ms)
            if ready < 0 and errno == EINTR:
                continue
            if ready <= 0 or get(pen._call, cython.address(calls), 8) != 8:
                return
            if pen.begun == pen.ended:
                return
            pen.error = _write(pen)
            is_over = pen.error != 0 or not pen._sync or calls > 1
            one = 1
            pen.ended = pen.begun
            # A system call: whoever is woken by it sees what was written to memory before.
            put(pen.bell, cython.address(one), 8)
            if is_over:
                return

    def _write(pen):
        at = pen._at
        first = 0
        while first < pen._count:
            count = pen._count - first
            if count > PARTS_MAX:
                count = PARTS_MAX
            written = pwritev(pen._fd, cython.address(pen._vector[first]), count, at)
            if written < 0:
                if errno == EINTR:
                    continue
                return errno
            at += written
            while first < pen._count and written >= pen._vector[first].iov_len:
                written -= pen._vector[first].iov_len
                first += 1
            if written:
                base = cython.cast(cython.p_char, pen._vector[first].iov_base)
                pen._vector[first].iov_base = base + written
                pen._vector[first].iov_len -= written
        if pen._sync and fdatasync(pen._fd) < 0:
            return errno
        return 0
