"""``zqueue gateway``: the gateway as a process."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from time import monotonic

from ..auth.files import list_stamp, read_tokens
from ..config import BrokerList, GatewayConfig
from ..errors import ConfigError
from ..http.listening import Listener
from ..http.patience import Limits
from ..http.serving import Serving, until_signal
from ..net.collector import tame_collector
from ..net.notify import Notifier
from ..net.processes import raise_file_limit
from ..version import __version__
from .entrance import Gateway

logger = logging.getLogger("zqueue")

FILES_BESIDE = 64
"""Descriptors that a gateway has open when no client is there."""

LOOK_S = 1.0
"""How often the list of tokens is looked at, and systemd told that the loop turns, seconds."""

STOP_S = 10
"""How long requests may take after SIGTERM, seconds. Who waits for a result is answered at once."""


def run_gateway(config: GatewayConfig) -> int:
    """Run the gateway in this process until SIGTERM or SIGINT. Returns the exit code.

    Raises `ConfigError` (`net.sockets.AddressInUse` if the port is taken, and for files that are
    not what they should be).
    """
    raise_file_limit(config.connections_max + FILES_BESIDE, "--connections")
    tokens = None if config.tokens is None else read_tokens(config.tokens)
    listener = Listener(config.host, config.port, has_certificate=config.certificate is not None)
    gateway = Gateway(config.url, tokens=tokens, only_local=listener.is_loopback and tokens is None)
    try:
        serving = Serving(
            gateway, listener, Limits(config.connections_max), stop_s=STOP_S,
            certificate=config.certificate, key=config.private_key,
        )  # fmt: skip
    except (OSError, ssl.SSLError) as error:
        listener.socket.close()
        raise ConfigError(f"--certificate {config.certificate}: {error}") from None
    tame_collector()
    if tokens is None and not listener.is_loopback:
        logger.warning("running without authentication: anybody who reaches %s can send tasks and "
                       "read results", listener.url)  # fmt: skip
    to = BrokerList.parse(gateway.url)
    logger.info("gateway at %s to %s (zqueue %s, pid %d)", listener.url, to, __version__,
                os.getpid())  # fmt: skip
    serving.run(_watch(gateway, config.tokens))
    return 0


async def _watch(gateway: Gateway, path: str | None) -> None:
    """Read the list of tokens again when it changes, until a signal comes."""
    came = asyncio.ensure_future(until_signal())
    notifier = Notifier()
    notifier.ready()
    stamp = None if path is None else list_stamp(path)
    while not came.done():
        notifier.alive(monotonic())
        await asyncio.wait({came}, timeout=LOOK_S)
        if path is not None and (now := list_stamp(path)) != stamp:
            stamp = now
            try:
                gateway.tokens = read_tokens(path)
                logger.info("the list of tokens was read again: %d", len(gateway.tokens))
            except ConfigError as error:
                logger.error("the list of tokens stays as it was: %s", error)
    notifier.stopping()
    gateway.stop_waiting()
