"""How a worker process begins: what its supervisor tells it, its log, its app. See `worker`."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import sys
import threading

from .errors import LoadError
from .loading import load_app
from .logs import set_up_logs
from .net.signals import Signals
from .net.slot import Slot
from .worker import Worker

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a supervisor tells a worker process."""

    app: str
    url: str | None
    queues: tuple[str, ...]
    concurrency: int
    id: str
    supervisor: str
    slot_fd: int
    life_fd: int
    log_level: str
    log_format: str


def _end_with_supervisor(life_fd: int) -> None:
    """Blocks until the supervisor is gone: then nobody answers for this process any more."""
    os.read(life_fd, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(30)
    os._exit(1)


def main() -> int:
    """The whole life of a worker process. Returns the exit code."""
    fields = json.loads(sys.argv[1])
    spec = WorkerSpec(**{**fields, "queues": tuple(fields["queues"])})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle.
    set_up_logs(form=spec.log_format, level=spec.log_level, name=f"worker[{os.getpid()}] ")
    threading.Thread(
        target=_end_with_supervisor, args=(spec.life_fd,), name="zqueue-life", daemon=True
    ).start()
    slot = Slot(spec.slot_fd)
    with Signals([signal.SIGTERM]) as signals:
        try:
            app = load_app(spec.app)
            if not app.handlers:
                raise LoadError(f"the app in {spec.app} has no tasks: decorate some with @app.task")
        except LoadError as error:
            debug = logger.isEnabledFor(logging.DEBUG)
            logger.error("%s", error, exc_info=error.__cause__ if debug else None)
            return 2
        url = app.url = spec.url or app.url  # Tasks that send tasks send them here, too.
        worker = Worker(
            app,
            url=url,
            queues=spec.queues,
            concurrency=spec.concurrency,
            id=bytes.fromhex(spec.id),
            supervisor=bytes.fromhex(spec.supervisor),
            slot=slot,
            signals=signals,
        )
        slot.ready(url)
        return worker.run()
