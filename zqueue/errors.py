"""Every error that zqueue raises, as one tree.

::

    ZQueueError
    ├── LocalError             you erred: the call cannot work as it stands
    │   ├── BodyError          a body cannot be packed
    │   │   └── BodyTooLarge   a body is over the limit
    │   ├── InvalidName        a queue or task name breaks the rules
    │   ├── ConfigError        an option or URL makes no sense
    │   ├── LoadError          an app cannot be imported
    │   └── Closed             the producer or app was closed already
    ├── PeerError              the other side erred
    │   ├── ProtocolError      a message breaks the protocol
    │   └── Refused            the broker refused a batch
    ├── QueueFull              the queue is full and the caller would not wait longer
    ├── BrokerLost             no broker answers
    ├── TimedOut               a wait reached its deadline
    ├── RemoteError            a handler raised (the remote traceback is its cause)
    │   ├── TaskTimeout        the task ran longer than it may; also raised inside the handler
    │   ├── WorkerLost         the task's workers died under it too often
    │   └── UnknownTask        no handler of that name in the worker
    ├── ResultLost             the task was accepted; what became of it cannot be known
    └── PartialFailure         raised by a batch handler: some bodies failed
"""

from __future__ import annotations

import queue
from collections.abc import Mapping


class ZQueueError(Exception):
    """Base of all errors raised by zqueue."""


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


class LoadError(LocalError, ImportError):
    """An app cannot be found or imported."""


class Closed(LocalError, RuntimeError):
    """The producer or app was closed already."""


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


class PartialFailure(ZQueueError):
    """Raised by a batch handler: only the bodies at these positions failed.

    ``failures`` maps a position in the list that the handler got to its exception.
    """

    def __init__(self, failures: Mapping[int, BaseException]) -> None:
        super().__init__(f"{len(failures)} of the batch failed")
        self.failures = dict(failures)
