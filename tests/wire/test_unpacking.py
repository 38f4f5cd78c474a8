"""Unpacking: it reads what the reference does, one body at a time, and survives strangers."""

from __future__ import annotations

import itertools
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.errors import ProtocolError
from zqueue.wire.codec import COMPILED, array_header, array_length, pack
from zqueue.wire.unpacking import (
    ANY_KEYS,
    Reader,
    index_bodies,
    unpack_bodies,
    unpack_each,
)

from .reference import (
    REFUSED,
    WIRE,
    bodies_by_reference,
    by_reference,
    exact,
    malformed,
    mutants,
    plain,
    reference_index,
)


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

    @given(st.lists(plain, min_size=1, max_size=6))
    def test_all_of_them(self, values: list[Any]) -> None:
        frame = array_header(len(values)) + b"".join(map(msgpack.packb, values))
        expected = by_reference(frame, ANY_KEYS)
        if expected is REFUSED:  # A tuple, which is a list now, was a key.
            malformed(unpack_bodies, frame)
        else:
            assert exact(unpack_bodies(frame)) == exact(list(Reader(frame))) == expected

    @pytest.mark.parametrize("seed", range(8, 11))
    def test_mutants(self, seed: int) -> None:
        """Read one at a time, the bodies are those of the array, or one is an error."""
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
            if reader.left:
                malformed(reader.read)

    @pytest.mark.parametrize(
        "bad", [b"\xc1", b"\xd9\xff", b"\xdd\xff\xff\xff\xff", b"\x92\x01\xc1"],
        ids=lambda bad: bad[:6].hex(),
    )  # fmt: skip
    def test_what_is_behind_a_body_without_an_end_cannot_be_read(self, bad: bytes) -> None:
        """Nobody knows where it begins."""
        frame = b"\x94" + pack("first") + bad + pack("third") + pack("fourth")
        malformed(unpack_bodies, frame)
        reader = Reader(frame)
        assert reader.read() == "first"
        for left in (2, 1, 0):
            malformed(reader.read)
            assert reader.left == left
        assert [type(body) for body in unpack_each(frame)] == [str, *[ProtocolError] * 3]

    @pytest.mark.parametrize(
        "bad", [b"\xa1\xff", b"\x81\x90\0", b"\xd7\xff" + b"\xff" * 8],
        ids=lambda bad: bad[:6].hex(),
    )  # fmt: skip
    def test_a_body_that_cannot_be_unpacked_harms_no_other(self, bad: bytes) -> None:
        frame = b"\x95" + bad + pack("second") + bad + bad + pack(["fifth"])
        reader = Reader(frame)
        malformed(reader.read)
        assert reader.read() == "second"
        malformed(reader.read)
        malformed(reader.read)
        assert reader.read() == ["fifth"]
        assert reader.left == 0
        kinds = [type(body) for body in unpack_each(frame)]
        assert kinds == [ProtocolError, str, ProtocolError, ProtocolError, list]

    @pytest.mark.parametrize("rest", [b"\x00", b"\xc1", b"\x91\x01", b"\xff" * 99], ids=bytes.hex)
    def test_bytes_after_the_last_body(self, rest: bytes) -> None:
        """Whoever wrote that did not mean what is read here."""
        frame = pack([1, "two"])
        malformed(unpack_bodies, frame + rest)
        reader = Reader(frame + rest)
        assert reader.read() == 1
        malformed(reader.read)
        assert reader.left == 0


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
        frame = msgpack.packb(values)
        offsets = index_bodies(frame)
        assert (len(offsets), offsets[-1]) == (len(values) + 1, len(frame))
        assert [frame[a:b] for a, b in itertools.pairwise(offsets)] == list(
            map(msgpack.packb, values)
        )

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

    def test_deep_nesting_harms_nobody(self) -> None:
        """A frame that is only cut need not be one that can be read."""
        frame = b"\x92\x01" + b"\x91" * 200_000 + b"\x00"
        try:
            assert list(index_bodies(frame)) == [1, 2, len(frame)]
        except ProtocolError:
            assert not COMPILED
        malformed(unpack_bodies, frame)
