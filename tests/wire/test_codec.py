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
from zqueue.wire.codec import (
    BATCH_TASKS_MAX,
    BODY_BYTES_MAX,
    FRAME_BYTES_MAX,
    Packer,
    Wrapped,
    array_header,
    array_length,
    pack,
)
from zqueue.wire.unpacking import unpack_bodies
from zqueue.wire.writing import SPARE_BYTES_MAX

from .reference import malformed


class TestArrayLength:
    @pytest.mark.parametrize("count", [1, 2, 15, 16, 255, 256, 4095, 4096])
    def test_reads_what_was_packed(self, count: int) -> None:
        frame = pack([None] * count)
        assert array_length(frame) == count
        assert frame.startswith(array_header(count))

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
    first = 0
    while count := packer.fill(source, first):
        first += count
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
        for _ in range(2):
            assert packer.fill(source) == 3
            assert packer.is_full
            frames.append(packer.take())
            assert not packer.is_full
        assert frames == [frame_of([0, 1, 2]), frame_of([3, 4, 5])]
        assert packer.fill(source) == 2
        assert packer.take() == frame_of([6, 7])
        assert packer.fill(source) == 0

    def test_stops_behind_each_body_while_it_is_eager(self) -> None:
        packer = Packer(30, 1000)

        def bodies() -> Iterator[int]:
            for i in range(7):
                packer.is_eager = i not in (2, 3)  # Another thread may say so at any time.
                yield i

        source = bodies()
        assert [packer.fill(source) for _ in range(6)] == [1, 1, 3, 1, 1, 0]

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
