"""Questions of a producer to its broker: which tasks to cancel, and what became of them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ..errors import InvalidName, ProtocolError
from ..wire.headers import unpack_map
from ..wire.link import Link
from ..wire.messages import Cancel

ASKED_MAX = 1024
"""Questions without an answer. Each was asked by a call that waits a second at most."""

GATHER_FROM = 4
"""While so many have no answer, what others want who do not wait is gathered: a broker looks at
each batch that waits, for each question."""

RUNS_MAX = 256
"""Runs of tasks in one `Cancel`, so that its header stays within its limit."""


Place = tuple[int, int, int]
"""Of a task: origin, batch, and position in it."""

_ID = re.compile(r"([0-9a-f]{1,12})-(\d{1,18})-(\d{1,4})\Z")


def run_of(id: str) -> list[int]:
    """The task of an id, as `Cancel` has it. Raises `InvalidName`: it is none."""
    match = _ID.match(id) if isinstance(id, str) else None
    if match is None or not int(match[1], 16):
        raise InvalidName(
            f"{id!r:.80} is not the id of a task: that is TaskFuture.id where it was sent, or "
            "zqueue.current().id where it runs"
        )
    return [int(match[1], 16), int(match[2]), int(match[3]), 1]


class Cancellation(NamedTuple):
    """What became of tasks that were to be cancelled: how many of them."""

    cancelled: int = 0
    """Will not run."""
    stopping: int = 0
    """Were with workers, which were told to end them."""
    running: int = 0
    """Are with workers, and go on."""
    unknown: int = 0
    """Were over already, or are not there; or no answer came in time."""

    def plus(self, other: Cancellation) -> Cancellation:
        """Both together."""
        return Cancellation(*map(sum, zip(self, other, strict=True)))

    def add(self, answer: dict[str, Any] | None) -> Cancellation:
        """With what a broker answered about some of those that were unknown."""
        told = [0 if answer is None else answer.get(name) for name in self._fields[:3]]
        counts = [count if type(count) is int and count > 0 else 0 for count in told]
        return Cancellation(
            self.cancelled + counts[0], self.stopping + counts[1], self.running + counts[2],
            max(0, self.unknown - sum(counts)),
        )  # fmt: skip


class Asked:
    """A question, and its answer, once that is here."""

    __slots__ = ("answer", "message")

    def __init__(self, message: Cancel) -> None:
        self.message = message
        self.answer: dict[str, Any] | None = None

    def is_all_cancelled(self) -> bool:
        """Whether none of the tasks will run."""
        tasks = sum(run[3] for run in self.message.tasks)
        return self.answer is not None and self.answer.get("cancelled") == tasks


class Questions:
    """What was asked over a link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._asked: dict[int, Asked] = {}
        """What has no answer, by number."""
        self._soon: dict[tuple[str, int], list[list[int]]] = {}
        """Runs of tasks that nobody was asked for so far, by queue and flags."""
        self._count = 0

    def __repr__(self) -> str:
        return f"<Questions: {len(self._asked)} without an answer>"

    def cancel(self, queue: str, runs: list[list[int]], flags: int) -> Asked | None:
        """Ask for tasks to be cancelled that were sent here; None: too much is asked already."""
        if len(self._asked) >= ASKED_MAX:
            return None
        self._count += 1
        asked = self._asked[self._count] = Asked(Cancel(self._count, flags, runs, queue, ""))
        if self._link.is_ready:
            self._link.send(asked.message)
        return asked

    def cancel_places(self, queue: str, places: list[Place], flags: int) -> list[Asked]:
        """Ask for tasks that were sent here, by their places in ascending order: in as many
        questions as it takes, or as there may be."""
        runs: list[list[int]] = []
        _add(runs, places)
        parts = [runs[i : i + RUNS_MAX] for i in range(0, len(runs), RUNS_MAX)]
        return [asked for part in parts if (asked := self.cancel(queue, part, flags))]

    def cancel_soon(self, queue: str, places: list[Place], flags: int) -> None:
        """As `cancel_places`, for who does not wait: what comes one by one is asked together."""
        _add(self._soon.setdefault((queue, flags), []), places)
        self._ask_soon()

    def _ask_soon(self) -> None:
        while self._soon and len(self._asked) < GATHER_FROM:
            which, runs = next(iter(self._soon.items()))
            if runs:
                self.cancel(which[0], runs[:RUNS_MAX], which[1])
                del runs[:RUNS_MAX]
            if not runs:
                del self._soon[which]

    def ask_again(self) -> None:
        """There is a broker, perhaps another one: ask what was not answered."""
        for asked in self._asked.values():
            self._link.send(asked.message)

    def answer(self, frame: bytes) -> Asked | None:
        """An answer came. Returns what it is to."""
        try:
            answer = unpack_map(frame)
        except ProtocolError:
            return None
        number = answer.get("number")
        asked = self._asked.pop(number, None) if type(number) is int else None
        if asked is not None:
            asked.answer = answer
            self._ask_soon()
        return asked


def _add(runs: list[list[int]], places: list[Place]) -> None:
    """Add tasks to runs as `Cancel` has them, neighbours to the last one."""
    for _, sequence, position in places:
        if runs and runs[-1][1] == sequence and sum(runs[-1][2:]) == position:
            runs[-1][3] += 1
        else:
            runs.append([0, sequence, position, 1])
