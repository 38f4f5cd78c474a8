"""Signals, as something a loop can poll and count."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterable
from types import FrameType, TracebackType


class Signals:
    """Counts signals while it is entered; `fd` becomes readable when one came.

    To be entered in the main thread. The handlers only count, so nothing is interrupted in the
    middle: the loop looks at the counts when it comes round.
    """

    def __init__(self, wanted: Iterable[signal.Signals]) -> None:
        self._wanted = tuple(wanted)
        self._counts = dict.fromkeys(self._wanted, 0)
        self.came = False
        """Whether there was any so far."""
        self._before: dict[signal.Signals, object] = {}
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._before_fd = -1

    @property
    def fd(self) -> int:
        """To poll for reading."""
        return self._reader.fileno()

    def count(self, *wanted: signal.Signals) -> int:
        """How often any of these came so far."""
        return sum(self._counts.get(s, 0) for s in wanted)

    def clear(self) -> None:
        """Make `fd` unreadable until the next signal."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(65536)

    def wake(self) -> None:
        """Make `fd` readable, as a signal would. For other threads."""
        with contextlib.suppress(OSError):  # It is full, or closed.
            self._writer.send(b"\0")

    def __enter__(self) -> Signals:
        self._before_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for wanted in self._wanted:
            self._before[wanted] = signal.signal(wanted, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        for wanted, before in self._before.items():
            signal.signal(wanted, before)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._before_fd)
        self.close()

    def close(self) -> None:
        """Close `fd`. Leaving the context does so, too."""
        self._reader.close()
        self._writer.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._counts[signal.Signals(number)] += 1
        self.came = True


class Switch(Signals):
    """For a loop that runs in any thread of somebody else's process: only `stop` stops it."""

    def __init__(self) -> None:
        super().__init__((signal.SIGTERM, signal.SIGINT))

    def stop(self) -> None:
        """What SIGTERM is to a process. From any thread."""
        self._on_signal(signal.SIGTERM, None)
        self.wake()
