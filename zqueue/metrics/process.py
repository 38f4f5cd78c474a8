"""``zqueue metrics``: the sidecar as a process."""

from __future__ import annotations

import asyncio
import logging
import os
from time import monotonic

from ..config import MetricsConfig
from ..http.listening import Listener
from ..http.patience import Limits
from ..http.serving import Serving, until_signal
from ..net.collector import tame_collector, watch_collector
from ..net.notify import Notifier
from ..stats.pauses import Pauses
from ..version import __version__
from .board import Board
from .poller import next_due
from .pollers import Pollers
from .site import Site
from .token import Token

logger = logging.getLogger("zqueue")

LIMITS = Limits(connections_max=128, head_bytes_max=8192, head_s=5.0, write_s=5.0)

TICK_AFTER_S = 0.2
"""How long after the queries the board ticks, seconds: a broker answers in a few milliseconds."""


def run_metrics(config: MetricsConfig) -> int:
    """Run the sidecar in this process until SIGTERM or SIGINT. Returns the exit code.

    Raises `ConfigError` (`net.sockets.AddressInUse` if the port is taken, and for a token file
    that is none).
    """
    token = None if config.token_file is None else Token.read(config.token_file)
    pauses = Pauses()
    pollers = Pollers(config.urls)
    listener = Listener(config.host, config.port)
    site = Site(Board(pollers, pauses), ready_workers=config.ready_workers, token=token,
                is_loopback=listener.is_loopback)  # fmt: skip
    serving = Serving(site, listener, LIMITS)
    tame_collector()
    watch_collector(pauses)
    pollers.start()
    if config.insecure and token is None:
        logger.warning("running without authentication: anybody who reaches %s can read names "
                       "and statistics", listener.url)  # fmt: skip
    logger.info("metrics at %s/ (zqueue %s, pid %d)", listener.url, __version__, os.getpid())
    serving.run(_tick(site, pollers))
    pollers.stop()
    return 0


async def _tick(site: Site, pollers: Pollers) -> None:
    """Tick every second until a signal comes."""
    came = asyncio.ensure_future(until_signal())
    notifier = Notifier()
    notifier.ready()
    due = 0.0
    while not came.done():
        pollers.follow()
        site.tick()
        notifier.alive(monotonic())
        due = next_due(monotonic(), due, TICK_AFTER_S)
        await asyncio.wait({came}, timeout=max(0.0, due - monotonic()))
    notifier.stopping()
    site.close()
