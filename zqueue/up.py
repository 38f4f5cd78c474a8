"""``zqueue up``: a broker, workers and the sidecar in one terminal, for development.

Each is the process that its verb starts, in a session of its own: Ctrl-C reaches this process
alone, which ends them in order, workers first. While it runs, workers are reloaded when the app's
files change.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from time import monotonic

from .client.ask import ask
from .config import Address
from .errors import BrokerLost, ConfigError, ZQueueError
from .net.processes import start_python
from .net.signals import Signals
from .reloading import Reloading, can_watch, folder_of
from .streams import lines_of

METRICS_LISTEN = "ZQUEUE_METRICS_LISTEN"

BROKER_PORT, METRICS_PORT = 5555, 9464
"""Where broker and sidecar listen if nobody else does."""

START_S = 15.0
"""How long a broker may take to answer."""

LAST_LINES_S = 1.0
"""How long to wait for its last lines. One that it left behind may hold its output open."""

COLOURS = {"broker": 36, "metrics": 35, "worker": 32, "up": 34}
LEVEL_COLOURS = {"WARNING": 33, "ERROR": 31, "CRITICAL": 31}
"""ANSI's, for a terminal: of names, and of lines of these levels."""

STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Child:
    """One process, whose lines are shown behind its name."""

    def __init__(self, verb: str, *arguments: str) -> None:
        self.name = verb
        self.process = start_python(
            "zqueue.cli", "main", verb, *arguments, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert self.process.stdout is not None
        self._output = self.process.stdout
        self._shower = threading.Thread(target=self._show, name=f"zqueue-{self.name}", daemon=True)
        self._shower.start()

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    def reload(self, names: list[str]) -> None:
        """Files have changed: have its processes replaced, one after the other."""
        _show("up", f"{', '.join(names[:3])} changed: reloading")
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGHUP)

    def stop(self, signals: Signals) -> int:
        """End it in good order, at once if one more signal comes. Returns its exit code."""
        before = signals.count(*STOP) - 1
        while not self.has_ended():
            if signals.count(*STOP) > before:
                before += 1
                self.process.terminate()
            else:
                _wait(signals)
        self._shower.join(LAST_LINES_S)
        if not self._shower.is_alive():
            self._output.close()
        code: int = self.process.returncode
        return code if code >= 0 else 128 - code

    def _show(self) -> None:
        for line in lines_of(self._output.fileno()):
            _show(self.name, line.decode(errors="replace"))


def _show(name: str, line: str) -> None:
    """One line of the log that all have in common."""
    said = f"{name:7} |"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        said = f"\x1b[{COLOURS[name]}m{said}\x1b[0m"
        level = next((word for word in line.split(maxsplit=4)[:4] if word in LEVEL_COLOURS), "")
        if level:
            line = f"\x1b[{LEVEL_COLOURS[level]}m{line}\x1b[0m"
    print(f"{said} {line}", file=sys.stderr, flush=True)


def run_up(
    app: str | None, *, url: str | None, processes: int | None, reload: bool | None = None
) -> int:
    """Run it all until SIGTERM or SIGINT, or until one of them ends. Returns the exit code.

    ``url`` is the broker's address; by default it is the usual one, or has a free port if that is
    taken, as the sidecar's. ``reload``: whether workers are reloaded when the app's files change;
    None: if watchfiles is installed. Raises `ConfigError`.
    """
    if reload and not can_watch():
        raise ConfigError("--reload needs watchfiles: pip install 'zqueue-pool[up]'")
    url = Address.parse(url).url if url else f"tcp://{_free_address(BROKER_PORT)}"
    options = [] if processes is None else ["-p", str(processes)]
    children: list[Child] = []
    reloading: Reloading | None = None
    with Signals((*STOP, signal.SIGCHLD)) as signals:
        try:
            # Workers end first: nobody is left then to run what is queued.
            children.append(Child("broker", "--bind", url, "--drain-timeout", "0.2"))
            if _is_up(url, children[0], signals):
                children.append(Child("metrics", "--url", url, *_where_to_listen()))
                if app is not None:
                    worker = Child("worker", app, "--url", url, *options)
                    children.append(worker)
                    if can_watch() if reload is None else reload:
                        reloading = Reloading(folder_of(app), worker.reload)
                while not signals.count(*STOP) and not any(c.has_ended() for c in children):
                    _wait(signals)
        finally:
            if reloading is not None:
                reloading.stop()
            codes = [child.stop(signals) for child in reversed(children)]
    return max(codes)


def _is_up(url: str, broker: Child, signals: Signals) -> bool:
    """Wait until the broker answers; false if it ends, or is to end, before."""
    deadline = monotonic() + START_S
    while not broker.has_ended() and not signals.count(*STOP):
        with contextlib.suppress(BrokerLost):
            if ask(url, timeout=0.1)["pid"] == broker.process.pid:
                return True
        if monotonic() > deadline:
            raise ZQueueError(f"the broker at {url} does not answer within {START_S:g} s")
    return False


def _where_to_listen() -> tuple[str, ...]:
    """For the sidecar: where its options say, or at any port if the usual one is taken."""
    usual = f"127.0.0.1:{METRICS_PORT}"
    if METRICS_LISTEN in os.environ or _free_address(METRICS_PORT) == usual:
        return ()
    return ("--listen", "127.0.0.1:0")


def _free_address(port: int) -> str:
    """This port of the loopback interface, or any if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        return f"127.0.0.1:{port}"


def _wait(signals: Signals) -> None:
    """Return when a signal comes, also that of a child which ended."""
    select.select([signals.fd], [], [])
    signals.clear()
