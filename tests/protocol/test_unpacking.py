"""Unpacking: it reads what the reference does, one body at a time, and survives strangers."""

from __future__ import annotations

import itertools
import random
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.errors import BodyError, ProtocolError
from zqueue.protocol.codec import COMPILED, Packer, array_header, array_length, pack
from zqueue.protocol.unpacking import (
    ANY_KEYS,
    NO_MAPS,
    TEXT_KEYS,
    Reader,
    index_bodies,
    unpack,
    unpack_bodies,
)

from .reference import (
    CARRIED,
    EITHER,
    ODD,
    REFUSALS,
    REFUSED,
    SIZES,
    bodies_by_reference,
    by_reference,
    exact,
    plain,
    reference_index,
)

KEYS = pytest.mark.parametrize("keys", [NO_MAPS, TEXT_KEYS, ANY_KEYS])


def malformed(call: Callable[..., Any], *arguments: Any) -> str:
    """The text of the ProtocolError that a call raises."""
    with pytest.raises(ProtocolError) as caught:
        call(*arguments)
    assert caught.value.code == "malformed"
    return str(caught.value)


def read(packed: bytes, keys: int) -> Any:
    """What reading these bytes gives."""
    try:
        return exact(unpack(packed, keys=keys))
    except ProtocolError as error:
        return REFUSED if error.code == "malformed" else error


def memory_of(check: Callable[[], bool]) -> int:
    """The most memory that a check took, which must hold; bytes."""
    tracemalloc.start()
    try:
        assert check()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def check_reading(packed: bytes) -> None:
    """These bytes are read as the reference has them, whatever may be a key."""
    for keys in (NO_MAPS, TEXT_KEYS, ANY_KEYS):
        expected = by_reference(packed, keys)
        if expected is not EITHER:
            assert read(packed, keys) == expected, (packed, keys)


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

    def test_names_that_are_much_alike(self) -> None:
        """They begin and end alike, or are another's beginning; some are not ASCII."""
        ends = ["", "a", "\0", "\0a", "abcdefg", "abcdefgh", "abcdefghi", "abcdefgé"]
        names = [f"{x}{y}" for x in ends for y in ends] + ["\x07abcdefg", "abcdefg\x07"]
        table = {name: i for i, name in enumerate(names)}
        for _ in range(3):
            assert exact(unpack(pack(table), keys=TEXT_KEYS)) == exact(table)
            for name in names:
                assert exact(unpack(pack({name: 1}), keys=TEXT_KEYS)) == exact({name: 1})

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
            if len(packed) < 3:
                malformed(Reader, frame)
                continue
            whole, expected = by_reference(frame, ANY_KEYS), bodies_by_reference(frame)
            if whole is REFUSED and len(expected) == 3:
                del expected[2]  # There are bytes behind it.
            reader = Reader(frame)
            assert [exact(reader.read()) for _ in expected] == expected
            assert (reader.left > 0) is (whole is REFUSED)
            while reader.left:
                malformed(reader.read)

    @pytest.mark.parametrize(
        "bad", [b"\xc1", b"\xa1\xff", b"\xd9\xff", b"\x81\x90\0", b"\xd7\xff" + b"\xff" * 8,
                b"\x91" * 2000, b"\xdd\xff\xff\xff\xff", b"\x92\x01\xc1"],
        ids=lambda bad: bad[:6].hex(),
    )  # fmt: skip
    def test_what_is_behind_an_error_cannot_be_read(self, bad: bytes) -> None:
        """Nobody knows where it begins."""
        frame = b"\x94" + pack("first") + bad + pack("third") + pack("fourth")
        malformed(unpack_bodies, frame)
        reader = Reader(frame)
        assert reader.read() == "first"
        for left in (2, 1, 0):
            malformed(reader.read)
            assert reader.left == left
        with pytest.raises(StopIteration):
            reader.read()

    @pytest.mark.parametrize("rest", [b"\x00", b"\xc1", b"\x91\x01", b"\xff" * 99], ids=bytes.hex)
    def test_bytes_after_the_last_body(self, rest: bytes) -> None:
        """Whoever wrote that did not mean what is read here."""
        frame = pack([1, "two"])
        malformed(unpack_bodies, frame + rest)
        reader = Reader(frame + rest)
        assert reader.read() == 1
        malformed(reader.read)
        assert reader.left == 0

    @pytest.mark.parametrize("frame", [b"", b"\x80", b"\xa1x", b"\1", b"\xc0", b"\x90", b"\x92\1"])
    def test_not_an_array_of_bodies(self, frame: bytes) -> None:
        assert malformed(Reader, frame) == malformed(array_length, frame)


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
