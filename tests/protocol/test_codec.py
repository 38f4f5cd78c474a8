"""The codec: it writes what the reference does, and fills batches in which nothing is lost."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.errors import BodyError, BodyTooLarge, ProtocolError
from zqueue.protocol import codec
from zqueue.protocol.codec import (
    BATCH_TASKS_MAX,
    BODY_BYTES_MAX,
    FRAME_BYTES_MAX,
    SPARE_BYTES_MAX,
    Packer,
    Wrapped,
    array_header,
    array_length,
    pack,
    pack_body,
    too_large,
)
from zqueue.protocol.unpacking import unpack_bodies

from .reference import NUMBERS, ODD, REFUSALS, SIZES, anything, plain


def check_writing(value: Any) -> None:
    """A value becomes the reference's own bytes, or is refused where the reference does."""
    packer = Packer(10, 1 << 24)
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
    assert packer.take() == b"\x93\xa6before" + expected + b"\xa5after"


def malformed(call: Callable[..., Any], *arguments: Any) -> str:
    """The text of the ProtocolError that a call raises."""
    with pytest.raises(ProtocolError) as caught:
        call(*arguments)
    assert caught.value.code == "malformed"
    return str(caught.value)


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


def test_knows_whether_it_is_compiled() -> None:
    assert codec.COMPILED is not str(codec.__file__).endswith(".py")


# --- batches ---

CANNOT = [
    object(), [1, object()], {"a": "x" * 5000, "b": [2, {"c": object()}]}, (1, 2, {3}), "\ud800",
    ["x", "\ud800"], {"k": {("\udfff",): 1}}, 1 << 64, [-(1 << 63) - 1], {object(): 1},
    {"a": ["y" * 100_000, 1 << 64]}, [bytearray(b"x"), object()],
]  # fmt: skip
"""Bodies that cannot be packed; of most, a part can."""


def text_of(nbytes: int, letter: str = "x") -> str:
    """A body of so many bytes when it is packed."""
    for head in (1, 2, 3, 5):
        body = letter * max(0, nbytes - head)
        if len(pack(body)) == nbytes:
            return body
    raise AssertionError(nbytes)


def frames_of(packer: Packer) -> list[bytes]:
    """All that is in a packer, taken out."""
    return list(iter(packer.take, b""))


def bodies_of(packer: Packer) -> list[Any]:
    """All bodies in a packer, taken out."""
    return [body for frame in frames_of(packer) for body in unpack_bodies(frame)]


def fill_all(packer: Packer, source: Iterator[Any]) -> list[bytes]:
    """Fill batches until there are no more bodies; the full ones, taken out."""
    frames = []
    while packer.fill(source):
        while packer.is_full:
            frames.append(packer.take())
    return frames


def frame_of(bodies: list[Any]) -> bytes:
    """A frame of these, by the reference."""
    return array_header(len(bodies)) + b"".join(map(msgpack.packb, bodies))


class Noisy(dict):  # type: ignore[type-arg]
    """Nothing plain: to pack it, the reference asks for its items, and something happens."""

    def __init__(self, happens: Callable[[], Any], **items: Any) -> None:
        super().__init__(items)
        self._happens = happens

    def items(self) -> Any:
        self._happens()
        return super().items()


class Model:
    """A packer that keeps lists of bodies, and counts anew each time."""

    def __init__(self, tasks_max: int, bytes_max: int) -> None:
        self.tasks_max = tasks_max
        self.bytes_max = bytes_max
        self.full: list[list[Any]] = []
        self.row: list[Any] = []

    def nbytes(self) -> int:
        return sum(len(msgpack.packb(body)) for body in self.row)

    def add(self, body: Any) -> None:
        if self.row and self.nbytes() + len(msgpack.packb(body)) > self.bytes_max:
            self.full.append(self.row)
            self.row = []
        self.row.append(body)
        if len(self.row) >= self.tasks_max or self.nbytes() > self.bytes_max:
            self.full.append(self.row)
            self.row = []

    def take(self) -> bytes:
        if self.full:
            return frame_of(self.full.pop(0))
        row, self.row = self.row, []
        return frame_of(row) if row else b""


steps = st.lists(
    st.just("take")
    | st.tuples(st.sampled_from([0, 1, 9, 10, 30, 31, 32, 50, 99, 100, 101, 400]), st.booleans()),
    max_size=60,
)


@given(st.integers(1, 20), st.sampled_from([1, 40, 100, 101, 102, 1000]), steps)
def test_fills_batches_as_the_model_does(tasks_max: int, bytes_max: int, steps: list[Any]) -> None:
    packer, model = Packer(tasks_max, bytes_max), Model(tasks_max, bytes_max)
    for step in [*steps, *["take"] * (len(steps) + 1)]:
        if step == "take":
            assert packer.take() == model.take()
        else:
            size, is_plain = step
            body = bytes(size) if is_plain else bytearray(size)
            model.add(body)
            assert packer.add(body) is bool(model.full)
        assert packer.is_full is bool(model.full)
        assert len(packer) == sum(map(len, model.full)) + len(model.row)
    assert packer.take() == b""


class TestFull:
    @pytest.mark.parametrize("tasks_max", [1, 2, 15, 16, 17, 255, 256, BATCH_TASKS_MAX])
    def test_by_number(self, tasks_max: int) -> None:
        packer = Packer(tasks_max, 1 << 20)
        for i in range(tasks_max - 1):
            assert not packer.add(i)
        assert packer.add("last")
        assert not Packer(tasks_max + 1, 1 << 20).add("first")
        packer.add("next")
        assert len(packer) == tasks_max + 1
        assert packer.take() == frame_of([*range(tasks_max - 1), "last"])
        assert packer.is_full is (tasks_max == 1)
        assert packer.take() == frame_of(["next"])
        assert (packer.take(), len(packer)) == (b"", 0)

    def test_by_size(self) -> None:
        packer = Packer(100, 1000)
        assert not packer.add(text_of(600))
        assert not packer.add(text_of(400)), "so many bytes, and no more, are room for more"
        assert packer.add(text_of(2))
        assert packer.take() == frame_of([text_of(600), text_of(400)])
        assert not packer.is_full
        assert packer.take() == frame_of(["x"])

    def test_a_body_that_does_not_fit_begins_the_next(self) -> None:
        packer = Packer(100, 1000)
        assert not packer.add(text_of(600))
        assert packer.add(text_of(401))
        assert packer.take() == frame_of([text_of(600)])
        assert not packer.add(text_of(599))
        assert packer.take() == frame_of([text_of(401), text_of(599)])

    def test_a_lone_body_may_be_larger(self) -> None:
        packer = Packer(100, 1000)
        big = text_of(1001)
        assert packer.add(big)
        assert packer.add("small")
        assert packer.add([big])
        assert frames_of(packer) == [frame_of([big]), frame_of(["small"]), frame_of([[big]])]

    @pytest.mark.parametrize("nbytes", [SPARE_BYTES_MAX // 2, SPARE_BYTES_MAX + 1, 3 << 20])
    def test_goes_on_after_a_large_one(self, nbytes: int) -> None:
        """The buffer that had grown is given back."""
        packer = Packer(2, 1 << 24)
        for _ in range(3):
            for body in (text_of(nbytes), "a", "b", text_of(nbytes), "c"):
                packer.add(body)
            assert bodies_of(packer) == [text_of(nbytes), "a", "b", text_of(nbytes), "c"]

    @pytest.mark.parametrize("tasks_max", [1, 10])
    def test_keeps_no_more_than_it_may(self, tasks_max: int) -> None:
        """Whether the large batch was full, or was taken before it was."""
        packer = Packer(tasks_max, 1 << 24)
        tracemalloc.start()
        for _ in range(3):
            packer.add("x" * (6 << 20))
            assert len(packer.take()) > 6 << 20
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept < SPARE_BYTES_MAX + 10_000


class TestWhatCannotBePacked:
    @pytest.mark.parametrize("bad", CANNOT, ids=lambda bad: repr(bad)[:20])
    @pytest.mark.parametrize("bytes_max", [20, 1 << 20])
    def test_leaves_nothing_behind(self, bad: Any, bytes_max: int) -> None:
        packer = Packer(100, bytes_max)
        model = Model(100, bytes_max)
        for body in ("first", [1, 2.5], {"k": "third"}, "x" * 30, "fifth"):
            for _ in range(2):
                before = len(packer), packer.is_full
                with pytest.raises(BodyError):
                    packer.add(bad)
                assert (len(packer), packer.is_full) == before
            packer.add(body)
            model.add(body)
        assert frames_of(packer) == list(iter(model.take, b""))

    @pytest.mark.parametrize(
        "make", [bytes, bytearray, lambda n: "x" * n, lambda n: "é" * (n // 2)]
    )
    def test_too_large(self, make: Callable[[int], Any]) -> None:
        head = 5
        packer = Packer(100, 1 << 30)
        packer.add("before")
        for more in (2, 1000):
            with pytest.raises(
                BodyTooLarge, match=r"^the body is 16,77\d,\d\d\d bytes packed, over"
            ):
                packer.add(make(BODY_BYTES_MAX - head + more))
        with pytest.raises(BodyTooLarge):
            packer.add([1, make(BODY_BYTES_MAX - head)])
        packer.add("after")
        assert packer.take() == frame_of(["before", "after"])

    def test_as_large_as_can_be(self) -> None:
        packer = Packer(100, 1 << 16)
        packer.add("before")
        body = [bytes(BODY_BYTES_MAX - 6)]
        assert packer.add(body)
        assert packer.take() == frame_of(["before"])
        frame = packer.take()
        assert frame == frame_of([body])
        assert FRAME_BYTES_MAX - 8 < len(frame) <= FRAME_BYTES_MAX
        with pytest.raises(BodyTooLarge, match="the body is 16,777,209 bytes packed"):
            packer.add([bytes(BODY_BYTES_MAX - 5)])
        assert packer.take() == b""

    @pytest.mark.parametrize("error", [KeyError("its own"), KeyboardInterrupt()])
    def test_whose_own_code_raises(self, error: BaseException) -> None:
        def fail() -> None:
            raise error

        packer = Packer(100, 1000)
        packer.add("before")
        with pytest.raises(BodyError if isinstance(error, Exception) else type(error)):
            packer.add(["x" * 50, Noisy(fail, a=1)])
        packer.add("after")
        assert packer.take() == frame_of(["before", "after"])


class TestFill:
    def test_stops_at_each_full_batch(self) -> None:
        packer = Packer(3, 1000)
        source = iter(range(8))
        frames = []
        while packer.fill(source):
            assert packer.is_full
            frames.append(packer.take())
            assert not packer.is_full
        assert frames == [frame_of([0, 1, 2]), frame_of([3, 4, 5])]
        assert packer.take() == frame_of([6, 7])
        assert packer.fill(source) is False

    @given(st.lists(st.sampled_from([1, 10, 90, 99, 100, 101, 250]), max_size=40))
    def test_is_adding_one_after_the_other(self, sizes: list[int]) -> None:
        filled, added = Packer(5, 100), Packer(5, 100)
        frames = fill_all(filled, (bytes(size) for size in sizes))
        for size in sizes:
            added.add(bytes(size))
        assert [*frames, *frames_of(filled)] == frames_of(added)

    @given(st.lists(st.sampled_from([1, 10, 90, 98, 99, 100, 101, 250]), max_size=40))
    def test_wrapped_is_an_array_of_each(self, sizes: list[int]) -> None:
        wrapped, plain = Packer(5, 100), Packer(5, 100)
        frames: list[bytes] = []
        source = Wrapped(bytes(size) for size in sizes)
        while wrapped.fill(source):
            while wrapped.is_full:
                frames.append(wrapped.take())
        assert [*frames, *frames_of(wrapped)] == [
            *fill_all(plain, ((bytes(size),) for size in sizes)), *frames_of(plain)
        ]  # fmt: skip

    def test_wrapped_gives_arrays_to_whoever_else_reads_it(self) -> None:
        """A packer may stop in the middle, and somebody else goes on."""
        packer, source = Packer(2, 1000), Wrapped("abcd")
        assert packer.fill(source)
        assert packer.take() == frame_of([["a"], ["b"]])
        assert list(source) == [("c",), ("d",)]
        with pytest.raises(TypeError, match="'int' object is not iterable"):
            Wrapped(7)  # type: ignore[arg-type]

    @pytest.mark.parametrize("bad", CANNOT, ids=lambda bad: repr(bad)[:20])
    def test_wrapped_says_the_same_of_what_cannot_be(self, bad: Any) -> None:
        texts = []
        for source in (Wrapped([1, bad]), iter([(1,), (bad,)])):
            packer = Packer(3, 1000)
            with pytest.raises(BodyError) as caught:
                packer.fill(source)
            texts.append(str(caught.value))
            assert bodies_of(packer) == [[1]]
        assert texts[0] == texts[1]

    @pytest.mark.parametrize("bad", CANNOT, ids=lambda bad: repr(bad)[:20])
    @pytest.mark.parametrize("place", [0, 1, 2, 3, 7, 11])
    def test_names_the_body_by_its_number(self, place: int, bad: Any) -> None:
        packer = Packer(3, 1000)
        source = iter([*range(place), bad, "more"])
        with pytest.raises(BodyError, match=rf"^body {place}: (a|the body) ") as caught:
            fill_all(packer, source)
        assert type(caught.value) is BodyError
        assert bodies_of(packer) == list(range(place - place % 3, place))
        assert list(source) == ["more"]

    def test_names_the_body_by_its_number_if_sizes_make_the_batches(self) -> None:
        packer = Packer(100, 50)
        source: Iterator[Any] = iter(["x" * 20] * 7 + ["y" * 60] * 2 + [bytes(FRAME_BYTES_MAX)])
        with pytest.raises(BodyTooLarge, match=r"^body 9: the body is 16,777,221 bytes packed"):
            fill_all(packer, source)

    @pytest.mark.parametrize("error", [KeyError("mine"), BodyError("mine"), KeyboardInterrupt()])
    def test_what_the_bodies_raise_passes_through(self, error: BaseException) -> None:
        def bodies() -> Iterator[int]:
            yield 1
            yield 2
            raise error

        packer = Packer(3, 1000)
        with pytest.raises(type(error)) as caught:
            packer.fill(bodies())
        assert caught.value is error
        assert packer.take() == frame_of([1, 2])


@pytest.fixture
def _collecting() -> Iterator[None]:
    """As soon as it is enabled, the collector runs whenever it can."""
    gc.collect()
    gc.disable()
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    yield
    gc.set_threshold(*before)
    gc.enable()


class TestReentered:
    """A body that is not plain runs its own code; bodies may come from code. Both may send."""

    def test_by_a_body(self) -> None:
        packer = Packer(100, 1000)
        packer.add("before")
        packer.add(["x" * 20, 2, Noisy(lambda: packer.add(["inner", 1]), a="b")])
        packer.add("after")
        assert bodies_of(packer) == [
            "before", ["inner", 1], ["x" * 20, 2, {"a": "b"}], "after",
        ]  # fmt: skip

    @pytest.mark.parametrize("inner", range(8))
    def test_by_a_body_that_fills_batches(self, inner: int) -> None:
        packer = Packer(3, 1000)
        packer.add("before")

        def send() -> None:
            for i in range(inner):
                packer.add(i)

        packer.add([Noisy(send, a=1)])
        packer.add("after")
        assert bodies_of(packer) == ["before", *range(inner), [{"a": 1}], "after"]

    def test_by_a_body_that_takes(self) -> None:
        packer = Packer(3, 1000)
        packer.add("before")
        taken: list[bytes] = []
        packer.add(["x", Noisy(lambda: taken.append(packer.take()))])
        packer.add("after")
        assert taken == [frame_of(["before"])]
        assert bodies_of(packer) == [["x", {}], "after"]

    def test_by_a_body_in_a_body(self) -> None:
        packer = Packer(2, 1000)
        innermost = Noisy(lambda: packer.add("1"), n=2)
        inner = Noisy(lambda: packer.add([innermost, 3]), n=4)
        packer.add([inner, 5])
        assert bodies_of(packer) == ["1", [{"n": 2}, 3], [{"n": 4}, 5]]

    def test_by_a_body_whose_own_body_cannot_be_packed(self) -> None:
        packer = Packer(100, 1000)

        def send() -> None:
            packer.add("good")
            for bad in CANNOT:
                with pytest.raises(BodyError):
                    packer.add(bad)
            packer.add("good too")

        packer.add({"k": Noisy(send, a=1)})
        with pytest.raises(BodyError):
            packer.add([Noisy(send, a=1), object()])
        assert bodies_of(packer) == [
            "good", "good too", {"k": {"a": 1}}, "good", "good too",
        ]  # fmt: skip

    @pytest.mark.parametrize("bad", ["\ud800", ["x" * 50, {"k": "é\udfff"}], [1 << 64], {1: {2}}])
    @pytest.mark.usefixtures("_collecting")
    def test_by_a_finalizer(self, bad: Any) -> None:
        """An error is an object: to make it may start the collector, and that any code."""
        packer = Packer(100, 1000)

        class Dying:
            def __init__(self) -> None:
                self.itself = self

            def __del__(self) -> None:
                packer.add(["from a finalizer"])

        packer.add("before")
        Dying()
        gc.enable()
        try:  # (Anything else would start the collector before.)
            packer.add(bad)
        except BodyError:
            pass
        gc.collect()
        packer.add("after")
        assert bodies_of(packer) == ["before", ["from a finalizer"], "after"]

    def test_by_what_gives_the_bodies(self) -> None:
        packer = Packer(4, 1000)

        def bodies() -> Iterator[Any]:
            for i in range(6):
                packer.add(f"inner {i}")
                yield i

        source = bodies()
        while packer.fill(source):
            pass
        expected = itertools.chain.from_iterable((f"inner {i}", i) for i in range(6))
        assert bodies_of(packer) == list(expected)
