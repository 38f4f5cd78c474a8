"""The arguments of a call: whether they fit the task's function, found out before it is sent."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from .errors import BodyError, BodyTooLarge
from .wire.codec import pack

SHAPES_MAX = 64
"""Calls with named arguments that are remembered to fit. A program has a few at each task; one that
makes the names up pays for the check each time."""

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Arguments:
    """What a task's function takes.

    What wraps another function takes what it says itself, not what the other one does: it may add
    an argument. Where nothing is known of a function, as of some that are written in C, all fits.
    """

    def __init__(self, task: str, function: Callable[..., Any]) -> None:
        self._task = task
        self._fitting: set[tuple[int | str, ...]] = set()
        self._signature: inspect.Signature | None = None
        self.shown = _shown(function)
        """What `inspect.signature` says of the call that sends it; None if that is not known."""
        what = inspect.getdoc(function) if inspect.isroutine(function) else None
        self.doc = f"Send a call of task {task!r}. Returns when it is accepted." + (
            f"\n\nThe task: {what}" if what else ""
        )
        """What `help` says of it."""
        self.least = 0
        """So many arguments at least fit, if all are given by position."""
        self.most = sys.maxsize
        """And so many at most; fewer than the least if none but named ones fit."""
        try:
            self._signature = inspect.signature(function, follow_wrapped=False)
        except (TypeError, ValueError):
            return
        parameters = self._signature.parameters.values()
        by_position = [one for one in parameters if one.kind in _BY_POSITION]
        self.least = sum(one.default is one.empty for one in by_position)
        if not any(one.kind is one.VAR_POSITIONAL for one in parameters):
            self.most = len(by_position)
        if any(one.kind is one.KEYWORD_ONLY and one.default is one.empty for one in parameters):
            self.most = -1

    def check(self, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Raise `TypeError`, which names the task and the argument, if a call does not fit."""
        if self._signature is None or (not named and self.least <= len(args) <= self.most):
            return
        shape: tuple[int | str, ...] = (len(args), *named)
        if shape in self._fitting:
            return
        try:
            self._signature.bind(*args, **named)
        except TypeError as error:
            raise TypeError(f"task {self._task!r} takes {self._names()}: {error}") from None
        if len(self._fitting) < SHAPES_MAX:
            self._fitting.add(shape)

    def check_count(self, iterables: int) -> None:
        """Raise `TypeError` if so many iterables, one a parameter, do not fit."""
        if not iterables:
            raise TypeError(f"task {self._task!r}: give one iterable a parameter, at least one")
        self.check((None,) * iterables, {})

    def blamed(
        self, error: BodyError, args: tuple[Any, ...], named: dict[str, Any]
    ) -> BodyError:  # fmt: skip
        """The same error, naming the task and the argument that cannot be sent."""
        names: list[str] = []
        if self._signature is not None:
            parameters = self._signature.parameters.values()
            names = [one.name for one in parameters if one.kind in _BY_POSITION]
        names += [f"number {place}" for place in range(len(names) + 1, len(args) + 1)]
        for name, value in [*zip(names, args, strict=False), *named.items()]:
            try:
                pack(value)
            except BodyError as its:
                if not isinstance(error, BodyTooLarge):
                    return BodyError(f"task {self._task!r}, argument {name}: {its}")
        return self.of_task(error)

    def of_task(self, error: BodyError) -> BodyError:
        """The same error, naming the task."""
        return type(error)(f"task {self._task!r}: {error}")

    def _names(self) -> str:
        """The parameters, without types and values."""
        assert self._signature is not None
        parameters = [
            one.replace(
                annotation=one.empty, default=one.empty if one.default is one.empty else ...
            )
            for one in self._signature.parameters.values()
        ]
        return str(inspect.Signature(parameters)).replace("Ellipsis", "...")


def _shown(function: Callable[..., Any]) -> inspect.Signature | None:
    """The parameters of a function, or of what it wraps, for a call that returns nothing."""
    try:
        return inspect.signature(function).replace(return_annotation=None)
    except (TypeError, ValueError):
        return None
