"""The giver: the thread that gives out results, one at a time, so that they keep their order.

Giving out runs callbacks, which are the user's code, and may wait for something that another result
brings. Such a thread steps aside first: another one gives out what comes meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque

from .endings import Ending, Verdict


class Giver:
    """Gives out endings. Any number of threads may share it; none holds a lock of ours."""

    def __init__(self, endings: deque[Ending | Verdict]) -> None:
        self._endings = endings
        self._giving = threading.Lock()
        self._thread: threading.Thread | None = None

    def give_out(self, *, careful: bool = False) -> bool:
        """Give out what there is, unless another thread is at it: then it sees to that.

        With ``careful`` only up to the first that runs the user's code. Returns whether that was
        all.
        """
        endings, me = self._endings, threading.current_thread()
        while endings and self._giving.acquire(blocking=False):
            self._thread = me
            try:
                while endings and self._thread is me:
                    if careful and endings[0].runs_callbacks:
                        return False
                    endings.popleft().give_out()
            finally:
                self.step_aside()
        return True

    def step_aside(self) -> bool:
        """Let other threads give out the rest. Says whether there is any."""
        if self._thread is threading.current_thread():
            self._thread = None
            self._giving.release()
        return bool(self._endings)

    def forked(self) -> None:
        """In a child process: whoever was at it is not here."""
        self._giving = threading.Lock()
        self._thread = None
