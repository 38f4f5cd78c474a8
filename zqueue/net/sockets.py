"""The one place that makes sockets, with every option that matters set on purpose.

Evidence for each choice is in docs/operations.md, "What ZeroMQ is told".
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import random
import stat
from collections.abc import Iterator

import zmq

from ..auth.files import KeyPair
from ..config import Address
from ..errors import ConfigError
from .curve import serve

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


LOCK_TRIES = 10
"""A lock file may be removed between opening and locking it, each time by a broker that ends."""


class AddressInUse(ConfigError):
    """Somebody else is bound to the address."""


_random = random.Random()
"""Our own: that of the program is seeded, and counted on, by whoever uses us."""


def make_socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, address: Address, *, frame_bytes_max: int,
    pair: KeyPair | None = None, domain: str = "",
) -> zmq.Socket[bytes]:  # fmt: skip
    """A socket for an address, not yet bound or connected. With a pair it is one to bind, and a
    connection is let in to a ``domain`` (see `curve`)."""
    if kind == zmq.ROUTER:
        _seed_routing_ids()
    socket = context.socket(kind)
    if pair is not None:
        serve(socket, pair, domain)
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
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    if kind == zmq.ROUTER:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # Tell us instead of dropping.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 0)  # Nobody takes over another's routing id.
    return socket


def _seed_routing_ids() -> None:
    """Make the ids that a ROUTER gives to its peers start where nobody can guess.

    It numbers them from C's ``rand()``, which nobody has seeded: from 006b8b4567 in the first
    ROUTER of each process. Who comes under the id that is next, which no option forbids, makes
    libzmq abort the process. Who comes under that of a peer whose connection broke is sent what was
    for that peer.
    """
    ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "big"))


def bind(socket: zmq.Socket[bytes], address: Address) -> str:
    """Bind, and return the URL that came of it (a port of ``*`` is now a number).

    Raises `AddressInUse`, or `ConfigError` for an address this machine does not have.
    """
    try:
        # The process has one umask: it is ours for as long as the socket's file is made.
        with _umask(0o177) if address.path is not None else contextlib.nullcontext():
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

    Does nothing for other transports. The path's directory must exist. Raises `AddressInUse`, or
    `ConfigError` where the path or ``PATH.lock`` is a file of somebody else: ZeroMQ removes
    whatever has a socket's name.
    """
    path = address.path
    if path is None:
        yield
        return
    if os.path.lexists(path) and not _is_socket(path):
        raise ConfigError(f"cannot use {address.url}: {path} is there, and it is not a socket")
    lock = _lock(f"{path}.lock", address)
    try:
        yield
    finally:
        if _is_socket(path):
            _remove(path)
        _remove(f"{path}.lock")  # Ours: nobody else replaces it while we have it locked.
        os.close(lock)


def _lock(path: str, address: Address) -> int:
    """Make the lock file and lock it, as whoever binds the address must. Its descriptor."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    for _ in range(LOCK_TRIES):
        try:
            lock = os.open(path, flags, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot use {address.url}: {path}: {error.strerror}") from None
        if os.fstat(lock).st_size:
            os.close(lock)
            raise ConfigError(f"cannot use {address.url}: {path} is there, and it is not a lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            break
        if _is_at(lock, path):
            return lock
        os.close(lock)  # Its last owner removed it between our two steps.
    raise AddressInUse(f"{address.url} is taken: another broker runs there")


def _is_at(descriptor: int, path: str) -> bool:
    """Whether an open file is the one that has this path."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
