"""Questions to a broker and commands to it, from outside: what `zqueue info` and others send."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from ..config import Address
from ..errors import BrokerLost, Refused
from ..net.dealer import Dealer
from ..seconds import WAIT_S_MAX, check_seconds
from ..wire.codec import FRAME_BYTES_MAX, pack
from ..wire.headers import decode, encode, unpack_map
from ..wire.letters import LETTERS_MAX
from ..wire.messages import RUNNING, Ask, Cancel, Control, Refuse, Tell
from .questions import RUNS_MAX, Cancellation, run_of


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

    def ask(
        self, what: str = "info", which: dict[str, Any] | None = None, *,
        timeout: float | None = 3.0,
    ) -> dict[str, Any]:  # fmt: skip
        """The broker's answer: ``info``, ``stats``, ``dead`` letters, or ``dead-groups`` of them
        (docs/protocol.md, `Tell`); ``which`` says which ones.

        Raises:
            BrokerLost: no answer comes within ``timeout`` seconds (None: no limit).
            ConfigError: ``timeout`` is no duration.
            Refused: the broker does not know the question.
        """
        return self._exchange(Ask(what), _frames(which), timeout)

    def control(
        self, action: str, queue: str = "", which: dict[str, Any] | None = None,
        bodies: Sequence[bytes] = (), *, timeout: float | None = 3.0,
    ) -> dict[str, Any]:  # fmt: skip
        """``pause`` a queue (hand nothing out), ``drain`` it (take nothing new), or ``resume`` it:
        its state, with the keys ``queue``, ``paused`` and ``draining``. Or ``replay``, ``drop`` or
        ``import`` dead letters: what became of them (docs/protocol.md, `Control`).

        Raises as `ask` does; `Refused` also if there is no such queue.
        """
        return self._exchange(Control(action, queue), [*_frames(which), *bodies], timeout)

    def cancel(
        self, *ids: str, queue: str = "", task: str = "", key: str = "", running: bool = False,
        timeout: float | None = 3.0,
    ) -> Cancellation:  # fmt: skip
        """Cancel tasks by their ids, or all of a queue, or those of a name there, or
        the one that has a ``key`` there. ``running``: also
        end those that workers have.

        Raises as `ask` does; `InvalidName` for what is no id.
        """
        runs = [run_of(each) for each in dict.fromkeys(ids)]
        counts = Cancellation(unknown=len(runs) + bool(key))
        flags = RUNNING if running else 0
        for i in range(0, max(1, len(runs)), RUNS_MAX):
            message = Cancel(0, flags, runs[i : i + RUNS_MAX], queue, task, key)
            counts = counts.add(self._exchange(message, [], timeout))
        return counts

    def peek(
        self, queue: str, *, task: str = "", limit: int = 10, timeout: float | None = 3.0
    ) -> dict[str, Any]:
        """The first tasks that wait in a queue (docs/protocol.md, `Tell`). Raises as `ask` does."""
        which = {"queue": queue, "task": task, "limit": limit}
        return self._exchange(Ask("peek"), _frames(which), timeout)

    def close(self) -> None:
        """Disconnect. The next question connects anew."""
        if self._dealer is not None:
            self._dealer.close()
            self._dealer = None

    def _exchange(
        self, message: Ask | Cancel | Control, frames: list[bytes], timeout: float | None
    ) -> dict[str, Any]:
        timeout = check_seconds(timeout, "timeout")
        if self._dealer is None:
            self._dealer = Dealer(
                self._address, frame_bytes_max=FRAME_BYTES_MAX, frames_max=2 + LETTERS_MAX
            )
        try:
            return self._wait_for_answer(self._dealer, [encode(message), *frames], timeout)
        except BrokerLost:
            self.close()  # An answer that comes too late must not be taken for the next one.
            raise

    def _wait_for_answer(
        self, dealer: Dealer, message: list[bytes], timeout: float
    ) -> dict[str, Any]:
        dealer.send([message])
        deadline = monotonic() + timeout
        while (left := deadline - monotonic()) > 0:
            dealer.socket.poll(int(min(left, WAIT_S_MAX) * 1000) + 1, dealer.wanted)
            dealer.flush()
            frames = dealer.receive()
            if frames is None:
                continue
            answer = decode(frames[0])
            if isinstance(answer, Tell) and len(frames) >= 2:
                told = unpack_map(frames[1], nbytes_max=FRAME_BYTES_MAX, depth_max=32)
                letters = told.get("letters", [])
                if len(frames) == 2 + len(letters):
                    for letter, body in zip(letters, frames[2:], strict=True):
                        letter["body"] = body
                    return told
            if isinstance(answer, Refuse):
                raise Refused(answer.code, answer.text)
        address = self._address
        raise BrokerLost(
            f"no broker answers at {address.url}: start one with 'zqueue broker --bind "
            f"{address.url}', or give the right --url; one with keys answers only "
            + ("those that it knows" if address.key_file else "with --key-file")
        )


def _frames(which: dict[str, Any] | None) -> list[bytes]:
    """What says which ones are meant; nothing: all."""
    return [] if which is None else [pack(which)]


def ask(
    url: str, what: str = "info", which: dict[str, Any] | None = None, *,
    timeout: float | None = 3.0,
) -> dict[str, Any]:  # fmt: skip
    """`Asker.ask`, once."""
    with Asker(url) as asker:
        return asker.ask(what, which, timeout=timeout)


def control(url: str, action: str, queue: str, *, timeout: float | None = 3.0) -> dict[str, Any]:
    """`Asker.control`, once."""
    with Asker(url) as asker:
        return asker.control(action, queue, timeout=timeout)
