"""What stands in for Cython while the modules that can be compiled are run by the interpreter.

Such a module is valid Python. Compiled, its ``import cython`` is for the compiler, which takes all
that begins with ``cython.`` out of the code. Here the decorators leave everything as it is, the
types mean nothing, and a critical section takes a lock.
"""

from __future__ import annotations

from collections.abc import Callable
from types import GenericAlias
from typing import Any, TypeVar

T = TypeVar("T")

compiled = False


def _as_it_is(thing: T) -> T:
    return thing


cclass = cfunc = ccall = inline = final = no_gc = _as_it_is

critical_section = _as_it_is
"""Compiled, its argument is a mutex; here it is a lock, and a lock is what ``with`` takes."""


def _with_options(*args: Any, **kwargs: Any) -> Callable[[T], T]:
    return _as_it_is


locals = returns = exceptval = freelist = boundscheck = wraparound = _with_options


class Generic:
    """Inherited in place of `typing.Generic`, which a compiled class cannot inherit.

    It does as little with type parameters as the classes of the standard library do.
    """

    __slots__ = ()

    def __class_getitem__(cls, parameters: Any) -> Any:
        return cls if cls is Generic else GenericAlias(cls, parameters)


def __getattr__(name: str) -> Any:
    return object
