"""The reference, msgpack, asked what the codec must write and read; and values to ask about."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import random
import struct
import uuid
from collections import Counter, OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import strategies as st

from zqueue.errors import ProtocolError
from zqueue.wire.reading import NO_MAPS, TEXT_KEYS

REFUSED = "refused"
EITHER = "refused, or not"


def exact(value: Any) -> Any:
    """A value in a form that tells 1 from True and 1.0, and 0.0 from -0.0, but no NaN from NaN."""
    if type(value) is float:
        return "float", "nan" if value != value else struct.pack(">d", value)
    if type(value) is list:
        return "list", [exact(item) for item in value]
    if type(value) is dict:
        return "dict", [(exact(key), exact(item)) for key, item in value.items()]
    return type(value).__name__, value


def maps_in(value: Any) -> Iterator[dict[Any, Any]]:
    """All the maps in a value that was read."""
    if type(value) is dict:
        yield value
        value = [*value, *value.values()]
    if type(value) is list:
        for item in value:
            yield from maps_in(item)


def by_reference(packed: bytes, keys: int) -> Any:
    """What reading these bytes must give."""
    try:
        value = msgpack.unpackb(packed, strict_map_key=False)
    except Exception:
        return REFUSED
    maps = list(maps_in(value))
    if keys == NO_MAPS and any(maps):
        return REFUSED  # (An empty map is no danger.)
    if keys == TEXT_KEYS:
        others = {type(key) for found in maps for key in found} - {str}
        if others:
            return EITHER if others == {bytes} else REFUSED  # The reference takes those for text.
    return exact(value)


def bodies_by_reference(frame: bytes) -> list[Any]:
    """The bodies that a frame holds, up to the first that cannot be read."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(frame), strict_map_key=False)
    unpacker.feed(frame)
    bodies = []
    try:
        for _ in range(unpacker.read_array_header()):
            bodies.append(exact(unpacker.unpack()))
    except Exception:
        pass
    return bodies


def reference_index(frame: bytes) -> list[int] | None:
    """Where the bodies of a frame begin, or None if it is not one whole array."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(frame) + 1)
    unpacker.feed(frame)
    try:
        count = unpacker.read_array_header()
        offsets = [unpacker.tell()]
        for _ in range(count):
            unpacker.skip()
            offsets.append(unpacker.tell())
    except Exception:
        return None
    return offsets if offsets[-1] == len(frame) else None


# --- values ---


class Text(str):
    pass


class Number(int):
    pass


class Real(float):
    pass


class Data(bytes):
    pass


class Items(list):  # type: ignore[type-arg]
    pass


class Map(dict):  # type: ignore[type-arg]
    pass


Pair = namedtuple("Pair", "a b")


class Color(enum.IntEnum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int = 1


REFUSALS = [
    Point(), datetime.datetime.now(), uuid.uuid4(), {1}, frozenset(), object(), 1j, range(3), print,
    1 << 64, -(1 << 63) - 1, 1 << 100, -(1 << 100), "\ud800", "a" * 70 + "\udfff", Number(1 << 64),
]  # fmt: skip
"""What the reference carries nowhere."""

ODD = [
    OrderedDict(a=1), Counter("aab"), Color.RED, Text("text"), Number(7), Real(1.5), Data(b"data"),
    Items([1, 2]), Map(a=1), Pair(1, 2), bytearray(b"x"), memoryview(b"view"), True,
    msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 2), float("inf"), float("nan"), -0.0,
    {1: "a"}, {b"k": [(), None]}, {(1, ("x",)): 2}, {None: 1, True: 2, 1.5: 3, -7: 4, "": 5},
]  # fmt: skip
"""What is carried, though most of it is not plain."""

POWERS = [1 << n for n in (0, 5, 7, 8, 15, 16, 31, 32, 63, 64)]
NUMBERS = sorted({sign * n + more for n in POWERS for sign in (1, -1) for more in (-1, 0, 1)})
SIZES = [0, 1, 15, 16, 31, 32, 33, 255, 256, 65_535, 65_536, 70_000]

CARRIED = [number for number in NUMBERS if -(1 << 63) <= number < 1 << 64]

numbers = st.integers(-(1 << 63), (1 << 64) - 1) | st.sampled_from(CARRIED)
lengths = st.integers(0, 40) | st.sampled_from([255, 256, 257])
repeated = st.builds(lambda letter, n: letter * n, st.sampled_from("aéж日😀"), lengths)
texts = st.text(max_size=20) | repeated
scalars = (
    st.none() | st.booleans() | numbers | st.floats() | texts
    | st.binary(max_size=40) | lengths.map(bytes)
)  # fmt: skip
plain = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=17)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(texts, inner, max_size=17)
        | st.dictionaries(st.tuples(scalars) | scalars, inner, max_size=4)
    ),
    max_leaves=20,
)
anything = st.recursive(
    scalars | st.sampled_from(REFUSALS) | st.sampled_from(ODD),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
        | st.lists(inner, max_size=3).map(Items) | st.tuples(inner, inner).map(lambda t: Pair(*t))
        | st.dictionaries(texts.map(Text), inner, max_size=3).map(Map)
    ),
    max_leaves=6,
)  # fmt: skip


def malformed(call: Callable[..., Any], *arguments: Any) -> str:
    """The text of the ProtocolError that a call raises."""
    with pytest.raises(ProtocolError) as caught:
        call(*arguments)
    assert caught.value.code == "malformed"
    return str(caught.value)


WIRE = [
    *(msgpack.packb(value) for value in ODD),
    *map(msgpack.packb, CARRIED),
    *(msgpack.packb(value) for size in SIZES[:9]
      for value in ("x" * size, "é" * (size // 2), bytes(size), [None] * size,
                    {str(i): i for i in range(size)}, msgpack.ExtType(7, bytes(size)))),
    msgpack.packb(1.5, use_single_float=True), msgpack.packb([float("nan")], use_single_float=True),
    *(msgpack.packb(msgpack.Timestamp(seconds, 5)) for seconds in (0, 1 << 33, 1 << 40, -1)),
    # Longer than need be.
    b"\xcc\x01", b"\xcd\0\x01", b"\xce\0\0\0\x01", b"\xcf" + bytes(8), b"\xd0\x01", b"\xd1\0\x01",
    b"\xd2\0\0\0\x01", b"\xd3" + bytes(8), b"\xd9\x01x", b"\xda\0\x01x", b"\xdb\0\0\0\x01x",
    b"\xc4\x01x", b"\xc5\0\x01x", b"\xc6\0\0\0\x01x", b"\xdc\0\x01\x01", b"\xdd\0\0\0\x01\x01",
    b"\xde\0\x01\xa1k\x01", b"\xdf\0\0\0\x01\xa1k\x01", b"\x81\xd9\x01k\x01",
    # Twice the same key, and keys that are none.
    b"\x82\xa1k\x01\xa1k\x02", b"\x83\x01\xa1a\xc3\xa1b\xcb\x3f\xf0\0\0\0\0\0\0\xa1c",
    b"\x81\x90\x01", b"\x81\x80\x01", b"\x91\x81\x91\x01\x02", b"\x81\xa1\xff\x01",
    # No text, no code, no such extension, no time.
    b"\xa1\xff", b"\xa3\xed\xa0\x80", b"\xa2\xc3\x28", b"\xd9\x02\xf0\x9f", b"\xc1", b"\x91\xc1",
    b"\xd4\x80x", b"\xd4\xfex", b"\xd6\xff\xff\xff\xff\xff", b"\xd7\xff" + b"\xff" * 8,
    b"\xd4\xff0", b"\xc7\x05\xff12345", b"\xc7\0\x05", b"\xc7\x0c\xff" + b"\xff" * 12,
]  # fmt: skip
"""Values on the wire, and what is none."""


def mutants(seed: int, count: int) -> Iterator[bytes]:
    """Values on the wire with a few bytes changed, lost or put in."""
    chance = random.Random(seed)
    small = [packed for packed in WIRE if len(packed) < 80]
    codes = [0x80, 0x81, 0x90, 0x92, 0xA1, 0xBF, *range(0xC0, 0xE0), 0xFF]
    for _ in range(count):
        parts = chance.sample(small, 3)
        frame = bytearray(chance.choice([b"", b"\x93", b"\x83\xa1a\xa1b\xa1c", b"\x82"]))
        frame += b"".join(parts)
        for _ in range(chance.randrange(4)):
            place = chance.randrange(min(len(frame), chance.choice([4, 1000])))
            what = chance.randrange(4)
            if what == 0:
                frame[place] = chance.randrange(256)
            elif what == 1:
                frame[place] = chance.choice(codes)
            elif what == 2:
                del frame[place : place + chance.randrange(1, 3)]
            else:
                frame[place:place] = chance.randbytes(chance.randrange(1, 3))
            if not frame:
                break
        yield bytes(frame)
