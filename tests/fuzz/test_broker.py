"""A real broker under fire, with keys and without: hostile bytes, handshakes, frames and messages.

It must not end, hold no more memory than it may, and serve a producer and a worker meanwhile.
`ZQUEUE_TEST_FUZZ_S` says how long each goes on; chance begins with `ZQUEUE_TEST_SEED`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import msgpack
import pytest
import zmq
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.broker.test_fuzz import FRAMES, HEADERS
from tests.system.harness import QUICK, Broker, bare, free_port, header, rss_bytes, wait_until
from tests.system.test_hostile_peers import FRAGMENTS, GREETING, Pair, shake_hands
from zqueue.auth import files, listing
from zqueue.auth.files import ClientKey, KeyPair
from zqueue.auth.users import User

pytestmark = [pytest.mark.system]

FUZZ_S = float(os.environ.get("ZQUEUE_TEST_FUZZ_S", "3"))
SEED = int(os.environ.get("ZQUEUE_TEST_SEED", "1"))

RSS_GROWTH_MAX = 160 << 20
"""Bytes: what queues, letters and pipes may hold with the limits below."""

LIMITS = ("--peers", "200", "--queue-bytes", "16M", "--max-bytes", "32M", "--dead-bytes", "8M")

SOCKETS_MAX = 40
"""Hostile peers that stay connected, among them those that never read."""

DEEP = [
    b"\x91" * 100_000, b"\x81" * 100_000, b"\x81\xa1a" * 30_000, b"\xdc\xff\xff" * 10_000,
    b"\x92\x01" + b"\x91" * 5_000,
]  # fmt: skip
CLAIMS = [
    head + b"\xff" * size + b"x" * 20
    for head, size in ((b"\xdd", 4), (b"\xdf", 4), (b"\xdb", 4), (b"\xc6", 4), (b"\xc9", 5),
                       (b"\xdc", 2), (b"\xde", 2), (b"\xda", 2), (b"\xc5", 2), (b"\xc8", 3))
]  # fmt: skip
MAPS = [b"\xdc\x40\x00" + b"\x80" * 0x4000, b"\xdd\x00\x20\x00\x00" + b"\x80" * 0x200000]
HOSTILE = [*DEEP, *CLAIMS, *MAPS, b"", b"\xc1", bytes(100_000)]

CURVE = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
HELLO_SIZE = 194
"""Of CURVE's first command, without its name."""

KINDS = (1, 3, 5, 10, 12, 13, 20, 22, 23, 24, 30, 31, 32, 33, 34, 40, 99)


class Attack:
    """What hostile peers do; each method is one of their ways."""

    def __init__(self, broker: Broker, chance: random.Random, options: dict[str, bytes]) -> None:
        address, _, _ = broker.url.partition("?")
        self.url = address
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        self._address = host, int(port)
        self._chance = chance
        self._options = options
        self._peers: list[contextlib.ExitStack] = []
        self._seeds = itertools.count(chance.randrange(1 << 30))
        self.done: Counter[str] = Counter()

    def close(self) -> None:
        for peer in self._peers:
            peer.close()
        self._peers.clear()

    def strike(self) -> None:
        """Do one of them."""
        ways: list[Callable[[], None]] = [
            self.send_bytes, self.shake_half_a_hand, self.speak_raw, self.storm, self.say, self.say,
            self.say_hostile,
        ]  # fmt: skip
        way = self._chance.choice(ways)
        self.done[way.__name__] += 1
        with contextlib.suppress(OSError, zmq.Again):
            way()

    # --- below ZeroMQ ---

    @contextlib.contextmanager
    def _raw(self) -> Iterator[socket.socket]:
        with socket.create_connection(self._address, timeout=5) as raw:
            yield raw

    def send_bytes(self) -> None:
        with self._raw() as raw:
            raw.sendall(self._chance.randbytes(self._chance.randrange(1, 3_000)))

    def shake_half_a_hand(self) -> None:
        """A sound beginning that was cut, or whose bits fell over."""
        hello = b"\x05HELLO\x01\x00" + self._chance.randbytes(HELLO_SIZE - 2)
        curve = CURVE + b"\x04" + bytes([len(hello)]) + hello
        data = bytearray(self._chance.choice([*FRAGMENTS.values(), curve, CURVE + CURVE]))
        for _ in range(self._chance.randrange(4)):
            if data:
                data[self._chance.randrange(len(data))] = self._chance.randrange(256)
        with self._raw() as raw:
            shake_hands(raw, bytes(data[: self._chance.randrange(len(data) + 1)]))

    def speak_raw(self) -> None:
        """A handshake under an id of its own choice, and frames that ZeroMQ would not send."""
        chosen = self._chance.choice(
            [b"", b"\0" + self._chance.randbytes(4), self._chance.randbytes(255), b"\0" * 5]
        )
        kind = self._chance.choice([b"DEALER", b"REQ", b"ROUTER", b"PUB", b"", b"x" * 200])
        ready = b"\x05READY" + b"".join(
            bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
            for name, value in ((b"Socket-Type", kind), (b"Identity", chosen))
        )
        size = struct.pack(">Q", len(ready))
        parts = [GREETING, b"\x06" + size + ready]
        for _ in range(self._chance.randrange(20)):
            body = self._chance.randbytes(self._chance.randrange(60))
            flags = self._chance.choice([0, 1, 1, 4, 5, self._chance.randrange(256)])
            parts.append(bytes([flags, len(body)]) + body)
        parts.append(b"\x02" + struct.pack(">Q", self._chance.choice([1 << 24, 1 << 40, 1 << 63])))
        with self._raw() as raw:
            shake_hands(raw, b"".join(parts))

    def storm(self) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(50):
                stack.enter_context(self._raw())

    # --- messages ---

    def _dealer(self) -> zmq.Socket[bytes]:
        """Some peer, new or of old, that never reads, or reads now and then."""
        if len(self._peers) >= SOCKETS_MAX:
            self._peers.pop(self._chance.randrange(len(self._peers))).close()
        stack = contextlib.ExitStack()
        dealer: zmq.Socket[bytes] = stack.enter_context(
            bare(zmq.DEALER, self.url, SNDTIMEO=20, SNDHWM=200, RCVHWM=2, **self._options)
        )
        self._peers.append(stack)
        role = self._chance.choice(["producer", "worker", "supervisor", "observer", "king"])
        about = {"queues": ["q", "r"], "tasks": {"t": "q"}, "supervisor": b"s", "first": 7}
        greeting = [header(1, role, self._chance.choice([b"p1", b"w1", b"s", os.urandom(8)]))]
        dealer.send_multipart([*greeting, msgpack.packb(about)])
        return dealer

    def say(self) -> None:
        """Messages of all kinds, whatever the role: see `tests.broker.test_fuzz`."""
        dealer = self._dealer()

        @seed(next(self._seeds))
        @settings(max_examples=30, deadline=None, database=None, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(HEADERS, st.lists(FRAMES, max_size=3))
        def send(head: bytes, frames: list[bytes]) -> None:
            with contextlib.suppress(zmq.Again):
                dealer.send_multipart([head, *frames])
            if dealer.poll(0):
                dealer.recv_multipart()

        send()

    def say_hostile(self) -> None:
        """What is deep, or claims to be long, in every place of a message."""
        dealer = self._dealer()
        for _ in range(20):
            hostile = self._chance.choice(HOSTILE)
            number = self._chance.randrange(1, 50)
            heads = [
                hostile, header(1, "producer", b"p"), header(10, number, "q", "t", 1),
                header(32), header(30, self._chance.choice(["info", "stats", "dead", "peek"])),
                header(22, number, 5, [[0, 0, 1, 1]]), header(34, "import", "q"),
                header(self._chance.choice(KINDS), *self._chance.choices([0, 1, "q", []], k=3)),
            ]  # fmt: skip
            frames = [hostile] * self._chance.choice([1, 1, 2, 3, 200 if len(hostile) < 99 else 1])
            dealer.send_multipart([self._chance.choice(heads), *frames])


def keys_in(folder: Path, url: str) -> ClientKey:
    """Makes a broker's keys with an administrator's file, and those of one who may do much in a few
    queues, which are returned."""
    broker, boss, insider = (files.make_pair() for _ in range(3))
    files.write_secret(folder / "keys" / files.BROKER_KEY, files.broker_lines(broker))
    text = listing.new_list((url,))
    for name, pair, queues, roles in (
        ("boss", boss, ("*",), ("admin",)),
        ("insider", insider, ("q", "r*"), ("produce", "work", "observe")),
    ):
        text = listing.with_user(text, User(name, (pair.public,), frozenset(roles), queues))
    files.write_list(folder / "keys" / files.CLIENTS, text)
    key = ClientKey("boss", boss, (broker.public,), (url,))
    files.write_secret(folder / "boss.key", files.client_lines(key))
    return key._replace(pair=KeyPair(insider.public, insider.secret))


@pytest.mark.timeout(FUZZ_S + 240)
@pytest.mark.parametrize("who", ["anybody", "a stranger", "an insider"])
def test_a_broker_lives_and_serves(
    who: str, processes: Any, workers: Any, produce: Any, tmp_path: Path
) -> None:
    url, options = f"tcp://127.0.0.1:{free_port()}", LIMITS
    curve: dict[str, bytes] = {}
    if who != "anybody":
        insider = keys_in(tmp_path, url)
        url = f"{url}?key={tmp_path / 'boss.key'}"
        options = (*LIMITS, "--keys", str(tmp_path / "keys"))
        pair = insider.pair if who == "an insider" else files.make_pair()
        curve = {
            "CURVE_PUBLICKEY": pair.public.encode(),
            "CURVE_SECRETKEY": pair.secret.encode(),
            "CURVE_SERVERKEY": insider.broker_keys[0].encode(),
        }
    broker = Broker(processes, url, (*QUICK, *options))
    workers(broker, "jobs.py", 1)
    attack = Attack(broker, random.Random(f"{SEED} {who}"), curve)
    with Pair(broker, produce(broker)) as pair:
        before = highest = rss_bytes(broker.pid)
        deadline = monotonic() + FUZZ_S
        try:
            while monotonic() < deadline:
                attack.strike()
                assert broker.process.is_running(), broker.process.err
                highest = max(highest, rss_bytes(broker.pid))
            done = pair.done
            wait_until(lambda: pair.done > done + 20 or pair.error, what="work under fire")
        finally:
            attack.close()
    print(f"{who}: {dict(attack.done)}, {pair.done} calls, {highest - before >> 20} MiB more")
    assert broker.process.is_running(), broker.process.err
    assert "Traceback" not in broker.process.err
    assert highest - before < RSS_GROWTH_MAX
