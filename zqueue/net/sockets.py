"""The one place that makes sockets, with every option that matters set on purpose.

Evidence for each choice is in docs/operations.md, "What ZeroMQ is told".
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
from collections.abc import Iterator
from typing import IO

import zmq

from ..config import Address
from ..errors import ConfigError

HIGH_WATER_MESSAGES = 1000
"""ZeroMQ's own default, as a backstop: credit and windows keep below it."""

UNREAD_MESSAGES = 64
"""What may lie unread in a broker's pipe from one peer: memory that no bound of a queue counts.
A peer that sends without waiting for answers then waits, for its connection is not read."""

PLAIN_HIGH_WATER_MESSAGES = 4
"""On the plain lane whatever lies in a pipe is lost with its peer, so little may lie there."""

HANDSHAKE_MS = 5_000
"""A connection that has not finished its handshake by then is closed (ZeroMQ: 30 s)."""

BACKLOG = 1024
"""Connections waiting to be accepted, for the moment when everybody comes back at once."""


class AddressInUse(ConfigError):
    """Somebody else is bound to the address."""


_random = random.Random()
"""Our own: that of the program is seeded, and counted on, by whoever uses us."""


def make_socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, address: Address, *, frame_bytes_max: int
) -> zmq.Socket[bytes]:
    """A socket for an address, not yet bound or connected."""
    socket = context.socket(kind)
    plain = kind in (zmq.PUSH, zmq.PULL)
    high_water = PLAIN_HIGH_WATER_MESSAGES if plain else HIGH_WATER_MESSAGES
    socket.setsockopt(zmq.LINGER, 0)  # What matters was confirmed or settled before close().
    socket.setsockopt(zmq.SNDHWM, high_water)
    socket.setsockopt(zmq.RCVHWM, UNREAD_MESSAGES if kind == zmq.ROUTER else high_water)
    socket.setsockopt(zmq.MAXMSGSIZE, frame_bytes_max)  # -1 lets a stranger allocate at will.
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, 0)  # ZeroMQ's own can abort the process (libzmq#3596).
    socket.setsockopt(zmq.BACKLOG, BACKLOG)
    # With it a name would be resolved to IPv6 first, and ZeroMQ does not fall back.
    socket.setsockopt(zmq.IPV6, address.is_ipv6())
    socket.setsockopt(zmq.IMMEDIATE, 1)  # Never queue for a peer that is not there.
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 15)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 5)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    # ZeroMQ doubles the pause without jitter, so each process draws its own first one.
    socket.setsockopt(zmq.RECONNECT_IVL, _random.randint(50, 250))
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2_000)
    if kind == zmq.ROUTER:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # Tell us instead of dropping.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 0)  # Nobody takes over another's routing id.
    return socket


def bind(socket: zmq.Socket[bytes], address: Address) -> str:
    """Bind, and return the URL that came of it (a port of ``*`` is now a number).

    Raises `AddressInUse`, or `ConfigError` for an address this machine does not have.
    """
    try:
        socket.bind(address.url)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise AddressInUse(
                f"{address.url} is taken: another broker runs there, or choose another port"
            ) from None
        raise ConfigError(f"cannot bind {address.url}: {error.strerror}") from None
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


@contextlib.contextmanager
def hold_ipc_path(address: Address) -> Iterator[None]:
    """Hold an ipc path for ourselves: ZeroMQ lets a second bind steal it silently.

    Does nothing for other transports. The path's directory must exist; the socket is made for
    this user alone. Raises `AddressInUse`.
    """
    if address.path is None:
        yield
        return
    lock: IO[str]
    try:
        lock = open(f"{address.path}.lock", "w")  # noqa: SIM115 - held until we leave
    except OSError as error:
        raise ConfigError(f"cannot use {address.url}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AddressInUse(f"{address.url} is taken: another broker runs there") from None
        before = os.umask(0o177)
        try:
            yield
        finally:
            os.umask(before)
            for path in (address.path, f"{address.path}.lock"):
                with contextlib.suppress(OSError):
                    os.unlink(path)
