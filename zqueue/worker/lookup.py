"""Which handler runs a batch."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import UnknownTask
from ..handlers import Handler
from .leases import LeasedBatch


class Lookup:
    """The handlers of an app, by the name of a task, or by the queue that has just one."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self.handlers = handlers
        self._sole: dict[str, Handler] = {}
        shared: set[str] = set()
        for handler in handlers.values():
            if handler.queue in self._sole:
                shared.add(handler.queue)
            self._sole[handler.queue] = handler
        for queue in shared:
            del self._sole[queue]

    def __repr__(self) -> str:
        return f"<Lookup of {len(self.handlers)} handlers>"

    def find(self, batch: LeasedBatch) -> Handler:
        """The handler for a batch. Raises `UnknownTask`."""
        if batch.task:
            handler = self.handlers.get(batch.task)
            if handler is None:
                known = ", ".join(sorted(self.handlers)) or "none"
                raise UnknownTask(
                    "UnknownTask", f"this worker has no task {batch.task!r} (it has: {known})"
                )
            return handler
        handler = self._sole.get(batch.queue)
        if handler is None:
            raise UnknownTask(
                "UnknownTask",
                f"a body without a task name, and queue {batch.queue!r} has not one handler",
            )
        return handler
