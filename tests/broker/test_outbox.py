"""Outboxes: order, bounds, and whom they give up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.broker.outbox import LEAST_BYTES, OUTBOX_BYTES_MAX, SHARE, Outboxes
from zqueue.core.ready import Budget


class Gone(Exception):
    """A peer is not there."""


class Pipes:
    """A pipe to each peer, with room for so many messages, or broken."""

    def __init__(self) -> None:
        self.room: dict[bytes, int] = {}
        self.gone: set[bytes] = set()
        self.sent: list[tuple[bytes, bytes]] = []

    def transmit(self, message: list[bytes]) -> bool:
        peer, body = message
        if peer in self.gone:
            raise Gone
        if self.room.get(peer, 0) < 1:
            return False
        self.room[peer] -= 1
        self.sent.append((peer, body))
        return True


def make(bytes_max: int = 1 << 40, least_bytes: int = 0) -> tuple[Pipes, Outboxes, Budget]:
    pipes, budget = Pipes(), Budget(bytes_max)
    outboxes = Outboxes(
        pipes.transmit, lambda e: isinstance(e, Gone), budget, least_bytes=least_bytes
    )
    return pipes, outboxes, budget


def test_what_has_room_is_sent_at_once() -> None:
    pipes, outboxes, budget = make()
    pipes.room[b"a"] = 1
    assert outboxes.send(b"a", [b"1"])
    assert not outboxes
    assert pipes.sent == [(b"a", b"1")]
    assert budget.bytes == 0


def test_what_has_none_waits_in_order() -> None:
    pipes, outboxes, budget = make()
    assert outboxes.send(b"a", [b"1"])
    pipes.room[b"a"] = 1
    assert outboxes.send(b"a", [b"2"]), "behind the first, though there is room"
    assert (pipes.sent, budget.unsent, budget.bytes) == ([], 2, 2)
    assert outboxes.retry() == []
    assert (pipes.sent, budget.unsent) == ([(b"a", b"1")], 1)
    pipes.room[b"a"] = 9
    assert outboxes.retry() == []
    assert pipes.sent == [(b"a", b"1"), (b"a", b"2")]
    assert (bool(outboxes), budget.unsent, budget.bytes) == (False, 0, 0)


def test_a_peer_that_is_gone() -> None:
    pipes, outboxes, budget = make()
    assert outboxes.send(b"a", [b"1"])
    pipes.gone |= {b"a", b"b"}
    assert not outboxes.send(b"b", [b"2"])
    assert outboxes.retry() == [(b"a", [b"1"], True)]
    assert (bool(outboxes), budget.bytes) == (False, 0)


def test_another_fault_is_raised() -> None:
    def broken(message: list[bytes]) -> bool:
        raise RuntimeError

    outboxes = Outboxes(broken, lambda error: False, Budget(100))
    with pytest.raises(RuntimeError):
        outboxes.send(b"a", [b"1"])


def test_a_peer_too_far_behind_is_given_up() -> None:
    _, outboxes, budget = make()
    part = bytes(OUTBOX_BYTES_MAX // 2)
    assert outboxes.send(b"a", [part])
    assert outboxes.send(b"a", [part])
    assert outboxes.send(b"a", [b"x"]), "it comes back with the others"
    back = [(b"a", [part], False), (b"a", [part], False), (b"a", [b"x"], False)]
    assert outboxes.retry() == back
    assert (bool(outboxes), budget.bytes) == (False, 0)


def test_of_all_together_the_fullest_is_given_up() -> None:
    pipes, outboxes, budget = make(SHARE * 100)
    pipes.room[b"c"] = 0
    for peer, nbytes in ((b"a", 30), (b"b", 60), (b"c", 10)):
        assert outboxes.send(peer, [bytes(nbytes)])
    assert outboxes.send(b"c", [b"x"])
    assert budget.unsent == 41
    pipes.room |= {b"a": 9, b"b": 9, b"c": 9}
    assert outboxes.retry() == [(b"b", [bytes(60)], False)]
    assert [peer for peer, _ in pipes.sent] == [b"a", b"c", b"c"]


def test_answers_to_a_window_wait_however_little_the_broker_may_hold() -> None:
    """Else who sent it would be given up, greet anew, and send it again, for ever."""
    _, outboxes, _ = make(6000, LEAST_BYTES)
    for _ in range(1000):
        assert outboxes.send(b"a", [bytes(45)])
    assert outboxes.retry() == []


STEPS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 90)),
    st.tuples(st.just("room"), st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 3)),
    st.tuples(st.just("gone"), st.sampled_from([b"a", b"b", b"c"]), st.just(0)),
    st.tuples(st.just("retry"), st.just(b""), st.just(0)),
)


@given(steps=st.lists(STEPS, max_size=60))
def test_every_message_is_sent_or_handed_back_in_order(
    steps: list[tuple[str, bytes, int]],
) -> None:
    pipes, outboxes, budget = make(SHARE * 200)
    given_: dict[bytes, list[bytes]] = {b"a": [], b"b": [], b"c": []}
    back: list[tuple[bytes, bytes]] = []
    number = 0
    for what, peer, n in steps:
        if what == "send":
            number += 1
            body = b"%04d" % number + bytes(n)
            given_[peer].append(body)
            if not outboxes.send(peer, [body]):
                back.append((peer, body))
        elif what == "room":
            pipes.gone.discard(peer)
            pipes.room[peer] = n
        elif what == "gone":
            pipes.gone.add(peer)
        else:
            back += [(who, frames[0]) for who, frames, _ in outboxes.retry()]
        assert 0 <= budget.unsent == budget.bytes <= 200
    back += [(who, frames[0]) for who, frames, _ in outboxes.retry()]
    pipes.gone.clear()
    pipes.room = dict.fromkeys(given_, 1000)
    back += [(who, frames[0]) for who, frames, _ in outboxes.retry()]
    for peer, bodies in given_.items():
        sent = [body for who, body in pipes.sent if who == peer]
        assert sent == sorted(sent)
        assert sorted(sent + [body for who, body in back if who == peer]) == bodies
    assert (bool(outboxes), budget.bytes) == (False, 0)
