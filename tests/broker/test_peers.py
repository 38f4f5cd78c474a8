"""What a broker remembers of its peers."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.broker.book import Book
from zqueue.broker.peers import (
    ProducerPeer,
    SupervisorPeer,
    WorkerPeer,
    origin_number,
)
from zqueue.config import Limits
from zqueue.core.counters import Counters


@pytest.mark.parametrize(("supervisor", "known"), [(b"s", b"s"), (None, b""), ("s", b""), (1, b"")])
def test_a_supervisor_is_an_id_or_nobody(supervisor: Any, known: bytes) -> None:
    assert WorkerPeer(b"w", b"peer", {"supervisor": supervisor}, []).supervisor == known


def test_of_an_id_only_a_number_is_told() -> None:
    """Six bytes of sixteen: too little to take the producer's place."""
    assert origin_number(bytes(range(1, 17))) == 0x010203040506
    assert origin_number(b"p") == ord("p")
    assert ProducerPeer(b"\xff" * 16).number == (1 << 48) - 1


def test_reprs_print_the_state() -> None:
    queue = Book(Limits(), Counters()).queue("mail")
    assert repr(queue) == "<Queue <ReadyQueue mail: 0 ready, 0 leased>, 0 hungry, 0 withheld>"
    worker = WorkerPeer(b"w", b"peer", {}, [queue])
    assert repr(worker) == "<Worker 77: 0 in flight, credit 0>"
    assert repr(ProducerPeer(b"p")) == "<Producer 70 <Taken up to #0, 0 missing>>"
    assert repr(SupervisorPeer(b"s", b"peer", {})) == "<Supervisor 73>"
