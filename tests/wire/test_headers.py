"""Every kind of message: whole, cut off, with too much, with too little, and with nonsense."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, get_type_hints

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.errors import InvalidName, ProtocolError
from zqueue.wire.headers import (
    HEADER_BYTES_MAX,
    MAP_BYTES_MAX,
    MAP_DEPTH_MAX,
    VERSION,
    check_name,
    decode,
    encode,
    unpack_header,
    unpack_map,
)
from zqueue.wire.messages import (
    KINDS,
    Ask,
    Await,
    Cancel,
    Confirm,
    Control,
    Credit,
    Deliver,
    Departed,
    Goodbye,
    Heartbeat,
    Hello,
    Known,
    Progress,
    Publish,
    Refuse,
    Report,
    Result,
    Settle,
    Stop,
    Tell,
    Welcome,
    Withdraw,
)

BIG = (1 << 63) - 1

EXAMPLES: dict[type[Any], list[Any]] = {
    Hello: [Hello("producer", b"0123456789abcdef"), Hello("", b"x"), Hello("é", b"y" * 32)],
    Welcome: [Welcome(b"12345678", 1000, 5000), Welcome(b"b", 0, BIG)],
    Refuse: [Refuse("full", 7, "no room"), Refuse("", 0, "")],
    Heartbeat: [Heartbeat([]), Heartbeat([b"a", b"b" * 32])],
    Goodbye: [Goodbye()],
    Publish: [Publish(1, "mail", "send", 1), Publish(BIG, "q", "", 0)],
    Confirm: [Confirm([1, 3, 7, 7]), Confirm([])],
    Result: [Result(9, 0, 512, 1), Result(1, 0, 0, 4)],
    Await: [Await([]), Await([1, 70_000, BIG])],
    Withdraw: [Withdraw([1, 3, 7, 7], [9, 9]), Withdraw([], [])],
    Known: [Known(7, 1 << 47, 3), Known(1, 0, BIG)],
    Cancel: [
        Cancel(1, 1, [[0, 7, 0, 3], [1 << 47, 8, 5, 1]], "mail", "send"),
        Cancel(2, 0, [], "", ""),
    ],
    Credit: [Credit(0), Credit(16_384)],
    Deliver: [
        Deliver(1 << 56, "mail", [["send", 1, 512, 1, 250, 1 << 47, 9, 512], ["", 0, 1, 2]]),
        Deliver(7, "mail", [["send", 1, 512, 1, 250]]),
        Deliver(1, "q", []),
    ],
    Settle: [Settle(5, 100, [[0, 0, 512, 0], [1, 3, 1, 2]]), Settle(5, 0, [])],
    Departed: [Departed(b"worker", "crashed", 0, 0, "signal 9"), Departed(b"w", "", 7, 8, "")],
    Ask: [Ask("info"), Ask("")],
    Tell: [Tell()],
    Report: [Report()],
    Progress: [Progress(1 << 56, 3, 50, 100), Progress(1, 0, 0, 0)],
    Stop: [Stop(1 << 56, 3, 1), Stop(0, 0, 0)],
    Control: [Control("pause", "mail"), Control("", "")],
}

KIND_OF = {cls: kind for kind, cls in KINDS.items()}

NOT_A_NUMBER: list[Any] = [None, True, -1, 1 << 63, 1.0, "1", b"1", [1]]
NOT_AN_ID: list[Any] = [None, "text", b"", b"x" * 33, 1, [b"x"]]
WRONG: dict[Any, list[Any]] = {
    int: NOT_A_NUMBER,
    str: [None, b"bytes", 1, False, ["text"]],
    bytes: NOT_AN_ID,
    list[int]: [None, 1, "12", b"\x01", *([1, value] for value in NOT_A_NUMBER)],
    list[bytes]: [None, b"x", "x", 3, *([b"x", value] for value in NOT_AN_ID)],
    list[list[int]]: [
        None, 0, [1, 2, 3, 4], [[0, 0, 1]], [[0, 0, 1, 0, 0, 0]], [[]], [None],
        *([[0, 0, 1, value]] for value in NOT_A_NUMBER),
    ],
    list[list[Any]]: [
        None, "", ["t", 0, 1, 1], [["t", 0, 1]], [["t", 0, 1, 1, -1]], [[]], [[b"t", 0, 1, 1]],
        *([["t", value, 1, 1]] for value in NOT_A_NUMBER),
        *([["t", 0, 1, value]] for value in NOT_A_NUMBER),
    ],
}  # fmt: skip
"""For each type of a field: values that it must not have."""

each_kind = pytest.mark.parametrize("cls", KINDS.values(), ids=lambda cls: cls.__name__)


def header_of(message: Any) -> list[Any]:
    """The header as a list, to be spoiled."""
    return [VERSION, KIND_OF[type(message)], *message]


def malformed(call: Callable[[bytes], Any], frame: bytes) -> str:
    """The text of the ProtocolError that a call raises."""
    with pytest.raises(ProtocolError) as caught:
        call(frame)
    assert caught.value.code == "malformed"
    return str(caught.value)


def refused(frame: bytes) -> ProtocolError:
    """The error that decoding a frame raises."""
    with pytest.raises(ProtocolError) as caught:
        decode(frame)
    return caught.value


@each_kind
def test_round_trip(cls: type[Any]) -> None:
    for message in EXAMPLES[cls]:
        decoded = decode(encode(message))
        assert decoded == message
        assert type(decoded) is cls


@each_kind
def test_cut_off_at_every_byte(cls: type[Any]) -> None:
    for message in EXAMPLES[cls]:
        frame = encode(message)
        for stop in range(len(frame)):
            assert refused(frame[:stop]).code == "malformed", (message, stop)


@each_kind
def test_bytes_after_the_header_are_refused(cls: type[Any]) -> None:
    for message in EXAMPLES[cls]:
        for rest in (b"\x00", b"\xc0", b"\x90", b"\xff" * 9):
            assert refused(encode(message) + rest).code == "malformed", (message, rest)


@each_kind
def test_further_fields_of_a_later_version_are_passed_over(cls: type[Any]) -> None:
    extras: list[list[Any]] = [[None], [1, "two", b"three"], [[]], [{}]]
    for message in EXAMPLES[cls]:
        for extra in extras:
            assert decode(msgpack.packb(header_of(message) + extra)) == message


@each_kind
def test_too_few_fields_are_refused(cls: type[Any]) -> None:
    for message in EXAMPLES[cls]:
        header = header_of(message)
        needed = len(header) - len(message._field_defaults)
        for length in range(2 + (not message), needed):
            error = refused(msgpack.packb(header[:length]))
            assert error.code == "malformed"
            assert cls.__name__ in str(error)


def test_only_a_settled_run_may_have_a_fifth_number() -> None:
    run = [[0, 0, 1, 5, 500]]
    assert decode(encode(Settle(1, 1, run))) == Settle(1, 1, run)
    assert refused(encode(Cancel(1, 0, run, "q", ""))).code == "malformed"


def test_a_field_that_an_earlier_version_lacks_has_its_default() -> None:
    header = header_of(Publish(7, "q", "t", 1, 5000))
    assert decode(msgpack.packb(header[:-1])) == Publish(7, "q", "t", 1, 0)


@each_kind
def test_a_field_of_the_wrong_type_is_refused(cls: type[Any]) -> None:
    for field, (name, type_) in enumerate(get_type_hints(cls).items()):
        for value in WRONG[type_]:
            header = header_of(EXAMPLES[cls][0])
            header[2 + field] = value
            error = refused(msgpack.packb(header))
            assert error.code == "malformed", (name, value)
            assert cls.__name__ in str(error)


@pytest.mark.parametrize("kind", [0, 6, 9, 17, 26, 34, 255, BIG])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    error = refused(msgpack.packb([VERSION, kind]))
    assert error.code == "malformed"
    assert str(error) == f"unknown kind {kind}"


@pytest.mark.parametrize("header", [[], [1], [None, 4, []], [1, None], ["1", 4, []], [1, -4, []],
                                    [True, 5], [1.0, 5]], ids=repr)  # fmt: skip
def test_a_header_without_version_and_kind_is_refused(header: list[Any]) -> None:
    assert refused(msgpack.packb(header)).code == "malformed"


@pytest.mark.parametrize("version", [0, 2, BIG])
def test_another_version_is_refused_by_name(version: int) -> None:
    """Even if its kinds mean something else there: the version is looked at first."""
    error = refused(msgpack.packb([version, 999]))
    assert error.code == "wrong-version"
    assert str(error) == f"version {version}; this side speaks 1"


@pytest.mark.parametrize("value", [None, 1, "text", b"bytes", {}], ids=repr)
def test_a_header_that_is_no_array_is_refused(value: Any) -> None:
    assert str(refused(msgpack.packb(value))) == "the header is not an array"


def test_a_header_over_its_limit_is_refused() -> None:
    error = refused(encode(Refuse("full", 1, "x" * 16_400)))
    assert str(error) == "the header is over 16384 bytes"


class TestUnpackHeader:
    @pytest.mark.parametrize("header", [[1, {"a": 1}], [1, [[{1: 2}]]], {"a": 1}], ids=repr)
    def test_maps_in_it_are_refused(self, header: Any) -> None:
        assert malformed(unpack_header, msgpack.packb(header)).startswith("cannot be unpacked: ")

    @pytest.mark.parametrize("value", [None, 1, "text", b"bytes", True], ids=repr)
    def test_no_array(self, value: Any) -> None:
        assert malformed(unpack_header, msgpack.packb(value)) == "the header is not an array"

    def test_limit(self) -> None:
        header = ["x" * (HEADER_BYTES_MAX - 4)]
        assert len(msgpack.packb(header)) == HEADER_BYTES_MAX
        assert unpack_header(msgpack.packb(header)) == header
        header[0] += "x"
        assert malformed(unpack_header, msgpack.packb(header)) == "the header is over 16384 bytes"

    @pytest.mark.parametrize(
        "frame", [b"", b"\x92\x01", b"\xc1", b"\x91\xa1\xff", b"\x90\x00", b"\x91" * 5000,
                  b"\xdd\xff\xff\xff\xff"], ids=lambda frame: frame[:5].hex()
    )  # fmt: skip
    def test_not_whole(self, frame: bytes) -> None:
        assert malformed(unpack_header, frame)

    @given(st.binary(max_size=60))
    def test_random_bytes_are_a_list_or_a_protocol_error(self, frame: bytes) -> None:
        try:
            assert type(unpack_header(frame)) is list
        except ProtocolError:
            pass


class TestUnpackMap:
    @pytest.mark.parametrize("value", [[], None, "x", 1, [{"a": 1}]], ids=repr)
    def test_not_a_map(self, value: Any) -> None:
        assert malformed(unpack_map, msgpack.packb(value)) == "not a map with text keys"

    @pytest.mark.parametrize("key", [1, None, True, 1.5], ids=repr)
    def test_keys_that_are_not_text_further_inside(self, key: Any) -> None:
        """So many that fall on one another cannot be made there either."""
        for value in ({"a": {key: 1}}, {"a": [1, [{"b": 1, key: 1}]]}):
            assert malformed(unpack_map, msgpack.packb(value)).startswith("cannot be unpacked: ")

    @pytest.mark.parametrize(
        "frame", [b"", b"\x81\xa1k", b"\xc1", b"\x81\xa1\xff\x01", b"\x80\x80", b"\x81\xa1k" * 5000,
                  b"\xdf\xff\xff\xff\xff"], ids=lambda frame: frame[:5].hex()
    )  # fmt: skip
    def test_not_whole(self, frame: bytes) -> None:
        assert malformed(unpack_map, frame)

    def test_over_its_limit(self) -> None:
        value = {"x": "y" * (MAP_BYTES_MAX - 6)}
        frame = msgpack.packb(value)
        assert len(frame) == MAP_BYTES_MAX
        assert unpack_map(frame) == value
        value["x"] += "y"
        frame = msgpack.packb(value)
        assert malformed(unpack_map, frame) == "the map is over 65536 bytes"
        assert unpack_map(frame, nbytes_max=1 << 20) == value

    @pytest.mark.parametrize("layer", [lambda deep: {"x": deep}, lambda deep: {"x": [deep]}])
    def test_depth(self, layer: Callable[[Any], Any]) -> None:
        """A broker's own answer holds what peers may say, and so nests deeper than that."""
        deep: Any = 1
        for _ in range(0, MAP_DEPTH_MAX, 1 if layer(1) == {"x": 1} else 2):
            deep = layer(deep)
        assert unpack_map(msgpack.packb(deep)) == deep
        deeper = {"x": deep}
        text = f"the map nests deeper than {MAP_DEPTH_MAX}"
        assert malformed(unpack_map, msgpack.packb(deeper)) == text
        assert unpack_map(msgpack.packb(deeper), depth_max=MAP_DEPTH_MAX + 1) == deeper

    @given(st.binary(max_size=60))
    def test_random_bytes_are_a_map_or_a_protocol_error(self, frame: bytes) -> None:
        try:
            value = unpack_map(frame)
        except ProtocolError:
            return
        assert type(value) is dict
        assert all(type(key) is str for key in value)


@given(st.binary(max_size=200))
def test_random_bytes_are_a_message_or_a_protocol_error(frame: bytes) -> None:
    try:
        message = decode(frame)
    except ProtocolError:
        return
    assert decode(encode(message)) == message


values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 1 << 63) | st.binary(max_size=40)
    | st.text(max_size=9) | st.floats() | st.builds(msgpack.ExtType, st.just(5), st.binary()),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner,
                                                                max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(st.sampled_from(sorted(KINDS)), st.lists(values, max_size=7))
def test_random_fields_are_a_message_or_a_protocol_error(kind: int, fields: list[Any]) -> None:
    """What gets through has exactly the types that it promises, so it can be encoded again."""
    try:
        message = decode(msgpack.packb([VERSION, kind, *fields]))
    except ProtocolError:
        return
    assert type(message) is KINDS[kind]
    assert list(message)[: len(fields)] == fields[: len(message)]
    assert decode(encode(message)) == message


@pytest.mark.parametrize("name", ["", "x" * 129, "a b", "a\n", "é", "a/b", None, 7, b"a"],
                         ids=repr)  # fmt: skip
def test_a_bad_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidName, match=f"queue name {re.escape(repr(name))} must be"):
        check_name(name, "queue")
