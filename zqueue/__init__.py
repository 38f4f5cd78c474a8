"""zqueue: a distributed worker pool on ZeroMQ, with no service to install."""

from .app import App
from .client.asked import task_options
from .client.confirmation import Confirmation
from .client.earlier import EarlierResult
from .client.loop_lane import LoopFuture
from .client.questions import Cancellation
from .client.replies import TaskFuture
from .current import Current, current
from .dead_letters import DeadLetters
from .errors import (
    AlreadySent,
    BodyError,
    BodyTooLarge,
    BrokerLost,
    Cancelled,
    Closed,
    ConfigError,
    Expired,
    InvalidFailures,
    InvalidName,
    LoadError,
    NameTaken,
    PartialFailure,
    QueueFull,
    Refused,
    RemoteError,
    ResultLost,
    Retry,
    TaskTimeout,
    TimedOut,
    UnknownTask,
    WorkerLost,
    ZQueueError,
)
from .letter import DeadLetter
from .memory_queue import MemoryQueue, ShutDown
from .producer import Producer
from .senders import AsyncTask, BatchTask, Task
from .version import __version__

__all__ = [
    "AlreadySent",
    "App",
    "AsyncTask",
    "BatchTask",
    "BodyError",
    "BodyTooLarge",
    "BrokerLost",
    "Cancellation",
    "Cancelled",
    "Closed",
    "ConfigError",
    "Confirmation",
    "Current",
    "DeadLetter",
    "DeadLetters",
    "EarlierResult",
    "Expired",
    "InvalidFailures",
    "InvalidName",
    "LoadError",
    "LoopFuture",
    "MemoryQueue",
    "NameTaken",
    "PartialFailure",
    "Producer",
    "QueueFull",
    "Refused",
    "RemoteError",
    "ResultLost",
    "Retry",
    "ShutDown",
    "Task",
    "TaskFuture",
    "TaskTimeout",
    "TimedOut",
    "UnknownTask",
    "WorkerLost",
    "ZQueueError",
    "__version__",
    "current",
    "task_options",
]
