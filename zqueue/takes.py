"""What a task takes, for type checkers: how `Sender.map` knows one iterable from another.

A `ParamSpec` cannot be taken apart, so `map` and `send_many` tell by what `submit` takes whether
their iterables fit, up to five; what is left out has a default.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from .client.replies import TaskFuture

R = TypeVar("R")
A1 = TypeVar("A1", contravariant=True)
A2 = TypeVar("A2", contravariant=True)
A3 = TypeVar("A3", contravariant=True)
A4 = TypeVar("A4", contravariant=True)
A5 = TypeVar("A5", contravariant=True)


class Takes1(Protocol[A1, R]):
    """Takes one argument by position."""

    def submit(self, a: A1, /) -> TaskFuture[R]: ...


class Takes2(Protocol[A1, A2, R]):
    """Takes two."""

    def submit(self, a: A1, b: A2, /) -> TaskFuture[R]: ...


class Takes3(Protocol[A1, A2, A3, R]):
    """Takes three."""

    def submit(self, a: A1, b: A2, c: A3, /) -> TaskFuture[R]: ...


class Takes4(Protocol[A1, A2, A3, A4, R]):
    """Takes four."""

    def submit(self, a: A1, b: A2, c: A3, d: A4, /) -> TaskFuture[R]: ...


class Takes5(Protocol[A1, A2, A3, A4, A5, R]):
    """Takes five."""

    def submit(self, a: A1, b: A2, c: A3, d: A4, e: A5, /) -> TaskFuture[R]: ...
