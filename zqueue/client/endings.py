"""Endings: what became of tasks and batches, noted until it can be told without a lock."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import ZQueueError
from .confirmation import Promise
from .connection import Connection
from .earlier import EarlierRun
from .replies import Reply
from .sent import Progressed, ResultsCame


class Ending(NamedTuple):
    """What became of some tasks, and whom to tell."""

    reply: Reply
    what: ResultsCame | Progressed | ZQueueError

    @property
    def runs_callbacks(self) -> bool:
        """Whether giving it out runs the user's code, which may block."""
        return not self.reply.runs_no_callbacks

    def give_out(self) -> None:
        """Tell it. Runs callbacks, which are the user's code."""
        reply, what = self
        if isinstance(what, ResultsCame):
            reply.take(what.first, what.tasks, what.status, what.frame, last=what.last)
        elif isinstance(what, Progressed):
            reply.progress(what.position, what.done, what.total)
        else:
            reply.fail(what)

    def forked(self, error: ZQueueError) -> None:
        """In a child process: nobody here will hear of it."""
        self.reply.forked(error)


class Verdict(NamedTuple):
    """Whether a broker has confirmed a batch, and whom to tell."""

    promise: Promise
    error: ZQueueError | None

    @property
    def runs_callbacks(self) -> bool:
        """Whether giving it out runs the user's code, which may block."""
        return not self.promise.runs_no_callbacks

    def give_out(self) -> None:
        """Tell it. Runs callbacks, which are the user's code."""
        self.promise.end(self.error)

    def forked(self, error: ZQueueError) -> None:
        """In a child process: nobody here will hear of it."""
        self.promise.forked(error)


class Earlier(NamedTuple):
    """Results for an earlier process, and whom to tell that they are dealt with."""

    connection: Connection
    run: EarlierRun


class News(NamedTuple):
    """Something for the log."""

    level: str
    text: str
