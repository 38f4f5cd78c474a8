"""Traced bodies: a trace context travels around a body, and is taken off again."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgpack import ExtType

from zqueue.errors import ConfigError, ProtocolError
from zqueue.wire.codec import pack
from zqueue.wire.traced import CONTEXT_BYTES, TRACED, take_contexts, traced, untraced
from zqueue.wire.unpacking import index_bodies, unpack, unpack_bodies

HERE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
THERE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
CONTEXT = bytes(range(1, 1 + CONTEXT_BYTES))

bodies = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False)
    | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner,
                                                                max_size=3),
    max_leaves=9,
)  # fmt: skip
hexes = st.binary(min_size=CONTEXT_BYTES, max_size=CONTEXT_BYTES).map(bytes.hex)


class TestRoundTrip:
    @given(bodies, hexes)
    def test_any_body_with_any_context(self, body: Any, context: str) -> None:
        traceparent = f"{context[:2]}-{context[2:34]}-{context[34:50]}-{context[50:]}"
        if context.startswith("ff") or not int(context[2:34], 16) or not int(context[34:50], 16):
            with pytest.raises(ConfigError):
                traced(body, traceparent)
            return
        (came,) = unpack_bodies(pack([traced(body, traceparent)]))
        assert untraced(came) == (body, traceparent)

    def test_of_a_traced_body_only_one_context_is_taken_off(self) -> None:
        """What is inside is the body, whatever it is."""
        inner = traced(7, THERE)
        assert untraced(traced(inner, HERE)) == (inner, HERE)

    def test_an_extension_of_another_type_is_the_users_own(self) -> None:
        body = ExtType(TRACED - 1, CONTEXT + pack(1))
        assert untraced(body) == (body, "")
        assert untraced(traced(body, HERE)) == (body, HERE)

    def test_a_broker_sees_a_body_like_any_other(self) -> None:
        """It cuts batches without looking into them."""
        batch = pack([1, traced(["x" * 300], HERE), traced(None, THERE), 4])
        starts = index_bodies(batch)
        pieces = [batch[a:b] for a, b in pairwise(starts)]
        assert [untraced(unpack(piece)) for piece in pieces] == [
            (1, ""), (["x" * 300], HERE), (None, THERE), (4, ""),
        ]  # fmt: skip


class TestRefused:
    @pytest.mark.parametrize(
        "traceparent",
        [
            "", "x", HERE + "-more", HERE + "\n", HERE.upper(), HERE[:-1], " " + HERE,
            HERE.replace("00-", "ff-", 1), "00-" + "0" * 32 + HERE[35:],
            HERE[:36] + "0" * 16 + "-01", HERE.replace("-", ""), "00_" + HERE[3:],
        ],
    )  # fmt: skip
    def test_what_is_no_traceparent(self, traceparent: str) -> None:
        with pytest.raises(ConfigError, match="is no traceparent: 00-TRACEID-PARENTID-FLAGS"):
            traced(1, traceparent)

    @pytest.mark.parametrize("inside", [b"\xc1", b"\x01\x02", b"\x92\x01", b"\xa1\xff"])
    def test_one_without_just_one_body_in_it(self, inside: bytes) -> None:
        with pytest.raises(ProtocolError):
            untraced(ExtType(TRACED, CONTEXT + inside))

    @given(st.binary(max_size=60))
    def test_random_bytes_are_a_body_or_a_protocol_error(self, data: bytes) -> None:
        try:
            _, traceparent = untraced(ExtType(TRACED, data))
        except ProtocolError:
            return
        assert traceparent.replace("-", "") == data[:CONTEXT_BYTES].hex()


class TestTakeContexts:
    def test_of_many_bodies(self) -> None:
        some: list[Any] = [1, traced([2], HERE), "3", traced({"four": 4}, THERE)]
        assert take_contexts(some) == {1: HERE, 3: THERE}
        assert some == [1, [2], "3", {"four": 4}]

    def test_the_users_own_extensions_stay(self) -> None:
        own = ExtType(5, b"own")
        some: list[Any] = [own, traced(own, HERE)]
        assert take_contexts(some) == {1: HERE}
        assert some == [own, own]

    def test_nonsense_takes_the_place_of_its_body(self) -> None:
        some = [1, ExtType(TRACED, b"short"), traced(2, HERE)]
        assert take_contexts(some) == {2: HERE}
        assert (some[0], type(some[1]), some[2]) == (1, ProtocolError, 2)
