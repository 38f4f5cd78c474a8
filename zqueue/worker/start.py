"""How a worker process begins and ends: its options, signals, log and app. See `process`."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import logging
import os
import signal
import sys
import threading
from types import FrameType

from ..app import App
from ..client.gate import forbid_names, sending_refused
from ..config import BrokerList
from ..errors import ConfigError, LoadError
from ..logs import WorkerLogs
from ..net.signals import Signals
from .loading import frames_of, load_app
from .pool import LOAD_FAILED
from .process import Worker
from .slot import Slot

logger = logging.getLogger(__name__)

NOT_AT_IMPORT = (
    "a task is sent while the app is imported, and every worker imports it: send it in a function, "
    "or under 'if __name__ == \"__main__\":'"
)


THREADS_S = 1.0
"""How long a worker that is done waits for threads that its tasks left behind."""

AT_EXIT_S = 2.0
"""How long what was registered with `atexit` may take."""

ORPHANED_S = 30.0
"""How long a worker without a supervisor goes on with what it runs."""


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a supervisor gives a worker process. It travels by a pipe, so nobody else sees it."""

    app: str
    url: str | None
    queues: tuple[str, ...]
    concurrency: int
    threads: int
    id: str
    supervisor: str
    speaks: bool
    """It logs what holds for all workers of the app."""
    log_level: str
    log_format: str
    cancel_grace_s: float
    slot_fd: int = -1

    def to_bytes(self) -> bytes:
        """One line."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, fd: int) -> WorkerSpec:
        """Read the line from a pipe, which stays open."""
        line = b""
        while not line.endswith(b"\n"):
            data = os.read(fd, 65536)
            if not data:
                raise SystemExit("the supervisor is gone")
            line += data
        fields = json.loads(line)
        return cls(**{**fields, "queues": tuple(fields["queues"])})


def main() -> int:
    """The whole life of a worker process. Returns the exit code."""
    pipe = int(sys.argv[1])
    spec = WorkerSpec.read(pipe)
    # Ctrl-C is the supervisor's to handle. What tasks start gets SIGINT as it should: a handler is
    # not inherited by another program, as SIG_IGN would be.
    signal.signal(signal.SIGINT, _pass)
    # In a group of its own it is in a terminal's background, and may be stopped when it writes.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    name = f"worker[{os.getpid()}] "
    logs = WorkerLogs(form=spec.log_format, level=spec.log_level, name=name)
    threading.Thread(
        target=_end_with_supervisor, args=(pipe,), name="zqueue-life", daemon=True
    ).start()
    code = 1
    try:
        app = _load(spec)  # SIGTERM ends it at once: it holds no tasks yet.
        logs.keep()
        if spec.speaks:
            _warn_of_strange_queues(spec.queues, app)
        code = _work(spec, app)
    except LoadError as error:
        _log_load_error(error)
        code = LOAD_FAILED
    finally:
        _end_in_time(code)
    return code


def _work(spec: WorkerSpec, app: App) -> int:
    """Run tasks until the supervisor says to stop. Returns the exit code."""
    slot = Slot(spec.slot_fd)
    with Signals([signal.SIGTERM]) as signals:
        worker = Worker(
            app,
            url=app.url,
            queues=spec.queues,
            concurrency=spec.concurrency,
            threads=spec.threads,
            id=bytes.fromhex(spec.id),
            supervisor=bytes.fromhex(spec.supervisor),
            slot=slot,
            signals=signals,
            cancel_grace_s=spec.cancel_grace_s,
        )
        slot.ready(app.url, spec.threads)
        code = worker.run()
        slot.left()
    signal.signal(signal.SIGTERM, _pass)  # It ends already.
    return code


def _pass(number: int, frame: FrameType | None) -> None:
    """A signal that changes nothing."""


def _end_with_supervisor(pipe: int) -> None:
    """Blocks until the supervisor is gone: then nobody answers for this process any more."""
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(ORPHANED_S)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)  # With what the tasks have started.
    os._exit(1)


def _load(spec: WorkerSpec) -> App:
    """The app, with the address that it works for. Raises `LoadError`."""
    forbid_names()
    with sending_refused(NOT_AT_IMPORT):
        app = load_app(spec.app)
        app.close()  # It may have been refused, and has a producer that never connected.
    if not app.handlers:
        raise LoadError(f"the app in {spec.app} has no tasks: decorate some with @app.task")
    try:
        app.url = spec.url or app.url  # Tasks that send tasks send them here, too.
        BrokerList.parse(app.url)
    except ConfigError as error:
        raise LoadError(f"{spec.app}: {error}") from error
    return app


def _log_load_error(error: LoadError) -> None:
    cause = error.__cause__
    if cause is not None and logger.isEnabledFor(logging.DEBUG):
        logger.error("%s", error, exc_info=cause)
    else:
        frames = frames_of(cause) if cause is not None else ""
        logger.error("%s%s", error, f"\n{frames}" if frames else "")


def _warn_of_strange_queues(queues: tuple[str, ...], app: App) -> None:
    """A queue without a task is most likely misspelt, though bodies may be sent there by name."""
    there = sorted({handler.queue for handler in app.handlers.values()})
    strange = [name for name in queues if name not in there]
    if strange:
        logger.warning("no task is in queue %s (queues of the app's tasks: %s)",
                       ", ".join(map(repr, strange)), ", ".join(there))  # fmt: skip


def _end_in_time(code: int) -> None:
    """From now on the process ends soon, whatever its tasks have left behind.

    An interpreter that ends waits for threads that are not daemons, then calls what was registered
    with `atexit`. Whatever takes too long of that is given up, with a line in the log.
    """
    exiting = threading.Event()
    atexit.register(exiting.set)  # Registered last, so called first.

    def watch() -> None:
        if exiting.wait(THREADS_S):
            threading.Event().wait(AT_EXIT_S)
            logger.warning("a function registered with atexit takes too long; ending without it")
        else:
            main = threading.main_thread()
            left = [t.name for t in threading.enumerate() if not t.daemon and t is not main]
            logger.warning("ending without threads that tasks left behind: %s", ", ".join(left))
            functions = threading.Thread(target=atexit._run_exitfuncs, daemon=True)
            functions.start()
            functions.join(AT_EXIT_S)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)

    threading.Thread(target=watch, name="zqueue-exit", daemon=True).start()
