"""``zqueue metrics``: the sidecar as a process."""

from __future__ import annotations

import logging
import os
import select
import signal
from time import monotonic

from ..config import MetricsConfig
from ..net.collector import tame_collector, watch_collector
from ..net.signals import Signals
from ..stats.pauses import Pauses
from ..version import __version__
from .board import Board
from .poller import Poller, next_due
from .server import Server
from .token import Token

logger = logging.getLogger("zqueue")

TICK_AFTER_S = 0.2
"""How long after the queries the board ticks, seconds: a broker answers in a few milliseconds."""

STOP_S = 0.1
"""How long to wait for each poller to end, seconds. They hold nothing that could be lost."""


def run_metrics(config: MetricsConfig) -> int:
    """Run the sidecar in this process until SIGTERM or SIGINT. Returns the exit code.

    Raises `ConfigError` (`net.sockets.AddressInUse` if the port is taken, and for a token file
    that is none).
    """
    token = None if config.token_file is None else Token.read(config.token_file)
    pauses = Pauses()
    pollers = [Poller(url) for url in config.urls]
    board = Board(pollers, pauses)
    server = Server(
        board, config.host, config.port, ready_workers=config.ready_workers, token=token
    )
    with Signals((signal.SIGTERM, signal.SIGINT)) as signals:
        tame_collector()
        watch_collector(pauses)
        for poller in pollers:
            poller.start()
        server.start()
        if config.insecure and token is None:
            logger.warning("running without authentication: anybody who reaches %s can read names "
                           "and statistics", server.url)  # fmt: skip
        logger.info("metrics at %s/ (zqueue %s, pid %d)", server.url, __version__, os.getpid())
        _tick(board, signals)
        server.close()
        for poller in pollers:
            poller.stop(STOP_S)
    return 0


def _tick(board: Board, signals: Signals) -> None:
    """Tick every second until a signal comes."""
    due = 0.0
    while not signals.count(signal.SIGTERM, signal.SIGINT):
        board.tick()
        due = next_due(monotonic(), due, TICK_AFTER_S)
        if select.select([signals.fd], [], [], max(0.0, due - monotonic()))[0]:
            signals.clear()
