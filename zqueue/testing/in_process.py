"""A broker and a worker in threads, for tests that want no processes."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ..app import App
from ..broker.process import Broker as BrokerLoop
from ..config import BrokerConfig, Limits
from ..net.signals import Switch
from ..worker.process import Worker
from ..worker.slot import Slot
from .running import Running

STOP_S = 20.0
"""How long a loop may take to end. Only a handler that hangs needs longer."""


class InProcess(Running):
    """A broker, and a worker of an app, in threads of this process; a context manager.

    Parameters:
        app: its tasks run here, and it sends here until the end.
        worker: False for a broker alone: what is sent stays in its queue.
        concurrency: how many ``async`` tasks may run side by side.
        limits: of the broker, named as in `zqueue.config.Limits`.

    One handler runs at a time, as in a worker process; ``async`` ones side by side. What only a
    process of its own allows is left out: ``timeout`` and ``soft_timeout`` of handlers that are not
    ``async`` have no effect, and a handler that ends its process ends the test.
    """

    def __init__(
        self, app: App, *, worker: bool = True, concurrency: int = 100, **limits: Any
    ) -> None:
        super().__init__()
        with self._left_on_error():
            self._leaving.enter_context(_collector_as_before())
            config = BrokerConfig(
                bind=self.url,
                limits=Limits(**limits),
                drain_timeout_s=0.0,  # Nobody waits for what a test leaves.
            )
            self._start_broker(config)
            if worker:
                self._start_worker(app, concurrency)
            self.connect(app)

    def _start_broker(self, config: BrokerConfig) -> None:
        broker, switch = BrokerLoop(config), Switch()
        broker.open()

        def serve() -> None:
            try:
                broker.run(switch)
            finally:
                broker.close()

        self._start("broker", serve, switch)

    def _start_worker(self, app: App, concurrency: int) -> None:
        slot, switch = Slot.create(), Switch()
        self._leaving.callback(slot.close)
        worker = Worker(
            _without_alarms(app), url=self.url, queues=(), concurrency=concurrency,
            id=os.urandom(16), supervisor=b"", slot=slot, signals=switch,
        )  # fmt: skip
        self._start("worker", worker.run, switch)

    def _start(self, name: str, run: Callable[[], object], switch: Switch) -> None:
        """Run a process's loop in a thread until the end."""
        thread = threading.Thread(target=run, name=f"zqueue-testing-{name}", daemon=True)
        thread.start()

        def end() -> None:
            switch.stop()
            thread.join(STOP_S)
            assert not thread.is_alive(), f"the {name} has not ended: does a handler hang?"
            switch.close()

        self._leaving.callback(end)


def _without_alarms(app: App) -> App:
    """An app with the same tasks, but for time limits that need a main thread or a process."""
    copy = App(app.url)
    copy.tracer = app.tracer
    copy.handlers = {
        name: handler
        if handler.is_async
        else dataclasses.replace(handler, timeout=None, soft_timeout=None)
        for name, handler in app.handlers.items()
    }
    return copy


@contextlib.contextmanager
def _collector_as_before() -> Iterator[None]:
    """Brokers and workers arrange the garbage collector to suit them: undo that."""
    enabled, threshold, callbacks = gc.isenabled(), gc.get_threshold(), list(gc.callbacks)
    try:
        yield
    finally:
        gc.callbacks[:] = callbacks
        gc.set_threshold(*threshold)
        gc.unfreeze()
        (gc.enable if enabled else gc.disable)()
