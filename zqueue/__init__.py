"""zqueue: a distributed worker pool on ZeroMQ, with no service to install."""

from .app import App, BatchTask, Task
from .core.memory_queue import MemoryQueue, ShutDown
from .current import Current, current
from .errors import (
    BodyError,
    BodyTooLarge,
    BrokerLost,
    Closed,
    ConfigError,
    InvalidName,
    LoadError,
    PartialFailure,
    QueueFull,
    Refused,
    RemoteError,
    ResultLost,
    TaskTimeout,
    TimedOut,
    UnknownTask,
    WorkerLost,
    ZQueueError,
)
from .producer import Producer
from .replies import TaskFuture
from .version import __version__

__all__ = [
    "App",
    "BatchTask",
    "BodyError",
    "BodyTooLarge",
    "BrokerLost",
    "Closed",
    "ConfigError",
    "Current",
    "InvalidName",
    "LoadError",
    "MemoryQueue",
    "PartialFailure",
    "Producer",
    "QueueFull",
    "Refused",
    "RemoteError",
    "ResultLost",
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
]
