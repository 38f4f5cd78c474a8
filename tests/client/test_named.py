"""A connection of a producer with a name. `tests/broker/test_names.py` has the whole story."""

from __future__ import annotations

from zqueue.client.named import NamedConnection
from zqueue.client.sent import Dismissed
from zqueue.core.confirm import GAPS_MAX
from zqueue.wire.link import Connected, State
from zqueue.wire.messages import DONE, Await, Confirm, Result, Welcome
from zqueue.wire.unpacking import unpack

from .test_connection import Side


def make() -> Side:
    side = Side()
    side.machine = NamedConnection(b"me", {"pid": 1}, lambda: 0.0, first=1000)
    side.machine.tick(side.now)
    ((_, about),) = side.machine.to_send()
    assert unpack(about) == {"pid": 1, "first": 1000}
    return side


def test_numbers_on_from_what_the_broker_has_taken() -> None:
    side = make()
    assert side.hear(Welcome(b"broker-1", 1000, 5000, 700)) == [Connected(False, 700)]
    assert [side.publish(), side.publish()] == [1000, 1001]
    assert side.hear(Welcome(b"broker-1", 1000, 5000, 1002)) == [Connected(True, 1002)]
    (event,) = side.hear(Welcome(b"broker-1", 1000, 5000, 1003))
    assert isinstance(event, Dismissed), "the last number was another process's"


def test_greets_again_where_the_clock_was_set_back() -> None:
    side = make()
    assert side.hear(Welcome(b"broker-1", 1000, 5000, 2000)) == []
    side.machine.tick(side.now)
    ((_, about),) = side.machine.to_send()
    first = unpack(about)["first"]
    assert first == 2000 + GAPS_MAX
    assert side.hear(Welcome(b"broker-1", 1000, 5000, first)) == [Connected(True, first)]
    assert side.publish() == first


def test_a_broker_that_knows_no_names_is_left() -> None:
    side = make()
    (event,) = side.hear(Welcome(b"broker-1", 1000, 5000))
    assert isinstance(event, Dismissed)
    assert side.machine.link.state is State.LEFT


def test_says_what_it_has() -> None:
    side = make()
    side.hear(Welcome(b"broker-1", 1000, 5000, 1))
    side.publish(reply=True)
    side.hear(Confirm([1000, 1000]))
    side.hear(Result(999, 5, 2, DONE))
    side.sent()
    side.hear(Result(1000, 0, 2, DONE))
    assert side.sent() == [Await([], [1000, 0])]
    run = side.machine.earlier.give()
    assert run is not None
    side.machine.took(run)
    assert side.sent() == [Await([], [999, 5])]
    side.hear(Result(1000, 0, 2, DONE), *())
    side.hear(Result(999, 5, 2, DONE))
    assert side.sent() == [Await([], [1000, 0, 999, 5])], "it had them before"
