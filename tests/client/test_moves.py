"""Moves: what goes from a broker that is given up to another one."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.client.choice import Choice
from zqueue.client.connection import WINDOW_BATCHES, Connection
from zqueue.client.lane import Lane
from zqueue.client.moves import GRACE_S, UNHEARD_S, Moves
from zqueue.client.names import ROW_NUMBERS
from zqueue.client.sent import RESUBMITS_MAX, Resubmitted, ResultsCame, ResultsLost, Sent
from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.messages import (
    CANCELLED,
    MOVED,
    OPEN,
    REPLY,
    RESULTS,
    UNKNOWN_PEER,
    Confirm,
    Goodbye,
    Message,
    Publish,
    Refuse,
    Result,
    Welcome,
    Withdraw,
)
from zqueue.wire.options import TaskOptions

OWNER: Any = None
BODY = pack([1, 2])


class Reply:
    """Notes under which number its batch goes."""

    def __init__(self) -> None:
        self.number = 0

    def numbered(self, origin: int, sequence: int) -> None:
        self.number = sequence


class Brokers:
    """Two or more brokers, and what moves between them."""

    def __init__(self, count: int = 2, durable: int = 0) -> None:
        self.now = 100.0
        self.durable = durable
        self.all = [
            Connection(b"p" * 16, {}, lambda: 0.5, base=row * ROW_NUMBERS) for row in range(count)
        ]
        for row, connection in enumerate(self.all):
            connection.siblings, connection.name = self.all, "abc"[row]
        self.choice = Choice(self.all)
        self.moves = Moves(self.all, self.choice)
        self.events: list[Any] = []
        self.lane = Lane(OWNER, "q", "t")
        for row in range(count):
            self.welcome(row)

    def say(self, row: int, message: Message, *frames: bytes) -> None:
        self.all[row].receive([encode(message), *frames], self.now)
        self.handle()

    def handle(self) -> None:
        for connection in self.all:
            while (event := connection.next_event()) is not None:
                self.moves.on_link(connection, event, self.now)  # type: ignore[arg-type]
                self.events.append(event)

    def welcome(self, row: int, broker: bytes = b"") -> None:
        self.now += 3.0
        self.all[row].tick(self.now)
        self.all[row].to_send()  # Hello
        self.say(row, Welcome(broker or b"broker%d" % row, 1000, 5000, 0, self.durable))
        self.moves.tick(self.now)

    def publish(self, row: int, reply: Any = None) -> Sent:
        return self.all[row].publish(self.lane, BODY, 2, reply=reply, now=self.now)

    def sent(self, row: int) -> list[Any]:
        """What the broker hears now."""
        return [decode(frames[0]) for frames in self.all[row].to_send()]

    def numbers(self, row: int) -> list[tuple[int, int]]:
        """Number and flags of each batch that the broker hears now."""
        return [(m.sequence, m.flags) for m in self.sent(row) if isinstance(m, Publish)]

    def give_up(self, row: int) -> None:
        """The broker says goodbye."""
        self.say(row, Goodbye())
        self.moves.tick(self.now)


@pytest.fixture
def two() -> Brokers:
    return Brokers()


class TestGivenUp:
    def test_what_is_unconfirmed_goes_to_another_under_its_number(self, two: Brokers) -> None:
        reply = Reply()
        two.publish(0)
        two.publish(0, reply)
        assert two.numbers(0) == [(1, 0), (2, REPLY)]
        two.give_up(0)
        assert two.numbers(1) == [(1, MOVED), (2, MOVED | REPLY)]
        assert [each.unconfirmed for each in two.all] == [0, 2]
        assert [each.unconfirmed_tasks for each in two.all] == [0, 4]
        assert [each.unconfirmed_bytes for each in two.all] == [0, 2 * len(BODY)]

    def test_what_was_confirmed_stays(self, two: Brokers) -> None:
        two.publish(0, Reply())
        two.say(0, Confirm([1, 1]))
        two.give_up(0)
        assert two.numbers(1) == []
        assert two.all[0].is_awaiting()

    def test_after_silence(self, two: Brokers) -> None:
        two.publish(0)
        two.now += 1.0
        for connection in two.all:
            connection.tick(two.now)
        two.say(1, Confirm([]))
        two.now += 5.0
        two.all[0].tick(two.now)
        two.handle()
        assert two.moves.tick(two.now)
        assert two.numbers(1) == [(1, MOVED)]

    def test_one_that_is_new_is_given_time(self, two: Brokers) -> None:
        two.publish(0)
        two.say(0, Refuse(UNKNOWN_PEER, 0, ""))
        assert not two.moves.tick(two.now)
        assert two.moves.next_deadline() == two.now + UNHEARD_S
        two.now += UNHEARD_S
        assert two.moves.tick(two.now)
        assert two.numbers(1) == [(1, MOVED)]
        assert two.moves.next_deadline() is None

    def test_nothing_goes_anywhere_while_nobody_is_there(self, two: Brokers) -> None:
        two.publish(0)
        two.give_up(1)
        two.give_up(0)
        assert [each.unconfirmed for each in two.all] == [1, 0]
        two.welcome(1)
        assert two.numbers(1) == [(1, MOVED)]

    def test_what_finds_no_room_goes_later(self, two: Brokers) -> None:
        two.publish(0)
        two.publish(0)
        for _ in range(WINDOW_BATCHES - 1):
            two.publish(1)
        two.give_up(0)
        assert [each.unconfirmed for each in two.all] == [1, WINDOW_BATCHES]
        two.moves.settled(two.now)
        assert two.all[0].unconfirmed == 1
        two.say(1, Confirm([ROW_NUMBERS + 1, ROW_NUMBERS + 1]))
        two.moves.settled(two.now)
        assert two.all[0].unconfirmed == 0

    def test_of_one_broker_nothing_is_given_up(self) -> None:
        one = Brokers(1)
        one.publish(0)
        one.give_up(0)
        one.now += 1000.0
        assert not one.moves.tick(one.now)
        assert one.moves.next_deadline() is None
        assert one.all[0].unconfirmed == 1


class TestReturn:
    def test_the_same_broker_hears_first_what_went_elsewhere(self, two: Brokers) -> None:
        two.publish(0)
        two.publish(0)
        two.sent(0)
        two.give_up(0)
        two.welcome(0)
        two.publish(0)
        first, second = two.sent(0)
        assert first == Withdraw([1, 2])
        assert second.sequence == 3

    def test_a_new_broker_hears_it_behind_what_it_is_sent(self, two: Brokers) -> None:
        two.publish(0)
        two.give_up(0)
        two.publish(0)
        two.moves.tick(two.now)
        two.welcome(0, b"new")
        assert two.sent(0) == [Withdraw([1, 2])]

    def test_it_hears_it_until_it_has_confirmed_it(self, two: Brokers) -> None:
        two.publish(0)
        two.give_up(0)
        for _ in range(2):
            two.welcome(0)
            assert two.sent(0) == [Withdraw([1, 1])]
            two.say(0, Refuse(UNKNOWN_PEER, 0, ""))
        two.welcome(0)
        two.sent(0)
        two.say(0, Confirm([1, 1]))
        two.say(0, Refuse(UNKNOWN_PEER, 0, ""))
        two.welcome(0)
        assert two.sent(0) == []

    def test_a_result_that_comes_from_there_first_counts(self, two: Brokers) -> None:
        sent = two.publish(0, Reply())
        two.give_up(0)
        two.say(1, Confirm([1, 1]))
        two.welcome(0)
        two.say(0, Result(1, 0, 1, RESULTS), pack([7]))
        assert isinstance(two.events[-1], ResultsCame)
        two.say(1, Result(1, 0, 2, RESULTS), pack([7, 8]))
        assert two.events[-1].last
        assert not sent.open
        assert not two.all[1].sent

    def test_what_is_cancelled_there_is_not_cancelled(self, two: Brokers) -> None:
        sent = two.publish(0, Reply())
        two.give_up(0)
        two.welcome(0)
        two.say(0, Result(1, 0, 2, CANCELLED))
        assert sent.open == 0b11

    def test_what_comes_back_has_a_new_number(self, two: Brokers) -> None:
        reply = Reply()
        two.publish(0, reply)
        two.give_up(0)
        two.welcome(0)
        two.sent(0)
        two.give_up(1)
        assert two.numbers(0) == [(2, REPLY)]
        assert reply.number == 2
        two.welcome(1)
        assert two.sent(1) == [Withdraw([], [1, 1])]

    def test_a_third_broker_takes_it_under_the_number_of_the_first(self) -> None:
        three = Brokers(3)
        three.publish(0)
        three.give_up(2)
        three.give_up(0)
        three.sent(1)
        three.welcome(2)
        three.give_up(1)
        assert three.numbers(2) == [(1, MOVED)]


class TestFull:
    def test_a_batch_goes_to_a_broker_with_room(self, two: Brokers) -> None:
        two.publish(0)
        two.sent(0)
        two.say(0, Refuse("full", 1, "queue 'q' is full"))
        assert two.moves.postponed(two.all[0], two.events[-1], two.now)
        assert two.numbers(1) == [(1, MOVED)]
        assert two.sent(0) == [Withdraw([1, 1])]

    def test_it_stays_if_all_are_full(self, two: Brokers) -> None:
        two.publish(0)
        two.say(0, Refuse("full", 1, "queue 'q' is full"))
        assert two.moves.postponed(two.all[0], two.events[-1], two.now)
        two.say(1, Refuse("full", 1, "queue 'q' is full"))
        assert not two.moves.postponed(two.all[1], two.events[-1], two.now)
        assert two.all[1].unconfirmed == 1


class TestResults:
    def test_without_a_store_they_are_lost_after_a_time_of_grace(self, two: Brokers) -> None:
        two.publish(0, Reply())
        two.say(0, Confirm([1, 1]))
        two.give_up(0)
        assert two.moves.next_deadline() == two.now + GRACE_S
        two.now += GRACE_S
        two.moves.tick(two.now)
        two.handle()
        assert isinstance(two.events[-1], ResultsLost)
        assert not two.all[0].is_awaiting()
        assert two.moves.next_deadline() is None

    def test_a_broker_that_is_back_in_time_owes_them_still(self, two: Brokers) -> None:
        two.publish(0, Reply())
        two.say(0, Confirm([1, 1]))
        two.give_up(0)
        two.now += GRACE_S - 1
        two.moves.tick(two.now)
        two.welcome(0)
        two.now += GRACE_S
        two.moves.tick(two.now)
        assert two.all[0].is_awaiting()

    def test_with_a_store_they_are_awaited_for_ever(self) -> None:
        two = Brokers(durable=1)
        two.publish(0, Reply())
        two.say(0, Confirm([1, 1]))
        two.give_up(0)
        two.now += 1000 * GRACE_S
        two.moves.tick(two.now)
        two.handle()
        assert two.all[0].is_awaiting()
        assert two.moves.next_deadline() is None


class TestResubmit:
    """What may run twice goes out again if its results are lost."""

    @pytest.fixture
    def sent(self, two: Brokers) -> Sent:
        """Confirmed by the first broker, and one of its two tasks is over."""
        two.lane = Lane(OWNER, "q", "t", reply=True, options=TaskOptions(resubmit=True))
        sent = two.publish(0, Reply())
        two.say(0, Confirm([1, 1]))
        two.say(0, Result(1, 0, 1, RESULTS), pack([7]))
        two.sent(0)
        return sent

    def lose(self, two: Brokers, row: int) -> None:
        two.give_up(row)
        two.now += GRACE_S
        two.moves.tick(two.now)
        two.handle()

    def test_to_another_broker_under_its_number(self, two: Brokers, sent: Sent) -> None:
        self.lose(two, 0)
        assert isinstance(two.events[-1], Resubmitted)
        assert two.numbers(1) == [(1, MOVED | REPLY)]
        two.say(1, Confirm([1, 1]))
        two.say(1, Result(1, 0, 2, RESULTS), pack([0, 8]))
        assert two.events[-1].last
        assert not sent.open
        assert [each._kept_bytes for each in two.all] == [0, 0]

    def test_what_comes_late_from_the_first_counts(self, two: Brokers, sent: Sent) -> None:
        self.lose(two, 0)
        two.welcome(0)
        assert two.sent(0) == [Withdraw([1, 1])]
        two.say(0, Result(1, 1, 1, RESULTS), pack([8]))
        assert not sent.open

    def test_to_the_broker_that_comes_in_its_place(self, two: Brokers, sent: Sent) -> None:
        two.give_up(0)
        two.welcome(0, b"new")
        assert two.numbers(0) == [(1, REPLY)]

    def test_to_the_same_broker_if_only_the_connection_was_lost(
        self, two: Brokers, sent: Sent
    ) -> None:
        """Which has no result of it any more, and knows its number."""
        two.say(0, Refuse(UNKNOWN_PEER, 0, ""))
        two.welcome(0)
        two.sent(0)
        two.say(0, Result(1, 0, 0, OPEN))
        assert two.numbers(0) == [(2, REPLY)]
        two.say(0, Result(2, 0, 2, RESULTS), pack([7, 8]))
        assert not sent.open

    def test_a_few_times(self, two: Brokers, sent: Sent) -> None:
        for life in range(RESUBMITS_MAX):
            two.give_up(0)
            two.welcome(0, b"life %d" % life)
            ((number, _),) = two.numbers(0)
            two.say(0, Confirm([number, number]))
        assert sent.resubmits == 0
        two.give_up(0)
        two.welcome(0, b"another")
        assert any(isinstance(event, ResultsLost) for event in two.events)

    def test_no_more_is_kept_than_there_is_room_for(
        self, two: Brokers, sent: Sent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("zqueue.client.connection.KEPT_BYTES_MAX", len(BODY))
        other = two.publish(0, Reply())
        two.say(0, Confirm([2, 2]))
        assert (bool(sent.frames), bool(other.frames)) == (True, False)
        self.lose(two, 0)
        assert [type(event) for event in two.events[-2:]] == [Resubmitted, ResultsLost]
