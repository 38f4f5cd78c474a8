"""The socket that a server listens at."""

from __future__ import annotations

import errno
import socket

from ..errors import ConfigError
from ..net.sockets import AddressInUse

BACKLOG = 1024
"""Connections that the system takes before the server does."""


class Listener:
    """A listening socket, and how clients name it.

    Raises `ConfigError` if it cannot listen there (`net.sockets.AddressInUse` if the port is
    taken).
    """

    def __init__(self, host: str, port: int, *, has_certificate: bool = False) -> None:
        self.socket = _listen(host, port)
        self.address: tuple[str, int] = self.socket.getsockname()[:2]
        found, port = self.address
        self.is_loopback = found == "::1" or found.startswith("127.")
        scheme = "https" if has_certificate else "http"
        self.url = f"{scheme}://[{found}]:{port}" if ":" in found else f"{scheme}://{found}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"cannot listen at {place}: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"another process listens at {place}: end it, or give another --listen"
            ) from None
        raise ConfigError(f"cannot listen at {place}: {error.strerror}") from None
    return listener
