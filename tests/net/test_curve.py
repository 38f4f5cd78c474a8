"""CURVE: who is let in, who is not, and that nobody is while nobody answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import zmq

from tests.system.harness import wait_until
from zqueue.auth.files import ClientKey, KeyPair, make_pair
from zqueue.errors import ConfigError
from zqueue.net import curve
from zqueue.net.channel import Channel
from zqueue.net.curve import Authenticator, connect, keeps_strangers_out, serve

BROKER, GOOD, BAD = make_pair(), make_pair(), make_pair()


class Door:
    """A router with keys, which knows `GOOD`."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.dealers: list[zmq.Socket[bytes]] = []
        self.asked: list[str] = []
        self.unsent: list[zmq.Socket[bytes]] = []
        self.authenticator = Authenticator(self.context, self.judge)
        socket = self.context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 2_000)
        serve(socket, BROKER, "here")
        socket.bind("tcp://127.0.0.1:*")
        self.url = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.channel = Channel(socket, 4, asks_user=True)

    def judge(self, domain: str, key: str) -> bool:
        self.asked.append(domain)
        return key == GOOD.public

    def heard(self) -> list[bytes] | None:
        self.authenticator.move()
        self.unsent = [socket for socket in self.unsent if not self._sent(socket)]
        return self.channel.receive()

    def _sent(self, socket: zmq.Socket[bytes]) -> bool:
        with contextlib.suppress(zmq.Again):
            socket.send(b"hello", zmq.NOBLOCK)
            return True
        return False

    def dealer(self, pair: KeyPair | None, *broker_keys: str) -> zmq.Socket[bytes]:
        socket = self.context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        self.dealers.append(socket)
        if pair is None:
            socket.connect(self.url)
        else:
            connect(socket, self.url, ClientKey("", pair, broker_keys or (BROKER.public,), ()))
        self.unsent.append(socket)
        return socket

    def is_refused(self) -> bool:
        """Whether nothing is heard, though somebody was turned away."""
        before = self.authenticator.refused
        wait_until(lambda: self.heard() is None and self.authenticator.refused > before)
        return self.heard() is None


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    for socket in door.dealers:
        socket.close(0)
    door.channel.close()
    door.authenticator.channel.close()
    door.context.term()


def test_who_is_known_is_heard_under_its_key(door: Door) -> None:
    door.dealer(GOOD)
    frames = wait_until(door.heard)
    assert frames[1:] == [b"hello"]
    assert door.channel.user == GOOD.public
    assert door.asked == ["here"]


def test_a_key_that_nobody_knows_is_refused(door: Door) -> None:
    door.dealer(BAD)
    assert door.is_refused()


def test_one_with_another_brokers_key_or_none_is_not_heard(door: Door) -> None:
    door.dealer(GOOD, BAD.public)
    door.dealer(None)
    door.dealer(GOOD)  # It came last, and is heard first.
    assert wait_until(door.heard)
    assert door.heard() is None
    assert door.authenticator.refused == 0, "they did not come so far as to be asked for"


def test_one_of_two_keys_of_the_broker_will_do(door: Door) -> None:
    """While the broker's key changes, its clients have both."""
    door.dealer(GOOD, BAD.public, BROKER.public)
    assert wait_until(door.heard)


def test_nobody_is_let_in_while_nobody_answers(door: Door) -> None:
    door.authenticator.channel.close()
    events = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_DISCONNECTED
    with door.context.socket(zmq.DEALER) as dealer, dealer.get_monitor_socket(events) as monitor:
        connect(dealer, door.url, ClientKey("", GOOD, (BROKER.public,), ()))
        dealer.linger = 0
        assert monitor.poll(20_000), "it was turned away"
        assert door.channel.receive() is None
        dealer.disable_monitor()


def test_the_trial_before_anything_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    with zmq.Context() as context:
        authenticator = Authenticator(context, lambda domain, key: False)
        keeps_strangers_out(context, BROKER, authenticator)
        assert authenticator.refused == 0
        authenticator.channel.close()
    with zmq.Context() as context:
        authenticator = Authenticator(context, lambda domain, key: True)
        monkeypatch.setattr(curve, "TRIAL_S", 0.3)
        with pytest.raises(ConfigError, match="does not keep strangers out"):
            keeps_strangers_out(context, BROKER, authenticator)
        authenticator.channel.close()


def test_a_request_that_makes_no_sense_is_refused(door: Door) -> None:
    """libzmq makes them, but what they hold comes from outside."""
    asks = [
        [b"p", b"", b"1.0", b"1", b"here", b"a", b"i", b"NULL"],
        [b"p", b"", b"1.0", b"1", b"here", b"a", b"i", b"PLAIN", b"user", b"password"],
        [b"p", b"", b"1.0", b"1", b"here", b"a", b"i", b"CURVE", b"short"],
        [b"p", b"", b"1.0", b"1", b"h\xff", b"a", b"i", b"CURVE", bytes(32)],
    ]
    for frames in asks:
        answer = door.authenticator._answer(frames)
        assert answer[:5] == [b"p", b"", b"1.0", b"1", b"400"]
