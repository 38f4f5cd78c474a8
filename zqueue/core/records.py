"""Records: what a broker's machine asks a store to keep, and what it finds again.

The machine numbers *entries* 1, 2, 3 … in the order in which it hands them over, without a gap, for
the life of a data dir: batches that were put, dead letters, results, keys. `Over` says that tasks
of an entry are over, `Again` what has changed about some of them. Once all of an entry is over, the
store forgets it, its ``meta`` and what was said of it. What must outlive entries is a `Fact`.

A store knows numbers and not what they mean: ``meta`` is packed by the machine.

After a crash a store has all records of all commits that it has reported, and of the one that it
was writing the first few, in their order. Of these, what is said of entries that it has moved
within its files may be missing where later records are there: a record that replaces another (a
dead letter its task) comes before the `Over` of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

PUT, DEAD, RESULT, KEY = 1, 2, 3, 4
"""Kinds of entries: 1 to 255, and these are the ones there are."""

RUNS_MAX = 4096
"""Runs of an entry that may be open at once, each with its own state: a batch has no more tasks."""


class Entry(NamedTuple):
    """Something new to keep."""

    number: int
    """One more than that of the entry before."""
    kind: int
    queue: str
    """Name of its queue, at most 255 bytes as UTF-8; may be empty."""
    tasks: int
    """At least 1. `Over` and `Again` name them by position, from 0."""
    meta: bytes
    body: bytes


class Over(NamedTuple):
    """These tasks of an entry are over. Those that are over already stay so."""

    entry: int
    first: int
    tasks: int


class Again(NamedTuple):
    """The state of these tasks now: the latest counts. It says nothing of those that are over."""

    entry: int
    first: int
    tasks: int
    meta: bytes


class Fact(NamedTuple):
    """Something about no entry: which numbers a producer has used, that a queue is paused."""

    meta: bytes


Record = Entry | Over | Again | Fact

Facts = Callable[[], list[Fact]]
"""Asked by a store at the head of a segment: all facts in force, those just handed over included.
They replace all that were handed over before, so it must be short: at most 16 MiB."""


class Run(NamedTuple):
    """Tasks of an entry that are not over, and in the same state."""

    first: int
    tasks: int
    meta: bytes
    """Of the last `Again`; empty if there was none."""


class Found(NamedTuple):
    """An entry that is not over, as it is found at start. Its body is read by its number."""

    number: int
    kind: int
    queue: str
    tasks: int
    """As it was put."""
    meta: bytes
    nbytes: int
    """Of its body."""
    runs: list[Run]
    """What of it is open, by position."""


class Held(NamedTuple):
    """What is open of one kind in one queue, counted before the first entry is read."""

    kind: int
    queue: str
    entries: int
    tasks: int
    nbytes: int
    """Of the bodies; where a part of an entry is over, all of its body counts."""


class Recovered(NamedTuple):
    """What a store has when it is opened."""

    id: bytes
    """Eight bytes, for the life of the data dir."""
    next_entry: int
    """The number that the next entry must have."""
    held: list[Held]
    facts: list[Fact]
    """All facts at the head of the newest segment and those after, in order."""
    found: Iterator[Found]
    """All entries that are open, in order of their number. It is read from disk as it is asked for,
    and may be asked while more is stored. What is over by then may be among them, or not."""
    torn: int
    """Bytes of a commit that had not been finished, and are gone: nobody was told that they were
    stored. Worth a line in the log if it is not 0."""
