"""The codec: it writes and reads what the reference does, fills batches, and survives strangers."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import itertools
import random
import struct
import tracemalloc
import uuid
from collections import Counter, OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.errors import BodyError, BodyTooLarge, ProtocolError
from zqueue.protocol import codec
from zqueue.protocol.codec import (
    ANY_KEYS,
    BATCH_TASKS_MAX,
    BODY_BYTES_MAX,
    COMPILED,
    FRAME_BYTES_MAX,
    NO_MAPS,
    TEXT_KEYS,
    Packer,
    Reader,
    array_header,
    array_length,
    index_bodies,
    pack,
    pack_body,
    too_large,
    unpack,
    unpack_bodies,
)

KEYS = pytest.mark.parametrize("keys", [NO_MAPS, TEXT_KEYS, ANY_KEYS])


def malformed(call: Callable[..., Any], *arguments: Any) -> str:
    """The text of the ProtocolError that a call raises."""
    with pytest.raises(ProtocolError) as caught:
        call(*arguments)
    assert caught.value.code == "malformed"
    return str(caught.value)


# --- the reference ---

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


def read(packed: bytes, keys: int) -> Any:
    """What reading these bytes gives."""
    try:
        return exact(unpack(packed, keys=keys))
    except ProtocolError as error:
        return REFUSED if error.code == "malformed" else error


def check_reading(packed: bytes) -> None:
    """These bytes are read as the reference has them, whatever may be a key."""
    for keys in (NO_MAPS, TEXT_KEYS, ANY_KEYS):
        expected = by_reference(packed, keys)
        if expected is not EITHER:
            assert read(packed, keys) == expected, (packed, keys)


def check_writing(value: Any) -> None:
    """A value becomes the reference's own bytes, or is refused where the reference does."""
    packer = Packer(10, 1 << 20)
    packer.add("before")
    try:
        expected = msgpack.packb(value)
    except Exception:
        for call in (pack, pack_body, packer.add):
            with pytest.raises(BodyError):
                call(value)
        assert packer.take() == b"\x91\xa6before"
        return
    assert pack(value) == expected
    assert pack_body(value) == expected
    packer.add(value)
    packer.add("after")
    bodies = [b"\xa6before", expected, b"\xa5after"]
    frames = list(iter(packer.take, b""))
    assert [body for frame in frames for body in cut(frame)] == bodies


def memory_of(check: Callable[[], bool]) -> int:
    """The most memory that a check took, which must hold; bytes."""
    tracemalloc.start()
    try:
        assert check()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def cut(frame: bytes) -> list[bytes]:
    """The packed bodies of a frame, by the reference."""
    offsets = reference_index(frame)
    assert offsets is not None
    return [frame[a:b] for a, b in itertools.pairwise(offsets)]


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


def nested(depth: int, kind: str, inner: Any = 1) -> Any:
    """A value so deep."""
    for _ in range(depth):
        inner = {"list": [inner], "tuple": (inner,), "map": {"k": inner}}[kind]
    return inner


def keyed(depth: int) -> Any:
    """The same, in the key of a map."""
    return {nested(depth - 1, "tuple"): None}


class TestWriting:
    @given(plain)
    def test_plain_values(self, value: Any) -> None:
        check_writing(value)

    @given(anything)
    def test_values_of_all_kinds(self, value: Any) -> None:
        check_writing(value)

    @pytest.mark.parametrize("value", [*ODD, *REFUSALS], ids=lambda v: f"{type(v).__name__}")
    def test_where_a_value_stands_makes_no_difference(self, value: Any) -> None:
        check_writing(value)
        check_writing([1, value, 2])
        check_writing({"a": "x" * 300, "b": (value,)})
        try:
            check_writing({value: 1})
        except TypeError:
            pass  # It cannot be a key at all.

    @pytest.mark.parametrize("number", NUMBERS)
    def test_numbers_at_each_boundary(self, number: int) -> None:
        check_writing(number)
        check_writing([number, {number: number}])
        check_writing(float(number))

    @pytest.mark.parametrize("size", SIZES)
    def test_sizes_at_each_boundary(self, size: int) -> None:
        for letter in ("a", "é", "日", "😀"):
            width = len(letter.encode())
            check_writing(letter * (size // width) + "x" * (size % width))
            check_writing({letter * (size // width): 1})
        check_writing(bytes(size))
        check_writing([None] * size)
        check_writing((None,) * size)
        check_writing(dict.fromkeys(range(size)))
        check_writing({str(i): [i] for i in range(size)})

    @pytest.mark.parametrize("kind", ["list", "tuple", "map"])
    @pytest.mark.parametrize("depth", [1, 400, *range(495, 515), 5000])
    def test_nests_as_deep_as_the_reference(self, depth: int, kind: str) -> None:
        for inner in (1, "x", [], {}, (), bytearray(b"x")):
            check_writing(nested(depth, kind, inner))
        check_writing(keyed(depth))

    def test_what_contains_itself(self) -> None:
        items: list[Any] = [1]
        items += [items, items]
        table: dict[str, Any] = {}
        table["again"] = (table,)
        for body in (items, table, [items], {"x": table}):
            for call in (pack, pack_body, Packer(9, 9).add):
                with pytest.raises(BodyError, match="nests too deep, or contains itself"):
                    call(body)

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({1, 2}, "a set cannot be sent: set is not something msgpack carries"),
            ([object()], "a list cannot be sent: object is not something msgpack carries"),
            (1 << 64, "the body holds an integer beyond 64 bits: send it as a string"),
            ([{"n": -(1 << 63) - 1}], "the body holds an integer beyond 64 bits"),
            ("\ud800", "a str cannot be sent: "),
        ],
    )  # fmt: skip
    def test_says_why_not(self, body: Any, text: str) -> None:
        for call in (pack, pack_body, Packer(9, 9).add):
            with pytest.raises(BodyError) as caught:
                call(body)
            assert str(caught.value).startswith(text)
            assert not isinstance(caught.value, BodyTooLarge)

    def test_the_largest_body(self) -> None:
        assert BODY_BYTES_MAX == FRAME_BYTES_MAX - 8
        packed = pack_body(bytes(BODY_BYTES_MAX - 5))
        assert len(packed) == BODY_BYTES_MAX
        with pytest.raises(BodyTooLarge) as caught:
            pack_body(bytes(BODY_BYTES_MAX - 4))
        assert str(caught.value) == (
            "the body is 16,777,209 bytes packed, over the limit of 16,777,216: "
            "send a reference to the data instead"
        )
        assert str(too_large(20_000_000)).startswith("the body is 20,000,000 bytes packed")

    @pytest.mark.parametrize("value", [bytes(FRAME_BYTES_MAX + 1), "x" * (FRAME_BYTES_MAX + 1)])
    def test_a_value_that_is_no_body_may_be_larger(self, value: Any) -> None:
        assert pack([value]) == msgpack.packb([value])

    def test_a_failure_spoils_nothing(self) -> None:
        for bad in REFUSALS:
            with pytest.raises(BodyError):
                pack({"a": "x" * 5000, "b": [1, 2, bad]})
            assert pack([1]) == b"\x91\x01"

    def test_may_be_entered_while_it_packs(self) -> None:
        """A body of no plain type runs its own code, which may send something."""
        inner: list[bytes] = []

        class Dictionary(dict):  # type: ignore[type-arg]
            def items(self) -> Any:
                inner.append(pack([7, 8]))
                return super().items()

        assert pack([1, Dictionary(a=2), 3]) == msgpack.packb([1, {"a": 2}, 3])
        assert inner
        assert set(inner) == {b"\x92\x07\x08"}


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


class TestReading:
    @pytest.mark.parametrize("packed", WIRE, ids=lambda packed: f"{packed[:9].hex()}-{len(packed)}")
    def test_whole_cut_off_and_with_more_behind(self, packed: bytes) -> None:
        check_reading(packed)
        stops = range(len(packed)) if len(packed) < 300 else random.Random(1).sample(
            range(len(packed)), 50)  # fmt: skip
        for stop in stops:
            check_reading(packed[:stop])
        for rest in (b"\x00", b"\xc0", b"\xc1", b"\x90", packed[:100]):
            assert read(packed + rest, ANY_KEYS) == REFUSED
        check_reading(b"\x93\x01" + packed + b"\x02")
        check_reading(b"\x82\xa1a" + packed + packed + b"\x02")

    @pytest.mark.parametrize("seed", range(5))
    def test_mutants(self, seed: int) -> None:
        for packed in mutants(seed, 4000):
            check_reading(packed)

    @given(plain)
    def test_round_trip(self, value: Any) -> None:
        check_reading(pack(value))

    @given(st.binary(max_size=60))
    def test_random_bytes(self, packed: bytes) -> None:
        check_reading(packed)

    @KEYS
    @pytest.mark.parametrize(
        "head", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
                 b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01", b"\xdd\x7f\xff\xff\xff",
                 b"\xdf\x80\0\0\0", b"\xdb\x80\0\0\0", b"\xdc\xff\xff", b"\xde\xff\xff"],
        ids=bytes.hex,
    )  # fmt: skip
    def test_lengths_that_are_a_lie(self, head: bytes, keys: int) -> None:
        """They are refused at once: nothing is made for what cannot be there."""
        for before in (b"", b"\x92", b"\x92\x01", b"\x81\xa1k"):
            for rest in range(0, 100, 9):
                frame = before + head + bytes(rest)
                assert memory_of(lambda frame=frame: read(frame, keys) == REFUSED) < 1 << 16
                if frame[0] == 0x92:
                    malformed(unpack_bodies, frame)

    @KEYS
    @pytest.mark.parametrize(
        "layer", [b"\x91", b"\x92\x01", b"\xdd\0\0\0\x01", b"\x81\xa1k", b"\x81\x01", b"\x81",
                  b"\xdf\0\0\0\x01\xd9\x01k"], ids=bytes.hex
    )  # fmt: skip
    def test_nesting_bombs(self, layer: bytes, keys: int) -> None:
        for depth in (1025, 5000, 200_000):
            for bomb in (layer * depth, layer * depth + b"\x01" * depth):
                assert read(bomb, keys) is REFUSED
                malformed(unpack_bodies, b"\x91" + bomb)

    @pytest.mark.parametrize("layer", [b"\x91", b"\x81\xa1k", b"\x81\x01"], ids=bytes.hex)
    @pytest.mark.parametrize("depth", [1, 510, 1022, 1023])
    def test_depth_that_the_reference_reads(self, depth: int, layer: bytes) -> None:
        value = unpack(layer * depth + b"\xa4deep")
        for _ in range(depth):
            (value,) = value if type(value) is list else value.values()
        assert value == "deep"

    def test_names_that_were_met_before(self) -> None:
        """More than are remembered, so many take the place of others: each comes out as it is."""
        chance = random.Random(3)
        names = ["".join(chance.choices("abcdef", k=chance.randrange(1, 40))) for _ in range(4000)]
        names += [chance.choice("éж日😀") * chance.randrange(1, 9) for _ in range(500)]
        for _ in range(3):
            chance.shuffle(names)
            for start in range(0, len(names), 20):
                table = {name: i for i, name in enumerate(names[start : start + 20])}
                assert exact(unpack(pack(table), keys=TEXT_KEYS)) == exact(table)

    def test_nothing_is_left_behind(self) -> None:
        """Neither what was read, nor what was begun before an error, nor what was packed."""
        value = {"a": [1 << 40, "text é", 1.5, {"b": [None] * 20}], "c": b"data" * 9}
        packed = pack(value)
        frames = [packed[:stop] for stop in range(len(packed) + 1)] + [b"\x92" + packed + b"\xc1"]

        def once() -> None:
            for frame in frames:
                read(frame, ANY_KEYS)
            for bad in REFUSALS:
                with pytest.raises(BodyError):
                    Packer(9, 99).add([value, bad])

        for _ in range(3):
            once()
        tracemalloc.start()
        once()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(20):
            once()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert after - before < 20_000


class TestReader:
    @pytest.mark.parametrize("head", [b"\x93", b"\xdc\0\x03", b"\xdd\0\0\0\x03"], ids=bytes.hex)
    def test_one_body_at_a_time(self, head: bytes) -> None:
        reader = Reader(head + pack("a") + pack([1, {"k": 2}]) + pack(None))
        assert reader.left == 3
        assert reader.read() == "a"
        assert reader.left == 2
        assert reader.read() == [1, {"k": 2}]
        assert next(reader) is None
        assert reader.left == 0
        for _ in range(2):
            with pytest.raises(StopIteration):
                reader.read()
        assert list(reader) == []
        assert reader.left == 0

    @given(st.lists(plain, min_size=1, max_size=20))
    def test_all_of_them(self, values: list[Any]) -> None:
        frame = array_header(len(values)) + b"".join(map(pack, values))
        assert frame == pack(values)
        expected = by_reference(frame, ANY_KEYS)
        if expected is REFUSED:  # A tuple, which is a list now, was a key.
            malformed(unpack_bodies, frame)
        else:
            assert exact(unpack_bodies(frame)) == exact(list(Reader(frame))) == expected

    @pytest.mark.parametrize("seed", range(8, 11))
    def test_mutants(self, seed: int) -> None:
        """Read one at a time, the bodies are those of the array, or one of them is an error."""
        for packed in mutants(seed, 3000):
            frame = b"\x93" + packed
            expected = bodies_by_reference(frame)
            if len(packed) < 3:
                malformed(Reader, frame)
            elif by_reference(frame, ANY_KEYS) is not REFUSED:
                assert exact(list(Reader(frame))) == ("list", expected)
            elif len(expected) < 3 and COMPILED:
                reader = Reader(frame)
                assert [exact(reader.read()) for _ in expected] == expected
                while reader.left:
                    malformed(reader.read)
            elif len(expected) < 3:
                malformed(Reader, frame)

    @pytest.mark.parametrize(
        "bad", [b"\xc1", b"\xa1\xff", b"\xd9\xff", b"\x81\x90\0", b"\xd7\xff" + b"\xff" * 8,
                b"\x91" * 2000, b"\xdd\xff\xff\xff\xff", b"\x92\x01\xc1"],
        ids=lambda bad: bad[:6].hex(),
    )  # fmt: skip
    def test_what_is_behind_an_error_cannot_be_read(self, bad: bytes) -> None:
        """Nobody knows where it begins. (Interpreted, the frame as a whole cannot be read.)"""
        frame = b"\x94" + pack("first") + bad + pack("third") + pack("fourth")
        malformed(unpack_bodies, frame)
        if not COMPILED:
            malformed(Reader, frame)
            return
        reader = Reader(frame)
        assert reader.read() == "first"
        for left in (2, 1, 0):
            malformed(reader.read)
            assert reader.left == left
        with pytest.raises(StopIteration):
            reader.read()

    @pytest.mark.parametrize("frame", [b"", b"\x80", b"\xa1x", b"\1", b"\xc0", b"\x90", b"\x92\1"])
    def test_not_an_array_of_bodies(self, frame: bytes) -> None:
        assert malformed(Reader, frame) == malformed(array_length, frame)


class TestArrayLength:
    @pytest.mark.parametrize("count", [1, 2, 15, 16, 255, 256, 4095, 4096])
    def test_reads_what_was_packed(self, count: int) -> None:
        frame = pack([None] * count)
        assert array_length(frame) == count
        assert frame.startswith(array_header(count))

    def test_reads_a_long_header_too(self) -> None:
        assert array_length(b"\xdd\x00\x00\x00\x02\x01\x02") == 2

    @pytest.mark.parametrize("frame", [b"", b"\x80", b"\xc0", b"\xa1x", b"\xde\x00\x01", b"\x01"])
    def test_not_an_array(self, frame: bytes) -> None:
        assert malformed(array_length, frame) == "the batch is not a msgpack array"

    @pytest.mark.parametrize("frame", [b"\x90", b"\xdc\x00\x00", b"\xdd\x00\x00\x00\x00", b"\xdc"])
    def test_empty(self, frame: bytes) -> None:
        assert malformed(array_length, frame) == "the batch is empty"

    @pytest.mark.parametrize("frame", [b"\x91", b"\x93\x01\x02", b"\xdc\x00\x01", b"\xdc\x01"])
    def test_fewer_bytes_than_bodies(self, frame: bytes) -> None:
        assert malformed(array_length, frame) == "the batch has fewer bytes than bodies"

    @pytest.mark.parametrize(
        "frame", [pack([0] * (BATCH_TASKS_MAX + 1)), b"\xdd\xff\xff\xff\xff" + b"0" * 9]
    )
    def test_too_many(self, frame: bytes) -> None:
        with pytest.raises(ProtocolError, match="over the limit of 4,096") as caught:
            array_length(frame)
        assert caught.value.code == "too-large"

    @given(st.binary(max_size=40))
    def test_random_bytes_are_a_number_or_a_protocol_error(self, frame: bytes) -> None:
        try:
            assert 1 <= array_length(frame) < len(frame)
        except ProtocolError:
            pass


class TestIndexBodies:
    def check(self, frame: bytes) -> None:
        """The same places as the reference's, or both refuse."""
        try:
            array_length(frame)
        except ProtocolError:
            return  # Nobody asks for its index then.
        if b"\xc9\xff\xff\xff\xff" in frame:
            return  # There the reference counts one too far, and begins at 0 again.
        expected = reference_index(frame)
        if expected is None:
            malformed(index_bodies, frame)
        else:
            assert list(index_bodies(frame)) == expected, frame

    @given(st.lists(plain, min_size=1, max_size=20))
    def test_cuts_between_bodies(self, values: list[Any]) -> None:
        frame = pack(values)
        offsets = index_bodies(frame)
        assert (len(offsets), offsets[-1]) == (len(values) + 1, len(frame))
        assert [frame[a:b] for a, b in itertools.pairwise(offsets)] == list(map(pack, values))

    @pytest.mark.parametrize("packed", WIRE, ids=lambda packed: f"{packed[:9].hex()}-{len(packed)}")
    def test_whole_and_cut_off(self, packed: bytes) -> None:
        for head in (b"\x92", b"\xdc\0\x02", b"\xdd\0\0\0\x02"):
            frame = head + packed + packed
            self.check(frame)
            for stop in range(len(head) + 2, min(len(frame), 300)):
                self.check(frame[:stop])

    @pytest.mark.parametrize("seed", range(5, 8))
    def test_mutants(self, seed: int) -> None:
        for packed in mutants(seed, 4000):
            self.check(b"\x93" + packed)
            self.check(packed)

    @pytest.mark.parametrize("code", b"\xc6\xdb\xdd\xdf\xc9")
    def test_lengths_that_are_a_lie(self, code: int) -> None:
        for length in (b"\x80\0\0\0", b"\0\xff\xff\xff", b"\xff\xff\xff\xff"):
            if code == 0xC9 and length[0] == 0xFF and not COMPILED:
                continue  # The reference takes the longest extension for an empty one.
            for rest in (b"", b"\x01", b"\x01" * 100):
                malformed(index_bodies, b"\x91" + bytes([code]) + length + rest)
                malformed(index_bodies, b"\x92" + bytes([code]) + length + rest + b"\x01")

    def test_bytes_after_the_last_body(self) -> None:
        assert malformed(index_bodies, pack([1, 2]) + b"\x03") == (
            "the batch has bytes after its last body"
        )

    @given(st.binary(max_size=40))
    def test_random_bytes(self, frame: bytes) -> None:
        self.check(frame)

    def test_deep_nesting_harms_nobody(self) -> None:
        """A frame that is only cut need not be one that can be read."""
        frame = b"\x92\x01" + b"\x91" * 200_000 + b"\x00"
        try:
            assert list(index_bodies(frame)) == [1, 2, len(frame)]
        except ProtocolError:
            assert not COMPILED
        malformed(unpack_bodies, frame)


def test_knows_whether_it_is_compiled() -> None:
    assert codec.COMPILED is not str(codec.__file__).endswith(".py")
