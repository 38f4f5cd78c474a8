"""What the compiled modules import in Cython's place where Cython is not installed.

Such a module is valid Python. Compiled, its ``import cython`` is resolved by the compiler; run by
the interpreter, the decorators below leave everything as it is, and the types mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

compiled = False


def _as_it_is(thing: T) -> T:
    return thing


cclass = cfunc = ccall = inline = final = no_gc = _as_it_is


def _with_options(*args: Any, **kwargs: Any) -> Callable[[T], T]:
    return _as_it_is


locals = returns = exceptval = freelist = boundscheck = wraparound = _with_options


def __getattr__(name: str) -> Any:
    return object
