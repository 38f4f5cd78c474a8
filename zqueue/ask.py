"""Asking a broker about the state of things, from outside."""

from __future__ import annotations

from time import monotonic
from typing import Any

from .config import Address
from .errors import BrokerLost, Refused
from .net.dealer import Dealer
from .protocol.codec import FRAME_BYTES_MAX
from .protocol.messages import Ask, Refuse, Tell, decode, encode, unpack_map


def ask(url: str, what: str = "info", *, timeout: float = 3.0) -> dict[str, Any]:
    """What a broker tells: ``info``, or the newest ``dead`` letters (docs/protocol.md, `Tell`).

    Raises `BrokerLost` if there is no answer within ``timeout`` seconds.
    """
    dealer = Dealer(Address.parse(url), frame_bytes_max=FRAME_BYTES_MAX, frames_max=2)
    try:
        dealer.send([[encode(Ask(what))]])
        deadline = monotonic() + timeout
        while (left := deadline - monotonic()) > 0:
            dealer.socket.poll(int(left * 1000) + 1, dealer.wanted)
            dealer.flush()
            frames = dealer.receive()
            if frames is None:
                continue
            message = decode(frames[0])
            if isinstance(message, Tell) and len(frames) == 2:
                return unpack_map(frames[1], nbytes_max=FRAME_BYTES_MAX, depth_max=32)
            if isinstance(message, Refuse):
                raise Refused(message.code, message.text)
    finally:
        dealer.close()
    raise BrokerLost(
        f"no broker answers at {url}: start one with 'zqueue broker --bind {url}', "
        "or give the right --url"
    )
