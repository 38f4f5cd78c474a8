"""Whatever peers say: the machine answers or passes it over, and never raises.

An exception in it would end the broker's process (see `zqueue.broker.process`), so no message may
cause one. Peers of every role and strangers say messages of every kind, with fields that fit their
types, and frames that fit or do not; now and then time passes, and sends find peers gone.
"""

from __future__ import annotations

import struct
from typing import Any, get_type_hints

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zqueue.broker.intake import Ingest
from zqueue.broker.machine import BrokerProtocol
from zqueue.config import Limits
from zqueue.wire.codec import pack
from zqueue.wire.headers import INT_MAX, NAME, decode, encode
from zqueue.wire.messages import KINDS, Hello

LIMITS = Limits(queue_tasks_max=20, queue_bytes_max=4_000, bytes_max=8_000, peers_max=6,
                queues_max=4)  # fmt: skip
PEERS = [b"p1", b"p2", b"w1", b"w2", b"s", b"o", b"stranger"]
FIRST_LEASE = 500

NUMBERS = st.one_of(
    st.integers(0, 5),
    st.integers(FIRST_LEASE, FIRST_LEASE + 8),
    st.sampled_from([4096, 4097, 1 << 31, 1 << 32, 1 << 53, INT_MAX - 1, INT_MAX]),
)
WORDS = st.sampled_from(
    ["", "q", "r", "t", "u", "producer", "worker", "supervisor", "observer", "pause", "drain",
     "resume", "info", "stats", "dead", "crashed", "stopped", "timeout", "ä", "x" * 129, "a b"]
)  # fmt: skip
IDS = st.sampled_from([b"p1", b"p2", b"w1", b"w2", b"s", b"o", b"x" * 32, b"\0"])
ROWS = st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 6), st.integers(0, 5))
FIELDS: dict[Any, st.SearchStrategy[Any]] = {
    int: NUMBERS,
    str: WORDS,
    bytes: IDS,
    list[int]: st.lists(NUMBERS, max_size=6),
    list[bytes]: st.lists(IDS, max_size=4),
    list[list[int]]: st.lists(
        ROWS.map(list) | st.lists(NUMBERS, min_size=4, max_size=4), max_size=5
    ),
    list[list[Any]]: st.just([]),
}

PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(), WORDS,
    st.binary(max_size=20),
)  # fmt: skip
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
ABOUT = st.fixed_dictionaries(
    {},
    optional={
        "queues": st.lists(st.sampled_from(["q", "r", "v", "w", "x", "y", "a b"]), max_size=5)
        | VALUES,
        "tasks": st.dictionaries(WORDS, WORDS, max_size=4) | VALUES,
        "supervisor": IDS | VALUES,
        "pid": VALUES, "host": VALUES, "version": VALUES, "gc": VALUES, "running": VALUES,
        "done": VALUES, "confirm": VALUES,
    },
)  # fmt: skip
EXTENSIONS = st.builds(
    lambda kind, data: b"\x81\xa3pid\xc7" + struct.pack("BB", len(data), kind) + data,
    st.integers(0, 255), st.binary(max_size=20),
)  # fmt: skip
FRAMES = st.one_of(
    ABOUT.map(pack),
    VALUES.map(pack),
    st.lists(PLAIN, max_size=6).map(pack),
    st.binary(max_size=40),
    EXTENSIONS,
    st.sampled_from([b"\xdc\x10\x00" + bytes(4096), b"\xdd\xff\xff\xff\xff", b"\x93\x01\xc1\x01"]),
)


def _of(kind: type[Any]) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda *values: encode(kind(*values)),
        *(FIELDS[hint] for hint in get_type_hints(kind).values()),
    )


HEADERS = st.one_of(
    *(_of(kind) for kind in KINDS.values()),
    st.lists(VALUES, max_size=6).map(pack),
    st.binary(max_size=20),
)
MESSAGES = st.tuples(st.sampled_from(PEERS), HEADERS, st.lists(FRAMES, max_size=3))
STEPS = st.one_of(MESSAGES, MESSAGES, MESSAGES, st.floats(0, 700))


def _greeted() -> BrokerProtocol:
    broker = BrokerProtocol(b"broker-1", LIMITS, first_lease=FIRST_LEASE,
                            egress=frozenset({"out"}))  # fmt: skip
    about = pack({"queues": ["q", "r"], "tasks": {"t": "q"}, "supervisor": b"s"})
    roles = {b"p": "producer", b"w": "worker", b"s": "supervisor", b"o": "observer"}
    for peer in PEERS[:-1]:
        broker.receive(peer, "", [encode(Hello(roles[peer[:1]], peer)), about], 0.0)
    return broker


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, max_size=40), gone=st.sets(st.sampled_from(PEERS)))
def test_no_message_makes_the_machine_raise(steps: list[Any], gone: set[bytes]) -> None:
    broker = _greeted()
    now = 0.0
    for step in steps:
        if isinstance(step, float):
            now += step
            broker.tick(now)
        else:
            peer, header, frames = step
            broker.receive(peer, "", [header, *frames], now)
        for _ in range(20):
            for to, sent in broker.to_send():
                decode(sent[0])
                if to in gone:
                    broker.unreachable(to, sent, now)
    pack(broker.teller.info())
    pack(broker.teller.stats())
    assert all(NAME.match(name) for name in broker.book.queues)


@settings(max_examples=100, deadline=None)
@given(frames=st.lists(FRAMES | WORDS.map(str.encode), max_size=4))
def test_nor_does_the_plain_lane(frames: list[bytes]) -> None:
    broker = _greeted()
    outcome = broker.ingest(frames, 1.0)
    assert (outcome is Ingest.TAKEN) == bool(broker.book.totals().ingested)
    if len(frames) != 2:
        assert (outcome, broker.book.totals().garbage) == (Ingest.REFUSED, 1)
    broker.dispatch.take_egress("out", 1.0)
