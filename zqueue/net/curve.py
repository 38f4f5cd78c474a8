"""CURVE: which keys a socket has, and who answers for those of others.

libzmq asks about each new connection over ZAP (rfc.zeromq.org/spec/27), at an address inside the
process. Who answers is a socket of the broker's own loop: there is no thread that may die alone,
and with option 93 a connection is refused while nobody answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic

import zmq
from zmq.utils import z85

from ..auth.files import ClientKey, KeyPair
from ..errors import ConfigError
from .channel import Channel

ZAP_URL = "inproc://zeromq.zap.01"
ZAP_FRAMES_MAX = 12

TURN_ANSWERS = 256
"""Connections that are judged before those who are in have their turn."""

TRIAL_S = 5.0
"""How long a refusal may take on a busy machine."""

Judge = Callable[[str, str], bool]
"""Whether who has a public key may connect to a socket of that domain."""


def serve(socket: zmq.Socket[bytes], pair: KeyPair, domain: str) -> None:
    """Let only those connect to a socket, yet to be bound, for whom `Authenticator` answers."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode())
    socket.setsockopt_string(zmq.ZAP_DOMAIN, domain)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # Else all may who come while nobody answers.


def connect(socket: zmq.Socket[bytes], url: str, key: ClientKey) -> None:
    """Connect with a key. While the broker's changes there are two of it, and one will do."""
    socket.setsockopt(zmq.CURVE_PUBLICKEY, key.pair.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, key.pair.secret.encode())
    for broker_key, address in zip(key.keys_of(url), (url, _otherwise(url)), strict=False):
        socket.setsockopt(zmq.CURVE_SERVERKEY, broker_key.encode())
        socket.connect(address)


def _otherwise(url: str) -> str:
    """The same address, written otherwise: libzmq ignores a second connect to the first."""
    head, _, port = url.rpartition(":")
    return f"{head}:0{port}" if url.startswith("tcp://") else url.replace("ipc://", "ipc:///", 1)


def keeps_strangers_out(
    context: zmq.Context[zmq.Socket[bytes]], pair: KeyPair, authenticator: Authenticator
) -> None:
    """Try it, before anybody can connect: a key that nobody knows must be refused.

    Raises `ConfigError` if it is not, for whatever reason.
    """
    url = f"ipc://@zqueue-{os.getpid()}-{os.urandom(6).hex()}"
    before = authenticator.refused
    public, secret = zmq.curve_keypair()
    stranger = ClientKey("", KeyPair(public.decode(), secret.decode()), (pair.public,), ())
    with context.socket(zmq.ROUTER) as inner, context.socket(zmq.DEALER) as outer:
        inner.linger = outer.linger = 0
        serve(inner, pair, "zqueue.trial")
        inner.bind(url)
        connect(outer, url, stranger)
        outer.send(b"", zmq.NOBLOCK)
        deadline = monotonic() + TRIAL_S
        while authenticator.refused == before and monotonic() < deadline:
            authenticator.channel.socket.poll(50)
            authenticator.move()
        if authenticator.refused == before or inner.poll(0):
            raise ConfigError("CURVE does not keep strangers out here: nothing was bound")
    authenticator.refused = before


class Authenticator:
    """Answers ZAP in a context, for as long as it is open. Open it before any socket is bound."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], judge: Judge) -> None:
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(ZAP_URL)
        self.channel = Channel(socket, ZAP_FRAMES_MAX)
        self._judge = judge
        self.refused = 0

    def __repr__(self) -> str:
        return f"<Authenticator: {self.refused} refused>"

    def move(self) -> int:
        """Answer what was asked, up to a limit. Returns how many times."""
        answered = 0
        while answered < TURN_ANSWERS and (frames := self.channel.receive()) is not None:
            self.channel.send(self._answer(frames))
            answered += 1
        return answered

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        peer, _, _, request, domain, _, _, mechanism, *credentials = frames
        key = None
        if mechanism == b"CURVE" and len(credentials) == 1 and len(credentials[0]) == 32:
            key = z85.encode(credentials[0]).decode()
            if not self._judge(domain.decode("ascii", "replace"), key):
                key = None
        if key is None:
            self.refused += 1
            return [peer, b"", b"1.0", request, b"400", b"not known here", b"", b""]
        return [peer, b"", b"1.0", request, b"200", b"OK", key.encode(), b""]
