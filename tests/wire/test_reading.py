"""Reading: values as the reference reads them, whatever the bytes."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.errors import BodyError, ProtocolError
from zqueue.wire.codec import Packer, pack
from zqueue.wire.unpacking import (
    ANY_KEYS,
    NO_MAPS,
    TEXT_KEYS,
    unpack,
    unpack_bodies,
)

from .reference import (
    EITHER,
    REFUSALS,
    REFUSED,
    WIRE,
    by_reference,
    exact,
    malformed,
    mutants,
    plain,
)

KEYS = pytest.mark.parametrize("keys", [NO_MAPS, TEXT_KEYS, ANY_KEYS])


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
        check_reading(msgpack.packb(value))

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
