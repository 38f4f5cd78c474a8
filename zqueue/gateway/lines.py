"""Lines of a stream, in constant memory."""

from __future__ import annotations

from .problems import Problem

LINE_BYTES_MAX = 1 << 20


class Lines:
    """Cuts what comes into whole lines."""

    def __init__(self, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._line_bytes_max = line_bytes_max
        self._rest = bytearray()

    def __repr__(self) -> str:
        return f"<Lines: {len(self._rest)} bytes of one>"

    def feed(self, data: bytes) -> bytes:
        """The lines that are whole now, as they came. Raises `Problem`: one is too long."""
        end = data.rfind(b"\n") + 1
        if not end:
            self._rest += data
            self._check()
            return b""
        whole = bytes(self._rest) + data[:end] if self._rest else data[:end]
        self._rest[:] = data[end:]
        self._check()
        return whole

    def end(self) -> bytes:
        """The last line, whose end nobody wrote."""
        whole = bytes(self._rest)
        self._rest.clear()
        return whole

    def _check(self) -> None:
        if len(self._rest) > self._line_bytes_max:
            raise Problem(413, f"A line has at most {self._line_bytes_max:,} bytes.")
