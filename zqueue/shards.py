"""Shards: several brokers on one machine, each a process of its own, and who keeps them.

They are as several brokers on several machines are: clients connect to all of them, and they know
nothing of one another. Whoever keeps them starts one again that ended, and passes on the signals
that end them all.
"""

from __future__ import annotations

import logging
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple

from .config import Address
from .core.backoff import Backoff
from .errors import ConfigError
from .net.processes import start_python
from .net.signals import Signals

logger = logging.getLogger("zqueue")

VARIABLE = "_ZQUEUE_SHARD"
"""Tells a broker which of how many it is."""

STOP = (signal.SIGTERM, signal.SIGINT)
PASSED_ON = (*STOP, signal.SIGHUP)

RESTART_LOW_S, RESTART_HIGH_S = 0.1, 15.0
"""Pauses before a shard is started again, seconds."""

LIVED_S = 10.0
"""One that lived so long is started again as if for the first time, seconds."""


class Shard(NamedTuple):
    """One of them, and the options that are its own."""

    number: int
    url: str
    options: tuple[str, ...]


def plan(bind: str, count: int, data_dir: str | None = None) -> list[Shard]:
    """Shards at consecutive ports, or at paths that end with their number, from an address on.

    Raises `ConfigError`: there are no such ports.
    """
    address = Address.parse(bind)
    shards = []
    for number in range(count):
        url = f"{bind}-{number + 1}"
        if address.path is None:
            host, _, port = bind.rpartition(":")
            if port == "*" or int(port) + count > 65536:
                raise ConfigError(f"--shards {count} needs as many ports from --bind on: {bind}")
            url = f"{host}:{int(port) + number}"
        options = ["--bind", url, "--shards", "1"]
        if data_dir is not None:
            options += ["--data-dir", os.path.join(data_dir, f"shard-{number + 1}")]
        shards.append(Shard(number + 1, url, tuple(options)))
    return shards


class Keeper:
    """Decides when a shard is started again. Pure.

    One that was killed or met a fault is; one that says it cannot run (bad options, an address that
    is taken, a damaged store) ends all of them with its exit code.
    """

    def __init__(self, count: int, backoffs: Sequence[Backoff]) -> None:
        self._backoffs = backoffs
        self._started = [0.0] * count
        self.due: dict[int, float] = dict.fromkeys(range(count), 0.0)
        """When to start which, by place."""
        self.code: int | None = None
        """With what all is to end."""

    def __repr__(self) -> str:
        return f"<Keeper of {len(self._started)}, {len(self.due)} to start>"

    def to_start(self, now: float) -> list[int]:
        """Start these now."""
        ready = [place for place, at in self.due.items() if at <= now]
        for place in ready:
            del self.due[place]
            self._started[place] = now
        return ready

    def ended(self, place: int, code: int, now: float) -> None:
        """One is gone, though nobody asked all of them to end."""
        if code > 1:
            self.code = code
            return
        if now - self._started[place] >= LIVED_S:
            self._backoffs[place].reset()
        self.due[place] = now + self._backoffs[place].next()

    def wait_s(self, now: float) -> float | None:
        """How long nothing is to be done; None: until something happens."""
        return max(0.0, min(self.due.values()) - now) if self.due else None


def run_shards(shards: list[Shard]) -> int:
    """Keep them until SIGTERM or SIGINT. Returns the exit code: the largest of theirs then."""
    backoffs = [Backoff(random.random, low_s=RESTART_LOW_S, high_s=RESTART_HIGH_S) for _ in shards]
    keeper = Keeper(len(shards), backoffs)
    running: dict[int, subprocess.Popen[bytes]] = {}
    logger.info("%d shards: clients connect to %s", len(shards), ",".join(s.url for s in shards))
    with Signals((*PASSED_ON, signal.SIGCHLD)) as signals:
        try:
            while not signals.count(*STOP) and keeper.code is None:
                for place in keeper.to_start(monotonic()):
                    running[place] = _start(shards[place], len(shards))
                hangups = signals.count(signal.SIGHUP)
                select.select([signals.fd], [], [], keeper.wait_s(monotonic()))
                signals.clear()
                for process in running.values() if signals.count(signal.SIGHUP) > hangups else ():
                    process.send_signal(signal.SIGHUP)
                for place, process in list(running.items()):
                    if (code := process.poll()) is not None:
                        del running[place]
                        keeper.ended(place, code, monotonic())
                        logger.warning("shard %d at %s has ended (%d)%s", *shards[place][:2], code,
                                       "" if keeper.code else ", and is started again")  # fmt: skip
        finally:
            codes = _stop(list(running.values()), signals)
    return max([keeper.code or 0, *codes])


def _start(shard: Shard, count: int) -> subprocess.Popen[bytes]:
    """As this process was started, but for the options that are the shard's own. In a session of
    its own: Ctrl-C is ours to pass on."""
    return start_python(
        "zqueue.cli", "main", *sys.argv[1:], *shard.options, start_new_session=True,
        env={**os.environ, VARIABLE: f"{shard.number} of {count}"},
    )  # fmt: skip


def _stop(processes: list[subprocess.Popen[bytes]], signals: Signals) -> list[int]:
    """Pass signals on until all have ended. Returns their exit codes."""
    told = 0
    while any(process.poll() is None for process in processes):
        for _ in range(told, max(1, signals.count(*STOP))):
            for process in processes:
                process.terminate()
        told = max(1, signals.count(*STOP))
        select.select([signals.fd], [], [], 0.1)
        signals.clear()
    return [code if code >= 0 else 128 - code for code in (p.returncode for p in processes)]
