"""A worker is cut off: a send finds that its connection is gone, and its supervisor is there."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.wire.headers import encode
from zqueue.wire.messages import Deliver, Departed, Heartbeat


@pytest.fixture
def cut_off(talk: Any, deliveries: Any) -> tuple[Any, Deliver]:
    """A broker that has just found out, and what the worker holds."""
    t = talk(liveness_s=5.0)
    t.producer()
    t.hello("supervisor", b"s")
    t.worker(b"w1", credit=2, supervisor=b"s")
    t.publish(b"p", 1, ["a", "b"])
    ((_, message, _),) = deliveries(t.hear())
    t.broker.unreachable(b"w1", [encode(Heartbeat([]))], t.now)
    return t, message


def test_its_supervisor_is_waited_for(cut_off: Any, deliveries: Any) -> None:
    t, message = cut_off
    t.publish(b"p", 2, ["c"])
    assert deliveries(t.hear()) == [], "it gets nothing more"
    assert (t.ready(), t.leased(), t.broker.book.totals().workers_lost) == (1, 2, 0)
    t.say(b"s", Departed(b"w1", "timeout", message.lease, 0, "too long"))
    assert (t.ready(), t.leased(), t.broker.book.totals().workers_lost) == (2, 0, 0)
    ((reason, attempt),) = [(d.reason, d.deliveries) for d in t.broker.dead.newest(9)]
    assert (reason, attempt) == ("timeout", 1)


def test_it_greets_anew(cut_off: Any, deliveries: Any) -> None:
    t, _ = cut_off
    t.worker(b"w1 again", credit=5, supervisor=b"s", id=b"w1")
    ((peer, message, _),) = deliveries(t.hear())
    assert peer == b"w1 again"
    assert [batch[2:4] for batch in message.batches] == [[2, 2]], "both: they are no suspects"
    assert t.broker.book.totals().workers_lost == 0


def test_whatever_its_supervisor_says_it_is_silent(cut_off: Any) -> None:
    t, _ = cut_off
    t.now += 4
    t.say(b"s", Heartbeat([b"w1"]))
    t.broker.tick(1004.9)
    assert t.leased() == 2
    t.broker.tick(1005.0)
    assert (t.ready(), t.leased(), t.broker.book.totals().workers_lost) == (2, 0, 1)


@pytest.mark.parametrize("supervisor", [b"", b"not here"])
def test_without_a_supervisor_it_has_crashed(talk: Any, supervisor: bytes) -> None:
    t = talk()
    t.producer()
    t.worker(b"w1", credit=2, supervisor=supervisor)
    t.publish(b"p", 1, ["a", "b"])
    t.hear()
    t.broker.unreachable(b"w1", [encode(Heartbeat([]))], t.now)
    assert (t.ready(), t.leased(), t.broker.book.totals().workers_lost) == (2, 0, 1)


def test_who_is_behind_is_there_still(talk: Any, deliveries: Any) -> None:
    """Nobody else will say that it is lost: what it was to be sent is ready again at once, and it
    learns that it was given up as soon as it says anything."""
    t = talk()
    t.producer()
    t.hello("supervisor", b"s")
    t.worker(b"w1", credit=2, supervisor=b"s")
    t.publish(b"p", 1, ["a", "b"])
    ((_, message, frames),) = deliveries(t.hear())
    t.broker.unreachable(b"w1", [encode(message), *frames], t.now, is_gone=False)
    assert (t.ready(), t.leased(), t.broker.book.totals().workers_lost) == (2, 0, 1)
    assert [m.code for m in t.say(b"w1", Heartbeat([]))] == ["unknown-peer"]
    t.worker(b"w1", credit=2, supervisor=b"s")
    ((_, message, _),) = deliveries(t.hear())
    assert [batch[2:4] for batch in message.batches] == [[2, 2]], "both: they are no suspects"
