# cython: annotation_typing=True
"""Bytes as values, compiled: what `unpacking` does without the reference. See there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgpack

from ..errors import ProtocolError

if TYPE_CHECKING:
    from .. import _cython as cython
else:
    try:
        import cython
    except ImportError:
        from .. import _cython as cython

DEPTH_MAX = 1024
"""Containers inside one another, as many as the reference reads."""

NO_MAPS, TEXT_KEYS, ANY_KEYS = range(3)
"""What may be a key of a map (`unpack`)."""

_unpack_reference: Callable[[bytes], Any] = partial(msgpack.unpackb, strict_map_key=False)


class Cursor:
    """Bytes that are read, one value behind the other."""


if cython.compiled:
    _names = [""] * 1024
    """Names that were met as keys of maps: the same few come again and again."""
    _heads = cython.declare(cython.ulonglong[1024])
    """The first bytes of each."""

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1)
    def _check(reader: Cursor, size: cython.Py_ssize_t) -> cython.int:
        """There are so many bytes to read."""
        if size > reader._stop - reader._at:
            raise ProtocolError("malformed", "cannot be unpacked: it ends too early")
        return 0

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1)
    def _promise(reader: Cursor, items: cython.Py_ssize_t, depth: cython.int) -> cython.int:
        """So many items are to come, each of a byte or more, beside those promised before."""
        if items > reader._stop - reader._at - reader._owed:
            raise ProtocolError("malformed", "cannot be unpacked: it ends too early")
        if depth >= DEPTH_MAX:
            raise ProtocolError("malformed", "cannot be unpacked: it nests too deep")
        reader._owed += items
        return 0

    @cython.cfunc
    @cython.inline
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def _number(reader: Cursor, size: cython.int) -> cython.ulonglong:
        """A number of so many bytes."""
        _check(reader, size)
        number: cython.ulonglong = 0
        stop: cython.Py_ssize_t = reader._at + size
        while reader._at < stop:
            number = number << 8 | reader._data[reader._at]
            reader._at += 1
        return number

    @cython.cfunc
    def _text(reader: Cursor, size: cython.Py_ssize_t) -> object:
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
    def _name(reader: Cursor, size: cython.Py_ssize_t) -> object:
        """A text that is likely to come again."""
        _check(reader, size)
        data: cython.p_const_uchar = reader._data + reader._at
        head: cython.ulonglong = 0
        tail: cython.ulonglong = 0
        low: cython.uint
        high: cython.uint
        if size >= 8:
            memcpy(cython.address(head), data, 8)
            memcpy(cython.address(tail), data + size - 8, 8)
        elif size >= 4:
            memcpy(cython.address(low), data, 4)
            memcpy(cython.address(high), data + size - 4, 4)
            head = low | cython.cast(cython.ulonglong, high) << 32
        else:
            head = data[0] | data[size >> 1] << 8 | data[size - 1] << 16
        mixed: cython.ulonglong = head ^ (tail << 1) ^ cython.cast(cython.ulonglong, size)
        slot: cython.uint = cython.cast(cython.uint, mixed ^ (mixed >> 32))
        slot = cython.cast(cython.uint, slot * MIXER) >> 22
        name: object = cython.cast(object, PyList_GET_ITEM(_names, slot))
        is_same: cython.bint = _heads[slot] == head and PyUnicode_GET_LENGTH(name) == size
        # Up to eight bytes, the head is all of it.
        if is_same and (size <= 8 or not memcmp(PyUnicode_DATA(name), data, size)):
            reader._at += size
            return name
        name = _text(reader, size)
        if PyUnicode_GET_LENGTH(name) == size:  # It is ASCII.
            _names[slot] = name
            _heads[slot] = head
        return name

    @cython.cfunc
    def _bytes_of(reader: Cursor, size: cython.Py_ssize_t) -> object:
        _check(reader, size)
        reader._at += size
        data: cython.p_const_uchar = reader._data + reader._at - size
        return PyBytes_FromStringAndSize(cython.cast(cython.p_const_char, data), size)

    @cython.cfunc
    def _array(reader: Cursor, size: cython.Py_ssize_t, depth: cython.int) -> object:
        _promise(reader, size, depth)
        items: list = PyList_New(size)
        i: cython.Py_ssize_t
        for i in range(size):
            reader._owed -= 1
            item: object = read_value(reader, depth + 1)
            Py_INCREF(item)
            PyList_SET_ITEM(items, i, item)
        return items

    @cython.cfunc
    def _map(reader: Cursor, size: cython.Py_ssize_t, depth: cython.int) -> object:
        _promise(reader, 2 * size, depth)
        if size and reader._keys == NO_MAPS:
            raise ProtocolError("malformed", "cannot be unpacked: a map has no place there")
        items: dict = {}
        code: cython.int
        for _ in range(size):
            reader._owed -= 2
            _check(reader, 1)
            code = reader._data[reader._at]
            if 0xA0 < code < 0xC0:
                reader._at += 1
                key: object = _name(reader, code & 31)
                items[key] = read_value(reader, depth + 1)
            else:
                key = read_value(reader, depth + 1)
                if reader._keys < ANY_KEYS and type(key) is not str:
                    text = "cannot be unpacked: a key of a map is not text"
                    raise ProtocolError("malformed", text)
                _put_item(items, key, read_value(reader, depth + 1))
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
    def read_value(reader: Cursor, depth: cython.int) -> object:
        """The next value."""
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
            data: cython.p_const_uchar = reader._data + reader._at - 8
            return PyFloat_Unpack8(cython.cast(cython.p_const_char, data), 0)
        return _read_rare(reader, code, depth)

    @cython.cfunc
    def _read_rare(reader: Cursor, code: cython.int, depth: cython.int) -> object:
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
            data: cython.p_const_uchar = reader._data + reader._at - 4
            return PyFloat_Unpack4(cython.cast(cython.p_const_char, data), 0)
        start: cython.Py_ssize_t = reader._at - 1
        reader._at = start
        skip(reader)
        try:
            return _unpack_reference(reader._frame[start : reader._at])
        except Exception as error:
            raise ProtocolError("malformed", f"cannot be unpacked: {error}") from None

    @cython.cfunc
    @cython.exceptval(-1)
    def skip(reader: Cursor) -> cython.int:
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
                raise ProtocolError("malformed", "cannot be unpacked: a code that is none")
            _check(reader, size)
            reader._at += size
        return 0

    @cython.cfunc
    def unpack_plain(packed: bytes, keys: cython.int) -> object:
        reader: Cursor = Cursor.__new__(Cursor)
        reader._keys = keys
        reader._frame = packed
        reader._data = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(packed))
        reader._stop = PyBytes_GET_SIZE(packed)
        value: object = read_value(reader, 0)
        if reader._at != reader._stop:
            raise ProtocolError("malformed", "cannot be unpacked: there is more behind it")
        return value
