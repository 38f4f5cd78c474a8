"""The messages: their fields, and the words and numbers that stand in them.

A message is one header frame and, for some kinds, further frames. The fields of a header come in
the order of the classes below; `wire.headers` packs, unpacks and checks them.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

REPLY = 1
"""Flag of `Publish` and of a delivered batch: the producer wants the results."""
IMPATIENT = 2
"""Flag of `Publish`: the producer does not wait for room. A queue at its bound takes none of it,
and what is taken is confirmed at once."""
MOVED = 4
"""Flag of `Publish`: the batch was numbered for another broker, which was given up since."""

# How the tasks of a run ended (`Settle`, `Result`).
DONE = 0
"""Ran; no value travels."""
RESULTS = 1
"""Ran; the next frame is the array of their values."""
FAILED = 2
"""Raised; the next frame is an array of errors ``[type, text, traceback]``: one for each task,
or a single one that stands for all of them."""
RETURNED = 3
"""Did not start; the broker gives them to somebody else (`Settle` only)."""
OPEN = 4
"""The answer to `Await`: results of so many tasks of the batch are still to come (`Result`
only)."""
RETRY = 5
"""Raised, and may be tried again (`Settle` only); the next frame is as for `FAILED`. Such a run may
have a fifth number: how long it is to wait before that, milliseconds."""
CANCELLED = 6
"""Will not run, or was ended before it was over, because somebody asked for that; no value
travels."""

EXPIRED = 7
"""Did not run: they were too old when it was their turn; no value travels (`Result` only)."""

RUNNING = 1
"""Flag of `Cancel`: end those that workers have, too."""

# Why a worker departed (`Departed`).
STOPPED = "stopped"
"""It ended as it was asked to; its open tasks did not harm it."""
CRASHED = "crashed"
"""It died; one of its open tasks may be why."""
TIMEOUT = "timeout"
"""It was killed because one task, named by lease and position, ran too long."""

# Codes of `Refuse`. Those of a batch are final for that batch, but for `TRY_AGAIN`.
FULL = "full"
"""The queue is over its bound: send the batch again, later."""
DRAINING = "draining"
"""The broker is about to stop: send the batch again, when it is back."""
UNKNOWN_PEER = "unknown-peer"
"""Say `Hello` first: the broker does not know you (it, or the connection, is new)."""
WRONG_VERSION = "wrong-version"
MALFORMED = "malformed"
TOO_LARGE = "too-large"
BAD_NAME = "bad-name"
TOO_MANY_PEERS = "too-many-peers"
TOO_MANY_QUEUES = "too-many-queues"
UNKNOWN_QUEUE = "unknown-queue"
"""There is no such queue to be controlled: queues are made by who publishes to or serves them."""
NO_RESULTS = "no-results"
"""Results were asked for, and the queue leaves by the plain lane, which has none."""
REPLACED = "replaced"
"""Another process greeted later under this producer's name: it is the one that has it."""
WRONG_ROLE = "wrong-role"
"""A producer said what only workers say, or the like."""

FORBIDDEN = "forbidden"
"""The client's key is good, and its roles or its queues do not allow this."""
REVOKED = "revoked"
"""The client's key is not in the broker's list any more."""

TRY_AGAIN = frozenset({FULL, DRAINING})


REASONS = frozenset({STOPPED, CRASHED, TIMEOUT})

# What may be done to a queue (`Control`).
PAUSE = "pause"
"""Hand nothing out; go on taking tasks."""
DRAIN = "drain"
"""Take no new tasks; go on handing out."""
RESUME = "resume"
"""Do both again."""

# What may be done to dead letters (`Control`).
REPLAY = "replay"
"""Make them tasks again, of the queue that is named, or of their own."""
DROP = "drop"
"""Keep them no more."""
IMPORT = "import"
"""Keep letters that another broker kept."""


class Hello(NamedTuple):
    """First message of every peer. Next frame: a map about it (see docs/protocol.md)."""

    role: str
    """``producer``, ``worker``, ``supervisor`` or ``observer``."""
    id: bytes
    """16 random bytes that stay the same over reconnects."""
    look: int = 0
    """1: only say which broker this is. The client will greet if it has no other connection to
    it."""


class Welcome(NamedTuple):
    """The answer to `Hello`."""

    broker: bytes
    """8 random bytes, new at every start of a broker, but for one with a data dir: they stay the
    same as long as that does, and so does what was confirmed."""
    heartbeat_ms: int
    """Say something at least this often."""
    liveness_ms: int
    """Whoever is not heard from for this long counts as lost, on both sides."""
    next: int = 0
    """To a producer with a name: the number above all that were taken from it. 0: not told."""
    durable: int = 0
    """1: what it confirms survives it, for it has a data dir."""
    look: int = 0
    """1: the client only looked, and is not known."""


class Refuse(NamedTuple):
    """A message was not accepted."""

    code: str
    sequence: int
    """The batch it is about; 0 if it is about no batch."""
    text: str
    """For people."""


class Heartbeat(NamedTuple):
    """I am here. The broker answers each with one of its own."""

    workers: list[bytes]
    """From a supervisor: its living workers, whose leases this extends."""


class Goodbye(NamedTuple):
    """I leave, and everything I said before has been said. The broker answers with the same."""


class Publish(NamedTuple):
    """Take these tasks. Next frame: the array of their bodies."""

    sequence: int
    """1, 2, 3 …; the same number again is the same batch again."""
    queue: str
    task: str
    """Name of the handler; empty: the bodies are for the queue's only handler."""
    flags: int
    age_us: int = 0
    """How long the oldest body waited with its producer, microseconds."""


class Confirm(NamedTuple):
    """The broker has taken responsibility for these batches."""

    ranges: list[int]
    """``first, last, first, last, …``, both ends included."""


class Result(NamedTuple):
    """What became of some tasks of a batch. Next frame: see the status."""

    sequence: int
    first: int
    """Position of the first of these tasks in the batch."""
    tasks: int
    """How many."""
    status: int


class Known(NamedTuple):
    """Another task has the key of this batch's, which is not put: its confirm follows."""

    sequence: int
    origin: int
    """Who published that one, as in `Deliver`."""
    first: int
    """The number of its batch, of one task."""


class Await(NamedTuple):
    """After a reconnect: I still await results of these batches. The broker answers each with a
    `Result` `OPEN`; whatever is awaited beyond that was lost on the way. And: I have these results
    of an earlier process of my name."""

    sequences: list[int]
    taken: list[int] = []  # noqa: RUF012 - nobody adds to it
    """``sequence, first, sequence, first, …`` of the results that are not to be kept any more."""


class Cancel(NamedTuple):
    """Let these tasks not run. Anybody may ask, known or not; the answer is a `Tell`."""

    number: int
    """Comes back in the answer."""
    flags: int
    tasks: list[list[int]]
    """``[origin, sequence, first, count]`` each: who published them (0: who asks), the number of
    their batch, and their places in it. Empty: all tasks of the queue."""
    queue: str
    """Only of this queue; empty: wherever they are."""
    task: str
    """With no ``tasks``: only of this name; empty: of any."""
    key: str = ""
    """In the place of ``tasks``: the one that has this key in the queue; empty: none is meant."""


class Withdraw(NamedTuple):
    """Batches went to another broker, for this one was thought to be lost: forget what is ready of
    them. Their numbers are used up, and confirmed as such."""

    numbers: list[int]
    """Flat pairs of first and last, of the numbers of this broker."""
    moved: list[int] = []  # noqa: RUF012 -- never changed
    """The same, of numbers of other brokers (`MOVED`)."""


class Credit(NamedTuple):
    """How many tasks the worker allows to be in flight to it, all in all."""

    credit: int


class Deliver(NamedTuple):
    """Tasks for a worker, under one lease. Next frames: one array of bodies a batch."""

    lease: int
    queue: str
    batches: list[list[Any]]
    """``[task, flags, count, attempt, age_us, origin, sequence, first, retries_left]`` each. The
    age is since the oldest body was sent, as far as producer and broker can tell. The three that
    follow say which tasks these are, and stay the same however often they are delivered: who
    published them, the number of their batch, and the place of the first of them in it. The last
    is how often they are tried again if they fail."""


class Settle(NamedTuple):
    """Some tasks of a lease are over. Next frames: one for each run that carries something."""

    lease: int
    credit: int
    """As in `Credit`."""
    runs: list[list[int]]
    """``[batch, first, count, status]`` each; batch is its position in `Deliver`. With `RETRY` a
    fifth number may follow."""


class Progress(NamedTuple):
    """How far a running task has come. From a worker to the broker, and on to the submitter."""

    number: int
    """The lease; to the submitter, the batch."""
    position: int
    """Of the task, counted through all batches of the lease; or in the batch."""
    done: int
    total: int
    """How many steps there are; 0 if nobody knows."""


class Stop(NamedTuple):
    """To a worker: end these tasks of a lease. What has not begun, it returns."""

    lease: int
    position: int
    """Of the first, counted through all batches of the lease."""
    tasks: int


class Departed(NamedTuple):
    """A supervisor reports that one of its workers is gone."""

    worker: bytes
    reason: str
    lease: int
    """With `TIMEOUT`: where the task is that ran too long, else 0."""
    position: int
    """Counted through all batches of the lease."""
    text: str


class Ask(NamedTuple):
    """What is the state of things? Anybody may ask, known or not."""

    what: str
    """``info``, ``stats`` for metrics, ``dead`` for dead letters, or ``dead-groups`` for groups of
    them, ``peek`` for the first tasks of a queue. The last three may have a map in the next frame:
    which ones."""


class Tell(NamedTuple):
    """The answer to `Ask` or `Control`. Next frames: a map; with letters, the body of each."""


class Report(NamedTuple):
    """A peer's state, and what is new in its figures. Next frame: a map."""


class Control(NamedTuple):
    """Do something to a queue, or to dead letters. Anybody may, known or not; the answer is a
    `Tell`."""

    action: str
    """``pause``, ``drain`` or ``resume`` a queue; ``replay``, ``drop`` or ``import`` dead letters:
    a map in the next frame says which."""
    queue: str
    """With ``replay``: where to; empty: where they were. With ``drop`` and ``import``: empty."""


Message: TypeAlias = (
    Hello | Welcome | Refuse | Heartbeat | Goodbye | Publish | Confirm | Result | Await
    | Cancel | Known | Withdraw | Credit | Deliver | Settle | Departed | Progress | Stop
    | Ask | Tell | Report | Control
)  # fmt: skip

KINDS: dict[int, type[Any]] = {
    1: Hello, 2: Welcome, 3: Refuse, 4: Heartbeat, 5: Goodbye,
    10: Publish, 11: Confirm, 12: Result, 13: Await,
    14: Cancel, 15: Known, 16: Withdraw,
    20: Credit, 21: Deliver, 22: Settle, 23: Departed, 24: Progress,
    25: Stop,
    30: Ask, 31: Tell, 32: Report, 33: Control,
}  # fmt: skip
