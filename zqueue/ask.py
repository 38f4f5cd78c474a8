"""Asking a broker about the state of things, and telling it what to do, from outside."""

from __future__ import annotations

from time import monotonic
from typing import Any

from .config import Address
from .errors import BrokerLost, Refused
from .net.dealer import Dealer
from .protocol.codec import FRAME_BYTES_MAX
from .protocol.messages import Ask, Control, Refuse, Tell, decode, encode, unpack_map


class Asker:
    """A connection for questions. Not thread-safe; `close` it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._address = Address.parse(url)
        self._dealer: Dealer | None = None

    def __repr__(self) -> str:
        return f"<Asker of {self.url}>"

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, what: str = "info", *, timeout: float = 3.0) -> dict[str, Any]:
        """What the broker tells: ``info``, ``stats``, or the newest ``dead`` letters
        (docs/protocol.md, `Tell`).

        Raises:
            BrokerLost: there is no answer within ``timeout`` seconds.
            Refused: it does not know what is asked.
        """
        return self._exchange(Ask(what), timeout)

    def control(self, action: str, queue: str, *, timeout: float = 3.0) -> dict[str, Any]:
        """``pause`` a queue (hand nothing out), ``drain`` it (take nothing new), or ``resume`` it.

        Returns its state, with the keys ``queue``, ``paused`` and ``draining``. Raises as `ask`
        does; `Refused` also if there is no such queue.
        """
        return self._exchange(Control(action, queue), timeout)

    def close(self) -> None:
        """Disconnect. The next question connects anew."""
        if self._dealer is not None:
            self._dealer.close()
            self._dealer = None

    def _exchange(self, message: Ask | Control, timeout: float) -> dict[str, Any]:
        if self._dealer is None:
            self._dealer = Dealer(self._address, frame_bytes_max=FRAME_BYTES_MAX, frames_max=2)
        try:
            return self._wait_for_answer(self._dealer, message, timeout)
        except BrokerLost:
            self.close()  # An answer that comes too late must not be taken for the next one.
            raise

    def _wait_for_answer(
        self, dealer: Dealer, message: Ask | Control, timeout: float
    ) -> dict[str, Any]:
        dealer.send([[encode(message)]])
        deadline = monotonic() + timeout
        while (left := deadline - monotonic()) > 0:
            dealer.socket.poll(int(left * 1000) + 1, dealer.wanted)
            dealer.flush()
            frames = dealer.receive()
            if frames is None:
                continue
            answer = decode(frames[0])
            if isinstance(answer, Tell) and len(frames) == 2:
                return unpack_map(frames[1], nbytes_max=FRAME_BYTES_MAX, depth_max=32)
            if isinstance(answer, Refuse):
                raise Refused(answer.code, answer.text)
        raise BrokerLost(
            f"no broker answers at {self.url}: start one with 'zqueue broker --bind {self.url}', "
            "or give the right --url"
        )


def ask(url: str, what: str = "info", *, timeout: float = 3.0) -> dict[str, Any]:
    """`Asker.ask`, once."""
    with Asker(url) as asker:
        return asker.ask(what, timeout=timeout)


def control(url: str, action: str, queue: str, *, timeout: float = 3.0) -> dict[str, Any]:
    """`Asker.control`, once."""
    with Asker(url) as asker:
        return asker.control(action, queue, timeout=timeout)
