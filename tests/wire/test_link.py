"""The link: greeting, staying alive, noticing loss, leaving."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.wire.codec import pack
from zqueue.wire.headers import decode
from zqueue.wire.link import (
    GREETING_HIGH_S,
    GREETING_LOW_S,
    TRANSITIONS,
    Connected,
    Disconnected,
    Elsewhere,
    Input,
    Link,
    Rejected,
    State,
)
from zqueue.wire.messages import Credit, Goodbye, Heartbeat, Hello, Refuse, Welcome

WELCOME = Welcome(b"broker-1", 1000, 5000)
UNKNOWN = Refuse("unknown-peer", 0, "say hello first")


def make_link(random: float = 1.0) -> Link:
    """A link of a worker; every random number is the same."""
    return Link("worker", b"me", pack({"pid": 1}), lambda: random)


def sent(link: Link) -> list[Any]:
    """What it wants sent, without further frames."""
    out, link.out = link.out, []
    return [decode(frames[0]) for frames in out]


def ready_link(now: float = 10.0) -> Link:
    """A link that was welcomed."""
    link = make_link()
    link.tick(now)
    assert link.receive(WELCOME, now) == Connected(same_broker=False)
    link.out.clear()
    return link


class TestGreeting:
    def test_greets_at_the_first_tick(self) -> None:
        link = make_link()
        assert link.next_deadline() == float("-inf")
        assert link.tick(10.0) is None
        assert len(link.out) == 1
        assert decode(link.out[0][0]) == Hello("worker", b"me")
        assert link.out[0][1] == pack({"pid": 1})

    def test_greets_again_with_growing_pauses(self) -> None:
        link, now, pauses = make_link(), 10.0, []
        for _ in range(9):
            link.tick(now)
            assert sent(link) == [Hello("worker", b"me")]
            deadline = link.next_deadline()
            assert deadline is not None
            link.tick(deadline - 0.001)
            assert sent(link) == []
            pauses.append(round(deadline - now, 6))
            now = deadline
        assert pauses == [0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.0, 2.0, 2.0]
        assert (GREETING_LOW_S, GREETING_HIGH_S) == (0.02, 2.0)

    def test_unsent_greetings_do_not_pile_up(self) -> None:
        link = make_link()
        for now in (10.0, 20.0, 30.0):
            link.tick(now)
        assert sent(link) == [Hello("worker", b"me")]

    def test_is_welcomed(self) -> None:
        link = make_link()
        link.tick(10.0)
        assert not link.is_ready
        assert link.receive(WELCOME, 10.5) == Connected(same_broker=False)
        assert link.is_ready
        assert repr(link) == "<Link ready>"
        assert link.next_deadline() == 11.5

    def test_every_welcome_counts(self) -> None:
        """A broker that was stopped answers several greetings, and forgets us at each."""
        link = ready_link()
        assert link.receive(Welcome(b"broker-1", 1000, 5000), 10.5) == Connected(same_broker=True)
        assert link.receive(Welcome(b"broker-2", 9, 9), 11.0) == Connected(same_broker=False)
        assert link.is_ready
        assert link.next_deadline() == pytest.approx(11.009)

    def test_knows_the_same_broker_again(self) -> None:
        link = ready_link()
        for broker, same in ((b"broker-1", True), (b"broker-2", False), (b"broker-2", True)):
            link.receive(UNKNOWN, 11.0)
            assert link.receive(Welcome(broker, 1000, 5000), 11.1) == Connected(same_broker=same)

    def test_the_pause_starts_small_after_a_welcome(self) -> None:
        link, now = make_link(), 10.0
        for _ in range(9):
            link.tick(now)
            now = link.next_deadline() or 0.0
        link.receive(WELCOME, now)
        link.receive(UNKNOWN, now)
        link.tick(now)
        assert link.next_deadline() == pytest.approx(now + 0.04)

    def test_goes_on_greeting_after_a_rejection(self) -> None:
        link = make_link()
        link.tick(10.0)
        assert link.receive(Refuse("too-many-peers", 0, "no room"), 10.0) == Rejected(
            "too-many-peers", "no room"
        )
        assert link.state is State.GREETING
        link.out.clear()
        link.tick(10.04)
        assert sent(link) == [Hello("worker", b"me")]


class TestAlive:
    def test_sends_heartbeats(self) -> None:
        link = ready_link()
        for now in (11.0, 12.0, 13.0):
            link.tick(now - 0.01)
            assert sent(link) == []
            link.tick(now)
            assert sent(link) == [Heartbeat([])]
            link.receive(Heartbeat([]), now)

    def test_silence_after_asking_is_loss(self) -> None:
        link = ready_link()
        link.tick(11.0)
        for now in (12.0, 13.0, 14.0, 15.0, 15.9):
            assert link.tick(now) is None
        assert link.next_deadline() == 16.0
        assert link.tick(16.0) == Disconnected("silent for 5.0 s")
        assert link.state is State.GREETING
        assert link.next_deadline() == 16.0
        link.tick(16.0)
        assert sent(link) == [Hello("worker", b"me")]

    def test_any_message_ends_the_silence(self) -> None:
        link = ready_link()
        link.tick(11.0)
        link.receive(Credit(1), 15.9)
        assert link.tick(16.0) is None
        assert link.tick(20.9) is None
        assert link.tick(21.0) == Disconnected("silent for 5.0 s")

    def test_who_slept_and_asked_nothing_concludes_nothing(self) -> None:
        link = ready_link()
        assert link.tick(3600.0) is None
        assert link.is_ready
        assert sent(link) == [Heartbeat([])]

    def test_what_was_unsent_is_forgotten_with_the_link(self) -> None:
        link = ready_link()
        link.send(Credit(5))
        assert link.receive(UNKNOWN, 12.0) == Disconnected("the broker is new", is_new=True)
        assert link.out == []

    def test_a_refusal_of_a_batch_is_not_about_the_link(self) -> None:
        link = ready_link()
        assert link.receive(Refuse("unknown-peer", 4, ""), 12.0) is None
        assert link.is_ready


class TestLeaving:
    def test_says_goodbye_and_waits_for_the_answer(self) -> None:
        link = ready_link()
        link.leave(12.0)
        assert sent(link) == [Goodbye()]
        assert link.state is State.LEAVING
        assert link.receive(Credit(1), 12.1) is None
        assert link.receive(Goodbye(), 12.2) is None
        assert link.state is State.LEFT
        assert link.next_deadline() is None
        assert link.tick(99.0) is None
        assert sent(link) == []

    def test_leaves_at_once_where_nobody_knows_it(self) -> None:
        link = make_link()
        link.tick(10.0)
        link.leave(10.0)
        assert link.state is State.LEFT

    @pytest.mark.parametrize("how", ["silence", "unknown"])
    def test_does_not_wait_for_a_broker_that_is_gone(self, how: str) -> None:
        link = ready_link()
        link.leave(12.0)
        event = link.receive(UNKNOWN, 12.5) if how == "unknown" else link.tick(17.0)
        assert event is None
        assert link.state is State.LEFT


class TestTable:
    def test_every_state_is_listed(self) -> None:
        assert set(TRANSITIONS) == set(State)
        assert TRANSITIONS[State.LEFT] == {Input.RETURN: State.GREETING}

    @pytest.mark.parametrize("state", State)
    @pytest.mark.parametrize("cause", Input)
    def test_a_link_moves_as_listed_and_not_otherwise(self, state: State, cause: Input) -> None:
        link = ready_link()
        link.state = state
        link.tick(11.0)
        {
            Input.WELCOMED: lambda: link.receive(WELCOME, 12.0),
            Input.UNKNOWN: lambda: link.receive(UNKNOWN, 12.0),
            Input.SILENCE: lambda: link.tick(17.0),
            Input.LEAVE: lambda: link.leave(12.0),
            Input.ANSWERED: lambda: link.receive(Goodbye(), 12.0),
            Input.REPLACED: lambda: link.give_way(),
            Input.RETURN: lambda: link.come_back(),
        }[cause]()
        expected = TRANSITIONS[state].get(cause, state)
        if state is State.READY and cause is Input.ANSWERED:
            expected = State.GREETING  # It was not asked for: the broker leaves.
        assert link.state is expected


class TestSiblings:
    """Two addresses may be of one broker."""

    SEEN = WELCOME._replace(look=1)

    def links(self, role: str) -> list[Link]:
        links = [Link(role, b"me", pack({}), lambda: 0.0) for _ in range(2)]
        for link in links:
            link.siblings = links
            link.tick(10.0)
            assert sent(link) == [Hello(role, b"me", 1)]
        return links

    def test_only_one_greets(self) -> None:
        first, second = self.links("worker")
        assert first.receive(self.SEEN, 10.0) is second.receive(self.SEEN, 10.0) is None
        assert (sent(first), sent(second)) == ([Hello("worker", b"me")], [])
        assert first.receive(WELCOME, 10.0) == Connected(same_broker=False)
        assert second.twin is first
        assert first.receive(self.SEEN, 10.0) is None, "an answer that comes late"

    @pytest.mark.parametrize("role", ["worker", "producer"])
    def test_the_other_goes_on_if_it_is_lost(self, role: str) -> None:
        """Of a producer, the link that has the numbers does, at that address."""
        first, second = self.links(role)
        first.receive(self.SEEN, 10.0)
        first.receive(WELCOME, 10.0)
        first.receive(UNKNOWN, 11.0)
        second.tick(20.0)
        sent(second)
        found = second.receive(self.SEEN, 20.0)
        assert found == (Elsewhere(first) if role == "producer" else None)
        assert sent(second) == ([] if role == "producer" else [Hello(role, b"me")])

    def test_an_earlier_broker_welcomes_who_only_looks(self) -> None:
        first, _ = self.links("worker")
        assert first.receive(WELCOME, 10.0) == Connected(same_broker=False)
