"""Arguments: which calls are refused before they are sent, and what the caller is told."""

from __future__ import annotations

import functools
import inspect
import pydoc
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zqueue
from zqueue.arguments import SHAPES_MAX, Arguments
from zqueue.testing import InProcess
from zqueue.wire.codec import FRAME_BYTES_MAX


def one(a: int) -> int:
    return a


def optional(a: int, b: str = "x") -> None: ...


def keyword(a: int, *, b: int) -> None: ...


def keyword_with_default(a: int, *, b: int = 1) -> None: ...


def positional(a: int, /, b: int = 0) -> None: ...


def several(a: int, *more: int) -> None: ...


def anything(*args: int, **named: int) -> None: ...


def nothing() -> None: ...


class Callable1:
    def __call__(self, a: int) -> None: ...

    def method(self, a: int, b: int) -> None: ...


@functools.wraps(optional)
def wrapper(*args: Any, **named: Any) -> None: ...


FUNCTIONS = [
    one, optional, keyword, keyword_with_default, positional, several, anything, nothing,
    Callable1(), Callable1().method, functools.partial(optional, 1), functools.partial(one, a=1),
    lambda a, b=1: None, wrapper,
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=range(len(FUNCTIONS)))
@given(args=st.lists(st.just(1), max_size=4), names=st.sets(st.sampled_from("abc")))
def test_what_fits_is_what_python_takes(
    function: Callable[..., Any], args: list[int], names: set[str]
) -> None:
    arguments = Arguments("f", function)
    named = dict.fromkeys(sorted(names), 1)
    for _ in range(2):  # What fits is remembered.
        try:
            function(*args, **named)
        except TypeError:
            with pytest.raises(TypeError, match="task 'f' takes "):
                arguments.check(tuple(args), named)
            assert named or not arguments.least <= len(args) <= arguments.most
        else:
            arguments.check(tuple(args), named)


def test_of_what_nothing_is_known_all_fits() -> None:
    arguments = Arguments("int", type("Odd", (), {"__call__": int, "__signature__": 5})())
    arguments.check((1, 2, 3), {"x": 4})


def test_what_is_remembered_is_bounded() -> None:
    arguments = Arguments("f", anything)
    for number in range(2 * SHAPES_MAX):
        arguments.check((), {f"x{number}": 1})
    assert len(arguments._fitting) == SHAPES_MAX


app = zqueue.App("tcp://127.0.0.1:9", connect_timeout=60)
add = app.task(name="add")(optional)
star = app.task(name="star")(several)

CALLS: list[tuple[Callable[[], object], str]] = [
    (lambda: add.send(), "task 'add' takes (a, b=...): missing a required argument: 'a'"),
    (lambda: add.submit(), "task 'add' takes (a, b=...): missing a required argument: 'a'"),
    (lambda: add.send(1, 2, 3), "task 'add' takes (a, b=...): too many positional arguments"),
    (lambda: add.send(1, c=3), "task 'add' takes (a, b=...): got an unexpected keyword arg"),
    (lambda: add.options(wait=0).send(1, a=1), "multiple values for argument 'a'"),
    (lambda: add.map([1], [2], [3]), "task 'add' takes (a, b=...): too many positional"),
    (lambda: add.send_many([1], [2], [3]), "task 'add' takes (a, b=...): too many positional"),
    (lambda: add.map(), "task 'add': give one iterable a parameter, at least one"),
    (lambda: add.send_many(), "task 'add': give one iterable a parameter, at least one"),
]


@pytest.mark.parametrize(("call", "text"), CALLS)
def test_a_call_that_does_not_fit_is_refused_before_a_broker_is_asked(
    call: Callable[[], object], text: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(text)):
        call()
    assert app._producer is None


UNSENDABLE: list[tuple[Callable[[], object], str]] = [
    (lambda: add.send(1, object()), "task 'add', argument b: a object cannot be sent"),
    (lambda: add.send(1, b={1, 2}), "task 'add', argument b: a set cannot be sent"),
    (lambda: add.submit(1j), "task 'add', argument a: a complex cannot be sent"),
    (lambda: star.send(1, 2, 1j), "task 'star', argument number 3: a complex cannot be sent"),
    (lambda: add.send_many([1, 1j]), "task 'add': body 1: a complex cannot be sent"),
    (lambda: add.send_many([1], [1j]), "task 'add': body 0: a complex cannot be sent"),
]


@pytest.mark.system
def test_what_cannot_be_sent_is_named_with_its_task() -> None:
    with InProcess(app, worker=False):
        for call, text in UNSENDABLE:
            with pytest.raises(zqueue.BodyError, match=re.escape(text)):
                call()
        with pytest.raises(zqueue.BodyTooLarge, match="task 'add': the body is"):
            add.send(1, b"x" * (FRAME_BYTES_MAX + 1))


def test_the_call_that_sends_has_the_signature_of_the_function() -> None:
    for send in (add.send, add.options(wait=0).send):
        assert str(inspect.signature(send)) == "(a: 'int', b: 'str' = 'x') -> None"
        assert inspect.getdoc(send) == "Send a call of task 'add'. Returns when it is accepted."
        assert repr(send) == "<send(a: 'int', b: 'str' = 'x') -> None>"
        assert getattr(send, "__name__", "") == "send"


def test_help_shows_the_signature_and_the_text_of_the_function() -> None:
    @zqueue.App().task
    def documented(number: float) -> float:
        """Twice a number."""
        return 2 * number

    text = pydoc.plain(pydoc.render_doc(documented.send))
    assert "number: 'float'" in text
    assert "Twice a number." in text
    assert "Twice a number." in pydoc.plain(pydoc.render_doc(documented))
    assert str(inspect.signature(documented)) == "(number: 'float') -> 'float'"


def test_what_a_wrapper_wraps_is_shown_though_all_that_the_wrapper_takes_fits() -> None:
    wrapped = zqueue.App().task(wrapper)
    assert str(inspect.signature(wrapped.send)) == "(a: 'int', b: 'str' = 'x') -> None"
    Arguments("wrapper", wrapper).check((1, 2, 3), {"x": 4})
