"""Handlers, and the bodies that carry their arguments."""

from __future__ import annotations

import asyncio
import datetime
import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.errors import ConfigError, InvalidName, ProtocolError
from zqueue.handlers import Handler, call_body, to_arguments
from zqueue.wire.codec import pack
from zqueue.wire.unpacking import unpack_bodies


def handler(**more: Any) -> Handler:
    return Handler("send", "mail", print, **more)


class TestHandler:
    @pytest.mark.parametrize("name", ["", "no good", "x" * 129, "é"])
    def test_names(self, name: str) -> None:
        with pytest.raises(InvalidName, match="task name"):
            Handler(name, "mail", print)
        with pytest.raises(InvalidName, match="queue name"):
            Handler("send", name, print)

    @pytest.mark.parametrize("option", ["timeout", "soft_timeout"])
    @pytest.mark.parametrize("value", [0, -1.0, float("nan")])
    def test_timeouts_are_positive(self, option: str, value: float) -> None:
        with pytest.raises(ConfigError, match=f"{option} of task 'send' must be above 0 seconds"):
            handler(**{option: value})

    @pytest.mark.parametrize("soft", [2.0, 3.0])
    def test_the_soft_timeout_comes_first(self, soft: float) -> None:
        with pytest.raises(ConfigError, match="must be below its timeout"):
            handler(timeout=2.0, soft_timeout=soft)
        handler(timeout=2.0, soft_timeout=1.9)

    @pytest.mark.parametrize("value", ["30", datetime.timedelta(seconds=30), True, [1]], ids=repr)
    def test_timeouts_are_numbers(self, value: Any) -> None:
        with pytest.raises(ConfigError, match="timeout of task 'send' must be a number of seconds"):
            handler(timeout=value)


def behind_a_decorator(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


async def coroutine() -> None: ...


async def asynchronous_generator() -> Any:
    yield 1


def generator() -> Any:
    yield 1


class Callable:
    """Calling it runs one of the functions above."""

    def __init__(self) -> None:
        self.__wrapped__ = coroutine  # As functools.update_wrapper does.

    def __call__(self) -> None: ...


class AsyncCallable:
    async def __call__(self) -> None: ...


class GeneratorCallable:
    def __call__(self) -> Any:
        yield 1


class TestKinds:
    """A body that is counted as done must have run."""

    @pytest.mark.parametrize(
        "function",
        [coroutine, functools.partial(coroutine), AsyncCallable(), AsyncCallable().__call__],
        ids=["function", "partial", "object", "method"],
    )
    def test_async(self, function: Any) -> None:
        assert Handler("a", "q", function).is_async
        assert asyncio.run(function()) is None

    @pytest.mark.parametrize(
        "function", [print, functools.partial(print), Callable(), list, behind_a_decorator(print)]
    )
    def test_plain(self, function: Any) -> None:
        assert not Handler("a", "q", function).is_async

    @pytest.mark.parametrize(
        "function",
        [generator, asynchronous_generator, functools.partial(generator), GeneratorCallable()],
        ids=["generator", "asynchronous", "partial", "object"],
    )
    def test_a_generator_runs_nothing(self, function: Any) -> None:
        with pytest.raises(ConfigError, match="task 'a' is a generator function"):
            Handler("a", "q", function)


class TestBodies:
    @pytest.mark.parametrize(
        ("args", "kwargs", "body"),
        [
            ((), {}, ()),
            ((1, "a"), {}, (1, "a")),
            ((), {"x": 1}, {"x": 1}),
            ((1,), {"x": 2}, {"*": (1,), "x": 2}),
        ],
    )
    def test_examples(self, args: Any, kwargs: Any, body: Any) -> None:
        assert call_body(args, kwargs) == body

    @given(
        st.lists(st.integers() | st.none(), max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5).filter(lambda key: key != "*"), st.booleans(),
                        max_size=4),
    )  # fmt: skip
    def test_round_trip(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        args = tuple(a if a is None else a % 1000 for a in args)
        (body,) = unpack_bodies(pack([call_body(args, kwargs)]))
        assert to_arguments(body) == (list(args), kwargs)

    @pytest.mark.parametrize(
        "body", [None, 1, "text", b"x", {"*": 1}, {"*": "ab"}, {1: 2}, {"x": 1, b"y": 2}], ids=repr
    )
    def test_other_bodies_are_no_calls(self, body: Any) -> None:
        with pytest.raises(ProtocolError, match="must be an array or a map of arguments") as caught:
            to_arguments(body)
        assert caught.value.code == "malformed"
