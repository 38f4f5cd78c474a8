"""Writing: bytes as the reference writes them, whatever the value."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from hypothesis import given
from msgpack import ExtType

from zqueue.errors import BodyError, BodyTooLarge
from zqueue.wire.codec import (
    BODY_BYTES_MAX,
    FRAME_BYTES_MAX,
    Packer,
    pack,
    pack_body,
    too_large,
)

from .reference import NUMBERS, ODD, REFUSALS, SIZES, anything


def check_writing(value: Any) -> None:
    """A value becomes the reference's own bytes, or is refused where the reference does, and where
    a tuple as a key would keep the reference from reading them."""
    packer = Packer(10, 1 << 24)
    packer.add("before")
    try:
        expected = msgpack.packb(value)
        if has_tuple_key(value):
            raise TypeError("a list cannot be a key")
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
    assert packer.take() == b"\x93\xa6before" + expected + b"\xa5after"


def has_tuple_key(value: Any) -> bool:
    """Whether a map somewhere in a value has a tuple as a key."""
    left = [value]
    while left:
        found = left.pop()
        if type(found) is dict:
            if any(isinstance(key, tuple) and not isinstance(key, ExtType) for key in found):
                return True
            left += found.values()
        elif type(found) in (list, tuple):
            left += found
    return False


def nested(depth: int, kind: str, inner: Any = 1) -> Any:
    """A value so deep."""
    for _ in range(depth):
        inner = {"list": [inner], "tuple": (inner,), "map": {"k": inner}}[kind]
    return inner


def keyed(depth: int) -> Any:
    """The same, in the key of a map."""
    return {nested(depth - 1, "tuple"): None}


class TestWriting:
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
    @pytest.mark.parametrize(
        "depth", [1, 499, 500, 501, 502, *range(508, 514), *range(1020, 1030), 5000]
    )
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

    def test_says_what_to_send_instead(self) -> None:
        for body, instead in ((datetime.now(), "isoformat()"), ((Decimal(1),), "str()")):
            with pytest.raises(BodyError, match=f"; send its {re.escape(instead)}$"):
                pack(body)

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({1, 2}, "a set cannot be sent: set is not something msgpack carries"),
            ([object()], "a list that holds a object cannot be sent: object is not something"),
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
