# cython: annotation_typing=True
"""Plain values as bytes, compiled: what `codec` does without the reference. See there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .. import _cython as cython
else:
    try:
        import cython
    except ImportError:
        from .. import _cython as cython

FRAME_BYTES_MAX = 16 << 20
"""Bytes in one frame, ours and ZeroMQ's ``MAXMSGSIZE``. Kafka's default is 1 MiB, NATS' 1 MiB
(64 MiB at most), RabbitMQ's 16 MiB since 4.0."""

DEPTH_MAX = 500
"""How deep a value may nest before the reference is asked, which has a limit of its own."""

SPARE_BYTES_MAX = 1 << 20
"""A buffer that grew beyond this is given back once it is empty."""


class Buffer:
    """Bytes that are written, one value behind the other."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._at = 0
        """Where the next byte is written."""


if cython.compiled:
    FRAME_MAX = cython.declare(cython.Py_ssize_t, FRAME_BYTES_MAX)

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1)
    def _need(buffer: Buffer, size: cython.Py_ssize_t) -> cython.int:
        """Make room for so many more bytes."""
        if buffer._at + size > buffer._room:
            room: cython.Py_ssize_t = buffer._at + buffer._at // 2 + size + 4096
            PyByteArray_Resize(buffer._bytes, room)
            buffer._room = room
            buffer._data = cython.cast(cython.p_uchar, PyByteArray_AS_STRING(buffer._bytes))
        return 0

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def _put(
        buffer: Buffer, code: cython.int, number: cython.ulonglong, size: cython.int
    ) -> cython.void:
        """A code and a number of so many bytes. There is room."""
        data: cython.p_uchar = buffer._data + buffer._at
        data[0] = code
        buffer._at += size + 1
        while size:
            data[size] = number & 0xFF
            number >>= 8
            size -= 1

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def _copy(buffer: Buffer, data: cython.p_const_uchar, size: cython.Py_ssize_t) -> cython.void:
        """Append bytes, which are few as a rule: then two moves that overlap do it. There is
        room."""
        to: cython.p_uchar = buffer._data + buffer._at
        buffer._at += size
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
        buffer: Buffer, length: cython.Py_ssize_t, small: cython.int, small_max: cython.int,
        code8: cython.int, code16: cython.int
    ) -> cython.void:  # fmt: skip
        """What announces a text, bytes, an array or a map. There is room."""
        if length <= small_max:
            buffer._data[buffer._at] = small | length
            buffer._at += 1
        elif code8 and length < 1 << 8:
            _put(buffer, code8, length, 1)
        elif length < 1 << 16:
            _put(buffer, code16, length, 2)
        else:
            _put(buffer, code16 + 1, length, 4)

    @cython.cfunc
    @cython.exceptval(-1)
    def put_data(buffer: Buffer, data: cython.p_const_char, size: cython.Py_ssize_t) -> cython.int:
        _need(buffer, size)
        memcpy(buffer._data + buffer._at, data, size)
        buffer._at += size
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _put_int(buffer: Buffer, value: object) -> cython.bint:
        overflow: cython.int = 0
        number: cython.longlong = PyLong_AsLongLongAndOverflow(value, cython.address(overflow))
        if overflow:
            if overflow < 0:
                return False
            try:
                _put(buffer, 0xCF, PyLong_AsUnsignedLongLong(value), 8)
            except OverflowError:
                return False
        elif -32 <= number < 128:
            buffer._data[buffer._at] = number & 0xFF
            buffer._at += 1
        elif number > 0:
            if number < 1 << 8:
                _put(buffer, 0xCC, number, 1)
            elif number < 1 << 16:
                _put(buffer, 0xCD, number, 2)
            elif number < cython.cast(cython.longlong, 1) << 32:
                _put(buffer, 0xCE, number, 4)
            else:
                _put(buffer, 0xCF, number, 8)
        elif number >= -(1 << 7):
            _put(buffer, 0xD0, number, 1)
        elif number >= -(1 << 15):
            _put(buffer, 0xD1, number, 2)
        elif number >= -(cython.cast(cython.longlong, 1) << 31):
            _put(buffer, 0xD2, number, 4)
        else:
            _put(buffer, 0xD3, number, 8)
        return True

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1)
    def _put_text(buffer: Buffer, value: object) -> cython.bint:
        if not PyUnicode_IS_COMPACT_ASCII(value):
            return _put_wide_text(buffer, value)
        size: cython.Py_ssize_t = PyUnicode_GET_LENGTH(value)
        if size > FRAME_MAX:
            return False
        _need(buffer, size + 5)
        if size < 32:
            buffer._data[buffer._at] = 0xA0 | size
            buffer._at += 1
        else:
            _put_length(buffer, size, 0xA0, 31, 0xD9, 0xDA)
        _copy(buffer, cython.cast(cython.p_const_uchar, PyUnicode_DATA(value)), size)
        return True

    @cython.cfunc
    @cython.exceptval(-1)
    def _put_wide_text(buffer: Buffer, value: object) -> cython.bint:
        size: cython.Py_ssize_t = 0
        try:
            data: cython.p_const_char = PyUnicode_AsUTF8AndSize(value, cython.address(size))
        except UnicodeEncodeError:
            return False
        if size > FRAME_MAX:
            return False
        _need(buffer, 5)
        _put_length(buffer, size, 0xA0, 31, 0xD9, 0xDA)
        put_data(buffer, data, size)
        return True

    @cython.cfunc
    @cython.exceptval(-1)
    def _write(buffer: Buffer, value: object, depth: cython.int) -> cython.bint:
        """Append a value. False: it is not plain, and may have been written in part."""
        position: cython.Py_ssize_t
        size: cython.Py_ssize_t
        item: cython.pointer(PyObject)
        if PyUnicode_CheckExact(value):
            return _put_text(buffer, value)
        _need(buffer, 16)
        if PyLong_CheckExact(value):
            return _put_int(buffer, value)
        if PyFloat_CheckExact(value):
            buffer._data[buffer._at] = 0xCB
            data: cython.p_char = cython.cast(cython.p_char, buffer._data + buffer._at + 1)
            PyFloat_Pack8(PyFloat_AS_DOUBLE(value), data, 0)
            buffer._at += 9
            return True
        if value is None or value is False or value is True:
            buffer._data[buffer._at] = 0xC0 if value is None else 0xC2 + (value is True)
            buffer._at += 1
            return True
        if depth > DEPTH_MAX:
            return False
        if PyDict_CheckExact(value):
            return _write_map(buffer, value, depth + 1)
        if PyTuple_CheckExact(value):
            size = PyTuple_GET_SIZE(value)
            _put_length(buffer, size, 0x90, 15, 0, 0xDC)
            for position in range(size):
                item = PyTuple_GET_ITEM(value, position)
                if not _write(buffer, cython.cast(object, item), depth + 1):
                    return False
            return True
        if PyList_CheckExact(value):
            size = PyList_GET_SIZE(value)
            _put_length(buffer, size, 0x90, 15, 0, 0xDC)
            for position in range(size):
                item = PyList_GET_ITEM(value, position)
                if not _write(buffer, cython.cast(object, item), depth + 1):
                    return False
            return True
        if PyBytes_CheckExact(value):
            size = PyBytes_GET_SIZE(value)
            if size > FRAME_MAX:
                return False
            _put_length(buffer, size, 0, -1, 0xC4, 0xC5)
            put_data(buffer, PyBytes_AS_STRING(value), size)
            return True
        return False

    @cython.cfunc
    @cython.exceptval(-1)
    def _write_map(buffer: Buffer, items: object, depth: cython.int) -> cython.bint:
        place: cython.Py_ssize_t = 0
        name: cython.pointer(PyObject) = cython.NULL
        item: cython.pointer(PyObject) = cython.NULL
        at, key, value = cython.address(place), cython.address(name), cython.address(item)
        _put_length(buffer, PyDict_Size(items), 0x80, 15, 0, 0xDE)
        while PyDict_Next(items, at, key, value):
            if PyUnicode_CheckExact(cython.cast(object, name)):
                if not _put_text(buffer, cython.cast(object, name)):
                    return False
            elif PyTuple_CheckExact(cython.cast(object, name)):
                return False  # The reference's side says why it cannot be a key.
            elif not _write(buffer, cython.cast(object, name), depth):
                return False
            if PyUnicode_CheckExact(cython.cast(object, item)):  # As in `_write`, without a call.
                if not _put_text(buffer, cython.cast(object, item)):
                    return False
            elif not _write(buffer, cython.cast(object, item), depth):
                return False
        return True

    @cython.cfunc
    @cython.exceptval(-1)
    def write_body(buffer: Buffer, body: object, wrapped: cython.bint) -> cython.bint:
        """Append a body; if ``wrapped``, as the only item of an array. False: as `_write` says."""
        if wrapped:
            _need(buffer, 1)
            buffer._data[buffer._at] = 0x91
            buffer._at += 1
        if PyDict_CheckExact(body):  # As most are, alone or as the one argument.
            _need(buffer, 16)
            return _write_map(buffer, body, 1)
        return _write(buffer, body, 0)

    @cython.cfunc
    @cython.exceptval(-1)
    def give_back(buffer: Buffer) -> cython.int:
        """A large buffer that is empty is not kept."""
        if not buffer._at and buffer._room > SPARE_BYTES_MAX:
            buffer._room = 0
            buffer._bytes = bytearray()
        return 0

    _scratch: Buffer = Buffer()

    @cython.cfunc
    def pack_plain(value: object) -> object:
        """The bytes of a plain value; None if it is not plain."""
        buffer: Buffer = _scratch
        packed: object = None
        buffer._at = 0
        if _write(buffer, value, 0):
            data: cython.p_char = cython.cast(cython.p_char, buffer._data)
            packed = PyBytes_FromStringAndSize(data, buffer._at)
        buffer._at = 0
        give_back(buffer)
        return packed
