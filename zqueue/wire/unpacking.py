# cython: annotation_typing=True
"""Unpacking: bytes become bodies, one at a time, and where each begins is found. See `codec`."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgpack

from ..errors import ProtocolError
from .codec import array_length
from .reading import ANY_KEYS as ANY_KEYS
from .reading import NO_MAPS as NO_MAPS
from .reading import TEXT_KEYS as TEXT_KEYS
from .reading import Cursor

if TYPE_CHECKING:
    from .. import _cython as cython
else:
    try:
        import cython
    except ImportError:
        from .. import _cython as cython


def unpack(packed: bytes, keys: int = ANY_KEYS) -> Any:
    """The value of which these are the bytes.

    ``keys`` says what maps may have as keys. Text alone is safe from somebody who sends a great
    many that fall on one another.

    Raises `ProtocolError` (code ``malformed``).
    """
    if cython.compiled:
        return unpack_plain(packed, keys)
    try:
        if keys == NO_MAPS:
            return msgpack.unpackb(packed, max_map_len=0)
        return msgpack.unpackb(packed, strict_map_key=keys == TEXT_KEYS)
    except Exception as error:
        raise ProtocolError("malformed", f"cannot be unpacked: {error}") from None


class Reader(Cursor):
    """Unpacks the bodies of a frame, one at a time. Raises `ProtocolError` if it is not an array.

    ``left`` says how many there still are. A body that cannot be unpacked, but whose end can be
    found, harms no other.
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
            self._frame = frame
            self._count = self.left
            self._stop = len(frame)
            self._broken = False
            self._offset = 0
            """Where `_bodies` begins."""
            self._bodies = _unpacker(frame)
            self._bodies.read_array_header()

    def read(self) -> Any:
        """The next body. Raises `ProtocolError`."""
        if not self.left:
            raise StopIteration
        self.left -= 1
        return _next_body(self)

    def __iter__(self) -> Reader:
        return self

    def __next__(self) -> Any:
        return self.read()


def unpack_bodies(frame: bytes) -> list[Any]:
    """All bodies of a frame. Raises `ProtocolError`."""
    return list(Reader(frame))


def unpack_each(frame: bytes) -> list[Any | ProtocolError]:
    """All bodies of a frame, and the error in place of each that cannot be unpacked.

    Raises `ProtocolError` if it is not an array.
    """
    reader = Reader(frame)
    bodies: list[Any | ProtocolError] = []
    while reader.left:
        try:
            bodies.append(reader.read())
        except ProtocolError as error:
            bodies.append(error)
    return bodies


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

    @cython.cfunc
    def _next_body(reader: Reader) -> object:
        if reader._broken:
            _pass_over(reader)
        reader._body = reader._at
        reader._broken = True  # Unless it goes well. (A ``try`` costs more than this.)
        body: object = read_value(reader, 0)
        if not reader.left and reader._at != reader._stop:
            raise ProtocolError("malformed", "the batch has bytes after its last body")
        reader._broken = False
        return body

    @cython.cfunc
    @cython.exceptval(-1)
    def _pass_over(reader: Reader) -> cython.int:
        """Go on behind the body that could not be unpacked."""
        reader._at = reader._body
        try:
            skip(reader)
        except ProtocolError:
            text = "cannot be unpacked: nor can a body before it, and its end cannot be found"
            raise ProtocolError("malformed", text) from None
        reader._owed = 0
        reader._broken = False
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def has_single(reader: Reader, wrapped: cython.bint) -> cython.bint:
        """Whether the next body can be had by `read_single`: if ``wrapped``, it is an array of one
        item, and otherwise not an extension."""
        if not reader.left or reader._broken or reader._at >= reader._stop:
            return False
        code: cython.int = reader._data[reader._at]
        if wrapped:
            return code == 0x91
        return not (0xC7 <= code <= 0xC9 or 0xD4 <= code <= 0xD8)

    @cython.cfunc
    def read_single(reader: Reader, wrapped: cython.bint) -> object:
        """The next body; if ``wrapped``, the only item of it."""
        reader.left -= 1
        if not wrapped:
            return _next_body(reader)
        reader._body = reader._at
        reader._at += 1
        reader._broken = True  # As in `_next_body`.
        item: object = read_value(reader, 1)
        if not reader.left and reader._at != reader._stop:
            raise ProtocolError("malformed", "the batch has bytes after its last body")
        reader._broken = False
        return item

    @cython.cfunc
    @cython.exceptval(-2, check=True)
    def read_items(
        reader: Reader, items: cython.pointer(cython.pointer(PyObject)), room: cython.int
    ) -> cython.int:
        """The items of the next body, if it is an array of not more than there is ``room`` for.

        Returns how many there are, for the caller to free; -1 if it is something else, to be read
        as a whole.
        """
        if not reader.left or reader._broken or reader._at >= reader._stop:
            return -1
        count: cython.int = reader._data[reader._at] - 0x90
        if count < 0 or count > room:
            return -1
        reader.left -= 1
        reader._body = reader._at
        reader._at += 1
        reader._broken = True
        read: cython.int = 0
        try:
            while read < count:
                item: object = read_value(reader, 1)
                Py_INCREF(item)
                items[read] = cython.cast(cython.pointer(PyObject), item)
                read += 1
            if not reader.left and reader._at != reader._stop:
                raise ProtocolError("malformed", "the batch has bytes after its last body")
        except BaseException:
            while read:
                read -= 1
                Py_DECREF(cython.cast(object, items[read]))
            raise
        reader._broken = False
        return count

    @cython.cfunc
    def _index(reader: Reader) -> object:
        count: cython.Py_ssize_t = reader.left + 1
        packed: bytes = PyBytes_FromStringAndSize(cython.NULL, count * 8)
        offsets: cython.p_longlong = cython.cast(cython.p_longlong, PyBytes_AS_STRING(packed))
        i: cython.Py_ssize_t
        for i in range(count):
            offsets[i] = reader._at
            if i + 1 < count:
                skip(reader)
        if reader._at != reader._stop:
            raise ProtocolError("malformed", "the batch has bytes after its last body")
        return array("q", packed)

else:

    def _unpacker(data: bytes) -> Any:
        unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=max(len(data), 1))
        unpacker.feed(data)
        return unpacker

    def _next_body(reader: Reader) -> Any:
        if reader._broken:
            try:
                offsets = index_bodies(reader._frame)
            except ProtocolError:
                text = "cannot be unpacked: nor can a body before it, and its end cannot be found"
                raise ProtocolError("malformed", text) from None
            reader._offset = offsets[reader._count - reader.left - 1]
            reader._bodies = _unpacker(reader._frame[reader._offset :])
            reader._broken = False
        try:
            body = reader._bodies.unpack()
            if not reader.left and reader._offset + reader._bodies.tell() != reader._stop:
                raise ValueError("there are bytes after the last body")
        except Exception as error:
            reader._broken = True
            raise ProtocolError("malformed", f"cannot be unpacked: {error}") from None
        return body
