"""The messages, and how they look on the wire.

A message is one header frame and, for some kinds, further frames. The header is a msgpack
array ``[version, kind, field, …]``; fields come in the order of the classes below. A header
longer than its kind needs is fine (a later version added fields); a shorter one is only where the
missing fields have a default (an earlier version knew nothing of them).

Every class names its fields with their types, and `_FIELDS` says what a type admits, so `decode` is
one loop and nothing gets past it half-checked.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypeAlias, TypeVar, get_type_hints

from ..errors import InvalidName, ProtocolError
from .codec import pack
from .unpacking import NO_MAPS, TEXT_KEYS, unpack

VERSION = 1

HEADER_BYTES_MAX = 16 << 10
"""Bytes in a message's first frame: numbers and names. The largest is a delivery of 64 batches,
each with a task name of up to 128 bytes."""

MAP_BYTES_MAX = 64 << 10
"""Bytes in the maps that describe a peer (`Hello`, `Report`)."""

MAP_DEPTH_MAX = 8
"""How deep such a map may nest: it is packed again when somebody asks."""

NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")

REPLY = 1
"""Flag of `Publish` and of a delivered batch: the producer wants the results."""

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
WRONG_ROLE = "wrong-role"
"""A producer said what only workers say, or the like."""

TRY_AGAIN = frozenset({FULL, DRAINING})


REASONS = frozenset({STOPPED, CRASHED, TIMEOUT})

# What may be done to a queue (`Control`).
PAUSE = "pause"
"""Hand nothing out; go on taking tasks."""
DRAIN = "drain"
"""Take no new tasks; go on handing out."""
RESUME = "resume"
"""Do both again."""


class Hello(NamedTuple):
    """First message of every peer. Next frame: a map about it (see docs/protocol.md)."""

    role: str
    """``producer``, ``worker``, ``supervisor`` or ``observer``."""
    id: bytes
    """16 random bytes that stay the same over reconnects."""


class Welcome(NamedTuple):
    """The answer to `Hello`."""

    broker: bytes
    """8 random bytes, new at every start of a broker."""
    heartbeat_ms: int
    """Say something at least this often."""
    liveness_ms: int
    """Whoever is not heard from for this long counts as lost, on both sides."""


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


class Await(NamedTuple):
    """After a reconnect: I still await results of these batches. The broker answers each with a
    `Result` `OPEN`; whatever is awaited beyond that was lost on the way."""

    sequences: list[int]


class Credit(NamedTuple):
    """How many tasks the worker allows to be in flight to it, all in all."""

    credit: int


class Deliver(NamedTuple):
    """Tasks for a worker, under one lease. Next frames: one array of bodies a batch."""

    lease: int
    queue: str
    batches: list[list[Any]]
    """``[task, flags, count, attempt, age_us, origin, sequence, first]`` each. The age is since
    the oldest body was sent, as far as producer and broker can tell. The last three say which
    tasks these are, and stay the same however often they are delivered: who published them, the
    number of their batch, and the place of the first of them in it."""


class Settle(NamedTuple):
    """Some tasks of a lease are over. Next frames: one for each run that carries something."""

    lease: int
    credit: int
    """As in `Credit`."""
    runs: list[list[int]]
    """``[batch, first, count, status]`` each; batch is its position in `Deliver`."""


class Progress(NamedTuple):
    """How far a running task has come. From a worker to the broker, and on to the submitter."""

    number: int
    """The lease; to the submitter, the batch."""
    position: int
    """Of the task, counted through all batches of the lease; or in the batch."""
    done: int
    total: int
    """How many steps there are; 0 if nobody knows."""


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
    """``info``, ``stats`` for metrics, or ``dead`` for the newest dead letters."""


class Tell(NamedTuple):
    """The answer to `Ask`. Next frame: a map."""


class Report(NamedTuple):
    """A peer's state, and what is new in its figures. Next frame: a map."""


class Control(NamedTuple):
    """Do something to a queue. Anybody may, known or not; the answer is a `Tell`."""

    action: str
    """``pause``, ``drain`` or ``resume``."""
    queue: str


Message: TypeAlias = (
    Hello | Welcome | Refuse | Heartbeat | Goodbye | Publish | Confirm | Result | Await
    | Credit | Deliver | Settle | Departed | Ask | Tell | Report | Control | Progress
)  # fmt: skip

KINDS: dict[int, type[Any]] = {
    1: Hello, 2: Welcome, 3: Refuse, 4: Heartbeat, 5: Goodbye,
    10: Publish, 11: Confirm, 12: Result, 13: Await,
    20: Credit, 21: Deliver, 22: Settle, 23: Departed, 24: Progress,
    30: Ask, 31: Tell, 32: Report, 33: Control,
}  # fmt: skip


INT_MAX = (1 << 63) - 1
"""The largest number in a header."""

INT, TEXT, ID, INTS, IDS, RUNS, BATCHES = range(7)

_FIELDS = {
    int: INT,
    str: TEXT,
    bytes: ID,
    list[int]: INTS,
    list[bytes]: IDS,
    list[list[int]]: RUNS,
    list[list[Any]]: BATCHES,
}
"""For each type of a field: what its values must be (`_fits`)."""


def _is_int(value: Any) -> bool:
    return type(value) is int and 0 <= value <= INT_MAX


def _are_ints(values: Any, first: int) -> bool:
    for i in range(first, len(values)):
        if not _is_int(values[i]):
            return False
    return True


def _is_id(value: Any) -> bool:
    return type(value) is bytes and 1 <= len(value) <= 32


def _fits(field: int, value: Any) -> bool:
    """Whether a value may stand in such a field."""
    if field == INT:
        return _is_int(value)
    if field == TEXT:
        return type(value) is str
    if field == ID:
        return _is_id(value)
    if type(value) is not list:
        return False
    if field == INTS:
        return _are_ints(value, 0)
    for item in value:
        if not (_is_id(item) if field == IDS else _is_row(field, item)):
            return False
    return True


def _is_row(field: int, row: Any) -> bool:
    """Whether this is a run or a batch. A batch may have further numbers."""
    if type(row) is not list or len(row) < 4:
        return False
    if field == RUNS:
        return len(row) == 4 and _are_ints(row, 0)
    return type(row[0]) is str and _are_ints(row, 1)


_KIND_OF = {message: kind for kind, message in KINDS.items()}
_SHAPES: dict[int, tuple[type[Any], tuple[int, ...], tuple[Any, ...]]] = {
    kind: (
        message,
        tuple(_FIELDS[hint] for hint in get_type_hints(message).values()),
        tuple(message._field_defaults.values()),
    )
    for kind, message in KINDS.items()
}
"""For each kind of a message: its class, what its fields must hold, and what the last of them
hold if they are missing."""

_new = tuple.__new__

Made = TypeVar("Made", bound=tuple[Any, ...])


def make(message: type[Made], fields: tuple[Any, ...]) -> Made:
    """A message of these fields, all of them. As calling the class, which runs a function in the
    interpreter and takes half as long again."""
    return _new(message, fields)


def encode(message: Message) -> bytes:
    """The header frame of a message."""
    return pack((VERSION, _KIND_OF[type(message)], *message))


def decode(frame: bytes) -> Message:
    """The message in a header frame.

    Raises `ProtocolError` with the code ``wrong-version`` or ``malformed``.
    """
    header = unpack_header(frame)
    if len(header) < 2 or type(header[0]) is not int or type(header[1]) is not int:
        raise ProtocolError(MALFORMED, "the header does not begin with version and kind")
    if header[0] != VERSION:
        raise ProtocolError(WRONG_VERSION, f"version {header[0]}; this side speaks {VERSION}")
    shape = _SHAPES.get(header[1])
    if shape is None:
        raise ProtocolError(MALFORMED, f"unknown kind {header[1]}")
    message_type, fields, defaults = shape
    missing = 2 + len(fields) - len(header)
    if missing > len(defaults):
        raise ProtocolError(MALFORMED, f"{message_type.__name__} has too few fields")
    if missing > 0:
        header += defaults[-missing:]
    for i in range(len(fields)):
        if not _fits(fields[i], header[2 + i]):
            name = message_type._fields[i]
            raise ProtocolError(MALFORMED, f"{message_type.__name__}.{name} cannot be that")
    message: Message = _new(message_type, header[2 : 2 + len(fields)])
    return message


def unpack_map(
    frame: bytes, *, nbytes_max: int = MAP_BYTES_MAX, depth_max: int = MAP_DEPTH_MAX
) -> dict[str, Any]:
    """The map in a frame that describes a peer. Raises `ProtocolError`."""
    if len(frame) > nbytes_max:
        raise ProtocolError(MALFORMED, f"the map is over {nbytes_max} bytes")
    value = unpack(frame, keys=TEXT_KEYS)
    if type(value) is not dict or not all(type(key) is str for key in value):
        raise ProtocolError(MALFORMED, "not a map with text keys")
    if not _is_flat(value, depth_max):
        raise ProtocolError(MALFORMED, f"the map nests deeper than {depth_max}")
    return value


def _is_flat(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return True
    return depth > 0 and all(_is_flat(item, depth - 1) for item in value)


def unpack_header(frame: bytes) -> list[Any]:
    """The array in a message's first frame. Raises `ProtocolError`."""
    if len(frame) > HEADER_BYTES_MAX:
        raise ProtocolError(MALFORMED, f"the header is over {HEADER_BYTES_MAX} bytes")
    header = unpack(frame, keys=NO_MAPS)
    if type(header) is not list:
        raise ProtocolError(MALFORMED, "the header is not an array")
    return header


def check_name(name: str, what: str) -> str:
    """A queue or task name, if it is one. Raises `InvalidName`."""
    if not isinstance(name, str) or not NAME.match(name):
        raise InvalidName(f"{what} name {name!r} must be 1 to 128 of A-Z a-z 0-9 _ . -")
    return name
