"""Handlers: a user's functions, and the bodies that carry their arguments.

The body of a call is an array of positional arguments, or a map of named ones (in which the key
``*`` holds positional ones). A batch without a task name carries plain bodies: each is the
handler's one argument.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypedDict

from .errors import ConfigError, ProtocolError, Retry, TaskTimeout, UnknownTask
from .seconds import check_seconds
from .wire.headers import check_name
from .wire.options import RETRIES_MAX, SPAN_MS_MAX

Exceptions = type[BaseException] | tuple[type[BaseException], ...]

POSITIONAL = "*"
"""Key of the positional arguments in a call's map. No parameter can have that name."""

NEVER_RETRIED = (ProtocolError, UnknownTask)
"""Nothing of these changes from one attempt to the next."""

LIMIT_S_MAX = 1e9
"""A longer time-out is none: no clock of the system counts so many seconds (30 years)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Handler:
    """A function, and how it wants to be called."""

    name: str
    queue: str
    function: Callable[..., Any]
    timeout: float | None = None
    """Seconds after which the process is killed that runs it."""
    soft_timeout: float | None = None
    """Seconds after which `TaskTimeout` is raised inside it."""
    batch_max: int = 0
    """For batch handlers: bodies in one call; 0 for ordinary ones."""
    batch_wait: float = 0.0
    """Seconds that the first body of a call waits for company."""
    retries: int = 0
    """How often a task that failed is tried again."""
    backoff: float = 0.0
    """Seconds that it waits before the first of these at most; before each that follows, twice that
    before the one before."""
    backoff_max: float = 0.0
    """But never more seconds than these."""
    retry_on: tuple[type[BaseException], ...] = ()
    """What may be tried again, if it is none of the next."""
    no_retry_on: tuple[type[BaseException], ...] = ()
    resubmit: bool = False
    """Whether who sends it sends it again if its result is lost."""
    is_async: bool = dataclasses.field(init=False)
    """Whether it is a coroutine function."""
    is_timed: bool = dataclasses.field(init=False)
    """Whether each task must be watched by the clock."""

    def __post_init__(self) -> None:
        check_name(self.name, "task")
        check_name(self.queue, "queue")
        for name in ("timeout", "soft_timeout"):
            what = f"{name} of task {self.name!r}"
            seconds = check_seconds(getattr(self, name), what, above_zero=True)
            object.__setattr__(self, name, seconds if seconds < LIMIT_S_MAX else None)
        if self.timeout and self.soft_timeout and self.soft_timeout >= self.timeout:
            raise ConfigError(
                f"soft_timeout of task {self.name!r} must be below its timeout, "
                "or it would be killed before it can be told"
            )
        timed = self.timeout is not None or self.soft_timeout is not None
        # Found out once: it is asked for every batch, and a lone task waits for the answer.
        object.__setattr__(self, "is_async", is_async(self.function, self.name))
        object.__setattr__(self, "is_timed", timed)

    def policy(self) -> list[int]:
        """What the broker is told of retries: see docs/protocol.md, `Hello`."""
        ms = [min(math.ceil(1000 * s), SPAN_MS_MAX) for s in (self.backoff, self.backoff_max)]
        return [self.retries, *ms, int(self._is_retried(TaskTimeout()))]

    def retry_ms(self, error: BaseException) -> int | None:
        """Whether a task that raised this may be tried again: None if not, else after how many
        milliseconds; -1 leaves that to the broker."""
        if isinstance(error, Retry):
            return -1 if error.delay is None else math.ceil(1000 * error.delay)
        return -1 if self._is_retried(error) and not self._is_misfit(error) else None

    def _is_retried(self, error: BaseException) -> bool:
        return (
            isinstance(error, self.retry_on)
            and not isinstance(error, self.no_retry_on)
            and not isinstance(error, NEVER_RETRIED)
        )

    def _is_misfit(self, error: BaseException) -> bool:
        """Whether the call did not come as far as the function: its arguments do not fit."""
        if not isinstance(error, TypeError):
            return False
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        if code is None:
            return False
        frames = traceback.walk_tb(error.__traceback__)
        return not any(frame.f_code is code for frame, _ in frames)


class Retrying(TypedDict, total=False):
    """What may be said of a task's retries; what is not said, or None, is the app's."""

    retries: int | None
    backoff: float | None
    backoff_max: float | None
    retry_on: Exceptions
    no_retry_on: Exceptions
    resubmit: bool | None


class Retries:
    """An app's defaults. Raises `ConfigError`: one of them makes no sense."""

    def __init__(self, retries: int, backoff: float, backoff_max: float) -> None:
        self._defaults = {"retries": retries, "backoff": backoff, "backoff_max": backoff_max}
        self.of({})

    def of(self, said: Retrying) -> dict[str, Any]:
        """The fields of a `Handler`. Raises `ConfigError`, also for options that do not exist."""
        given = {name: value for name, value in said.items() if value is not None}
        unknown = given.keys() - Retrying.__annotations__.keys()
        if unknown:
            raise ConfigError(f"a task has no option {', '.join(sorted(unknown))}")
        fields = self._defaults | given
        retries = fields["retries"]
        if type(retries) is not int or not 0 <= retries <= RETRIES_MAX:
            raise ConfigError(f"retries must be a number from 0 to {RETRIES_MAX}, not {retries!r}")
        if type(fields.get("resubmit", False)) is not bool:
            raise ConfigError(f"resubmit must be True or False, not {fields['resubmit']!r}")
        for name in ("backoff", "backoff_max"):
            fields[name] = min(check_seconds(fields[name], name), SPAN_MS_MAX / 1000)
        fields["retry_on"] = exceptions_of(given.get("retry_on", Exception), "retry_on")
        fields["no_retry_on"] = exceptions_of(given.get("no_retry_on", ()), "no_retry_on")
        return fields


def policies_of(handlers: Iterable[Handler]) -> dict[str, list[int]]:
    """What a broker is told: the commonest policy under the empty name, and those that differ."""
    by_name = {handler.name: handler.policy() for handler in handlers}
    counted = Counter(map(tuple, by_name.values()))
    if not counted:
        return {}
    common = list(counted.most_common(1)[0][0])
    return {"": common} | {name: policy for name, policy in by_name.items() if policy != common}


def exceptions_of(value: Any, what: str) -> tuple[type[BaseException], ...]:
    """An exception class, or some of them, as a tuple. Raises `ConfigError`."""
    classes = value if isinstance(value, tuple) else (value,)
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise ConfigError(f"{what} must be exception classes, as in (OSError, ValueError)")
    return classes


def is_async(function: Callable[..., Any], name: str) -> bool:
    """Whether a call of a function gives a coroutine, which must be awaited.

    Raises `ConfigError` for a function whose call would run nothing of its body: a generator
    function, and a plain wrapper that hides a coroutine function.
    """
    called = function.func if isinstance(function, functools.partial) else function
    if not inspect.isroutine(called) and not inspect.isclass(called):
        called = type(called).__call__
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise ConfigError(
            f"task {name!r} is a generator function: calling it runs nothing. "
            "Return a list, or send a task for each item"
        )
    if inspect.iscoroutinefunction(called):
        return True
    if inspect.iscoroutinefunction(inspect.unwrap(called)):
        raise ConfigError(
            f"task {name!r} is an async function behind a decorator that is not: declare the "
            "decorator's wrapper with 'async def' and await the function in it. If the decorator "
            "runs the coroutine itself, make the task of a plain function that calls it"
        )
    return False


def call_body(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    """The body that carries a call's arguments."""
    if not kwargs:
        return args
    return {POSITIONAL: args, **kwargs} if args else kwargs


def to_arguments(body: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that a call's body carries. Raises `ProtocolError`."""
    if type(body) is list:
        return body, {}
    if type(body) is dict:
        named = {key: value for key, value in body.items() if key != POSITIONAL}
        positional = body.get(POSITIONAL, [])
        if type(positional) is list and all(type(key) is str for key in named):
            return positional, named
    raise ProtocolError("malformed", "a call's body must be an array or a map of arguments")
