# cython: annotation_typing=True
"""The codec: bodies become bytes, and bytes bodies. The only place that knows msgpack.

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

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgpack

from ..errors import BodyError, BodyTooLarge, ProtocolError

if TYPE_CHECKING:
    from ..core import _cython as cython
else:
    try:
        import cython
    except ImportError:
        from ..core import _cython as cython

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
"""How deep a value may nest before the reference is asked; it gives up at 511 when it packs."""

SPARE_BYTES_MAX = 1 << 20
"""A buffer that grew beyond this is given back once it is empty."""

NO_MAPS, TEXT_KEYS, ANY_KEYS = range(3)
"""What may be a key of a map (`unpack`)."""

_pack_reference: Callable[[object], bytes] = msgpack.packb
_unpack_reference: Callable[[bytes], Any] = partial(msgpack.unpackb, strict_map_key=False)


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


def unpack(packed: bytes, keys: int = ANY_KEYS) -> Any:
    """The value of which these are the bytes.

    ``keys`` says what maps may have as keys. Text alone is safe from somebody who sends a great
    many that fall on one another.

    Raises `ProtocolError` (code ``malformed``).
    """
    if cython.compiled:
        return _unpack(packed, keys)
    try:
        if keys == NO_MAPS:
            return msgpack.unpackb(packed, max_map_len=0)
        return msgpack.unpackb(packed, strict_map_key=keys == TEXT_KEYS)
    except Exception as error:
        raise ProtocolError("malformed", f"cannot be unpacked: {error}") from None


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
        if not (cython.compiled and _add_plain(self, body)):
            _append(self, pack_body(body))
        return self.is_full

    def fill(self, bodies: Iterator[object]) -> bool:
        """Pack bodies until a batch is full. False: there are no more.

        Raises as `add` does, naming the body by its number, and whatever ``bodies`` raises.
        """
        number = 0
        for body in bodies:
            if not (cython.compiled and _add_plain(self, body)):
                try:
                    _append(self, pack_body(body))
                except BodyError as error:
                    raise type(error)(f"body {self._filled + number}: {error}") from None
            number += 1
            if self.is_full:
                self._filled += number
                return True
        return False

    def take(self) -> bytes:
        """Remove the oldest batch, full or not: a frame; no bytes if there is no body."""
        if self._full:
            frame = self._full.popleft()
            self.is_full = bool(self._full)
            return frame
        if not self._tasks:
            return b""
        frame = _frame(self, self._end, self._tasks)
        self._tasks = self._end = 0
        if not cython.compiled or self._room > SPARE_BYTES_MAX:
            self._bytes = bytearray()
            self._room = 0
        return frame


class Reader:
    """Unpacks the bodies of a frame, one at a time. Raises `ProtocolError` if it is not an array.

    ``left`` says how many there still are.
    """

    def __init__(self, frame: bytes) -> None:
        self.left = array_length(frame)
        if cython.compiled:
            self._keys = ANY_KEYS
            self._frame = frame
            self._data = cython.cast(cython.p_uchar, PyBytes_AS_STRING(frame))
            self._stop = len(frame)
            self._at = 1 if self._data[0] < 0xDC else 3 if self._data[0] == 0xDC else 5
        else:
            self._bodies = iter(unpack(frame))

    def read(self) -> Any:
        """The next body. Raises `ProtocolError`; then what is left cannot be read either."""
        if not self.left:
            raise StopIteration
        self.left -= 1
        if not cython.compiled:
            return next(self._bodies)
        try:
            return _read(self, 0)
        except ProtocolError:
            self._at = self._stop
            raise

    def __iter__(self) -> Reader:
        return self

    def __next__(self) -> Any:
        return self.read()


def unpack_bodies(frame: bytes) -> list[Any]:
    """All bodies of a frame. Raises `ProtocolError`."""
    return list(Reader(frame))


def index_bodies(frame: bytes) -> Sequence[int]:
    """Where each body begins, and where the last one ends. Decodes nothing.

    Raises `ProtocolError` (code ``malformed``) if the frame is not one whole array.
    """
    if cython.compiled:
        return _index(Reader(frame))
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(frame), 1))
    unpacker.feed(frame)
    skip, tell = unpacker.skip, unpacker.tell
    try:
        count = unpacker.read_array_header()
        offsets = array("q", [tell()])
        for _ in range(count):
            skip()
            offsets.append(tell())
    except Exception as error:
        raise ProtocolError("malformed", f"the batch cannot be split: {error}") from None
    if offsets[-1] != len(frame):
        raise ProtocolError("malformed", "the batch has bytes after its last body")
    return offsets


if cython.compiled:
    FRAME_MAX = cython.declare(cython.Py_ssize_t, FRAME_BYTES_MAX)
    BODY_MAX = cython.declare(cython.Py_ssize_t, BODY_BYTES_MAX)

    # --- writing ---

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1)
    def _need(packer: Packer, size: cython.Py_ssize_t) -> cython.int:
        """Make room for so many more bytes."""
        if packer._end + size > packer._room:
            packer._room = packer._end + packer._end // 2 + size + 4096
            PyByteArray_Resize(packer._bytes, packer._room)
            packer._data = cython.cast(cython.p_uchar, PyByteArray_AS_STRING(packer._bytes))
        return 0

    @cython.cfunc
    @cython.inline
    def _put(packer: Packer, code: cython.int, number: cython.ulonglong, size: cython.int) -> cython.void:
        """A code and a number of so many bytes. There is room."""
        data: cython.p_uchar = packer._data + packer._end
        data[0] = code
        packer._end += size + 1
        while size:
            data[size] = number & 0xFF
            number >>= 8
            size -= 1

    @cython.cfunc
    @cython.inline
    def _put_length(
        packer: Packer, length: cython.Py_ssize_t, small: cython.int, small_max: cython.int,
        code8: cython.int, code16: cython.int
    ) -> cython.void:  # fmt: skip
        """What announces a text, bytes, an array or a map. There is room."""
        if length <= small_max:
            packer._data[packer._end] = small | length
            packer._end += 1
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
        memcpy(packer._data + packer._end, data, size)
        packer._end += size
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
            packer._data[packer._end] = number & 0xFF
            packer._end += 1
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
            packer._data[packer._end] = 0xA0 | size
            packer._end += 1
        else:
            _put_length(packer, size, 0xA0, 31, 0xD9, 0xDA)
        memcpy(packer._data + packer._end, PyUnicode_DATA(value), size)
        packer._end += size
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
        key: cython.pointer(PyObject) = cython.NULL
        item: cython.pointer(PyObject) = cython.NULL
        if PyUnicode_CheckExact(value):
            return _put_text(packer, value)
        _need(packer, 16)
        if PyLong_CheckExact(value):
            return _put_int(packer, value)
        if PyFloat_CheckExact(value):
            packer._data[packer._end] = 0xCB
            data: cython.p_char = cython.cast(cython.p_char, packer._data + packer._end + 1)
            PyFloat_Pack8(PyFloat_AS_DOUBLE(value), data, 0)
            packer._end += 9
            return True
        if value is None or value is False or value is True:
            packer._data[packer._end] = 0xC0 if value is None else 0xC2 + (value is True)
            packer._end += 1
            return True
        if depth > DEPTH_MAX:
            return False
        if PyDict_CheckExact(value):
            _put_length(packer, PyDict_Size(value), 0x80, 15, 0, 0xDE)
            position = 0
            while PyDict_Next(value, cython.address(position), cython.address(key), cython.address(item)):
                if PyUnicode_CheckExact(cython.cast(object, key)):
                    if not _put_text(packer, cython.cast(object, key)):
                        return False
                elif not _write(packer, cython.cast(object, key), depth + 1):
                    return False
                if not _write(packer, cython.cast(object, item), depth + 1):
                    return False
            return True
        if PyTuple_CheckExact(value):
            size = PyTuple_GET_SIZE(value)
            _put_length(packer, size, 0x90, 15, 0, 0xDC)
            for position in range(size):
                if not _write(packer, cython.cast(object, PyTuple_GET_ITEM(value, position)), depth + 1):
                    return False
            return True
        if PyList_CheckExact(value):
            size = PyList_GET_SIZE(value)
            _put_length(packer, size, 0x90, 15, 0, 0xDC)
            for position in range(size):
                if not _write(packer, cython.cast(object, PyList_GET_ITEM(value, position)), depth + 1):
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
    def _add_plain(packer: Packer, body: object) -> cython.bint:
        start: cython.Py_ssize_t = packer._end
        if _write(packer, body, 0) and packer._end - start <= BODY_MAX:
            _added(packer, start)
            return True
        packer._end = start
        return False

    @cython.cfunc
    @cython.exceptval(-1)
    def _append(packer: Packer, packed: bytes) -> cython.int:
        start: cython.Py_ssize_t = packer._end
        _put_data(packer, PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed))
        return _added(packer, start)

    @cython.cfunc
    @cython.exceptval(-1)
    def _added(packer: Packer, start: cython.Py_ssize_t) -> cython.int:
        """There is one more body, from ``start`` to the end."""
        packer._tasks += 1
        if packer._end > packer._bytes_max and packer._tasks > 1:
            packer._full.append(_frame(packer, start, packer._tasks - 1))
            packer.is_full = True
            packer._end -= start
            memmove(packer._data, packer._data + start, packer._end)
            packer._tasks = 1
        if packer._tasks >= packer._tasks_max or packer._end > packer._bytes_max:
            packer._full.append(_frame(packer, packer._end, packer._tasks))
            packer.is_full = True
            packer._tasks = packer._end = 0
        return 0

    @cython.cfunc
    def _frame(packer: Packer, end: cython.Py_ssize_t, tasks: cython.Py_ssize_t) -> bytes:
        """The bytes up to ``end`` as an array of so many."""
        header: cython.Py_ssize_t = 1 if tasks < 16 else 3
        frame: bytes = PyBytes_FromStringAndSize(cython.NULL, end + header)
        data: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(frame))
        if tasks < 16:
            data[0] = 0x90 | tasks
        else:
            data[0] = 0xDC
            data[1] = tasks >> 8
            data[2] = tasks & 0xFF
        memcpy(data + header, packer._data, end)
        return frame

    _scratch: Packer = Packer(0, 0)

    @cython.cfunc
    def _pack_plain(value: object) -> object:
        """The bytes of a plain value; None if it is not plain."""
        packer: Packer = _scratch
        packed: object = None
        packer._end = 0
        if _write(packer, value, 0):
            packed = PyBytes_FromStringAndSize(cython.cast(cython.p_char, packer._data), packer._end)
        if packer._room > SPARE_BYTES_MAX:
            packer._bytes = bytearray()
            packer._room = 0
        return packed

    # --- reading ---

    NAME_BYTES_MAX = 32
    _names: list = [""] * 1024
    """Names that were met as keys of maps: the same few come again and again."""

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1)
    def _check(reader: Reader, size: cython.Py_ssize_t) -> cython.int:
        """There are so many bytes to read."""
        if size > reader._stop - reader._at:
            raise ProtocolError("malformed", "cannot be unpacked: it ends too early")
        return 0

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=True)
    def _number(reader: Reader, size: cython.int) -> cython.ulonglong:
        """A number of so many bytes."""
        _check(reader, size)
        number: cython.ulonglong = 0
        stop: cython.Py_ssize_t = reader._at + size
        while reader._at < stop:
            number = number << 8 | reader._data[reader._at]
            reader._at += 1
        return number

    @cython.cfunc
    def _text(reader: Reader, size: cython.Py_ssize_t) -> object:
        _check(reader, size)
        data: cython.p_const_uchar = reader._data + reader._at
        reader._at += size
        mixed: cython.uchar = 0
        i: cython.Py_ssize_t
        if 0 < size <= 64:
            for i in range(size):
                mixed |= data[i]
            if mixed < 0x80:
                text: object = PyUnicode_New(size, 127)
                memcpy(PyUnicode_DATA(text), data, size)
                return text
        try:
            return PyUnicode_DecodeUTF8(cython.cast(cython.p_const_char, data), size, cython.NULL)
        except UnicodeDecodeError:
            raise ProtocolError("malformed", "cannot be unpacked: a text is not UTF-8") from None

    @cython.cfunc
    def _name(reader: Reader, size: cython.Py_ssize_t) -> object:
        """A text that is likely to come again."""
        _check(reader, size)
        data: cython.p_const_uchar = reader._data + reader._at
        slot: cython.uint = cython.cast(cython.uint, size)
        i: cython.Py_ssize_t
        for i in range(size):
            slot = slot * 31 + data[i]
        slot = (slot ^ (slot >> 10)) & 1023
        name: object = _names[slot]
        if PyUnicode_GET_LENGTH(name) == size and not memcmp(PyUnicode_DATA(name), data, size):
            reader._at += size
            return name
        name = _text(reader, size)
        if PyUnicode_GET_LENGTH(name) == size:  # It is ASCII.
            _names[slot] = name
        return name

    @cython.cfunc
    def _bytes_of(reader: Reader, size: cython.Py_ssize_t) -> object:
        _check(reader, size)
        reader._at += size
        data: cython.p_const_uchar = reader._data + reader._at - size
        return PyBytes_FromStringAndSize(cython.cast(cython.p_const_char, data), size)

    @cython.cfunc
    def _array(reader: Reader, size: cython.Py_ssize_t, depth: cython.int) -> object:
        _check(reader, size)
        items: list = PyList_New(size)
        i: cython.Py_ssize_t
        for i in range(size):
            item: object = _read(reader, depth + 1)
            Py_INCREF(item)
            PyList_SET_ITEM(items, i, item)
        return items

    @cython.cfunc
    def _map(reader: Reader, size: cython.Py_ssize_t, depth: cython.int) -> object:
        _check(reader, 2 * size)
        if size and reader._keys == NO_MAPS:
            raise ProtocolError("malformed", "cannot be unpacked: a map has no place there")
        items: dict = {}
        code: cython.int
        for _ in range(size):
            _check(reader, 1)
            code = reader._data[reader._at]
            if 0xA0 < code < 0xC0:
                reader._at += 1
                key: object = _name(reader, code & 31)
                items[key] = _read(reader, depth + 1)
            else:
                key = _read(reader, depth + 1)
                if reader._keys < ANY_KEYS and type(key) is not str:
                    raise ProtocolError("malformed", "cannot be unpacked: a key of a map is not text")
                _put_item(items, key, _read(reader, depth + 1))
        return items

    @cython.cfunc
    @cython.exceptval(-1)
    def _put_item(items: dict, key: object, value: object) -> cython.int:
        try:
            items[key] = value
        except TypeError:
            text = f"cannot be unpacked: a {type(key).__name__} is no key of a map"
            raise ProtocolError("malformed", text) from None
        return 0

    @cython.cfunc
    def _read(reader: Reader, depth: cython.int) -> object:
        """The next value."""
        if depth > 1023:
            raise ProtocolError("malformed", "cannot be unpacked: it nests too deep")
        _check(reader, 1)
        code: cython.int = reader._data[reader._at]
        reader._at += 1
        if code < 0x80:
            return code
        if code < 0x90:
            return _map(reader, code & 15, depth)
        if code < 0xA0:
            return _array(reader, code & 15, depth)
        if code < 0xC0:
            return _text(reader, code & 31)
        if code >= 0xE0:
            return code - 256
        if code >= 0xCC and code <= 0xCF:
            return _number(reader, 1 << (code - 0xCC))
        if code == 0xCB:
            _check(reader, 8)
            reader._at += 8
            return PyFloat_Unpack8(cython.cast(cython.p_const_char, reader._data + reader._at - 8), 0)
        return _read_rare(reader, code, depth)

    @cython.cfunc
    def _read_rare(reader: Reader, code: cython.int, depth: cython.int) -> object:
        if code == 0xC0:
            return None
        if code == 0xC2:
            return False
        if code == 0xC3:
            return True
        if 0xD0 <= code <= 0xD3:
            size: cython.int = 1 << (code - 0xD0)
            bits: cython.int = 64 - 8 * size
            return cython.cast(cython.longlong, _number(reader, size) << bits) >> bits
        if 0xD9 <= code <= 0xDB:
            return _text(reader, _number(reader, 1 << (code - 0xD9)))
        if 0xC4 <= code <= 0xC6:
            return _bytes_of(reader, _number(reader, 1 << (code - 0xC4)))
        if code == 0xDC or code == 0xDD:
            return _array(reader, _number(reader, 2 << (code - 0xDC)), depth)
        if code == 0xDE or code == 0xDF:
            return _map(reader, _number(reader, 2 << (code - 0xDE)), depth)
        if code == 0xCA:
            _check(reader, 4)
            reader._at += 4
            return PyFloat_Unpack4(cython.cast(cython.p_const_char, reader._data + reader._at - 4), 0)
        start: cython.Py_ssize_t = reader._at - 1
        reader._at = start
        _skip(reader)
        try:
            return _unpack_reference(reader._frame[start : reader._at])
        except Exception as error:
            raise ProtocolError("malformed", f"cannot be unpacked: {error}") from None

    @cython.cfunc
    def _unpack(packed: bytes, keys: cython.int) -> object:
        reader: Reader = Reader.__new__(Reader)
        reader._keys = keys
        reader._frame = packed
        reader._data = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(packed))
        reader._stop = PyBytes_GET_SIZE(packed)
        value: object = _read(reader, 0)
        if reader._at != reader._stop:
            raise ProtocolError("malformed", "cannot be unpacked: there is more behind it")
        return value

    # --- finding ---

    @cython.cfunc
    @cython.exceptval(-1)
    def _skip(reader: Reader) -> cython.int:
        """Pass over one value."""
        left: cython.Py_ssize_t = 1
        size: cython.Py_ssize_t
        code: cython.int
        while left:
            left -= 1
            _check(reader, 1)
            code = reader._data[reader._at]
            reader._at += 1
            size = 0
            if code < 0x80 or code >= 0xE0 or code == 0xC0 or code == 0xC2 or code == 0xC3:
                continue
            if code < 0x90:
                left += 2 * (code & 15)
            elif code < 0xA0:
                left += code & 15
            elif code < 0xC0:
                size = code & 31
            elif 0xC4 <= code <= 0xC6:
                size = _number(reader, 1 << (code - 0xC4))
            elif 0xC7 <= code <= 0xC9:
                size = _number(reader, 1 << (code - 0xC7)) + 1
            elif code == 0xCA:
                size = 4
            elif code == 0xCB:
                size = 8
            elif 0xCC <= code <= 0xCF:
                size = 1 << (code - 0xCC)
            elif 0xD0 <= code <= 0xD3:
                size = 1 << (code - 0xD0)
            elif 0xD4 <= code <= 0xD8:
                size = (1 << (code - 0xD4)) + 1
            elif 0xD9 <= code <= 0xDB:
                size = _number(reader, 1 << (code - 0xD9))
            elif code == 0xDC or code == 0xDD:
                left += _number(reader, 2 << (code - 0xDC))
            elif code == 0xDE or code == 0xDF:
                left += 2 * _number(reader, 2 << (code - 0xDE))
            else:
                raise ProtocolError("malformed", "the batch cannot be split: a code that is none")
            _check(reader, size)
            reader._at += size
        return 0

    @cython.cfunc
    def _index(reader: Reader) -> object:
        count: cython.Py_ssize_t = reader.left + 1
        packed: bytes = PyBytes_FromStringAndSize(cython.NULL, count * 8)
        offsets: cython.p_longlong = cython.cast(cython.p_longlong, PyBytes_AS_STRING(packed))
        i: cython.Py_ssize_t
        for i in range(count):
            offsets[i] = reader._at
            if i + 1 < count:
                _skip(reader)
        if reader._at != reader._stop:
            raise ProtocolError("malformed", "the batch has bytes after its last body")
        return array("q", packed)

else:

    def _append(packer: Packer, packed: bytes) -> None:
        packer._tasks += 1
        if packer._tasks > 1 and len(packer._bytes) + len(packed) > packer._bytes_max:
            packer._full.append(array_header(packer._tasks - 1) + bytes(packer._bytes))
            packer.is_full = True
            packer._bytes.clear()
            packer._tasks = 1
        packer._bytes += packed
        if packer._tasks >= packer._tasks_max or len(packer._bytes) > packer._bytes_max:
            packer._full.append(array_header(packer._tasks) + bytes(packer._bytes))
            packer.is_full = True
            packer._bytes.clear()
            packer._tasks = 0
