"""Results on the wire: packed by the worker that has them, unpacked where they are awaited.

Outcomes travel as runs of tasks that ended alike (docs/protocol.md, "Settle" and "Result"): the
values of a run are one array, an error is ``[type, text, traceback]``.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from types import AsyncGeneratorType, CoroutineType, GeneratorType, TracebackType
from typing import Any

from ..errors import (
    BodyError,
    Cancelled,
    Expired,
    ProtocolError,
    RemoteError,
    RemoteTraceback,
    TaskTimeout,
    UnknownTask,
    WorkerLost,
)
from .codec import FRAME_BYTES_MAX, pack
from .messages import CANCELLED, DONE, EXPIRED, FAILED, RESULTS, RETRY
from .unpacking import unpack_each

TRACEBACK_CHARS_MAX = 8_000

_OURS = (__file__.rpartition("wire")[0], "zqueue/")
"""Where our own code is; what is compiled says so from the package on."""

_REMOTE_ERRORS = {cls.__name__: cls for cls in (TaskTimeout, WorkerLost, UnknownTask)}

# --- in the worker ---

_UNUSABLE = frozenset((AsyncGeneratorType, CoroutineType, GeneratorType))
"""None of these can have a subclass."""

Failure = tuple[int, BaseException]
"""Position and exception of a task that raised."""

OutcomeRun = tuple[int, int, int, bytes, int]
"""``(first, tasks, status, frame, delay)``; the delay, in milliseconds, is of `RETRY`, -1: none."""

RetryOf = Callable[[BaseException], "int | None"]
"""Says whether a task that raised this may be tried again: None if not, else the delay."""


def pack_outcomes(
    first: int, tasks: int, values: list[Any] | None, failures: Iterable[Failure],
    retry_of: RetryOf | None = None,
) -> list[OutcomeRun]:  # fmt: skip
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
        if isinstance(error, Cancelled):
            runs.append((position, 1, CANCELLED, b"", -1))
        elif error is not None:
            delay = None if retry_of is None else retry_of(error)
            status = FAILED if delay is None else RETRY
            runs.append((position, 1, status, error_frame(error), -1 if delay is None else delay))
        done = position + 1
    return runs


def _done_runs(first: int, tasks: int, values: list[Any] | None) -> list[OutcomeRun]:
    if values is None:
        return [(first, tasks, DONE, b"", -1)]
    try:
        frame = pack(values)
    except BodyError as error:
        if tasks == 1:
            return [(first, 1, FAILED, error_frame(_why_not(values[0], error)), -1)]
    else:
        if len(frame) <= FRAME_BYTES_MAX:
            return [(first, tasks, RESULTS, frame, -1)]
        if tasks == 1:
            text = f"the result is {len(frame):,} bytes packed, over {FRAME_BYTES_MAX:,}"
            return [(first, 1, FAILED, error_frame(BodyError(text)), -1)]
    half = tasks // 2
    return _done_runs(first, half, values[:half]) + _done_runs(
        first + half, tasks - half, values[half:]
    )


def _why_not(value: object, error: BodyError) -> Exception:
    """Why a result cannot be sent."""
    try:
        check_value(value)
    except TypeError as unusable:
        return unusable
    return BodyError(f"the result cannot be sent: {error}")


def check_value(value: object) -> type:
    """Raise TypeError for what a handler returns whose body has not run; else, give its type."""
    kind = type(value)
    if kind in _UNUSABLE:
        if not isinstance(value, AsyncGeneratorType):
            value.close()  # type: ignore[attr-defined] # Or Python warns that nobody awaits it.
        name = kind.__name__.replace("_", " ")
        raise TypeError(
            f"the handler returned a {name} and did not run: declare it with 'async def', without "
            "a plain function around it, and return values instead of yielding them"
        )
    return kind


def error_frame(error: BaseException) -> bytes:
    """One error ``[type, text, traceback]``, as an array of one. Whatever the error, it packs."""
    if isinstance(error, RemoteError):
        name, text = error.type_name, error.text
    else:
        name, text = type(error).__qualname__, error_text(error)
    parts = (name, text[:TRACEBACK_CHARS_MAX], _traceback(error))
    # Lone surrogates are text that no wire can carry.
    return pack([[part.encode("utf-8", "replace").decode() for part in parts]])


def error_text(error: BaseException) -> str:
    """What an exception says of itself, even if it fails at that."""
    try:
        return str(error)
    except Exception as failure:
        return f"<its text cannot be had: {type(failure).__name__}>"


def frames_of(error: BaseException) -> TracebackType | None:
    """An exception's traceback from the handler on; all of it if that raised nowhere.

    How we came to call the handler helps nobody to find out what is wrong with it.
    """
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith(_OURS):
        frame = frame.tb_next
    return frame or error.__traceback__


def _traceback(error: BaseException) -> str:
    try:
        lines = "".join(traceback.format_exception(type(error), error, frames_of(error)))
    except Exception as failure:
        return f"<its traceback cannot be had: {type(failure).__name__}>"
    if len(lines) <= TRACEBACK_CHARS_MAX:
        return lines
    half = TRACEBACK_CHARS_MAX // 2
    return f"{lines[:half]}\n    …\n{lines[-half:]}"


# --- where they are awaited ---


def remote_error(error: Any) -> RemoteError:
    """The exception for an error ``[type, text, traceback]`` from a worker."""
    try:
        type_name, text, traceback = map(str, error)
    except (TypeError, ValueError):
        type_name, text, traceback = "Error", repr(error), ""
    raised = _REMOTE_ERRORS.get(type_name, RemoteError)(type_name, text)
    if traceback:
        raised.__cause__ = RemoteTraceback(traceback)
    return raised


Outcome = tuple[bool, Any]
"""``(True, value)`` or ``(False, exception)``."""


def unpack_outcomes(status: int, tasks: int, frame: bytes) -> list[Outcome]:
    """What became of each task of a run."""
    if status == DONE:
        return [(True, None)] * tasks
    if status == EXPIRED:
        return [(False, Expired("it was too old when it was its turn, and did not run"))] * tasks
    if status == CANCELLED:
        return [(False, CancelledError("the task was cancelled"))] * tasks
    try:
        items = unpack_each(frame)
    except ProtocolError as error:
        return [(False, error)] * tasks
    if status == RESULTS and len(items) == tasks:
        return [(type(item) is not ProtocolError, item) for item in items]
    if not items:
        return [(False, ProtocolError("malformed", "the worker's answer is empty"))] * tasks
    if len(items) != tasks:
        items = [items[0]] * tasks
    return [(False, item if type(item) is ProtocolError else remote_error(item)) for item in items]
