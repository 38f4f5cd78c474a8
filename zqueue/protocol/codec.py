# cython: annotation_typing=True
"""The codec: bodies become bytes (here) and bytes bodies (in `unpacking`). Only these know msgpack.

``msgpack`` is the reference: what it would write is written here, and what it refuses is refused.
Compiled, plain values are written and read without it. A body is packed the moment it is sent
and unpacked the moment its handler runs, so it never leaves the processor's nearest cache, and the
garbage collector never sees more than one. Whatever is not plain goes to the reference, and so does
everything where this module is interpreted.

Theory of operation. Nothing here takes a lock. While compiled code handles plain values it calls
nothing that could run other Python code, so, with the interpreter's own lock held, no other thread
comes in between (`COMPILED`). The reference may run anything, so what it packs is made first and
appended afterwards, in one step. Where this module is interpreted, those who share a `Packer`
hold a lock of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import msgpack

from ..errors import BodyError, BodyTooLarge, ProtocolError

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

FRAME_BYTES_MAX = 16 << 20
"""Bytes in one frame, ours and ZeroMQ's ``MAXMSGSIZE``. Kafka's default is 1 MiB, NATS' 1 MiB
(64 MiB at most), RabbitMQ's 16 MiB since 4.0."""

BODY_BYTES_MAX = FRAME_BYTES_MAX - 8
"""Bytes of one packed body: it must fit in a frame, alone."""

DEPTH_MAX = 500
"""How deep a value may nest before the reference is asked, which has a limit of its own."""

SPARE_BYTES_MAX = 1 << 20
"""A buffer that grew beyond this is given back once it is empty."""

_pack_reference: Callable[[object], bytes] = msgpack.packb


def pack(value: object) -> bytes:
    """Any value as bytes. Raises `BodyError`."""
    if cython.compiled:
        packed = _pack_plain(value)
        if packed is not None:
            return packed
    try:
        return _pack_reference(value)
    except Exception as error:
        raise _why_not(value, error) from None


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
    return BodyError(
        f"a {type(body).__name__} cannot be sent: {text} is not something msgpack carries "
        "(None, bool, int, float, str, bytes, list, tuple, dict)"
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


class Packer:
    """Packs bodies into batches, one body at a time.

    A batch is full when it has ``tasks_max`` bodies or ``bytes_max`` bytes. A body that does not
    fit begins the next one, so only a body that is alone makes a batch larger than that.
    """

    def __init__(self, tasks_max: int, bytes_max: int) -> None:
        self._tasks_max = tasks_max
        self._bytes_max = bytes_max
        self._full: deque[bytes] = deque()
        self._tasks = 0
        self._end = 0
        """Where the bodies end."""
        self._at = 0
        """Where the next byte is written."""
        self._bytes = bytearray()
        self.is_full = False
        """Whether a full batch waits to be taken."""
        self._filled = 0

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

    def fill(self, bodies: Iterator[object]) -> bool:
        """Pack bodies until a batch is full. False: there are no more.

        Raises as `add` does, naming the body by its number, and whatever ``bodies`` raises.
        """
        wrapped = type(bodies) is Wrapped
        for body in bodies.items if wrapped else bodies:  # type: ignore[attr-defined]
            if not (cython.compiled and _add_plain(self, body, wrapped)):
                try:
                    _append(self, pack_body((body,) if wrapped else body))
                except BodyError as error:
                    raise type(error)(f"body {self._filled}: {error}") from None
            self._filled += 1
            if self.is_full:
                return True
        return False

    def take(self) -> bytes:
        """Remove the oldest batch, full or not: a frame; no bytes if there is no body."""
        if not self._full and self._tasks:
            _close(self, self._tasks)
        frame = self._full.popleft() if self._full else b""
        self.is_full = bool(self._full)
        return frame


@cython.cfunc
def _added(packer: Packer) -> None:
    """There is one more body, from what was the end to where writing stopped."""
    packer._tasks += 1
    if packer._at > packer._bytes_max and packer._tasks > 1:
        _close(packer, packer._tasks - 1)
    packer._end = packer._at
    if packer._tasks >= packer._tasks_max or packer._end > packer._bytes_max:
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
        _give_back(packer)
    else:
        del packer._bytes[: packer._end]
    packer._end = 0


if cython.compiled:
    FRAME_MAX = cython.declare(cython.Py_ssize_t, FRAME_BYTES_MAX)
    BODY_MAX = cython.declare(cython.Py_ssize_t, BODY_BYTES_MAX)

    # --- writing ---

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1)
    def _need(packer: Packer, size: cython.Py_ssize_t) -> cython.int:
        """Make room for so many more bytes."""
        if packer._at + size > packer._room:
            room: cython.Py_ssize_t = packer._at + packer._at // 2 + size + 4096
            PyByteArray_Resize(packer._bytes, room)
            packer._room = room
            packer._data = cython.cast(cython.p_uchar, PyByteArray_AS_STRING(packer._bytes))
        return 0

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def _put(
        packer: Packer, code: cython.int, number: cython.ulonglong, size: cython.int
    ) -> cython.void:
        """A code and a number of so many bytes. There is room."""
        data: cython.p_uchar = packer._data + packer._at
        data[0] = code
        packer._at += size + 1
        while size:
            data[size] = number & 0xFF
            number >>= 8
            size -= 1

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def _copy(packer: Packer, data: cython.p_const_uchar, size: cython.Py_ssize_t) -> cython.void:
        """Append bytes, which are few as a rule: then two moves that overlap do it. There is
        room."""
        to: cython.p_uchar = packer._data + packer._at
        packer._at += size
        if 8 <= size <= 16:
            memcpy(to, data, 8)
            memcpy(to + size - 8, data + size - 8, 8)
        elif size > 16:
            memcpy(to, data, size)
        elif size >= 4:
            memcpy(to, data, 4)
            memcpy(to + size - 4, data + size - 4, 4)
        else:
            while size:
                size -= 1
                to[size] = data[size]

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def _put_length(
        packer: Packer, length: cython.Py_ssize_t, small: cython.int, small_max: cython.int,
        code8: cython.int, code16: cython.int
    ) -> cython.void:  # fmt: skip
        """What announces a text, bytes, an array or a map. There is room."""
        if length <= small_max:
            packer._data[packer._at] = small | length
            packer._at += 1
        elif code8 and length < 1 << 8:
            _put(packer, code8, length, 1)
        elif length < 1 << 16:
            _put(packer, code16, length, 2)
        else:
            _put(packer, code16 + 1, length, 4)

    @cython.cfunc
    @cython.exceptval(-1)
    def _put_data(packer: Packer, data: cython.p_const_char, size: cython.Py_ssize_t) -> cython.int:
        _need(packer, size)
        memcpy(packer._data + packer._at, data, size)
        packer._at += size
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _put_int(packer: Packer, value: object) -> cython.bint:
        overflow: cython.int = 0
        number: cython.longlong = PyLong_AsLongLongAndOverflow(value, cython.address(overflow))
        if overflow:
            if overflow < 0:
                return False
            try:
                _put(packer, 0xCF, PyLong_AsUnsignedLongLong(value), 8)
            except OverflowError:
                return False
        elif -32 <= number < 128:
            packer._data[packer._at] = number & 0xFF
            packer._at += 1
        elif number > 0:
            if number < 1 << 8:
                _put(packer, 0xCC, number, 1)
            elif number < 1 << 16:
                _put(packer, 0xCD, number, 2)
            elif number < cython.cast(cython.longlong, 1) << 32:
                _put(packer, 0xCE, number, 4)
            else:
                _put(packer, 0xCF, number, 8)
        elif number >= -(1 << 7):
            _put(packer, 0xD0, number, 1)
        elif number >= -(1 << 15):
            _put(packer, 0xD1, number, 2)
        elif number >= -(cython.cast(cython.longlong, 1) << 31):
            _put(packer, 0xD2, number, 4)
        else:
            _put(packer, 0xD3, number, 8)
        return True

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1)
    def _put_text(packer: Packer, value: object) -> cython.bint:
        if not PyUnicode_IS_COMPACT_ASCII(value):
            return _put_wide_text(packer, value)
        size: cython.Py_ssize_t = PyUnicode_GET_LENGTH(value)
        if size > FRAME_MAX:
            return False
        _need(packer, size + 5)
        if size < 32:
            packer._data[packer._at] = 0xA0 | size
            packer._at += 1
        else:
            _put_length(packer, size, 0xA0, 31, 0xD9, 0xDA)
        _copy(packer, cython.cast(cython.p_const_uchar, PyUnicode_DATA(value)), size)
        return True

    @cython.cfunc
    @cython.exceptval(-1)
    def _put_wide_text(packer: Packer, value: object) -> cython.bint:
        size: cython.Py_ssize_t = 0
        try:
            data: cython.p_const_char = PyUnicode_AsUTF8AndSize(value, cython.address(size))
        except UnicodeEncodeError:
            return False
        if size > FRAME_MAX:
            return False
        _need(packer, 5)
        _put_length(packer, size, 0xA0, 31, 0xD9, 0xDA)
        _put_data(packer, data, size)
        return True

    @cython.cfunc
    @cython.exceptval(-1)
    def _write(packer: Packer, value: object, depth: cython.int) -> cython.bint:
        """Append a value. False: it is not plain, and may have been written in part."""
        position: cython.Py_ssize_t
        size: cython.Py_ssize_t
        item: cython.pointer(PyObject)
        if PyUnicode_CheckExact(value):
            return _put_text(packer, value)
        _need(packer, 16)
        if PyLong_CheckExact(value):
            return _put_int(packer, value)
        if PyFloat_CheckExact(value):
            packer._data[packer._at] = 0xCB
            data: cython.p_char = cython.cast(cython.p_char, packer._data + packer._at + 1)
            PyFloat_Pack8(PyFloat_AS_DOUBLE(value), data, 0)
            packer._at += 9
            return True
        if value is None or value is False or value is True:
            packer._data[packer._at] = 0xC0 if value is None else 0xC2 + (value is True)
            packer._at += 1
            return True
        if depth > DEPTH_MAX:
            return False
        if PyDict_CheckExact(value):
            return _write_map(packer, value, depth + 1)
        if PyTuple_CheckExact(value):
            size = PyTuple_GET_SIZE(value)
            _put_length(packer, size, 0x90, 15, 0, 0xDC)
            for position in range(size):
                item = PyTuple_GET_ITEM(value, position)
                if not _write(packer, cython.cast(object, item), depth + 1):
                    return False
            return True
        if PyList_CheckExact(value):
            size = PyList_GET_SIZE(value)
            _put_length(packer, size, 0x90, 15, 0, 0xDC)
            for position in range(size):
                item = PyList_GET_ITEM(value, position)
                if not _write(packer, cython.cast(object, item), depth + 1):
                    return False
            return True
        if PyBytes_CheckExact(value):
            size = PyBytes_GET_SIZE(value)
            if size > FRAME_MAX:
                return False
            _put_length(packer, size, 0, -1, 0xC4, 0xC5)
            _put_data(packer, PyBytes_AS_STRING(value), size)
            return True
        return False

    @cython.cfunc
    @cython.exceptval(-1)
    def _write_map(packer: Packer, items: object, depth: cython.int) -> cython.bint:
        place: cython.Py_ssize_t = 0
        name: cython.pointer(PyObject) = cython.NULL
        item: cython.pointer(PyObject) = cython.NULL
        at, key, value = cython.address(place), cython.address(name), cython.address(item)
        _put_length(packer, PyDict_Size(items), 0x80, 15, 0, 0xDE)
        while PyDict_Next(items, at, key, value):
            if PyUnicode_CheckExact(cython.cast(object, name)):
                if not _put_text(packer, cython.cast(object, name)):
                    return False
            elif not _write(packer, cython.cast(object, name), depth):
                return False
            if not _write(packer, cython.cast(object, item), depth):
                return False
        return True

    @cython.cfunc
    @cython.exceptval(-1)
    def _give_back(packer: Packer) -> cython.int:
        """A large buffer that is empty is not kept."""
        if not packer._at and packer._room > SPARE_BYTES_MAX:
            packer._room = 0
            packer._bytes = bytearray()
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _add_plain(packer: Packer, body: object, wrapped: cython.bint) -> cython.bint:
        packer._at = packer._end  # What failed half way is written over.
        if wrapped:
            _need(packer, 1)
            packer._data[packer._at] = 0x91
            packer._at += 1
        if not _write(packer, body, 0) or packer._at - packer._end > BODY_MAX:
            packer._at = packer._end
            _give_back(packer)
            return False
        _added(packer)
        return True

    @cython.cfunc
    @cython.exceptval(-1)
    def _append(packer: Packer, packed: bytes) -> cython.int:
        packer._at = packer._end
        _put_data(packer, PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed))
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

    _scratch: Packer = Packer(0, 0)

    @cython.cfunc
    def _pack_plain(value: object) -> object:
        """The bytes of a plain value; None if it is not plain."""
        packer: Packer = _scratch
        packed: object = None
        packer._at = 0
        if _write(packer, value, 0):
            data: cython.p_char = cython.cast(cython.p_char, packer._data)
            packed = PyBytes_FromStringAndSize(data, packer._at)
        packer._at = 0
        _give_back(packer)
        return packed

else:

    def _append(packer: Packer, packed: bytes) -> None:
        packer._bytes += packed
        packer._at = len(packer._bytes)
        _added(packer)

    def _frame(packer: Packer, tasks: int) -> bytes:
        return array_header(tasks) + bytes(packer._bytes[: packer._end])
