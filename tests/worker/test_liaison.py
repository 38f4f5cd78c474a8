"""The machine of a supervisor."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.link import Connected, Disconnected, State
from zqueue.wire.messages import Departed, Heartbeat, Hello, Message, Refuse, Welcome
from zqueue.worker.liaison import STAY_S, UNREPORTED_MAX, SupervisorProtocol

WELCOME = Welcome(b"broker-1", 1000, 5000)
UNKNOWN = Refuse("unknown-peer", 0, "")


def hear(machine: SupervisorProtocol, message: Message, now: float = 10.0) -> list[Any]:
    """The broker sends something. Returns what happened."""
    machine.receive([encode(message)], now)
    events = []
    while (event := machine.next_event()) is not None:
        events.append(event)
    return events


def sent(machine: SupervisorProtocol) -> list[Any]:
    """What it wants sent: messages, without further frames."""
    return [decode(frames[0]) for frames in machine.to_send()]


@pytest.fixture
def supervisor() -> SupervisorProtocol:
    """A supervisor that was welcomed."""
    machine = SupervisorProtocol(b"boss", pack({}), lambda: 0.0)
    machine.tick(10.0)
    assert sent(machine) == [Hello("supervisor", b"boss")]
    assert hear(machine, WELCOME) == [Connected(same_broker=False)]
    return machine


class TestSupervisor:
    def test_speaks_for_its_workers(self, supervisor: SupervisorProtocol) -> None:
        supervisor.joined(b"a")
        supervisor.joined(b"b")
        supervisor.tick(11.0)
        assert sent(supervisor) == [Heartbeat([b"a", b"b"])]
        assert repr(supervisor) == "<SupervisorProtocol ready for 2>"

    def test_reports_who_departed_and_stops_speaking_for_it(
        self, supervisor: SupervisorProtocol
    ) -> None:
        supervisor.joined(b"a")
        supervisor.joined(b"b")
        supervisor.departed(b"a", "timeout", lease=7, position=3, text="over 3 s")
        supervisor.departed(b"unknown", "crashed", text="x" * 1000)
        supervisor.tick(11.0)
        assert sent(supervisor) == [
            Departed(b"a", "timeout", 7, 3, "over 3 s"),
            Departed(b"unknown", "crashed", 0, 0, "x" * 500),
            Heartbeat([b"b"]),
        ]

    def test_says_who_departed_once_somebody_listens(self, supervisor: SupervisorProtocol) -> None:
        """The first worker of a pool may die before its supervisor was welcomed."""
        supervisor.joined(b"a")
        supervisor.joined(b"b")
        assert hear(supervisor, UNKNOWN) == [Disconnected("the broker is new", is_new=True)]
        supervisor.departed(b"a", "crashed")
        supervisor.departed(b"b", "stopped")
        supervisor.tick(10.0)
        assert sent(supervisor) == [Hello("supervisor", b"boss")]
        assert supervisor.link.workers == []
        told = [Departed(b"a", "crashed", 0, 0, ""), Departed(b"b", "stopped", 0, 0, "")]
        hear(supervisor, WELCOME)
        assert sent(supervisor) == told
        hear(supervisor, WELCOME)
        assert sent(supervisor) == []

    def test_remembers_so_many_who_departed(self, supervisor: SupervisorProtocol) -> None:
        hear(supervisor, UNKNOWN)
        for i in range(UNREPORTED_MAX + 5):
            supervisor.departed(b"%d" % i, "crashed")
        hear(supervisor, WELCOME)
        assert [m.worker for m in sent(supervisor)] == [
            b"%d" % i for i in range(5, UNREPORTED_MAX + 5)
        ]

    def test_speaks_for_as_many_workers_as_a_pool_may_have(
        self, supervisor: SupervisorProtocol
    ) -> None:
        """1,024 processes (`WorkerConfig`), each with an id of 16 bytes: a broker reads it."""
        names = [b"%016d" % i for i in range(1024)]
        for name in names:
            supervisor.joined(name)
        supervisor.tick(11.0)
        heard = sent(supervisor)
        assert [name for message in heard for name in message.workers] == names


class TestNamedNoMore:
    """It stays until the workers have left, for it speaks for them."""

    def test_it_leaves_once_no_worker_is_about_to(self, supervisor: SupervisorProtocol) -> None:
        supervisor.named(False, 10.0)
        supervisor.look(10.0 + STAY_S - 1, False)
        supervisor.look(10.0 + STAY_S, True)
        assert supervisor.link.state is State.READY
        supervisor.named(False, 99.0)
        supervisor.look(10.0 + STAY_S, False)
        assert supervisor.link.state is State.LEAVING

    def test_it_stays_if_it_is_named_again(self, supervisor: SupervisorProtocol) -> None:
        supervisor.named(False, 10.0)
        supervisor.named(True, 11.0)
        supervisor.look(10.0 + STAY_S, False)
        assert supervisor.link.state is State.READY

    def test_a_broker_that_is_gone_is_left_at_once(self, supervisor: SupervisorProtocol) -> None:
        hear(supervisor, UNKNOWN)
        supervisor.named(False, 10.0)
        supervisor.look(10.0, True)
        assert supervisor.link.state is State.LEFT
