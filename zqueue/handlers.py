"""Handlers: a user's functions, and how a worker calls them.

Theory of operation. The bodies of a batch are run from one shared iterator, which is also how
tasks are claimed: whoever takes the next element has it. So the loop that runs a no-op task
needs no bookkeeping per task, it can be stopped between any two tasks by emptying the iterator,
and after an exception it goes on where it was.

The body of a call is an array of positional arguments, or a map of named ones (in which the key
``*`` holds positional ones). A batch without a task name carries plain bodies: each is the
handler's one argument.
"""

from __future__ import annotations

import dataclasses
import inspect
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, starmap
from typing import Any

from .errors import BodyError, ConfigError, ProtocolError, RemoteError
from .protocol.codec import FRAME_BYTES_MAX, pack
from .protocol.messages import DONE, FAILED, RESULTS, check_name

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

    @property
    def is_async(self) -> bool:
        """Whether it is a coroutine function."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def is_timed(self) -> bool:
        """Whether each task must be watched by the clock."""
        return self.timeout is not None or self.soft_timeout is not None


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


Failure = tuple[int, BaseException]


class Calls:
    """The tasks of one batch, while they run one after the other."""

    def __init__(self, handler: Handler, bodies: list[Any], *, named: bool, keep: bool) -> None:
        function = handler.function
        self.total = len(bodies)
        self.failures: list[Failure] = []
        self.values: list[Any] | None = [] if keep else None
        self.given_up = 0
        """Tasks at the end that were taken out and will not run here."""
        self._bodies: Iterator[Any]
        self._call: Callable[..., Any] = function
        if not named:
            self._bodies = iter(list(zip(bodies, strict=True)))
        elif set(map(type, bodies)) <= {list}:
            self._bodies = iter(bodies)
        else:
            self._bodies = iter(list(zip(bodies, strict=True)))
            self._call = lambda body: _call(function, body)

    @property
    def position(self) -> int:
        """Tasks that have run, or begun to. Exact while nobody gives up tasks."""
        left = self._bodies.__length_hint__()  # type: ignore[attr-defined]
        return self.total - self.given_up - int(left)

    def run(self, count: int) -> None:
        """Run up to so many more tasks; exceptions are kept, not raised.

        An exception ends this call early, so call it until `position` is where you want it.
        """
        tasks = starmap(self._call, islice(self._bodies, count))
        if self.values is None:
            deque(tasks, maxlen=0)
        else:
            self.values.extend(tasks)

    def next_task(self) -> Callable[[], Any] | None:
        """Claim one task, to be run by the caller with a clock at hand."""
        for arguments in self._bodies:
            return lambda: self._call(*arguments)
        return None

    def fail(self, position: int, error: BaseException) -> None:
        """The task at a position raised."""
        self.failures.append((position, error))
        if self.values is not None:
            self.values.append(None)

    def give_up(self) -> int:
        """Take all tasks that nobody has begun out of the row. Returns how many."""
        taken = len(list(self._bodies))
        self.given_up += taken
        return taken


def _call(function: Callable[..., Any], body: Any) -> Any:
    args, kwargs = to_arguments(body)
    return function(*args, **kwargs)


OutcomeRun = tuple[int, int, int, bytes]
"""``(first, tasks, status, frame)``"""


def outcome_runs(
    first: int, tasks: int, values: list[Any] | None, failures: Iterable[Failure]
) -> list[OutcomeRun]:
    """What became of tasks ``first .. first + tasks``, as runs to settle.

    ``values`` are theirs, in order, or None if nobody wants them; ``failures`` hold positions
    counted like ``first``.
    """
    runs: list[OutcomeRun] = []
    done = first
    for position, error in [*failures, (first + tasks, None)]:
        if position > done:
            wanted = None if values is None else values[done - first : position - first]
            runs += _done_runs(done, position - done, wanted)
        if error is not None:
            runs.append((position, 1, FAILED, error_frame(error)))
        done = position + 1
    return runs


def _done_runs(first: int, tasks: int, values: list[Any] | None) -> list[OutcomeRun]:
    if values is None:
        return [(first, tasks, DONE, b"")]
    try:
        frame = pack(values)
    except BodyError as error:
        if tasks == 1:
            what = BodyError(f"the result cannot be sent: {error}")
            return [(first, 1, FAILED, error_frame(what))]
    else:
        if len(frame) <= FRAME_BYTES_MAX:
            return [(first, tasks, RESULTS, frame)]
        if tasks == 1:
            text = f"the result is {len(frame):,} bytes packed, over {FRAME_BYTES_MAX:,}"
            return [(first, 1, FAILED, error_frame(BodyError(text)))]
    half = tasks // 2
    return _done_runs(first, half, values[:half]) + _done_runs(
        first + half, tasks - half, values[half:]
    )


def error_frame(error: BaseException) -> bytes:
    """One error ``[type, text, traceback]``, as an array of one."""
    name, text = type(error).__qualname__, str(error)
    if isinstance(error, RemoteError):
        name, text = error.type_name, error.text
    lines = "".join(traceback.format_exception(error))
    if len(lines) > TRACEBACK_CHARS_MAX:
        half = TRACEBACK_CHARS_MAX // 2
        lines = f"{lines[:half]}\n    …\n{lines[-half:]}"
    try:
        return pack([[name, str(text)[:TRACEBACK_CHARS_MAX], lines]])
    except BodyError:  # Lone surrogates: text that is not text.
        clean = [part.encode("utf-8", "replace").decode() for part in (name, str(text), lines)]
        return pack([clean])
