"""Results in order: what `map` gives, batch after batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from ..wire.results import Outcome, unpack_outcomes
from .questions import Place
from .replies import Reply


class BatchReply(Reply):
    """The outcomes of a batch, kept packed until somebody wants them, and given in order."""

    runs_no_callbacks = True

    def __init__(self, tasks: int, stream: Stream) -> None:
        self._tasks = tasks
        self._stream = stream
        self._runs: deque[tuple[int, int, int, bytes]] = deque()
        self._error: Exception | None = None
        self._outcomes: list[Outcome] = []
        self._filled = 0
        """Positions whose outcome is known, as bits."""
        self._number: tuple[int, int] | None = None
        self._given = 0
        """How many of them were given, from the first one on."""

    def numbered(self, origin: int, sequence: int) -> None:
        self._number = (origin, sequence)

    def open_places(self) -> list[Place]:
        """The tasks whose outcome is not known, if they are on their way."""
        if self._number is None:
            return []
        while self._runs:
            self._fill(*self._runs.popleft())
        places = range(self._given, self._tasks)
        return [(*self._number, place) for place in places if not self._filled >> place & 1]

    @property
    def is_over(self) -> bool:
        """Whether every outcome was given."""
        return self._given >= self._tasks

    @property
    def has_news(self) -> bool:
        """Whether anything came since `outcomes` was asked last."""
        return bool(self._runs) or self._error is not None

    def take(self, first: int, tasks: int, status: int, frame: bytes, *, last: bool) -> None:
        self._runs.append((first, tasks, status, frame))
        self._stream.notify(self)

    def fail(self, error: Exception) -> None:
        self._error = error
        self._stream.notify(self)

    def forked(self, error: Exception) -> None:
        self._error = error

    def outcomes(self) -> list[Outcome]:
        """The outcomes that were not given before, as far as all before them are known."""
        error = self._error  # What came before it is among the runs by now.
        if self._runs and self._runs[0][0] == self._given and not self._filled >> self._given:
            return self._next_run(*self._runs.popleft())  # As a rule it is the next one.
        while self._runs:
            self._fill(*self._runs.popleft())
        if error is not None:
            self._fill_up((False, error))
        unknown = ~(self._filled >> self._given)
        ready = (unknown & -unknown).bit_length() - 1
        given = self._outcomes[self._given : self._given + ready]
        self._given += ready
        if self.is_over:
            self._outcomes = []
        return given

    def _next_run(self, first: int, tasks: int, status: int, frame: bytes) -> list[Outcome]:
        some = unpack_outcomes(status, tasks, frame)[: self._tasks - first]
        self._filled |= ((1 << len(some)) - 1) << first
        self._given += len(some)
        return some

    def _fill(self, first: int, tasks: int, status: int, frame: bytes) -> None:
        some = unpack_outcomes(status, tasks, frame)[: max(0, self._tasks - first)]
        if not self._outcomes and not self.is_over:
            self._outcomes = [(True, None)] * self._tasks
        run = ((1 << len(some)) - 1) << first
        if not self._filled & run:
            self._outcomes[first : first + len(some)] = some
        else:  # Another broker ran some of them again.
            for position, outcome in enumerate(some, first):
                if not self._filled >> position & 1:
                    self._outcomes[position] = outcome
        self._filled |= run

    def _fill_up(self, outcome: Outcome) -> None:
        if not self._outcomes and not self.is_over:
            self._outcomes = [outcome] * self._tasks
        for position in range(self._given, self._tasks):
            if not self._filled >> position & 1:
                self._outcomes[position] = outcome
        self._filled = (1 << self._tasks) - 1


def _nothing() -> None:
    pass


class Stream:
    """The outcomes of what one lane sends, in order, and what holds its source back.

    One thread gives the bodies to the lane (`more`, `end`), one takes the outcomes (`take`,
    `wait`). It may be the same.
    """

    def __init__(self, ahead_max: int) -> None:
        self._ahead_max = ahead_max
        self._replies: deque[BatchReply] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        self.on_change: Callable[[], object] = _nothing
        """May be set: called in any thread when there may be more to take. It must be quick."""
        self.is_abandoned = False
        """Whether nobody will take more outcomes."""

    def reply(self, tasks: int) -> BatchReply:
        """For the next batch of the lane. Takes no lock: a producer calls it that holds its own."""
        reply = BatchReply(tasks, self)
        self._replies.append(reply)
        return reply

    @property
    def may_read(self) -> bool:
        """Whether the source is not far enough ahead yet."""
        return len(self._replies) < self._ahead_max

    @property
    def is_ended(self) -> bool:
        """Whether the source gives no more."""
        return self._ended

    @property
    def is_awaiting(self) -> bool:
        """Whether any outcome is to come."""
        return bool(self._replies)

    def notify(self, reply: BatchReply) -> None:
        """A batch has news. Where it is not the next one, `take` comes to it by itself."""
        try:
            is_next = self._replies[0] is reply
        except IndexError:  # Nobody wants it any more.
            return
        if is_next:
            with self._changed:
                self._changed.notify_all()
            self.on_change()

    def end(self, error: BaseException | None = None) -> None:
        """The source gives no more: it is over, or failed."""
        with self._changed:
            self._ended = True
            self._error = self._error or error
            self._changed.notify_all()
        self.on_change()

    def fail(self, error: Exception) -> None:
        """What the lane has not sent will not be sent."""
        self.end(error)

    def forked(self, error: Exception) -> None:
        """`fail` in a child process: whoever held the lock or read the source is not here."""
        self._changed = threading.Condition()
        self.end(error)

    def abandon(self) -> list[Place]:
        """Nobody will take more outcomes. Returns the tasks that have none yet."""
        with self._changed:
            self.is_abandoned = True
            replies, self._replies = self._replies, deque()
            self._changed.notify_all()
        return [place for reply in replies for place in reply.open_places()]

    def take(self) -> list[Outcome]:
        """The next outcomes that are there; none if the next one is not."""
        if not self._replies:
            return []
        reply = self._replies[0]
        outcomes = reply.outcomes()
        if reply.is_over:
            self._replies.popleft()
            if len(self._replies) == self._ahead_max - 1:
                with self._changed:
                    self._changed.notify_all()
        return outcomes

    def raise_error(self) -> None:
        """Raise what ended the source, if it was an error."""
        if self._error is not None:
            raise self._error

    def wait(self, seconds: float | None) -> bool:
        """Wait until `take` has more to give, or the source has ended. False at the time-out."""
        return self._wait(lambda: self._has_news() or self._is_over(), seconds)

    def wait_to_read(self) -> bool:
        """Wait until the source may be read further. False: nobody wants more."""
        self._wait(lambda: self.may_read or self.is_abandoned, None)
        return not self.is_abandoned

    def _is_over(self) -> bool:
        return self._ended and not self._replies

    def _has_news(self) -> bool:
        return bool(self._replies) and self._replies[0].has_news

    def _wait(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        deadline = None if seconds is None else monotonic() + seconds
        with self._changed:
            while not condition():
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    return False
                self._changed.wait(left)
        return True
