"""What a broker remembers of its peers."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.core.histogram import Histogram
from zqueue.core.ready import Budget, ReadyQueue
from zqueue.protocol.messages import DONE, RESULTS, Result
from zqueue.protocol.peers import (
    HELD_BYTES_MAX,
    Producer,
    Queue,
    Supervisor,
    Worker,
    origin_number,
)


def test_results_are_held_up_to_a_bound() -> None:
    producer = Producer(b"id")
    half = b"x" * (HELD_BYTES_MAX // 2 - 200)
    one, two, three = (Result(sequence, 0, 1, RESULTS) for sequence in (1, 2, 3))
    assert producer.hold(one, half)
    assert producer.hold(two, half)
    assert producer.held_bytes == HELD_BYTES_MAX
    assert not producer.hold(three, b"")
    assert producer.take_held() == [(one, half), (two, half)]
    assert producer.take_held() == []
    assert producer.hold(three, half), "there is room again"


def test_empty_results_are_not_free() -> None:
    producer = Producer(b"id")
    assert producer.hold(Result(1, 0, 1, DONE), b"")
    assert producer.held_bytes == 200


@pytest.mark.parametrize(("supervisor", "known"), [(b"s", b"s"), (None, b""), ("s", b""), (1, b"")])
def test_a_supervisor_is_an_id_or_nobody(supervisor: Any, known: bytes) -> None:
    assert Worker(b"w", b"peer", {"supervisor": supervisor}, []).supervisor == known


def test_of_an_id_only_a_number_is_told() -> None:
    """Six bytes of sixteen: too little to take the producer's place."""
    assert origin_number(bytes(range(1, 17))) == 0x010203040506
    assert origin_number(b"p") == ord("p")
    assert Producer(b"\xff" * 16).number == (1 << 48) - 1


def test_reprs_print_the_state() -> None:
    ready = ReadyQueue("mail", tasks_max=9, bytes_max=9, budget=Budget(9))
    queue = Queue(ready, egress=False, wait=Histogram(), batches=Histogram())
    assert repr(queue) == "<Queue <ReadyQueue mail: 0 ready, 0 leased>, 0 hungry, 0 withheld>"
    worker = Worker(b"w", b"peer", {}, [queue])
    assert repr(worker) == "<Worker 77: 0 in flight, credit 0>"
    assert repr(Producer(b"p")) == "<Producer 70 <Taken up to #0, 0 missing>>"
    assert repr(Supervisor(b"s", b"peer", {})) == "<Supervisor 73>"
