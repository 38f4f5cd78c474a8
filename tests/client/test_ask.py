"""Asking and controlling a broker from outside."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from zqueue.client.ask import Asker, ask, control
from zqueue.errors import BrokerLost, Refused
from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.messages import Ask, Control, Refuse, Tell

LONG_S = 20.0
SHORT_S = 0.05


class Oracle:
    """Answers like a broker, but only what it is told to, and when it is told to."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.LINGER, 0)
        self._router.bind(url)
        self._thread: threading.Thread | None = None

    def take(self) -> tuple[bytes, object]:
        """The next message, and who said it."""
        assert self._router.poll(int(LONG_S * 1000))
        peer, header = self._router.recv_multipart()
        return peer, decode(header)

    def say(self, peer: bytes, *frames: bytes) -> None:
        self._router.send_multipart([peer, *frames])

    def answer(self, *answers: list[bytes]) -> None:
        """From another thread: all these messages to whoever asks next."""

        def run() -> None:
            peer, _ = self.take()
            for frames in answers:
                self.say(peer, *frames)

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join(LONG_S)

    def close(self) -> None:
        self.join()
        self._context.destroy(0)


@pytest.fixture
def oracle(tmp_path: Path) -> Iterator[Oracle]:
    oracle = Oracle(f"ipc://{tmp_path}/o")
    try:
        yield oracle
    finally:
        oracle.close()


def tell(**answer: object) -> list[bytes]:
    return [encode(Tell()), pack(answer)]


class TestAsker:
    def test_what_is_told(self, oracle: Oracle) -> None:
        oracle.answer(tell(queues={"q": {"ready": 1}}))
        assert ask(oracle.url, timeout=LONG_S) == {"queues": {"q": {"ready": 1}}}

    def test_what_is_said(self, oracle: Oracle) -> None:
        asker = Asker(oracle.url)
        heard: list[object] = []

        def answer() -> None:
            for _ in range(3):
                peer, message = oracle.take()
                heard.append(message)
                oracle.say(peer, *tell())

        thread = threading.Thread(target=answer)
        thread.start()
        with asker:
            asker.ask(timeout=LONG_S)
            asker.ask("stats", timeout=LONG_S)
            asker.control("pause", "q", timeout=LONG_S)
        thread.join(LONG_S)
        assert heard == [Ask("info"), Ask("stats"), Control("pause", "q")]
        assert repr(asker) == f"<Asker of {oracle.url}>"

    def test_a_refusal(self, oracle: Oracle) -> None:
        oracle.answer([encode(Refuse("unknown-queue", 0, "there is no queue 'q'"))])
        with pytest.raises(Refused, match="there is no queue 'q'") as caught:
            control(oracle.url, "pause", "q", timeout=LONG_S)
        assert caught.value.code == "unknown-queue"

    def test_a_deep_answer_can_be_read(self, oracle: Oracle) -> None:
        """It holds what peers say of themselves, and some levels around it."""
        deep: object = 1
        for _ in range(20):
            deep = {"x": deep}
        oracle.answer(tell(deep=deep))
        assert ask(oracle.url, timeout=LONG_S) == {"deep": deep}

    def test_nobody_answers(self, tmp_path: Path) -> None:
        url = f"ipc://{tmp_path}/nobody"
        with Asker(url) as asker:
            for _ in range(2):
                with pytest.raises(BrokerLost, match=f"no broker answers at {url}: start one with"):
                    asker.ask(timeout=SHORT_S)
            with pytest.raises(BrokerLost):
                asker.control("pause", "q", timeout=SHORT_S)

    def test_an_answer_that_comes_too_late_is_not_the_next_ones(self, oracle: Oracle) -> None:
        with Asker(oracle.url) as asker:
            with pytest.raises(BrokerLost):
                asker.ask(timeout=SHORT_S)
            late, _ = oracle.take()
            oracle.say(late, *tell(late=1))
            oracle.answer(tell(new=1))
            assert asker.ask(timeout=LONG_S) == {"new": 1}

    def test_a_refusal_leaves_it_connected(self, oracle: Oracle) -> None:
        with Asker(oracle.url) as asker:
            oracle.answer([encode(Refuse("malformed", 0, "what?"))])
            with pytest.raises(Refused):
                asker.ask("why", timeout=LONG_S)
            oracle.join()
            oracle.answer(tell(yes=1))
            assert asker.ask(timeout=LONG_S) == {"yes": 1}

    def test_closing_twice_and_asking_again(self, oracle: Oracle) -> None:
        asker = Asker(oracle.url)
        asker.close()
        for number in range(2):
            oracle.answer(tell(number=number))
            assert asker.ask(timeout=LONG_S) == {"number": number}
            oracle.join()
            asker.close()
            asker.close()


def test_a_real_broker(tmp_path: Path) -> None:
    url = f"ipc://{tmp_path}/b"
    command = [sys.executable, "-m", "zqueue", "--log-level", "error", "broker", "--bind", url]
    with subprocess.Popen(command) as broker:
        try:
            with Asker(url) as asker:
                assert asker.ask(timeout=LONG_S)["queues"] == {}
                assert "counters" in asker.ask("stats", timeout=LONG_S)
                assert asker.ask("dead", {"limit": 1}, timeout=LONG_S)["letters"] == []
                with pytest.raises(Refused):
                    asker.ask("why", timeout=LONG_S)
                with pytest.raises(Refused):
                    asker.control("pause", "q", timeout=LONG_S)
        finally:
            broker.kill()
