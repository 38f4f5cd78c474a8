"""The codec: what goes in comes out, and what is no good is named."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import itertools
import uuid
from collections import Counter, OrderedDict
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.errors import BodyError, BodyTooLarge, ProtocolError
from zqueue.protocol.codec import (
    BATCH_TASKS_MAX,
    FRAME_BYTES_MAX,
    HEADER_BYTES_MAX,
    MAP_BYTES_MAX,
    MAP_DEPTH_MAX,
    array_header,
    array_length,
    index_bodies,
    pack,
    pack_body,
    too_large,
    unpack_bodies,
    unpack_header,
    unpack_map,
)

scalars = (
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False) | st.text(max_size=20) | st.binary(max_size=40)
)  # fmt: skip
bodies = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=8,
)


def malformed(call: Any, *arguments: Any) -> str:
    """The text of the ProtocolError that a call raises."""
    with pytest.raises(ProtocolError) as caught:
        call(*arguments)
    assert caught.value.code == "malformed"
    return str(caught.value)


@given(st.lists(bodies, max_size=20))
def test_round_trip(values: list[Any]) -> None:
    assert unpack_bodies(pack(values)) == values
    assert pack(values) == msgpack.packb(values), "the reference's own bytes"
    frame = array_header(len(values)) + b"".join(map(pack_body, values))
    assert unpack_bodies(frame) == values


def test_tuples_come_out_as_lists() -> None:
    assert unpack_bodies(pack([(1, (2, 3))])) == [[1, [2, 3]]]


class TestBodiesThatCannotBeSent:
    @pytest.mark.parametrize("packer", [pack, pack_body])
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
    def test_says_why(self, packer: Any, body: Any, text: str) -> None:
        with pytest.raises(BodyError) as caught:
            packer(body)
        assert str(caught.value).startswith(text)
        assert not isinstance(caught.value, BodyTooLarge)

    @pytest.mark.parametrize("packer", [pack, pack_body])
    def test_too_deep_or_recursive(self, packer: Any) -> None:
        body: list[Any] = []
        body.append(body)
        with pytest.raises(BodyError, match="nests too deep, or contains itself"):
            packer(body)

    def test_too_large(self) -> None:
        with pytest.raises(BodyTooLarge) as caught:
            pack_body(b"x" * FRAME_BYTES_MAX)
        assert str(caught.value) == (
            "the body is 16,777,221 bytes packed, over the limit of 16,777,216: "
            "send a reference to the data instead"
        )

    def test_as_large_as_can_be(self) -> None:
        packed = pack_body(b"x" * (FRAME_BYTES_MAX - 13))
        assert len(packed) == FRAME_BYTES_MAX - 8

    def test_a_failure_spoils_nothing(self) -> None:
        with pytest.raises(BodyError):
            pack_body([1, 2, object()])
        assert pack_body([1]) == b"\x91\x01"

    def test_the_error_for_a_size(self) -> None:
        assert str(too_large(20_000_000)).startswith("the body is 20,000,000 bytes packed")


def test_a_packer_may_be_entered_while_it_packs() -> None:
    """A finalizer may send something while a body is being packed."""
    inner: list[bytes] = []

    class Dictionary(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            inner.append(pack_body([7, 8]))
            return super().items()

    outer = pack_body([1, Dictionary(a=2), 3])
    assert outer == msgpack.packb([1, {"a": 2}, 3])
    assert all(frame == b"\x92\x07\x08" for frame in inner)


class TestUnpackBodies:
    def test_any_key_may_be_in_a_map(self) -> None:
        assert unpack_bodies(msgpack.packb([{1: 2, b"k": 3}])) == [{1: 2, b"k": 3}]

    @pytest.mark.parametrize("frame", [b"\x80", b"\xa1x", b"\x01", b"\xc0"])
    def test_not_an_array(self, frame: bytes) -> None:
        assert malformed(unpack_bodies, frame) == "the batch is not an array"

    @pytest.mark.parametrize("frame", [b"", b"\x92\x01", b"\xc1", b"\x91\xa1\xff"])
    def test_not_whole(self, frame: bytes) -> None:
        assert malformed(unpack_bodies, frame).startswith("the batch cannot be unpacked: ")

    @given(st.binary(max_size=60))
    def test_random_bytes_are_bodies_or_a_protocol_error(self, frame: bytes) -> None:
        try:
            assert type(unpack_bodies(frame)) is list
        except ProtocolError:
            pass


class TestUnpackMap:
    def test_round_trip(self) -> None:
        about = {"pid": 7, "queues": ["a", "b"], "supervisor": b"\x00" * 16}
        assert unpack_map(pack(about)) == about

    @pytest.mark.parametrize("value", [[], None, "x", {1: 2}, {b"k": 1}], ids=repr)
    def test_not_a_map_with_text_keys(self, value: Any) -> None:
        assert malformed(unpack_map, pack(value)).startswith(
            ("not a map with text keys", "the map cannot be unpacked")
        )

    def test_over_its_limit(self) -> None:
        frame = pack({"x": "y" * MAP_BYTES_MAX})
        assert malformed(unpack_map, frame) == "the map is over 65536 bytes"
        assert unpack_map(frame, nbytes_max=1 << 20) == {"x": "y" * MAP_BYTES_MAX}

    def test_depth(self) -> None:
        """A broker's own answer holds what peers may say, and so nests deeper than that."""
        deep: Any = 1
        for _ in range(MAP_DEPTH_MAX):
            deep = {"x": deep}
        assert unpack_map(pack(deep)) == deep
        deeper = {"x": deep}
        assert malformed(unpack_map, pack(deeper)) == f"the map nests deeper than {MAP_DEPTH_MAX}"
        assert unpack_map(pack(deeper), depth_max=MAP_DEPTH_MAX + 1) == deeper

    @given(st.binary(max_size=60))
    def test_random_bytes_are_a_map_or_a_protocol_error(self, frame: bytes) -> None:
        try:
            assert type(unpack_map(frame)) is dict
        except ProtocolError:
            pass


class TestUnpackHeader:
    def test_round_trip(self) -> None:
        assert unpack_header(pack([1, "a", b"b", [2]])) == [1, "a", b"b", [2]]

    def test_maps_in_it_are_refused(self) -> None:
        assert malformed(unpack_header, pack([1, {"a": 1}])).startswith(
            "the header cannot be unpacked"
        )

    def test_limits(self) -> None:
        assert len(unpack_header(pack([0] * 2048))) == 2048
        malformed(unpack_header, pack([0] * 2049))
        malformed(unpack_header, pack(["x" * HEADER_BYTES_MAX]))

    @given(st.binary(max_size=60))
    def test_random_bytes_are_a_list_or_a_protocol_error(self, frame: bytes) -> None:
        try:
            assert type(unpack_header(frame)) is list
        except ProtocolError:
            pass


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
    @given(st.lists(bodies, min_size=1, max_size=30))
    def test_cuts_between_bodies(self, values: list[Any]) -> None:
        frame = pack(values)
        offsets = index_bodies(frame)
        assert len(offsets) == len(values) + 1
        assert offsets[-1] == len(frame)
        cut = [
            msgpack.unpackb(frame[a:b], strict_map_key=False)
            for a, b in itertools.pairwise(offsets)
        ]
        assert cut == values

    def test_bytes_after_the_last_body(self) -> None:
        assert malformed(index_bodies, pack([1, 2]) + b"\x03") == (
            "the batch has bytes after its last body"
        )

    @given(st.lists(bodies, min_size=1, max_size=5), st.data())
    def test_cut_off_anywhere(self, values: list[Any], data: st.DataObject) -> None:
        frame = pack(values)
        stop = data.draw(st.integers(0, len(frame) - 1))
        assert malformed(index_bodies, frame[:stop]).startswith("the batch cannot be split: ")

    @given(st.binary(max_size=40))
    def test_random_bytes_are_offsets_or_a_protocol_error(self, frame: bytes) -> None:
        try:
            offsets = list(index_bodies(frame))
        except ProtocolError:
            return
        assert offsets == sorted(offsets)
        assert offsets[-1] == len(frame)

    def test_deep_nesting_is_a_protocol_error(self) -> None:
        frame = b"\x91" * 5000 + b"\x00"
        malformed(index_bodies, frame)
        malformed(unpack_bodies, frame)


class Color(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [OrderedDict(a=1), Counter("aab"), {1: "a"}, Color.RED, type("Text", (str,), {})("a"),
     {b"k": [(), None]}, bytearray(b"x"), float("inf"), -0.0],
)  # fmt: skip
def test_what_the_fast_codec_passes_over_goes_as_the_reference_has_it(value: Any) -> None:
    assert pack([value]) == msgpack.packb([value])
    assert unpack_bodies(pack([value])) == msgpack.unpackb(pack([value]), strict_map_key=False)


@dataclasses.dataclass
class Point:
    x: int = 1


@pytest.mark.parametrize(
    "value", [Point(), datetime.datetime.now(), uuid.uuid4(), {1}, 1 << 64, "\ud800", object()]
)
def test_what_the_reference_refuses_is_refused(value: Any) -> None:
    with pytest.raises(BodyError):
        pack([value])
