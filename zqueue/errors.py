"""Every error that zqueue raises, as one tree.

::

    ZQueueError
    ├── LocalError             you erred: the call cannot work as it stands
    │   ├── BodyError          a body cannot be packed
    │   │   └── BodyTooLarge   a body is over the limit
    │   ├── InvalidName        a queue or task name breaks the rules
    │   ├── ConfigError        an option or URL makes no sense
    │   ├── InvalidFailures    a PartialFailure names no positions or no exceptions
    │   ├── LoadError          an app cannot be imported
    │   └── Closed             the producer or app was closed already
    │       └── NameTaken      another process sends under its name now
    ├── PeerError              the other side erred
    │   ├── ProtocolError      a message breaks the protocol
    │   └── Refused            the broker refused a batch
    ├── AlreadySent            a task of that key was sent before, and its result is not for you
    ├── QueueFull              the queue is full and the caller would not wait longer
    ├── BrokerLost             no broker answers
    ├── TimedOut               a wait reached its deadline
    ├── RemoteError            a handler raised (the remote traceback is its cause)
    │   ├── TaskTimeout        the task ran longer than it may; also raised inside the handler
    │   ├── WorkerLost         the task's workers died under it too often
    │   └── UnknownTask        no handler of that name in the worker
    ├── ResultLost             the task was accepted; what became of it cannot be known
    ├── Expired                the task was too old when it was its turn, and did not run
    ├── Retry                  raised by a handler: try this task again
    └── PartialFailure         raised by a batch handler: some bodies failed

Beside it stands `Cancelled`, which is raised inside a handler, and no ``except Exception`` catches.
"""

from __future__ import annotations

import operator
import queue
from collections.abc import Mapping
from typing import Any


class ZQueueError(Exception):
    """Base of all errors raised by zqueue.

    Errors of its subclasses, also of those that users write, can be copied and pickled, whatever
    their ``__init__`` takes. A remote traceback goes with them.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # By default the class is called with `args`: an `__init__` that takes anything else then
        # fails where the error is unpickled, which breaks a process pool.
        plain = super().__reduce__()
        assert isinstance(plain, tuple)
        _, args, *rest = plain
        state = dict(rest[0]) if rest else {}
        if isinstance(self.__cause__, RemoteTraceback):
            state["__cause__"] = self.__cause__
        return _restore, (type(self), args), state


def _restore(kind: type[ZQueueError], args: tuple[Any, ...]) -> ZQueueError:
    """An error as it was after its ``__init__``, but for its attributes."""
    error = kind.__new__(kind, *args)
    if isinstance(error, OSError):
        OSError.__init__(error, *args)  # Its fields (errno, …) are no attributes.
    error.args = args
    return error


class LocalError(ZQueueError):
    """The call cannot work as it stands: mend the caller."""


class BodyError(LocalError, TypeError):
    """A body holds something that msgpack cannot carry."""


class BodyTooLarge(BodyError, ValueError):
    """A packed body is larger than one frame may be."""


class InvalidName(LocalError, ValueError):
    """A queue or task name is not 1 to 128 of ``A-Z a-z 0-9 _ . -``."""


class ConfigError(LocalError, ValueError):
    """An option, URL or configuration file makes no sense."""


class InvalidFailures(LocalError, TypeError, ValueError):
    """A `PartialFailure` was given something else than exceptions by their positions."""


class LoadError(LocalError, ImportError):
    """An app cannot be found or imported."""


class Closed(LocalError, RuntimeError):
    """The producer or app was closed already."""


class NameTaken(Closed):
    """Another process sends under this producer's name now: it goes on, and this one has ended."""


class PeerError(ZQueueError):
    """The other side erred."""


class ProtocolError(PeerError):
    """A message breaks the protocol. ``code`` is the wire's word for it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Refused(PeerError):
    """The broker refused a batch. ``code`` says why (docs/protocol.md lists the codes)."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code


class AlreadySent(ZQueueError):
    """A task of the same key was sent before, and this one was not put in the queue.

    ``id`` is the task's that has the key. Its result goes to whoever asked for that.
    """

    def __init__(self, id: str) -> None:
        super().__init__(f"a task of that key was sent before, and will run or has run: {id}")
        self.id = id


class QueueFull(ZQueueError, queue.Full):
    """The queue is full, and the caller asked not to wait, or waited long enough."""


class BrokerLost(ZQueueError, ConnectionError):
    """No broker answers at the URL."""


class TimedOut(ZQueueError, TimeoutError):
    """A wait reached its deadline."""


class RemoteError(ZQueueError):
    """A handler raised in a worker.

    ``type_name`` is the name of the exception's class there; the remote traceback is this
    error's ``__cause__``.
    """

    def __init__(self, type_name: str, text: str) -> None:
        super().__init__(f"{type_name}: {text}" if text else type_name)
        self.type_name = type_name
        self.text = text


class RemoteTraceback(Exception):
    """Carries the text of a traceback from another process; only ever a ``__cause__``."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


class TaskTimeout(RemoteError, TimeoutError):
    """The task ran longer than its ``timeout`` or ``soft_timeout``."""

    def __init__(self, type_name: str = "TaskTimeout", text: str = "") -> None:
        super().__init__(type_name, text)


class WorkerLost(RemoteError):
    """The task was set aside because its workers died under it too often."""


class UnknownTask(RemoteError):
    """The worker that serves the queue has no handler of that name."""


class ResultLost(ZQueueError):
    """The task was accepted, and its result will not come: it may or may not have run."""


class Expired(ZQueueError, TimeoutError):
    """The task was too old when it was its turn (``expires``), and did not run."""


class Retry(ZQueueError):
    """Raised by a handler: try this task again, if there are attempts left.

    ``text`` says why, and becomes its error if there are none. ``delay`` is how many seconds it
    waits; by default as long as after any failure. Raises `ConfigError` if it makes no sense.
    """

    def __init__(self, text: str = "the handler asks for another attempt", *,
                 delay: float | None = None) -> None:  # fmt: skip
        super().__init__(text)
        if delay is not None and (isinstance(delay, bool) or not 0 <= delay < RETRY_S_MAX):
            raise ConfigError(f"delay must be at least 0 seconds, and no years, not {delay!r}")
        self.delay = delay


RETRY_S_MAX = 1e8
"""Over three years: who wants more means something else."""


class Cancelled(BaseException):
    """The task that runs is not wanted any more. Raised inside its handler, wherever that is at
    work; a handler may raise it, too, to end as cancelled. Clean up, and let it pass."""


class PartialFailure(ZQueueError):
    """Raised by a batch handler: only the bodies at these positions failed.

    ``failures`` maps a position in the list that the handler got, from 0, to its exception.
    Raises `InvalidFailures` if it holds anything else.
    """

    def __init__(self, failures: Mapping[int, BaseException]) -> None:
        if not isinstance(failures, Mapping):
            raise InvalidFailures(
                f"PartialFailure takes a dict of positions and exceptions, not {failures!r:.80}"
            )
        checked = {_position(key): _exception(error) for key, error in failures.items()}
        super().__init__(f"{len(checked)} of the batch failed")
        self.failures = checked


def _position(key: object) -> int:
    """A key of `PartialFailure`; any integer will do, also one of another library."""
    if hasattr(key, "__index__") and not isinstance(key, bool):
        position = operator.index(key)
        if position >= 0:
            return position
    raise InvalidFailures(
        f"PartialFailure's key {key!r:.80} is not a position in the batch: 0 is the first body"
    )


def _exception(error: object) -> BaseException:
    """A value of `PartialFailure`."""
    if not isinstance(error, BaseException):
        raise InvalidFailures(
            f"PartialFailure's value {error!r:.80} is not an exception: give ValueError(…)"
        )
    return error
