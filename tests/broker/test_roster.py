"""The roster: who is here, who is away, who speaks for whom."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.broker.book import Book
from zqueue.broker.held import HeldResults
from zqueue.broker.peers import ProducerPeer, SupervisorPeer, WorkerPeer
from zqueue.broker.roster import LISTED_MAX, Roster
from zqueue.config import Limits
from zqueue.core.counters import Counters
from zqueue.errors import ProtocolError
from zqueue.wire.messages import Hello


@pytest.fixture
def roster() -> Roster:
    limits = Limits(peers_max=2, queues_max=3)
    book = Book(limits, Counters())
    return Roster(limits, book, HeldResults(book.budget, book.counters))


def join(roster: Roster, role: str, peer: bytes, id: bytes = b"me", **about: Any) -> Any:
    hello = Hello(role, id)
    for earlier in roster.earlier(hello, peer):
        roster.remove(earlier)
    return roster.welcome(hello, peer, about)


def test_a_producer_that_left_is_the_same_when_it_comes_back(roster: Roster) -> None:
    producer = join(roster, "producer", b"1")
    assert roster.remove(b"1") is producer
    assert producer.peer is None
    assert roster.is_away(b"me")
    assert roster.former[b"1"] is producer
    assert join(roster, "producer", b"2") is producer
    assert (producer.peer, roster.is_away(b"me")) == (b"2", False)
    assert roster.remove(b"1") is None


def test_a_greeting_replaces_what_the_id_and_the_place_had(roster: Roster) -> None:
    join(roster, "worker", b"1", b"w", queues=["q"])
    join(roster, "observer", b"2", b"o")
    assert set(roster.earlier(Hello("worker", b"w"), b"2")) == {b"1", b"2"}
    assert roster.earlier(Hello("worker", b"other"), b"3") == []
    assert roster.is_full()


def test_of_many_that_are_away_the_first_is_forgotten(roster: Roster) -> None:
    for i in range(30):
        join(roster, "producer", b"%d" % i, b"id%d" % i)
        roster.remove(b"%d" % i)
    assert len(roster.producers) <= 10 * 2 + 2
    assert b"id29" in roster.producers
    assert b"id0" not in roster.producers
    assert len(roster.former) == 2


def test_a_supervisor_speaks_for_those_that_named_it(roster: Roster) -> None:
    supervisor = join(roster, "supervisor", b"s", b"s")
    own = join(roster, "worker", b"1", b"w1", queues=["q"], supervisor=b"s")
    lone = join(roster, "worker", b"2", b"w2", queues=["q"])
    assert isinstance(supervisor, SupervisorPeer)
    assert roster.supervised(supervisor, b"w1") is own
    assert roster.supervised(supervisor, b"w2") is None
    assert roster.supervised(supervisor, b"nobody") is None
    assert (roster.has_supervisor(own), roster.has_supervisor(lone)) == (True, False)


@pytest.mark.parametrize(
    "about",
    [{}, {"queues": []}, {"queues": "q"}, {"queues": [1]}, {"queues": ["ok", "no good"]},
     {"queues": ["a", "b", "c", "d"]}],
)  # fmt: skip
def test_who_cannot_be_welcomed_leaves_no_trace(roster: Roster, about: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        join(roster, "worker", b"1", **about)
    with pytest.raises(ProtocolError):
        join(roster, "king", b"1")
    assert not roster.peers
    assert not roster.workers
    assert not roster._book.queues


def test_tasks_are_remembered_up_to_a_bound(roster: Roster) -> None:
    many = {f"t{i}": "q" for i in range(10 * LISTED_MAX)}
    join(roster, "worker", b"1", b"w1", queues=["q"], tasks={"a": "q", "b": 1})
    join(roster, "worker", b"2", b"w2", queues=["q"], tasks=many)
    assert roster.tasks == {"a": "q"}
    assert repr(roster) == "<Roster of 2 peers, 0 away>"
    assert isinstance(roster.remove(b"1"), WorkerPeer)
    assert not isinstance(roster.peers[b"2"], ProducerPeer)
