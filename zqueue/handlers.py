"""Handlers: a user's functions, and the bodies that carry their arguments.

The body of a call is an array of positional arguments, or a map of named ones (in which the key
``*`` holds positional ones). A batch without a task name carries plain bodies: each is the
handler's one argument.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from .errors import ConfigError, ProtocolError
from .protocol.messages import check_name

POSITIONAL = "*"
"""Key of the positional arguments in a call's map. No parameter can have that name."""

TRACEBACK_CHARS_MAX = 8_000


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
    is_async: bool = dataclasses.field(init=False)
    """Whether it is a coroutine function."""
    is_timed: bool = dataclasses.field(init=False)
    """Whether each task must be watched by the clock."""

    def __post_init__(self) -> None:
        check_name(self.name, "task")
        check_name(self.queue, "queue")
        for name in ("timeout", "soft_timeout"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} of task {self.name!r} must be above 0 seconds")
        if self.timeout and self.soft_timeout and self.soft_timeout >= self.timeout:
            raise ConfigError(
                f"soft_timeout of task {self.name!r} must be below its timeout, "
                "or it would be killed before it can be told"
            )
        timed = self.timeout is not None or self.soft_timeout is not None
        # Found out once: it is asked for every batch, and a lone task waits for the answer.
        object.__setattr__(self, "is_async", inspect.iscoroutinefunction(self.function))
        object.__setattr__(self, "is_timed", timed)


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
