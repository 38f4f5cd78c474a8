"""The header of a message: how it is packed, unpacked and checked.

It is a msgpack array ``[version, kind, field, …]``. One that is longer than its kind needs is fine
(a later version added fields); a shorter one is only where the missing fields have a default (an
earlier version knew nothing of them).

Every class of `wire.messages` names its fields with their types, and `_FIELDS` says what a type
admits, so `decode` is one loop and nothing gets past it half-checked.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar, get_type_hints

from ..errors import InvalidName, ProtocolError
from .codec import pack
from .messages import KINDS, MALFORMED, WRONG_VERSION, Message, Settle
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

INT_MAX = (1 << 63) - 1
"""The largest number in a header."""

INT, TEXT, ID, INTS, IDS, RUNS, BATCHES, SETTLED = range(8)

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

_SPECIAL = {(Settle, "runs"): SETTLED}


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
    """Whether this is a run or a batch. A settled run may have a fifth number, a batch more."""
    if type(row) is not list or len(row) < 4:
        return False
    if field == RUNS:
        return len(row) == 4 and _are_ints(row, 0)
    if field == SETTLED:
        return len(row) <= 5 and _are_ints(row, 0)
    return type(row[0]) is str and _are_ints(row, 1)


_KIND_OF = {message: kind for kind, message in KINDS.items()}
_SHAPES: dict[int, tuple[type[Any], tuple[int, ...], tuple[Any, ...]]] = {
    kind: (
        message,
        tuple(
            _SPECIAL.get((message, name), _FIELDS[hint])
            for name, hint in get_type_hints(message).items()
        ),
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
