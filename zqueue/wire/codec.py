# cython: annotation_typing=True
"""The codec: bodies become bytes (here) and bytes bodies (in `unpacking`).

``msgpack`` is the reference: what it would write is written here, and what it refuses is refused.
(But for keys of maps that nobody could unpack: `_check_keys`.)
Compiled, plain values are written (`writing`) and read (`reading`) without it. A body is packed the
moment it is sent and unpacked the moment its handler runs, so it never leaves the processor's
nearest cache, and the garbage collector never sees more than one. Whatever is not plain goes to the
reference, and so does everything where this module is interpreted.

Theory of operation. Nothing here takes a lock. While compiled code handles plain values it calls
nothing that could run other Python code, so, with the interpreter's own lock held, no other thread
comes in between (`COMPILED`). The reference may run anything, so what it packs is made first and
appended afterwards, in one step. Where this module is interpreted, those who share a `Packer`
hold a lock of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgpack
from msgpack import ExtType

from ..errors import BodyError, BodyTooLarge, ProtocolError
from .writing import FRAME_BYTES_MAX as FRAME_BYTES_MAX
from .writing import Buffer

if TYPE_CHECKING:
    from .. import _cython as cython
else:
    try:
        import cython
    except ImportError:
        from .. import _cython as cython

COMPILED: bool = cython.compiled
"""Whether this is compiled. Then `Packer.add` and `Packer.take` are one step each, as far as other
threads can see."""

BATCH_TASKS_MAX = 4096
"""Tasks in one batch. Past ~512 the cost of a message no longer shows in the cost of a task;
the rest is room for tiny bodies."""

BODY_BYTES_MAX = FRAME_BYTES_MAX - 8
"""Bytes of one packed body: it must fit in a frame, alone."""

_CONTAINERS = frozenset((dict, list, tuple))

_INSTEAD = {
    "datetime.datetime": "send its isoformat()", "datetime.date": "send its isoformat()",
    "decimal.Decimal": "send its str()", "UUID": "send its str()", "set": "send a list",
    "frozenset": "send a list",
}  # fmt: skip
"""What people have, and what a body can carry in its place."""

_pack_reference: Callable[[object], bytes] = msgpack.packb


def pack(value: object) -> bytes:
    """Any value as bytes. Raises `BodyError`."""
    if cython.compiled:
        packed = pack_plain(value)
        if packed is not None:
            return packed
    try:
        packed = _pack_reference(value)
    except Exception as error:
        raise _why_not(value, error) from None
    if type(value) in _CONTAINERS:
        _check_keys(value)
    return packed


def _check_keys(value: Any) -> None:
    """Refuse a map with a key that would be unpacked as a list, which cannot be a key.

    The reference packs a tuple as an array, wherever it stands.
    """
    inner: list[Any] = []
    items = value
    while True:
        if type(items) is dict:
            for key in items:
                if type(key) is not str and isinstance(key, tuple) and type(key) is not ExtType:
                    raise BodyError(
                        f"a {type(key).__name__} cannot be sent as the key of a dict: it would "
                        "arrive as a list, which cannot be a key; make a text of it"
                    )
            items = items.values()
        for item in items:
            if type(item) in _CONTAINERS:
                inner.append(item)
        if not inner:
            return
        items = inner.pop()


def pack_body(body: object) -> bytes:
    """One body as bytes. Raises `BodyError`, or `BodyTooLarge`."""
    packed = pack(body)
    if len(packed) > BODY_BYTES_MAX:
        raise too_large(len(packed))
    return packed


def _why_not(body: object, error: Exception) -> BodyError:
    if isinstance(error, ValueError) and "recursion" in str(error):
        return BodyError("the body nests too deep, or contains itself")
    if isinstance(error, OverflowError):
        return BodyError("the body holds an integer beyond 64 bits: send it as a string")
    text = str(error).removeprefix("can not serialize ").removesuffix(" object").strip("'")
    # A tuple is what a call's arguments were made into: nobody knows it.
    what = text if type(body) is tuple else type(body).__name__
    if type(body) in (list, dict):
        what += f" that holds a {text}"
    instead = f"; {_INSTEAD[text]}" if text in _INSTEAD else ""
    return BodyError(
        f"a {what} cannot be sent: {text} is not something msgpack carries "
        f"(None, bool, int, float, str, bytes, list, tuple, dict){instead}"
    )


def too_large(nbytes: int) -> BodyTooLarge:
    """The error for a body of so many bytes."""
    return BodyTooLarge(
        f"the body is {nbytes:,} bytes packed, over the limit of {FRAME_BYTES_MAX:,}: "
        "send a reference to the data instead"
    )


def array_length(frame: bytes) -> int:
    """How many bodies a frame says it holds, read from its first bytes.

    Raises `ProtocolError`: not an array, empty, over `BATCH_TASKS_MAX`, or more bodies than
    bytes.
    """
    first = frame[0] if frame else 0
    if first & 0xF0 == 0x90:
        count, start = first & 0x0F, 1
    elif first == 0xDC:
        count, start = int.from_bytes(frame[1:3], "big"), 3
    elif first == 0xDD:
        count, start = int.from_bytes(frame[1:5], "big"), 5
    else:
        raise ProtocolError("malformed", "the batch is not a msgpack array")
    if count < 1:
        raise ProtocolError("malformed", "the batch is empty")
    if count > BATCH_TASKS_MAX:
        raise ProtocolError(
            "too-large", f"the batch has {count:,} tasks, over the limit of {BATCH_TASKS_MAX:,}"
        )
    if count > len(frame) - start:
        raise ProtocolError("malformed", "the batch has fewer bytes than bodies")
    return count


def array_header(count: int) -> bytes:
    """The first bytes of an array of so many, at most `BATCH_TASKS_MAX`."""
    if count < 16:
        return bytes((0x90 | count,))
    return b"\xdc" + count.to_bytes(2, "big")


class Wrapped:
    """Bodies that are arrays of one item each: the calls of what has one parameter.

    A `Packer` writes each array without its being made.
    """

    def __init__(self, items: Iterable[object]) -> None:
        self.items = iter(items)

    def __iter__(self) -> Wrapped:
        return self

    def __next__(self) -> tuple[object]:
        return (next(self.items),)


class Packer(Buffer):
    """Packs bodies into batches, one body at a time.

    A batch is full when it has ``tasks_max`` bodies or ``bytes_max`` bytes. A body that does not
    fit begins the next one, so only a body that is alone makes a batch larger than that.
    """

    def __init__(self, tasks_max: int, bytes_max: int) -> None:
        super().__init__()
        self.tasks_max = tasks_max
        """May be set; it counts from the next body on."""
        self._bytes_max = bytes_max
        self._full: deque[bytes] = deque()
        self._tasks = 0
        self._end = 0
        """Where the bodies end."""
        self.is_full = False
        """Whether a full batch waits to be taken."""
        self.is_eager = False
        """May be set: whether whoever adds a body is to have it taken at once."""

    def __len__(self) -> int:
        """Bodies that were added and not taken."""
        return self._tasks + sum(map(array_length, self._full))

    def add(self, body: object) -> bool:
        """Pack a body. Returns whether a batch is full now.

        Raises `BodyError` or `BodyTooLarge`; the body is then left out.
        """
        if not (cython.compiled and _add_plain(self, body, False)):
            _append(self, pack_body(body))
        return self.is_full

    def fill(self, bodies: Iterator[object], first: int = 0) -> int:
        """Pack bodies until a batch is full, or one came while it is eager.

        Returns how many; 0: there are no more. Raises as `add` does, naming the body by its
        number, counted from ``first``, and whatever ``bodies`` raises.
        """
        wrapped = type(bodies) is Wrapped
        count: cython.Py_ssize_t = 0
        for body in bodies.items if wrapped else bodies:  # type: ignore[attr-defined]
            if not (cython.compiled and _add_plain(self, body, wrapped)):
                try:
                    _append(self, pack_body((body,) if wrapped else body))
                except BodyError as error:
                    raise type(error)(f"body {first + count}: {error}") from None
            count += 1
            if self.is_full or self.is_eager:
                break
        return int(count)

    def take(self) -> bytes:
        """Remove the oldest batch, full or not: a frame; no bytes if there is no body."""
        if not self._full and self._tasks:
            _close(self, self._tasks)
        frame = self._full.popleft() if self._full else b""
        self.is_full = bool(self._full)
        return frame


def pack_batch(bodies: Iterable[object]) -> tuple[bytes, int]:
    """Bodies as one batch, and how many they are; no bytes if there are none.

    Raises `BodyError`, or `BodyTooLarge` if they do not fit in one.
    """
    packer = Packer(BATCH_TASKS_MAX, BODY_BYTES_MAX)
    source = iter(bodies)
    tasks: int = packer.fill(source)
    frame: bytes = packer.take()
    if len(packer) or (tasks == BATCH_TASKS_MAX and next(source, packer) is not packer):
        raise BodyTooLarge(
            f"a batch has at most {BATCH_TASKS_MAX:,} bodies and {FRAME_BYTES_MAX:,} bytes: "
            "make several of these"
        )
    return frame, tasks


@cython.cfunc
def _added(packer: Packer) -> None:
    """There is one more body, from what was the end to where writing stopped."""
    packer._tasks += 1
    if packer._at > packer._bytes_max and packer._tasks > 1:
        _close(packer, packer._tasks - 1)
    packer._end = packer._at
    if packer._tasks >= packer.tasks_max or packer._end > packer._bytes_max:
        _close(packer, packer._tasks)


@cython.cfunc
def _close(packer: Packer, tasks: cython.Py_ssize_t) -> None:
    """So many bodies, up to the end, are a batch. What was written behind them begins the next."""
    packer._full.append(_frame(packer, tasks))
    packer.is_full = True
    packer._tasks -= tasks
    packer._at -= packer._end
    if cython.compiled:
        memmove(packer._data, packer._data + packer._end, packer._at)
        give_back(packer)
    else:
        del packer._bytes[: packer._end]
    packer._end = 0


if cython.compiled:
    BODY_MAX = cython.declare(cython.Py_ssize_t, BODY_BYTES_MAX)

    @cython.cfunc
    @cython.exceptval(-1)
    def _add_plain(packer: Packer, body: object, wrapped: cython.bint) -> cython.bint:
        packer._at = packer._end  # What failed half way is written over.
        is_plain: cython.bint = write_body(packer, body, wrapped)
        if not is_plain or packer._at - packer._end > BODY_MAX:
            packer._at = packer._end
            give_back(packer)
            return False
        _added(packer)
        return True

    @cython.cfunc
    @cython.exceptval(-1)
    def _append(packer: Packer, packed: bytes) -> cython.int:
        packer._at = packer._end
        put_data(packer, PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed))
        _added(packer)
        return 0

    @cython.cfunc
    def _frame(packer: Packer, tasks: cython.Py_ssize_t) -> bytes:
        """The bytes up to the end as an array of so many."""
        header: cython.Py_ssize_t = 1 if tasks < 16 else 3
        frame: bytes = PyBytes_FromStringAndSize(cython.NULL, packer._end + header)
        data: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(frame))
        if tasks < 16:
            data[0] = 0x90 | tasks
        else:
            data[0] = 0xDC
            data[1] = tasks >> 8
            data[2] = tasks & 0xFF
        memcpy(data + header, packer._data, packer._end)
        return frame

else:

    def _append(packer: Packer, packed: bytes) -> None:
        packer._bytes += packed
        packer._at = len(packer._bytes)
        _added(packer)

    def _frame(packer: Packer, tasks: int) -> bytes:
        return array_header(tasks) + bytes(packer._bytes[: packer._end])
