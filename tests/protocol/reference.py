"""The reference, msgpack, asked what the codec must write and read; and values to ask about."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import struct
import uuid
from collections import Counter, OrderedDict, namedtuple
from collections.abc import Iterator
from typing import Any

import msgpack
from hypothesis import strategies as st

from zqueue.protocol.unpacking import NO_MAPS, TEXT_KEYS

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
